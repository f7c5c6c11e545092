"""Every error that Holdfast raises on purpose.

    HoldfastError                      exit  HTTP
    ├── UntrustedInput                            what came in is at fault
    │   ├── UntrustedBundle             3    422   a medium, a manifest, a signature, an artefact's file
    │   ├── UntrustedRecipe             1    422   a recipe, a data set, a suite
    │   └── UntrustedRequest            1    400   a message of a client or of a served application
    │       ├── UsageRefused            2    400   the words of a command are wrong
    │       ├── NotAuthenticated        4    401   nobody we know
    │       ├── NotPermitted            4    403   somebody we know, who may not
    │       ├── NotFound                1    404   what was named does not exist
    │       └── Conflict                6    409   it is taken, running, decided or changed meanwhile
    └── OperationFailed                           we or the host are at fault
        ├── VerificationFailed          3    500   our own stored evidence or files do not match
        ├── DaemonUnreachable           5    503   no daemon answers
        ├── Locked                      6    409   another process owns this home
        ├── NoSpace                     7    507   disk, memory or quota
        ├── WorkerFailed                1    500   a confined worker died or reported a fault
        └── NotRecorded                 1    503   the audit log could not take an event, so nothing happened

Invariants: untrusted input raises nothing but these. ``key`` is stable and may be matched by programs; ``message``
says what and where; ``remedy`` says what to do next. Errors travel between processes as the mapping that
``to_dict`` gives and ``from_dict`` takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Field = str | int | float | bool | None | list[str] | list[int]


class HoldfastError(Exception):
    """The root of the tree above.

    Args:
        key: Stable dotted name, for example ``media.chunk-digest``.
        message: One sentence: what is wrong, and where.
        remedy: One sentence: what to do next.
        **fields: The facts behind the sentence, for programs.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, key: str, message: str, *, remedy: str, **fields: Field) -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.remedy = remedy
        self.fields: dict[str, Field] = fields

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"

    def to_dict(self) -> dict[str, object]:
        """Give the error as plain data that crosses a process boundary.

        Returns:
            A JSON-ready mapping with ``type``, ``key``, ``message``, ``remedy`` and ``fields``.
        """
        return {
            "type": type(self).__name__,
            "key": self.key,
            "message": self.message,
            "remedy": self.remedy,
            "fields": self.fields,
        }


class UntrustedInput(HoldfastError):  # noqa: N818 - named by what is wrong; the tree above shows the family
    """What came in from outside is at fault."""

    http_status = 400


class UntrustedBundle(UntrustedInput):
    """A medium, its metadata or a file in it was refused."""

    exit_code = 3
    http_status = 422


class UntrustedRecipe(UntrustedInput):
    """A recipe, a data set or a suite was refused."""

    http_status = 422


class UntrustedRequest(UntrustedInput):
    """A message of a client was refused."""


class UsageRefused(UntrustedRequest):
    """The words of a command are wrong."""

    exit_code = 2


class NotAuthenticated(UntrustedRequest):
    """Nobody we know is asking."""

    exit_code = 4
    http_status = 401


class NotPermitted(UntrustedRequest):
    """Somebody we know is asking for what they may not have."""

    exit_code = 4
    http_status = 403


class NotFound(UntrustedRequest):
    """What was named does not exist."""

    http_status = 404


class Conflict(UntrustedRequest):
    """What was asked for is taken, running, already decided, or changed meanwhile."""

    exit_code = 6
    http_status = 409


class OperationFailed(HoldfastError):  # noqa: N818 - as above
    """Holdfast itself or its host is at fault."""


class VerificationFailed(OperationFailed):
    """Evidence or files that we stored do not match what was recorded of them."""

    exit_code = 3


class DaemonUnreachable(OperationFailed):
    """No daemon answers on the control socket."""

    exit_code = 5
    http_status = 503


class Locked(OperationFailed):
    """Another process owns this home."""

    exit_code = 6
    http_status = 409


class NoSpace(OperationFailed):
    """Disk, memory or a quota does not suffice."""

    exit_code = 7
    http_status = 507


class WorkerFailed(OperationFailed):
    """A confined worker died or reported a fault that is not the input's."""


class NotRecorded(OperationFailed):
    """The audit log could not take an event; what it would have recorded did not happen."""

    http_status = 503


def _tree(root: type[HoldfastError]) -> dict[str, type[HoldfastError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_BY_NAME = _tree(HoldfastError)
_OWN = frozenset({"self", "key", "message", "remedy"})  # no field is called like what every error has


def from_dict(data: Mapping[str, object]) -> HoldfastError:
    """Rebuild an error that crossed a process boundary.

    Args:
        data: What ``HoldfastError.to_dict`` gave. An unknown ``type`` becomes ``WorkerFailed``.

    Returns:
        The error, not raised.
    """
    kind = _BY_NAME.get(str(data.get("type")), WorkerFailed)
    fields = data.get("fields")
    return kind(
        str(data.get("key", "unknown")),
        str(data.get("message", "An error without a message was reported.")),
        remedy=str(data.get("remedy", "")),
        **(
            {str(name): value for name, value in fields.items() if name not in _OWN}
            if isinstance(fields, dict)
            else {}
        ),
    )
