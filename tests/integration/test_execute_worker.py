"""Generated programs are run behind walls: what computes the right values passes, and nothing else does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests import suites

from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.evaluation import code, execution

HEAD = suites.head("code", {"code": 'metric = "code"\nprimary = true\ncpu_seconds = 1\nmemory_mb = 128'})
CALL = {"call": "f", "arguments": [2, 3], "expected": 5}
READ = {"input": "21\n", "output": "42\n"}


# What an interpreter with PYTHONHASHSEED=0 gives.
HASH = int(
    subprocess.run(
        [sys.executable, "-c", "print(hash('text'))"],
        env={"PYTHONHASHSEED": "0"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
)


def body(text: str) -> str:
    return "import os, sys\ndef f(a, b):\n" + "".join(f"    {line}\n" for line in text.strip().split("\n"))


RIGHT = {
    "plain": body("return a + b"),
    "between fences": "Sure:\n```python\n" + body("return a + b") + "```\nDone.",
    "another kind of number": body("return 5.0"),
    "the standard library": body(
        "import asyncio, collections, dataclasses, decimal, fractions, hashlib, heapq, re, sqlite3, statistics, unittest\n"
        "import tempfile, uuid, zoneinfo\nreturn int(decimal.Decimal(a) + b)"
    ),
    "a dataclass": "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    + body("return P(a + b).x"),
    "sleeping takes no time": body("import time\ntime.sleep(10000)\nreturn 5"),
    "random numbers repeat": body("import random\nreturn 5 if random.random() == 0.8444218515250481 else 4"),
    "hashes repeat": body(f"return 5 if hash('text') == {HASH} else 4"),
    "no environment": body("return 5 if not os.environ else 4"),
    "no module of ours": body(
        "return 5 if not [m for m in sys.modules if m.split('.')[0] in ('holdfast', 'pydantic', 'cryptography')] else 4"
    ),
    "its own descriptors alone": body(
        "def is_open(fd):\n    try: os.fstat(fd)\n    except OSError: return False\n    return True\n"
        "return sum(map(is_open, range(100)))"
    ),
}
READING = {
    "reads and prints": "print(2 * int(input()))",
    "leaves with 0": "import sys\nprint(42)\nsys.exit(0)",
    "as a script": "def main():\n    print(42)\nif __name__ == '__main__':\n    main()",
}
# What a program may try to pass without computing anything, or to do besides; and what is said of it.
WRONG = {
    "another value": (body("return 6"), "another value"),
    "true is no number": (body("return True"), "another value"),
    "text is no number": (body("return '5'"), "another value"),
    "equal to everything": (
        body("class E(int):\n    def __eq__(self, other): return True\nreturn E(7)"),
        "another value",
    ),
    "an object": (
        body("class E:\n    def __eq__(self, other): return True\nreturn E()"),
        "it raised (TypeError)",
    ),
    "not a number": (body("return float('nan')"), "it raised (ValueError)"),
    "values within values": (body("x = 5\nfor _ in range(99): x = [x]\nreturn x"), "nested too deeply"),
    "no function": ("x = 1", "it raised (AttributeError)"),
    "no program": ("I can't.", "it raised (SyntaxError)"),
    "says that it passed": (body("print(5)\nprint('1 passed')"), "another value"),
    "leaves": (body("sys.exit(0)"), "it raised (SystemExit)"),
    "leaves at once": (body("os._exit(0)"), "it raised"),
    "leaves before": ("import os\nos._exit(0)", "it raised"),
    "writes to every descriptor": (
        body(
            'for fd in range(64):\n    try: os.write(fd, b\'{"how": "gave", "output": "5"}\')\n'
            "    except OSError: pass\nos._exit(0)"
        ),
        "another value",
    ),
    "replaces the judge's tools": (
        body("import json\njson.dumps = json.JSONEncoder.encode = lambda *_, **__: 'true'\nreturn 4"),
        "another value",
    ),
    "looks for what is expected": (
        body(
            "import gc\ndef shown(one):\n"
            "    return getattr(one, 'expected', 0) == 5 or type(one) is dict and one.get('expected') == 5\n"
            "frame, seen = sys._getframe(), gc.get_objects()\n"
            "while frame:\n    seen += frame.f_locals.values()\n    frame = frame.f_back\n"
            "return 5 if any(map(shown, seen)) else 0"
        ),
        "another value",
    ),
    "reads the suite": (
        body("return open('/in/suite0/items.jsonl').read() and 5"),
        "it raised (PermissionError)",
    ),
    "reads the answers": (
        body("return open('/in/answers/m-code.jsonl').read() and 5"),
        "it raised (PermissionError)",
    ),
    "lists folders": (
        body(
            "for path in ('/', '/in', '/proc', '/tmp', '/out', '/dev/shm'):\n    try: return os.listdir(path) and 5\n"
            "    except PermissionError: pass\nreturn 0"
        ),
        "another value",
    ),
    "reads others' memory": (
        body(
            "for pid in range(1, 20):\n    for name in ('mem', 'environ', 'maps', 'fd/0'):\n"
            "        try: return open(f'/proc/{pid}/{name}', 'rb') and 5\n        except OSError: pass\nreturn 0"
        ),
        "another value",
    ),
    "reads others' memory by a call": (
        body(
            "import ctypes\nlibc = ctypes.CDLL(None)\nfor pid in range(1, 20):\n"
            "    if libc.process_vm_readv(pid, 0, 0, 0, 0, 0) >= 0 or libc.ptrace(16, pid, 0, 0) >= 0: return 5\nreturn 0"
        ),
        "another value",
    ),
    "forks": (body("return 5 if os.fork() == 0 else 4"), "it raised (PermissionError)"),
    "forks by a call": (
        body(
            "import ctypes\nlibc = ctypes.CDLL(None)\nreturn 5 if libc.syscall(57) >= 0 or libc.vfork() >= 0 else 0"
        ),
        "another value",
    ),
    "starts a thread": (
        body("import threading\nthreading.Thread(target=print).start()\nreturn 5"),
        "it raised (RuntimeError)",
    ),
    "starts a program": (
        body("import subprocess\nsubprocess.run(['/bin/true'])\nreturn 5"),
        "it raised (PermissionError)",
    ),
    "becomes a program": (body("os.execv('/bin/true', ['true'])"), "it raised (PermissionError)"),
    "kills everybody": (
        body(
            "for pid in range(-1, 20):\n    for way in (os.kill, os.killpg):\n"
            "        try: way(pid, 9)\n        except OSError: continue\n        return 5\nreturn 0"
        ),
        "another value",
    ),
    "has others killed": (
        body("import fcntl\nfcntl.fcntl(0, fcntl.F_SETOWN, 1)\nreturn 5"),
        "it raised (PermissionError)",
    ),
    "limits others": (
        body(
            "import resource\nfor pid in range(1, 20):\n    try: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1))\n"
            "    except OSError: continue\n    return 5\nreturn 0"
        ),
        "another value",
    ),
    "lifts its limits": (
        body("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))\nreturn 5"),
        "it raised (ValueError)",
    ),
    "speaks": (
        body("import socket\nsocket.socket().connect(('192.0.2.1', 1))\nreturn 5"),
        "it raised (PermissionError)",
    ),
    "leaves a file": (
        body(
            "for path in ('/tmp/x', '/dev/shm/x', '/out/x', 'x'):\n    try: open(path, 'w').write('x')\n"
            "    except OSError: continue\n    return 5\nreturn 0"
        ),
        "another value",
    ),
    "other packages": (body("import numpy\nreturn 5"), "it raised (ModuleNotFoundError)"),
    "true random numbers": (body("return 5 if os.urandom(1) else 4"), "it raised"),
    "takes memory": (body("return len(bytearray(10**9)) and 5"), "it raised (MemoryError)"),
    "takes shared memory": (body("import mmap\nmmap.mmap(-1, 10**10)\nreturn 5"), "it raised (OSError)"),
    "computes for ever": ("while True: pass", "it used up its processor time"),
    "computes for ever and ignores signals": (
        body(
            "import signal\nfor one in range(1, 64):\n    try: signal.signal(one, signal.SIG_IGN)\n"
            "    except (OSError, ValueError): pass\nwhile True: pass"
        ),
        "it used up its processor time",
    ),
    "calls itself for ever": (
        body("sys.setrecursionlimit(10**9)\ndef again(): return again()\nreturn again()"),
        "it ",  # memory or processor time ends it
    ),
    "breaks the interpreter": (body("import ctypes\nctypes.string_at(0)"), "it died"),
    "writes for ever": (body("while True: os.write(4, b'5' * 60000)"), "it gave too much"),
    "explains for ever": (body("while True: os.write(3, b'x' * 60000)"), "it gave too much"),
    "a number with many digits": (body("return 10**5000"), "it raised (ValueError)"),
}
WRONG_READING = {
    "another output": ("print(41)", "another output"),
    "leaves with 1": ("import sys\nprint(42)\nsys.exit(1)", "it raised (SystemExit)"),
    "reads too much": ("input()\ninput()\nprint(42)", "it raised (EOFError)"),
    "prints for ever": ("while True: print(42)", "it gave too much"),
}
EVERY = [
    *((name, program, CALL, "") for name, program in RIGHT.items()),
    *((name, program, READ, "") for name, program in READING.items()),
    *((name, program, CALL, told) for name, (program, told) in WRONG.items()),
    *((name, program, READ, told) for name, (program, told) in WRONG_READING.items()),
]


async def run(folder, programs):
    """Run one program per item, each with its tests, and give the worker's last message, its rows and what was denied."""
    home, suite, answers, out = (folder / name for name in ("home", "suite", "answers", "out"))
    for one in (home, suite, answers, out):
        one.mkdir()
    items = [
        {"id": name, "section": "code", "messages": [{"role": "user", "content": "q"}], "tests": tests}
        for name, _, tests in programs
    ]
    rows = [
        {"id": name, "section": "code", "correct": None, "told": "", "answer": program, "expected": []}
        for name, program, _ in programs
    ]
    (suite / "suite.toml").write_text(HEAD)
    (suite / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    (answers / "m-code.jsonl").write_text("\n".join(map(json.dumps, rows)))
    denied, last = [], {}
    spec = WorkerSpec(
        "execute", {"answers": answers, "suite0": suite}, out, {}, Limits(memory_bytes=2 * 2**30)
    )
    order = {
        "pending": [["m", "code"]], "suites": {"code": "/in/suite0"}, "answers": "/in/answers", "out": "/out",
    }  # fmt: skip
    worker = await EmbeddedLauncher(home).launch(spec, order, denied.append)
    while (message := await worker.receive()) is not None:
        last = message
    assert await worker.wait() == 0, worker.log_tail
    return (
        last["result"],
        [json.loads(one) for one in (out / "m-code.jsonl").read_text().splitlines()],
        denied,
    )


@pytest.fixture(scope="module")
async def ran(tmp_path_factory):
    """Every program, in one worker."""
    return await run(tmp_path_factory.mktemp("run"), [(name, text, [test]) for name, text, test, _ in EVERY])


@pytest.mark.asyncio(loop_scope="module")
async def test_only_programs_that_compute_what_is_asked_pass(ran):
    result, rows, _ = ran
    wrong = {
        name: (row["correct"], row["told"])
        for (name, _, _, told), row in zip(EVERY, rows, strict=True)
        if row["correct"] is not (told == "") or told not in row["told"]
    }
    assert wrong == {}
    right = len(RIGHT) + len(READING)
    assert result["finished"]
    assert not any("by the clock" in row["told"] for row in rows)
    found = result["results"]["m"]["code"]
    assert found["outcomes"] == "1" * right + "0" * (len(EVERY) - right)
    assert found["sections"]["code"] == {
        "metric": "code", "items": len(EVERY), "correct": right, "score": round(right / len(EVERY), 6),
    }  # fmt: skip


@pytest.mark.asyncio(loop_scope="module")
async def test_an_attempt_to_speak_is_recorded(ran):
    assert [(one.syscall, one.family) for one in ran[2]] == [("socket", "AF_INET")]


async def test_every_test_has_to_pass_and_the_first_that_does_not_is_named(tmp_path):
    tests = [
        {"call": "f", "arguments": [1], "expected": [1, [2.0, "ü"], [1, 3]]},
        {"call": "f", "arguments": [3], "expected": 0.3333, "tolerance": 0.001},
        {"call": "f", "arguments": [2**100], "expected": 2**100},
    ]
    program = "def f(n):\n    if n == 1: return (1, (2, 'ü'), {3, 1})\n    return 1 / 3 if n == 3 else n"
    spoiled = program.replace("1 / 3", "1 / 4")
    stateful = "seen = []\ndef f(n):\n    seen.append(n)\n    return len(seen)"
    programs = [
        ("right", program, tests),
        ("wrong", spoiled, tests),
        # Nothing of one test is left for the next.
        ("stateful", stateful, [{"call": "f", "arguments": [0], "expected": 1}] * 3),
        ("too long", "#" * (code.MAX_PROGRAM + 1), tests),
    ]
    result, rows, _ = await run(tmp_path, programs)
    assert [row["told"] for row in rows] == ["", "test 2: another value", "", "test 1: was not run"]
    assert result["results"]["m"]["code"]["outcomes"] == "1010"


async def test_nothing_that_another_program_was_told_or_gave_can_be_found(tmp_path):
    """As when a second model's answers follow those of a first one that knew the answer."""
    text = "what-the-first-one-gave"
    hidden = [*(one ^ 1 for one in text.encode())]  # so that the second program does not find itself
    walk = (
        "import sys\ndef f(n):\n    frame = sys._getframe()\n    while frame:\n        for one in frame.f_locals.values():\n"
        "            output = getattr(one, 'output', b'')\n            if output: return eval(output)\n"
        "        frame = frame.f_back\n"
    )
    search = (
        f"import ctypes\ndef f(n):\n    key = bytes(one ^ 1 for one in {hidden})\n    here = id([n]) & ~0xffff\n"
        "    for at in range(here - 2**22, here, 2**16):\n"
        "        if key in ctypes.string_at(at, 2**16): return key.decode()\n"
    )
    tests = [{"call": "f", "arguments": [0], "expected": text}]
    first = f"def f(n): return {text!r}"
    programs = [
        ("first", first, tests),
        ("walks", walk, tests),
        ("again", first, tests),
        ("reads", search, tests),
    ]
    _, rows, _ = await run(tmp_path, programs)
    assert [row["correct"] for row in rows] == [True, False, True, False]


def test_what_neither_works_nor_ends_is_ended_by_the_clock(monkeypatch):
    monkeypatch.setattr(execution, "CLOCK_BASE", 0.2)
    output, output_end = os.pipe()
    why, why_end = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=output_end, stderr=why_end
    )
    for one in (output_end, why_end):
        os.close(one)
    _, ended = execution._watch(child.pid, {output: bytearray(), why: bytearray()}, 0)
    assert ended == code.CLOCK
    child.returncode = -9  # it was waited for there
    child.stdin.close()
    for one in (output, why):
        os.close(one)
