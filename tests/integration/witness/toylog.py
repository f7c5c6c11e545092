"""A log of numbers, which can be forked anywhere: what a site, or a thief of its key, can hand to a witness."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.audit import checkpoint, merkle, witness
from holdfast.audit.signer import LogSigner

ORIGIN = "holdfast.example/toy/0"
SIGNER, OTHER = LogSigner.generate(), LogSigner.generate()
NOW = 1_780_000_000  # POSIX seconds


@dataclass
class ToyLog:
    """Leaves by number and life: two logs are one up to the event at which their lives part."""

    size: int
    parted: int | None = None  # the first event that is another than the true log's
    origin: str = ORIGIN
    signer: LogSigner = SIGNER
    leaves: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        parted = self.size if self.parted is None else self.parted
        self.leaves = [
            merkle.leaf_hash(b"%d %s" % (number, b"true" if number < parted else b"false"))
            for number in range(self.size)
        ]
        self.tree = merkle.Tree(lambda start, stop: self.leaves[start:stop])
        for leaf in self.leaves:
            self.tree.append(leaf)

    def root(self, size: int | None = None) -> bytes:
        return self.tree.root_at(self.size if size is None else size)

    def checkpoint(self, size: int | None = None, *, time: int = NOW) -> bytes:
        wanted = self.size if size is None else size
        return checkpoint.make(self.origin, wanted, self.root(wanted), self.signer, time=time)

    def proof(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        wanted = self.size if size is None else size
        return tuple(self.tree.consistency(old, wanted)) if 0 < old < wanted else ()

    def request(self, old: int, size: int | None = None, *, time: int = NOW) -> bytes:
        return witness.Request(old, self.proof(old, size), self.checkpoint(size, time=time)).encode()

    @property
    def keys(self) -> bytes:
        return self.signer.public(self.origin)
