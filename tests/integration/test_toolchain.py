"""The toolchain that builds llama.cpp: its key, its cache, its wheels, and the build that is installed here."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from scripts.llama import build, cache, compiler, native, packages, pin, smoke, source
from scripts.llama.wheel import write_wheel

ROOT = Path(__file__).parents[2]

FAKE_COMPILER = """#!/bin/sh
case "$1" in --version) echo "{name} version {version}"; echo more;; -dumpmachine) echo x86_64-linux-gnu;; esac
"""
FAKE_CMAKE = """#!/bin/sh
echo "$@" >> {calls}
for word in "$@"; do case "$previous" in -B|--build) build="$word";; esac; previous="$word"; done
if [ "$1" = "--build" ]; then
    [ -e {fail} ] && {{ echo "[1/2] cc a.c"; echo "a.c:1: error: no"; exit 2; }}
    mkdir -p "$build/bin"
    for name in llama ggml ggml-base ggml-cpu-haswell ggml-cpu-sapphirerapids; do echo $name > "$build/bin/lib$name.so"; done
    for name in llama-server llama-batched-bench; do echo $name > "$build/bin/$name"; done
    echo "[1/2] cc a.c"; echo "[2/2] ld"
fi
"""


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


class Machine:
    """A machine with tools of our making, a small source archive and an empty cache."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tools, self.cache = folder / "tools", folder / "cache"
        self.calls, self.fail = folder / "calls", folder / "fail"
        self.said: list[str] = []
        self.tools.mkdir()
        executable(self.tools / "cmake", FAKE_CMAKE.format(calls=self.calls, fail=self.fail))
        executable(self.tools / "ninja", "#!/bin/sh\n")
        (self.tools / "mkdir").symlink_to("/bin/mkdir")
        monkeypatch.setenv("PATH", str(self.tools))
        self.install("clang-16", "clang++-16")
        archive = self.cache / "downloads" / pin.SDIST_NAME
        archive.parent.mkdir(parents=True)
        with tarfile.open(archive, "w:gz") as tar:
            for name, text in SOURCE_FILES.items():
                entry = tarfile.TarInfo(f"llama_cpp_python-{pin.VERSION}/{name}")
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        monkeypatch.setattr(pin, "SDIST_SHA256", source.digest_of(archive))

    def install(self, *names: str, version: str = "16.0") -> None:
        for name in names:
            executable(self.tools / name, FAKE_COMPILER.format(name=name, version=version))

    def build(self) -> list[Path]:
        return build.wheels(self.cache, self.said.append)

    def compiled(self) -> int:
        return self.calls.read_text().count("--build") if self.calls.exists() else 0


SOURCE_FILES = {
    "PKG-INFO": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {pin.VERSION}\n",
    "LICENSE.md": "MIT",
    "llama_cpp/__init__.py": "",
    "llama_cpp/py.typed": "",
    "llama_cpp/llama_cpp.py": "",
    "llama_cpp/server/app.py": "",
    "vendor/llama.cpp/LICENSE": "MIT",
    "vendor/llama.cpp/convert_hf_to_gguf.py": "",
    "vendor/llama.cpp/convert_lora_to_gguf.py": "",
    "vendor/llama.cpp/conversion/__init__.py": "",
    "vendor/llama.cpp/conversion/llama.py": "",
    "vendor/llama.cpp/gguf-py/LICENSE": "MIT",
    "vendor/llama.cpp/gguf-py/gguf/__init__.py": "",
    "vendor/llama.cpp/gguf-py/tests/test_quants.py": "",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "changed",
    [
        ("0.3.37", ("-DA=1", "-DB=2"), "clang 16", 1),
        ("0.3.36", ("-DA=1",), "clang 16", 1),
        ("0.3.36", ("-DA=1", "-DB=3"), "clang 16", 1),
        ("0.3.36", ("-DA=1", "-DB=2"), "clang 17", 1),
        ("0.3.36", ("-DA=1", "-DB=2"), "clang 16", 2),
    ],
)
def test_whatever_changes_the_bytes_changes_the_key(changed) -> None:
    assert pin.build_key(*changed) != pin.build_key("0.3.36", ("-DA=1", "-DB=2"), "clang 16", 1)


