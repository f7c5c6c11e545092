"""Pickles, recognised by what they would do and not by how they begin.

A pickle is a program for a small stack machine; opening it runs it. Protocols 0 and 1 have no mark of their own, any
harmless instructions may stand before the harmful one, and a file that is valid in another format can be a pickle too.
Invariant: nothing is executed; the instructions are read one by one, and only the heights of stacks are kept. A text is
taken for a pickle only if its instructions make sense up to a call, which prose does not.

Source: the Python library, module ``pickletools``.
"""

from __future__ import annotations

import pickletools
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pickletools import OpcodeInfo, StackObject

MAX_SCANNED = 2**18  # bytes; nothing that begins with so many idle instructions is a file of a known form
_NAME = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
_FETCHES = frozenset({"GLOBAL", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_CALLS = frozenset({"STOP", "REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID"})


def is_pickle(data: bytes) -> bool:
    """Tell whether bytes are a pickle by their mark, or would run something as one.

    Args:
        data: The first ``MAX_SCANNED`` bytes of a file, or all of it.

    Returns:
        Whether they would, or begin as every pickle since protocol 2 does.
    """
    return bool(re.match(rb"\x80[\x02-\x05]", data)) or would_call(data)


def would_call(data: bytes) -> bool:
    """Tell whether bytes would fetch and call something when they are opened as a pickle.

    Args:
        data: The first ``MAX_SCANNED`` bytes of a file, or all of it.

    Returns:
        Whether they would; the mark alone, which a length in binary can look like, does not count.
    """
    return _Machine().would_call(_instructions(data))


class _Machine:
    """The heights of a pickle's stacks; what lies on them does not matter."""

    def __init__(self) -> None:
        self._height = 0
        self._marks: list[int] = []
        self._fetched = False

    def would_call(self, instructions: Iterable[tuple[OpcodeInfo, object]]) -> bool:
        for operation, argument in instructions:
            if operation.name in {"GLOBAL", "INST"} and not _NAME.fullmatch(str(argument)):
                return False
            if operation.name == "POP" and self._marks[-1:] == [self._height]:
                self._marks.pop()  # on an empty part of the stack it takes the mark
            elif not self._pop(operation.stack_before):
                return False
            if operation.name == "INST" or (self._fetched and operation.name in _CALLS):
                return True
            self._fetched = self._fetched or operation.name in _FETCHES
            self._push(operation.stack_after)
        return False

    def _pop(self, wanted: Sequence[StackObject]) -> bool:
        """Take from the stack; tell whether there was enough."""
        if pickletools.markobject in wanted:
            if not self._marks:
                return False
            self._height = self._marks.pop() - wanted.index(pickletools.markobject)
        else:
            self._height -= len(wanted)
        return self._height >= 0

    def _push(self, given: Sequence[StackObject]) -> None:
        for one in given:
            if one is pickletools.markobject:
                self._marks.append(self._height)
            else:
                self._height += 1


def _instructions(data: bytes) -> Iterator[tuple[OpcodeInfo, object]]:
    """Give the instructions up to the first that makes no sense, or the last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about escapes in what it takes for strings
        try:
            for operation, argument, _ in pickletools.genops(data):
                yield operation, argument
        except (ValueError, OverflowError):
            return
