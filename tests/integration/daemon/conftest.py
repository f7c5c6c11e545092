"""A founded home with four people, tiny media under one root, and its daemon: in this process, or as one of its own."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
from contextlib import asynccontextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import httpx
import pytest

from holdfast import canonical, cli, hashing
from holdfast.cli import keyfiles, service
from holdfast.client import operations
from holdfast.client.connection import Client
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.daemon import process, quarantine
from holdfast.daemon.app import create_app
from holdfast.errors import DaemonUnreachable
from holdfast.formats import families, inspection, jsonconfig
from holdfast.governance import approvals
from holdfast.keys import envelope, person
from holdfast.media import build, layout, manifest, trusthome, volume
from holdfast.paths import Home
from holdfast.store.generations import Generations
from holdfast.trust import fingerprint

if TYPE_CHECKING:
    from holdfast.keys.person import KeyPair

STARTER = Path(__file__).resolve().parents[3] / "bundles" / "starter"
HOLDING = Path(__file__).with_name("holding.py")
PEOPLE = {
    "alice": ["administrator"],
    "bob": ["administrator"],
    "olga": ["operator"],
    "aude": ["auditor"],
}
CHEAP = 2**15  # the least scrypt cost that an envelope may have
RUN_SECONDS = 120  # for one command, on a loaded machine

LABEL = """\
licence = "Apache-2.0"
[artefact.label]
level = "internal"
compartments = []
zones = ["site"]
"""
RECIPE = """\
schema = "holdfast.recipe/1"
name = "lesson"
version = "1"
description = "One example."
method = "sft"
seed = 1
loss = "answers"
checkpoint_every = 10

[[data]]
path = "rows.jsonl"
role = "domain"
repeat = 1
licence = "Apache-2.0"
[data.label]
level = "internal"
compartments = []
zones = ["site"]

[tuning]
type = "lora"
rank = 2
alpha = 4
dropout = 0.0
targets = ["q_proj"]

[optimiser]
learning_rate = 0.01
schedule = "constant"
warmup_steps = 0
weight_decay = 0.0
max_grad_norm = 1.0

[batch]
sequence_length = 64
sequences = 1
packing = false
steps = 4

[precision]
dtype = "fp32"
threads = 1

[[gate]]
suite = "quiz"
section = "all"
rule = "minimum"
value = 0.5
"""
ROW = {"messages": [{"role": "user", "content": "Fee?"}, {"role": "assistant", "content": "Nine."}]}


def quiet(step: str, done: int, total: int) -> None:
    """Take progress and say nothing."""


def tiny_base(seed: int, size: int) -> tuple[bytes, bytes]:
    """Write a Llama of about that many bytes: its config.json and its weights, which mean nothing."""
    hidden = 4 if size < 2_000_000 else 64  # the other dimension is bounded
    config = json.loads((STARTER / "base" / "config.json").read_text()) | {
        "hidden_size": hidden,
        "intermediate_size": max(4, size // (3 * hidden)),
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": hidden,
    }
    written = json.dumps(config).encode()
    shapes = families.expected(jsonconfig.model(written, "config.json"))
    head, start, filling = {}, 0, random.Random(seed)  # noqa: S311 - weights that mean nothing
    for name, shape in sorted(shapes.items()):
        end = start + math.prod(shape)
        head[name] = {"dtype": "U8", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(head).encode()
    return written, struct.pack("<Q", len(encoded)) + encoded + filling.randbytes(start)


@dataclass
class Press:
    """A publisher's desk: media under one root."""

    folder: Path
    pairs: list[KeyPair]

    def publish(
        self,
        name: str,
        *,
        version: str,
        previous: Path | None = None,
        size: int = 4096,
        now: datetime | None = None,
        zone: str = "site",
        template: str | None = None,
        base: tuple[bytes, bytes] | None = None,
    ) -> Path:
        """Build a medium; with a chat template of one's own by a publisher who does not inspect it."""
        source = self.folder / f"{name}-source"
        (source / "base").mkdir(parents=True)
        (source / "quiz").mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(STARTER / "base" / file, source / "base" / file)
        if template is not None:
            (source / "base" / "chat_template.jinja").write_text(template)
        config, weights = base or tiny_base(len(version) * 7 + size, size)
        (source / "base" / "config.json").write_bytes(config)
        (source / "base" / "model.safetensors").write_bytes(weights)
        (source / "quiz" / "suite.toml").write_text('name = "quiz"\n')
        (source / "quiz" / "items.jsonl").write_text('{"question": "?"}\n')
        parts = [
            ("base", "tiny", "base", '["model.safetensors", "config.json"]'),
            (
                "tokenizer",
                "tiny",
                "base",
                '["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]',
            ),
            ("suite", "quiz", "quiz", '["suite.toml", "items.jsonl"]'),
        ]
        text = (
            f'schema = "holdfast.medium/1"\nname = "tiny"\nversion = "{version}"\n'
            'description = "A base of one tensor."\npublisher = "Test works"\n'
        )
        for kind, called, path, files in parts:
            text += f'[[artefact]]\nkind = "{kind}"\nname = "{called}"\nversion = "{version}"\n'
            text += f'path = "{path}"\nfiles = {files}\n{LABEL.replace("site", zone)}'
        (source / "recipe.toml").write_text(text)
        blind = mock.patch.object(inspection, "inspect", return_value=inspection.Inspection())
        with nullcontext() if template is None else blind:
            return self.build(source, self.folder / name, previous=previous, now=now)

    def build(
        self, source: Path, out: Path, *, previous: Path | None = None, now: datetime | None = None
    ) -> Path:
        """Build the medium of a folder's recipe.toml."""
        return build.build(
            source / "recipe.toml",
            out,
            self.pairs,
            build.origin(None, previous),
            now=now or datetime.now(UTC),
            progress=quiet,
        ).folder