def test_the_order_of_flags_does_not_change_the_key() -> None:
    assert pin.build_key("1", ("-DA=1", "-DB=2"), "c", 1) == pin.build_key("1", ("-DB=2", "-DA=1"), "c", 1)


def test_the_cache_follows_the_environment() -> None:
    assert cache.default_cache({}, Path("/home/a")) == Path("/home/a/.cache/holdfast/llama")
    assert cache.default_cache({"XDG_CACHE_HOME": "/c"}, Path("/home/a")) == Path("/c/holdfast/llama")
    assert cache.default_cache({"XDG_CACHE_HOME": "c"}, Path("/home/a")) == Path(
        "/home/a/.cache/holdfast/llama"
    )


def test_clang_comes_first_and_gcc_goes_without_amx(machine) -> None:
    machine.install("gcc", "g++", version="12.2")
    assert compiler.find_compiler().identity == "clang-16 version 16.0 x86_64-linux-gnu"
    assert compiler.find_compiler().left_out == frozenset()
    (machine.tools / "clang++-16").unlink()
    assert compiler.find_compiler().name == "gcc"
    assert compiler.find_compiler().left_out == {"sapphirerapids"}


def test_without_a_compiler_it_says_what_to_install(machine) -> None:
    (machine.tools / "clang-16").unlink()
    with pytest.raises(compiler.NoCompilerError, match="install clang-16"):
        machine.build()


def test_the_wheels_hold_one_copy_of_each_library_beside_the_bindings(machine) -> None:
    conversion, bindings = machine.build()
    with zipfile.ZipFile(bindings) as archive:
        names = set(archive.namelist())
    assert {name for name in names if name.endswith(".so")} == {
        f"llama_cpp/lib/lib{name}.so"
        for name in ("llama", "ggml", "ggml-base", "ggml-cpu-haswell", "ggml-cpu-sapphirerapids")
    }
    assert not [name for name in names if "server" in name]
    with zipfile.ZipFile(conversion) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        inside = set(archive.namelist())
    assert tops == {packages.CONVERSION_PACKAGE, f"{packages.CONVERSION_PACKAGE}-{pin.VERSION}.dist-info"}
    assert f"{packages.CONVERSION_PACKAGE}/tree/gguf/__init__.py" in inside
    assert f"{packages.CONVERSION_PACKAGE}/tree/conversion/llama.py" in inside
    assert not [name for name in inside if "test" in name]


def test_a_second_set_up_reuses_the_first(machine) -> None:
    first = machine.build()
    assert machine.build() == first
    assert machine.compiled() == 1
    assert [line for line in machine.said if line.startswith("building llama.cpp")] == machine.said[:1]
    assert {path.name.partition(".")[0] for path in machine.cache.glob("*.work")} == set()


def test_llama_server_is_built_once_beside_the_libraries_of_the_wheel(machine) -> None:
    made = build.servers(machine.cache, machine.said.append)
    calls = machine.calls.read_text().splitlines()
    assert {path.name for path in made.iterdir()} == {
        *pin.SERVER_TARGETS,
        *(
            f"lib{name}.so"
            for name in ("llama", "ggml", "ggml-base", "ggml-cpu-haswell", "ggml-cpu-sapphirerapids")
        ),
    }
    built = [call for call in calls if "--target llama-server llama-batched-bench" in call]
    configured = next(call for call in calls if "-DLLAMA_LIBRARIES=" in call)
    assert len(built) == 1
    assert "-DLLAMA_OPENSSL=OFF" in configured
    assert build.servers(machine.cache, machine.said.append) == made
    assert machine.calls.read_text().splitlines() == calls
    assert not list(machine.cache.glob("*.work"))


def test_an_interrupted_build_of_llama_server_goes_on(machine) -> None:
    build.wheels(machine.cache, machine.said.append)
    machine.fail.touch()
    with pytest.raises(native.BuildError, match="error: no"):
        build.servers(machine.cache, machine.said.append)
    machine.fail.unlink()
    assert (build.servers(machine.cache, machine.said.append) / "llama-server").exists()


