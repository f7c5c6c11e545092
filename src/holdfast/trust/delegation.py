"""Who vouches for whom: the keys and roles that root, targets and delegated roles list, and the paths they are for.

A delegator is root or one targets role; a link is one step from a delegator to a delegated role. Invariants: a path is
covered by a link only if the delegator said so, segment by segment (``*`` never crosses ``/``), and by a chain only if every link
of it covers it: nobody can pass on more than they were given.

Source: The Update Framework specification 1.0, sections 4.3 (keys and roles), 4.5 (delegations); TAP 15 (succinct roles).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import DelegatedRole, Root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from securesystemslib.signer import Key
    from tuf.api.metadata import Role, SuccinctRoles, TargetFile, Targets

    from holdfast.canonical import Json

POLICY = "x-holdfast-policy"  # the field in the signed part of root, or in delegations
MAX_DELEGATED_ROLES = 32  # visited in one search; a publisher with more would make every import read them all


@dataclass(frozen=True)
class Delegator:
    """The keys and roles that one file lists.

    Args:
        name: ``root``, ``targets`` or the delegated role whose file it is.
        version: The file's version.
        keys: The keys by id.
        roles: Its roles by name, in the order in which they are searched.
        succinct: Its hash bins, or None.
        rule: The signing policy that the file carries for these roles, as plain data; None if it carries none.
    """

    name: str
    version: int
    keys: Mapping[str, Key]
    roles: Mapping[str, Role]
    succinct: SuccinctRoles | None = None
    rule: Json = None

    @classmethod
    def of_root(cls, root: Root) -> Delegator:
        """Take the keys and roles of a root.

        Args:
            root: The root.

        Returns:
            The delegator of the four top-level roles.
        """
        return cls(Root.type, root.version, root.keys, root.roles, rule=root.unrecognized_fields.get(POLICY))

    @classmethod
    def of_targets(cls, name: str, targets: Targets) -> Delegator | None:
        """Take the keys and roles of a targets role.

        Args:
            name: The role's name.
            targets: Its metadata.

        Returns:
            The delegator, or None if it delegates nothing.
        """
        given = targets.delegations
        if given is None:
            return None
        rule = given.unrecognized_fields.get(POLICY)
        return cls(name, targets.version, given.keys, given.roles or {}, given.succinct_roles, rule)

    def role(self, name: str) -> Role | None:
        """Find a role.

        Args:
            name: Its name.

        Returns:
            The role's keys and threshold, or None if this delegator does not list it.
        """
        if self.succinct is not None and self.succinct.is_delegated_role(name):
            return self.succinct
        return self.roles.get(name)

    def links_for(self, path: str) -> Iterator[Link]:
        """Give the roles that may vouch for a path.

        Args:
            path: A target path.

        Yields:
            The links in the delegator's order, up to and with the first that ends the search.
        """
        if self.succinct is not None:
            yield Link(self, self.succinct.get_role_for_target(path), terminating=True)
            return
        for role in self.roles.values():
            if isinstance(role, DelegatedRole) and role.is_delegated_path(path):
                yield Link(self, role.name, terminating=role.terminating)
                if role.terminating:
                    return


@dataclass(frozen=True)
class Link:
    """One delegation.

    Args:
        delegator: Who delegates.
        name: The role delegated to.
        terminating: Whether a search that comes here looks no further than this role and those beneath it.
    """

    delegator: Delegator
    name: str
    terminating: bool

    def covers(self, path: str) -> bool:
        """Tell whether this delegation is for a path.

        Args:
            path: A target or publication path.

        Returns:
            True if the delegator lets the role speak for it.
        """
        succinct = self.delegator.succinct
        if succinct is not None:
            return succinct.get_role_for_target(path) == self.name
        role = self.delegator.roles.get(self.name)
        return isinstance(role, DelegatedRole) and role.is_delegated_path(path)


@dataclass(frozen=True)
class Found:
    """A file that somebody vouches for.

    Args:
        info: Its length and hashes.
        role: The role that vouches for it: ``targets`` or a delegated one.
        chain: The delegations from targets to that role; empty for targets itself.
        holders: The people who signed that role's metadata.
    """

    info: TargetFile
    role: str
    chain: tuple[Link, ...]
    holders: tuple[str, ...]

    def covers(self, path: str) -> bool:
        """Tell whether the role may speak for another path too.

        Args:
            path: A publication path.

        Returns:
            True if every delegation of the chain is for that path.
        """
        return all(link.covers(path) for link in self.chain)
