"""A tiny random model with a byte vocabulary and two adapters; the front alone, and the front with a real engine behind it."""

from __future__ import annotations

import contextlib
import resource
import threading

import pytest
from tests.integration.serving.stack import ENGINE, Front, Puppet, make_settings

from holdfast.serving.front import house
from holdfast.serving.quota import DAY, Quotas


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder with base.gguf (Q8_0), one.gguf and two.gguf."""
    from tests.integration.serving.crafted import write_adapter, write_model

    from holdfast.gguf.quantize import quantize

    folder = tmp_path_factory.mktemp("gguf")
    write_model(folder / "f16.gguf")
    quantize(folder / "f16.gguf", folder / "base.gguf", "q8_0", 1)
    write_adapter(folder / "one.gguf", 1)
    write_adapter(folder / "two.gguf", 2)
    return folder


@pytest.fixture(scope="session")
def pooled(tmp_path_factory):
    """Folder with a base.gguf that chats and gives embeddings, one.gguf and two.gguf."""
    from tests.integration.serving.crafted import write_adapter, write_model

    folder = tmp_path_factory.mktemp("pooled")
    write_model(folder / "base.gguf", pooling=1)  # gguf.PoolingType.MEAN
    for number, name in enumerate(("one", "two"), 1):
        write_adapter(folder / f"{name}.gguf", number)
    return folder


@pytest.fixture(scope="session")
def settings(models):
    return make_settings(models / "base.gguf")


class Stack(Front):
    """The front with the real engine behind it, which runs in a thread."""

    def __init__(self, settings, folder, models, **options):
        from holdfast.serving.engine.host import Host

        super().__init__(settings, folder, **options)
        self.model = settings.models[0]
        bare = self.model.model_copy(update={"adapters": ()})
        self.host = Host(bare, settings.limits, 1, 2**31)
        for adapter in self.model.adapters:
            self.host.attach(adapter.lane, adapter.scale, models / f"{adapter.id}.gguf")
        sock = self.attach()
        self._engine = threading.Thread(target=self.host.run, args=(sock,), name="engine")
        self._engine.start()
        self.until(lambda: ENGINE in self.house.engines.up)

    def close(self):
        super().close()  # the link ends with the front
        self._engine.join()
        self.host.close()


@pytest.fixture
def server(settings, models, tmp_path):
    running = Stack(settings, tmp_path, models)
    yield running
    running.close()


@pytest.fixture
def new_server(models):
    """Starts servers; the test closes them."""

    def start(settings, folder):
        folder.mkdir(exist_ok=True)
        (folder / "serve.sock").unlink(missing_ok=True)
        return Stack(settings, folder, models)

    return start


@pytest.fixture
def new_stack():
    """Starts servers of any settings and models; they are closed after the test."""
    with contextlib.ExitStack() as opened:

        def start(settings, models, folder, **options):
            running = Stack(settings, folder, models, **options)
            opened.callback(running.close)
            return running

        yield start


@pytest.fixture
def front(tmp_path):
    """The front without any engine."""
    running = Front(make_settings(), tmp_path)
    yield running
    running.close()


@pytest.fixture
def new_front(tmp_path):
    """Starts fronts without an engine."""
    with contextlib.ExitStack() as opened:

        def start(settings=None, **options):
            running = Front(settings or make_settings(), tmp_path, **options)
            opened.callback(running.close)
            return running

        yield start


@pytest.fixture
def puppet(front):
    moved = Puppet(front)
    yield moved
    moved.close()


@pytest.fixture
def noon(monkeypatch):
    """Quotas of tokens are counted at noon, which it stays: no day ends during a test."""
    monkeypatch.setattr(house, "Quotas", lambda monotonic, _wall: Quotas(monotonic, lambda: 20_000.5 * DAY))


@pytest.fixture
def descriptors():
    """Let this process have as many files and sockets as hundreds of connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def new_puppet():
    """Makes puppets that die with the test."""
    with contextlib.ExitStack() as opened:

        def make(front, **options):
            moved = Puppet(front, **options)
            opened.callback(moved.close)
            return moved

        yield make
