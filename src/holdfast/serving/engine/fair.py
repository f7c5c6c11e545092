"""A queue that serves tenants in turn, and each tenant's requests in the order in which they came. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Waiting items, each of a tenant."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[T]:
        for line in self._lines.values():
            yield from line

    def push(self, tenant: str, item: T) -> None:
        """Let an item wait.

        Args:
            tenant: Whose it is; one that has none waiting comes last in the turn.
            item: The item.
        """
        self._lines.setdefault(tenant, deque()).append(item)

    def pop(self) -> T:
        """Take the first item of the tenant whose turn it is; that tenant then comes last.

        Returns:
            The item.

        Raises:
            KeyError: If nothing waits.
        """
        tenant, line = next(iter(self._lines.items()), (None, None))
        if tenant is None or line is None:
            raise KeyError("nothing waits")
        item = line.popleft()
        if line:
            self._lines.move_to_end(tenant)
        else:
            del self._lines[tenant]
        return item

    def remove(self, gone: Callable[[T], bool]) -> list[T]:
        """Take items out of turn.

        Args:
            gone: Tells which.

        Returns:
            Them.
        """
        found = [item for item in self if gone(item)]
        if found:
            lines = {
                tenant: deque(item for item in line if not gone(item)) for tenant, line in self._lines.items()
            }
            self._lines = OrderedDict((tenant, line) for tenant, line in lines.items() if line)
        return found