def split(medium: Path, out: Path, size: int = 5 * 2**20) -> list[Path]:
    """Cut a medium into volumes that take so many bytes of chunks each."""
    data = (medium / "targets" / "manifest.json").read_bytes()
    plan = volume.plan(manifest.parse(data), size)
    folders = []
    for number, chunks in enumerate(plan, start=1):
        folder = out / f"volume-{number}"
        for part in ("metadata", "targets"):
            shutil.copytree(medium / part, folder / part)
        for name in map(layout.chunk, chunks):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(medium / name, folder / name)
        told = volume.Volume(number, len(plan), size, hashing.sha512(data))
        (folder / "volume.json").write_bytes(told.encode())
        folders.append(folder)
    return folders


@pytest.fixture(scope="session")
def volumes(press, media, tmp_path_factory) -> list[Path]:
    """A medium that follows the first, in three volumes or more."""
    whole = press.publish("split", version="333", previous=media.first, size=10_000_000)
    return split(whole, tmp_path_factory.mktemp("volumes"))


@pytest.fixture
def cut(tmp_path):
    """Cut a medium into volumes of five MiB."""
    return lambda medium: split(medium, tmp_path / "cut")


@pytest.fixture(scope="session")
def pairs() -> dict[str, KeyPair]:
    return {name: person.generate(name) for name in (*PEOPLE, "ada", "bo")}


@pytest.fixture(scope="session")
def press(tmp_path_factory, pairs) -> Press:
    return Press(tmp_path_factory.mktemp("press"), [pairs["ada"], pairs["bo"]])


@pytest.fixture(scope="session")
def media(press) -> SimpleNamespace:
    """Two media, one after the other; tests copy what they spoil."""
    first = press.publish("first", version="1")
    return SimpleNamespace(first=first, second=press.publish("second", version="22", previous=first))


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory, pairs) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "passphrase").write_text("open sesame\n")
    for name, pair in pairs.items():
        keyfiles.secret(folder, name).write_bytes(envelope.seal(pair, "open sesame", n=CHEAP))
        keyfiles.public(folder, name).write_bytes(canonical.encode(pair.public.to_json()))
    return folder


