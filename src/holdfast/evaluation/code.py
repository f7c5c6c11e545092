"""Metric ``code``: what is run of a generated program, with what, and how its outcome is read.

An item's tests are data: a function to call with arguments and the value that it has to give, or a standard input and the
standard output that has to follow. Invariants: a program never meets what is expected of it, only calls and inputs; the
comparison happens in another process, on plain data (JSON), so that no object of the program's takes part in it; a test
whose program ends in any way but by giving the value is failed. No I/O: ``workers.execute`` runs what is planned here.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from holdfast.dataset import messages
from holdfast.evaluation.scorers import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json

MAX_TESTS = 64  # tests of one item
MAX_TEST = 64 * 2**10  # characters of one test, written as JSON
MAX_PROGRAM = 64 * 2**10  # characters of a program; 4,096 tokens have about 16,000
MAX_OUTPUT = 256 * 2**10  # bytes that a program may give: a value or its standard output
MAX_DEPTH = 32  # values within one another, in arguments and in what is given
MAX_TOLD = 200  # characters of a reason

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)

# How a test's process ended, as the worker reports it.
GAVE = "gave"  # it gave a value, or ended with exit code 0 where its output is what counts
RAISED = "raised"  # it raised, or ended by itself without giving a value
CPU = "cpu"  # it used up its processor time
CLOCK = "clock"  # it neither worked nor ended, and was ended by the clock
TOO_MUCH = "too-much"  # it gave more than ``MAX_OUTPUT``
DIED = "died"  # a signal ended it


@dataclass(frozen=True)
class Test:
    """One test of a program.

    Args:
        call: The function to call; None where the program reads its standard input.
        arguments: Its positional arguments.
        expected: The value it has to give, or the standard output, white space at the ends of lines aside.
        stdin: The standard input, where nothing is called.
        tolerance: Deviation that is allowed of every number in the value.
    """

    call: str | None
    arguments: tuple[Json, ...]
    expected: Json
    stdin: str = ""
    tolerance: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How the process of one test ended.

    Args:
        how: ``GAVE``, ``RAISED``, ``CPU``, ``CLOCK``, ``TOO_MUCH`` or ``DIED``.
        output: What it gave: JSON of a value, or standard output.
        told: A few words, such as the name of an exception; of the program's own making, never trusted.
    """

    how: str
    output: bytes = b""
    told: str = ""


def read_tests(value: object) -> tuple[Test, ...]:
    """Check an item's tests.

    Args:
        value: What was read.

    Returns:
        The tests.

    Raises:
        ValueError: With what was expected, if they are anything else.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TESTS:
        raise ValueError(f"'tests': expected a list of 1 to {MAX_TESTS} tests")
    return tuple(_test(one, f"test {number}") for number, one in enumerate(value, start=1))


def program(answer: str) -> str:
    """Take the program out of an answer.

    Args:
        answer: What was generated.

    Returns:
        The first block between ``` marks, or the whole answer if there is none.
    """
    fenced = _FENCE.search(answer)
    return fenced[1] if fenced else answer


def judge(tests: Sequence[Test], ended: Sequence[Ended]) -> Verdict:
    """Tell whether a program passed.

    Args:
        tests: The item's tests.
        ended: How the process of each ended, up to the first that failed.

    Returns:
        The verdict; the first test that failed is named.
    """
    for number, test in enumerate(tests, start=1):
        if number > len(ended):
            return Verdict(correct=False, told=f"test {number}: was not run")
        if why := failure(test, ended[number - 1]):
            return Verdict(correct=False, told=f"test {number}: {why}"[:MAX_TOLD])
    return Verdict(correct=True)


def failure(test: Test, ended: Ended) -> str:
    """Say why a test is failed.

    Args:
        test: The test.
        ended: How its process ended.

    Returns:
        A few words; empty if it is passed.
    """
    if ended.how != GAVE:
        return f"{_WORDS.get(ended.how, 'it died')}{f' ({ended.told})' if ended.told else ''}"
    if test.call is None:
        wanted = _lines(str(test.expected))
        return "" if _lines(ended.output.decode("utf-8", "replace")) == wanted else "another output"
    try:
        found = json.loads(ended.output)
    except (ValueError, RecursionError):
        return "what it gave is no JSON"
    if depth(found) > MAX_DEPTH:
        return "what it gave is nested too deeply"
    return "" if equal(cast("Json", found), test.expected, test.tolerance) else "another value"


def equal(found: Json, expected: Json, tolerance: float) -> bool:
    """Compare two values.

    Args:
        found: What a program gave, at most ``MAX_DEPTH`` deep.
        expected: What it has to give.
        tolerance: Deviation that is allowed of every number.

    Returns:
        Whether they are equal; true is not 1, and 1 is 1.0.
    """
    if isinstance(expected, bool) or isinstance(found, bool):
        return found is expected
    if isinstance(expected, int | float):
        if not isinstance(found, int | float):
            return False
        if found == expected:
            return True
        try:
            return math.isfinite(found) and abs(found - expected) <= tolerance
        except OverflowError:
            return False
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(equal(one, other, tolerance) for one, other in zip(found, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(equal(found[name], expected[name], tolerance) for name in expected)
        )
    return found == expected


def depth(value: object) -> int:
    """Count the values within one another, without recursion, up to one more than is allowed.

    Args:
        value: Anything that JSON holds.

    Returns:
        The depth.
    """
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, at = waiting.pop()
        deepest = max(deepest, at)
        if at <= MAX_DEPTH and isinstance(one, dict | list):
            waiting += [(each, at + 1) for each in (one.values() if isinstance(one, dict) else one)]
    return deepest


_WORDS = {
    RAISED: "it raised",
    CPU: "it used up its processor time",
    CLOCK: "it hung and was ended by the clock",
    TOO_MUCH: "it gave too much",
}


def _test(value: object, name: str) -> Test:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object")  # noqa: TRY004 - callers turn one class into a line's mistake
    if len(json.dumps(value)) > MAX_TEST or depth(value) > MAX_DEPTH:
        raise ValueError(
            f"{name}: expected at most {MAX_TEST} characters and {MAX_DEPTH} values within one another"
        )
    if "call" not in value:
        texts = [one for one in value.values() if isinstance(one, str) and _is_written(one)]
        if set(value) != {"input", "output"} or len(texts) != len(value):
            raise ValueError(
                f"{name}: expected 'call', 'arguments' and 'expected', or the texts 'input' and 'output'"
            )
        return Test(None, (), value["output"], value["input"])
    if unknown := sorted(set(value) - {"call", "arguments", "expected", "tolerance"}):
        raise ValueError(f"{name}: unknown key {unknown[0][:40]!r}")
    call, arguments = messages.text_of(value["call"], f"{name}, 'call'"), value.get("arguments")
    if not _NAME.fullmatch(call):
        raise ValueError(f"{name}, 'call': expected the name of a function, found {call[:40]!r}")
    if not isinstance(arguments, list) or "expected" not in value:
        raise ValueError(f"{name}: expected 'arguments', a list, and 'expected', a value")
    tolerance = value.get("tolerance", 0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise ValueError(f"{name}, 'tolerance': expected a number of at least 0")
    return Test(call, tuple(arguments), value["expected"], tolerance=float(tolerance))


def _is_written(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: JSON can hold half a surrogate pair."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


def _lines(text: str) -> list[str]:
    return [one.rstrip() for one in text.rstrip().split("\n")]