def test_another_compiler_builds_again_and_says_what_is_left_out(machine) -> None:
    machine.build()
    machine.install("gcc", "g++", version="12.2")
    (machine.tools / "clang-16").unlink()
    bindings = machine.build()[1]
    assert machine.compiled() == 2
    assert any("sapphirerapids" in line for line in machine.said)
    with zipfile.ZipFile(bindings) as archive:
        assert "llama_cpp/lib/libggml-cpu-haswell.so" in archive.namelist()
        assert "llama_cpp/lib/libggml-cpu-sapphirerapids.so" not in archive.namelist()


def test_a_failed_build_shows_its_log_and_the_next_one_goes_on(machine) -> None:
    machine.fail.touch()
    with pytest.raises(native.BuildError, match=r"a\.c:1: error: no"):
        machine.build()
    assert not list(machine.cache.rglob("*.whl"))
    [work] = machine.cache.glob("*.work")
    module = work / "source" / f"llama_cpp_python-{pin.VERSION}" / "llama_cpp" / "__init__.py"
    module.write_text("kept")
    machine.fail.unlink()
    with zipfile.ZipFile(machine.build()[1]) as archive:
        assert archive.read("llama_cpp/__init__.py") == b"kept"  # not unpacked again over a half-done build
    assert any("2 of 2" in line for line in machine.said)


def test_two_set_ups_at_once_build_once(machine) -> None:
    results: list[list[Path]] = []
    racers = [threading.Thread(target=lambda: results.append(machine.build())) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert results[0] == results[1] == results[2]
    assert machine.compiled() == 1


def test_the_lock_is_held_against_another_process(tmp_path) -> None:
    lock, waited = tmp_path / "lock", threading.Event()
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(lock)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"

        def waiting() -> None:
            waited.set()
            holder.stdin.close()  # only now does the holder let go

        with cache.exclusive(lock, waiting):
            assert waited.is_set()


def test_a_source_that_is_not_the_pinned_one_is_not_used(machine, monkeypatch) -> None:
    (machine.cache / "downloads" / pin.SDIST_NAME).write_bytes(b"not the source")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(source.SourceError, match="needs a package index"):
        machine.build()
    assert machine.compiled() == 0


def test_a_wheel_records_every_file_and_is_the_same_each_time(tmp_path) -> None:
    library = tmp_path / "libx.so"
    library.write_bytes(b"\x7fELF")
    files = {"x/lib/libx.so": library, "x/__init__.py": b"import os\n"}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write_wheel(tmp_path / "a", "x-1.0", "py3-none-any", b"Name: x\n", files)
    two = write_wheel(tmp_path / "b", "x-1.0", "py3-none-any", b"Name: x\n", dict(reversed(files.items())))
    assert one.name == "x-1.0-py3-none-any.whl"
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        rows = list(csv.reader(io.StringIO(archive.read("x-1.0.dist-info/RECORD").decode())))
        assert {row[0] for row in rows} == set(archive.namelist())
        for name, digest, size in rows:
            data = archive.read(name)
            if not name.endswith("RECORD"):
                wanted = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                assert (digest, size) == (f"sha256={wanted}", str(len(data)))
        assert archive.getinfo("x/lib/libx.so").external_attr >> 16 & 0o111


def test_a_child_killed_by_a_signal_fails_the_smoke_test(tmp_path, monkeypatch) -> None:
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    monkeypatch.setattr(smoke, "CHILD", crash)
    with pytest.raises(smoke.SmokeError, match="signal 4"):
        smoke.run(print)


@pytest.mark.model
def test_the_installed_wheels_run_quantized_models() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "llama_wheel.py"), "smoke"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "q8_0, q4_k_m" in done.stderr


@pytest.mark.model
def test_one_registry_of_backends_is_loaded_and_nothing_is_printed() -> None:
    code = (
        "from holdfast.gguf.llama import load_backends\n"
        "llama = load_backends()\n"
        "assert load_backends() is llama\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print(len({name for name in maps if '/libggml.so' in name}), len({n for n in maps if 'libggml-cpu' in n}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "1 1\n"
    assert done.stderr == ""