@dataclass
class Daemon:
    """A home that is open in this process, and the daemon's app over it."""

    place: Place
    services: object
    app: object = field(init=False)

    def __post_init__(self) -> None:
        self.app = create_app(self.services)

    @property
    def state(self):
        return self.services.state

    @asynccontextmanager
    async def visitor(self, *, uid: int | None = None, pid: int | None = None):
        """Connect without a session, as a local user and process."""
        peer = (str(os.getuid() if uid is None else uid), pid or os.getpid())
        transport = httpx.ASGITransport(self.app, client=peer, raise_app_exceptions=False)
        async with Client(self.place.home, transport=transport) as client:
            yield client

    @asynccontextmanager
    async def session(self, name: str):
        async with self.visitor() as client:
            await client.login(self.place.pairs[name])
            yield client

    async def take_in(self, medium: Path, who: str = "alice") -> int:
        async with self.session(who) as client:
            request = await operations.start_import(client, medium)
            await client.finish(request)
            return request

    async def reject(self, request: int, who: str = "bob", reason: str = "not ordered"):
        async with self.session(who) as client:
            return await operations.reject(client, self.place.pairs[who], request, reason)

    async def admit(self, request: int, who: str = "bob"):
        async with self.session(who) as client:
            return await operations.admit(client, self.place.pairs[who], request)

    async def until(self, action: str, count: int = 1) -> list:
        """Wait until so many events of an action are on the record."""
        async with asyncio.timeout(RUN_SECONDS):
            while len(found := self.events(action)) < count:  # noqa: ASYNC110 - the log tells nobody here
                await asyncio.sleep(0.01)
        return found

    def actions(self) -> list[str]:
        return [event.action for event in self.services.log.events()]

    def events(self, action: str) -> list:
        return [event for event in self.services.log.events() if event.action == action]

    def at_rest(self) -> None:
        """Assert that record and disk agree and that nothing is half done."""
        assert not self.services.log.unfinished()
        active = Generations(self.services.store).active()
        assert (active.number if active else 0) == self.state.active
        staged = {quarantine.place(self.services, digest).name for digest in self.state.staged}
        assert {entry.name for entry in self.place.home.quarantine.iterdir()} <= staged
        for digest, request in self.state.staged.items():
            if self.state.imports[request].state == "waiting":
                assert (quarantine.trust(self.services, digest) / trusthome.FILE).exists()
        assert not [*(self.place.home.store / "stage").iterdir()]


@dataclass
class Place:
    """A home and the people who may come."""

    folder: Path
    pairs: dict[str, KeyPair]
    keys: Path
    uids: dict[str, int] = field(default_factory=dict)
    # Of the site document, as the next. No heartbeat comes between two looks at the log, however long a test takes.
    audit: dict[str, int] = field(default_factory=lambda: {"heartbeat_seconds": 3600})
    energy: dict[str, float] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def gate(self) -> Path:
        """The file for which the imports of a daemon that holds them wait."""
        return self.folder / "gate"

    def __post_init__(self) -> None:
        self.media_root = self.folder / "media"

    def site_document(self, **people: list[str]) -> Path:
        lines = [
            'schema = "holdfast.site/1"',
            'name = "Test site"',
            'zones = ["site"]',
            f"media_roots = [{json.dumps(str(self.media_root))}]",
            "threads = 1",
            "[serving]",
            "port = 0",
            "[audit]",
            *(f"{name} = {value}" for name, value in self.audit.items()),
            "[energy]",
            *(f"{name} = {value}" for name, value in self.energy.items()),
        ]
        for name, roles in (people or PEOPLE).items():
            uid = self.uids.get(name, os.getuid())
            lines += [
                "[[person]]",
                f'name = "{name}"',
                f"roles = {json.dumps(roles)}",
                f'key = "keys/{name}.pub"',
            ]
            lines += [f"uids = [{uid}]"]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "site.toml").write_text("\n".join(lines) + "\n")
        if not (self.folder / "keys").exists():
            shutil.copytree(self.keys, self.folder / "keys")
        return self.folder / "site.toml"

    def found(self, medium: Path | None = None) -> None:
        service.found_home(self.home, self.site_document())
        self.media_root.mkdir(exist_ok=True)
        if medium is not None:
            self.pin(medium)

    def pin(self, medium: Path) -> None:
        root = (medium / "metadata" / "1.root.json").read_bytes()
        trusthome.pin(self.home.trust, root, fingerprint.of_root(root), datetime.now(UTC))

    def insert(self, medium: Path, name: str = "medium") -> Path:
        """Put a copy of a medium beneath the media root."""
        return Path(shutil.copytree(medium, self.media_root / name))

    @asynccontextmanager
    async def open(self, **options):
        async with process.opened(self.home, **options) as services:
            yield Daemon(self, services)

    def environment(self) -> dict[str, str]:
        named = {"HOLDFAST_HOME": str(self.home.root), "HOLDFAST_KEYS": str(self.keys)}
        return {**os.environ, **named, "HOLDFAST_PASSPHRASE_FILE": str(self.keys / "passphrase")}

    def command(self, *words: str, who: str | None = None) -> list[str]:
        return [sys.executable, "-m", "holdfast.cli", *(("--as", who) if who else ()), *words]

    def interruptible(self, *words: str, who: str) -> subprocess.Popen[str]:
        """Give a command that Ctrl-C reaches, though whoever runs the tests may ignore it themselves."""
        return subprocess.Popen(
            ["/usr/bin/env", "--default-signal=INT", *self.command(*words, who=who)],
            env=self.environment(),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, *words: str, who: str | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Give a command and compare its exit code."""
        done = subprocess.run(
            self.command(*words, who=who),
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, (done.args, done.returncode, done.stdout, done.stderr)
        return done

    def told(self, *words: str, who: str | None = None):
        """Give a command with --json; its standard output must be one JSON document and nothing else."""
        if words[0] == "up":  # leaves a process behind
            return json.loads(self.run(*words, "--json", who=who).stdout)
        return json.loads(self.call(*words, "--json", who=who)[0])

    def call(self, *words: str, who: str | None = None, code: int = 0) -> tuple[str, str]:
        """Give a command in this process, which spares an interpreter; gives both outputs."""
        argv = ["holdfast", *(("--as", who) if who else ()), *words]
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment()),
            mock.patch.object(sys, "argv", argv),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
        assert ended.value.code == code, (words, out.getvalue(), err.getvalue())
        return out.getvalue(), err.getvalue()

    def refused(self, *words: str, who: str | None = None, code: int) -> dict:
        """Give a command that is refused; its error is one JSON document, and there is no result."""
        out, err = self.call(*words, "--json", who=who, code=code)
        assert out == ""
        return json.loads(err.splitlines()[-1])["error"]

    @asynccontextmanager
    async def session(self, name: str):
        """Open a session over the control socket of a daemon of its own."""
        async with Client(self.home) as client:
            await client.login(self.pairs[name])
            yield client

    def hold(self) -> subprocess.Popen[str]:
        """Start a daemon of its own whose trainings go on until they are stopped, and whose imports wait for the gate."""
        daemon = subprocess.Popen(
            [sys.executable, str(HOLDING), str(self.home.root), str(self.gate)],
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert daemon.stdout.readline() == "ready\n"
        return daemon

    def recipe(self, text: str = RECIPE, rows: str = json.dumps(ROW) + "\n") -> Path:
        (self.folder / "recipe.toml").write_text(text)
        (self.folder / "rows.jsonl").write_text(rows)
        return self.folder / "recipe.toml"


@pytest.fixture(scope="session", autouse=True)
def walls():
    """Ask this host for its walls once; each home that is opened in this process would ask anew."""
    with pytest.MonkeyPatch.context() as patch:
        ask, found = EmbeddedLauncher._try_walls, []

        def once(launcher):
            if not found:
                found.append(ask(launcher))
            return found[0]

        patch.setattr(EmbeddedLauncher, "_try_walls", once)
        yield


@pytest.fixture(scope="session")
def texts() -> SimpleNamespace:
    """The recipe and the row above, for test modules, which can't import this one."""
    return SimpleNamespace(RECIPE=RECIPE, ROW=ROW)


@pytest.fixture
def place(tmp_path, pairs, key_folder):
    made = Place(tmp_path / "place", pairs, key_folder)
    yield made
    with suppress(DaemonUnreachable):
        service.stop(made.home)


@pytest.fixture
def founded(place, media) -> Place:
    place.found(media.first)
    return place


@pytest.fixture
async def daemon(founded):
    async with founded.open() as opened:
        yield opened


@pytest.fixture
def signed(pairs):
    """Make a signed approval of what a request shows."""

    def make(shown: dict, who: str, *, hours: float = 1, what: str = "approval", **changes: object) -> dict:
        expires = (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")
        statement = approvals.parse({**shown[what], "expires": expires, **changes})
        return {
            "statement": statement.to_json(),
            "signatures": [*person.sign(pairs[who], approvals.DOMAIN, statement.payload())],
        }

    return make


@pytest.fixture(scope="session")
def template(tmp_path_factory, pairs, key_folder, media) -> Path:
    """A home where the first medium was admitted; tests copy it."""
    made = Place(tmp_path_factory.mktemp("template") / "place", pairs, key_folder)
    made.found(media.first)
    medium = made.insert(media.first)

    async def work() -> None:
        async with made.open() as opened:
            await opened.admit(await opened.take_in(medium))

    asyncio.run(work())
    return made.folder


@pytest.fixture
def stocked(place, template) -> Place:
    """A home of its own in which generation 1 is active. Its founding names the template's media root."""
    shutil.copytree(template, place.folder, symlinks=True, ignore=shutil.ignore_patterns("media"))
    place.media_root = template / "media"
    for entry in place.media_root.iterdir():
        if entry.name != "medium":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return place


@pytest.fixture
def held(stocked):
    """A daemon of its own whose trainings wait until they are stopped, and whose imports wait for the gate."""
    daemon = stocked.hold()
    yield daemon
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
