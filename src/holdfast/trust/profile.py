"""What a repository must obey beyond the Update Framework's own rules.

The workflow is one for every repository; a profile says how a file must be written, what a delegator may list, which signatures
are needed beyond the threshold, and how one file names another. ``HOLDFAST`` is the profile of our media. Its invariants: bytes
are canonical; keys are Ed25519 or ML-DSA-87, each under its own id and each somebody's; thresholds and numbers of holders are two
or more; every signature present is by a key of the role and valid; files are named by version and by the digest of their signed
part, so that holders can sign in turn without invalidating what names the file; delegated publishers are limited to
readable path patterns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from tuf.api.metadata import DelegatedRole, Snapshot, Targets

from holdfast.artefact import is_safe_path
from holdfast.trust import metadata, policy
from holdfast.trust.metadata import SIGNED_DIGEST, refuse

if TYPE_CHECKING:
    from collections.abc import Collection

    from tuf.api.metadata import Metadata, MetaFile, Root, Timestamp

    from holdfast.errors import UntrustedBundle
    from holdfast.trust.delegation import Delegator
    from holdfast.trust.metadata import S

# It names a file on the medium, and Windows takes some names for devices.
_ROLE_NAME = re.compile(r"(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])$)[a-z][a-z0-9-]{0,39}")
MAX_PATTERNS = 100  # path patterns of one delegation; a person must be able to read them
_PATTERN = re.compile(r"[A-Za-z0-9_*?-][A-Za-z0-9._*?-]*(?:/[A-Za-z0-9_*?-][A-Za-z0-9._*?-]*){0,7}")
_MAX_PATTERN = 240  # characters, as of a path


class Rule(Protocol):
    """What one delegator demands beyond thresholds."""

    def judge(self, role: str, valid: Collection[str]) -> tuple[str, ...]:
        """Judge one file.

        Args:
            role: The role's name.
            valid: Ids of the role's keys whose signatures were found valid; they reach the threshold.

        Returns:
            The names of the people who signed, sorted.
        """


class Profile(Protocol):
    """What a kind of repository must obey; every method raises ``UntrustedBundle`` for what it refuses."""

    def parse(self, kind: type[S], data: bytes, role: str) -> Metadata[S]:
        """Read one file, bounded.

        Args:
            kind: The type it must be of.
            data: Its bytes.
            role: The role's name, for messages.

        Returns:
            The metadata, its signatures not yet judged.
        """

    def rule(self, delegator: Delegator) -> Rule:
        """Judge the keys and roles that a file lists.

        Args:
            delegator: They; the file's own signatures are judged by the workflow.

        Returns:
            What it demands of the roles beneath.
        """

    def content(self, signed: Root | Timestamp | Snapshot | Targets, role: str) -> None:
        """Judge what a well-signed file lists.

        Args:
            signed: The file's signed part.
            role: The role's name.
        """

    def signatures(self, role: str, wrong: Collection[str], strangers: Collection[str]) -> None:
        """Judge signatures that do not count.

        Args:
            role: The role's name.
            wrong: Ids of the role's keys whose signature is not valid.
            strangers: Ids of keys that are not the role's.
        """

    def named(self, role: str, info: MetaFile, data: bytes, found: Metadata[S]) -> None:
        """Judge whether a file is the one that another names (its version is judged by the workflow).

        Args:
            role: The file's role.
            info: How it is named.
            data: Its bytes.
            found: The same, parsed.
        """

    def again(self, role: str, version: int) -> None:
        """Judge another content of a version that was seen before.

        Args:
            role: The role.
            version: The version.
        """


class _Strict:
    """The profile of our media."""

    def parse(self, kind: type[S], data: bytes, role: str) -> Metadata[S]:
        return metadata.parse(kind, data, role)

    def rule(self, delegator: Delegator) -> Rule:
        for role in delegator.roles.values():
            if isinstance(role, DelegatedRole):
                _check_delegated(delegator, role)
        if delegator.succinct is not None:
            raise _bad_delegation(delegator, "hash bins can't limit a publisher to paths")
        return policy.Rule(policy.of(delegator), delegator.keys)

    def content(self, signed: Root | Timestamp | Snapshot | Targets, role: str) -> None:
        if isinstance(signed, Snapshot):
            names = [name.removesuffix(".json") for name in signed.meta if name.endswith(".json")]
            if len(names) != len(signed.meta) or not all(n == Targets.type or is_role_name(n) for n in names):
                raise refuse("form", "The snapshot metadata names a file that is no role's.", role=role)
        if isinstance(signed, Targets):
            for path, info in signed.targets.items():
                if not is_safe_path(path) or set(info.hashes) != {"sha512"}:
                    raise refuse(
                        "targets",
                        f"The {role} metadata lists a file without a plain path and a SHA-512.",
                        role=role,
                    )

    def signatures(self, role: str, wrong: Collection[str], strangers: Collection[str]) -> None:
        if wrong:
            raise refuse("signature", f"A signature of the {role} metadata is wrong.", role=role)
        if strangers:
            raise refuse(
                "unknown-key",
                f"The {role} metadata is signed by a key that may not sign it.",
                role=role,
                keyid=min(strangers)[:64],
            )

    def named(self, role: str, info: MetaFile, data: bytes, found: Metadata[S]) -> None:  # noqa: ARG002 - the protocol's
        digest = info.unrecognized_fields.get(SIGNED_DIGEST)
        if (
            info.length is not None
            or info.hashes is not None
            or set(info.unrecognized_fields) != {SIGNED_DIGEST}
        ):
            raise refuse(
                "form", f"The {role} metadata is not named by {SIGNED_DIGEST} and version.", role=role
            )
        if digest != metadata.signed_digest(found):
            raise metadata.mixed(role)

    def again(self, role: str, version: int) -> None:
        raise refuse(
            "two-faces",
            f"A different {role} metadata of version {version} was seen before.",
            role=role,
            version=version,
        )


HOLDFAST: Profile = _Strict()


def is_role_name(value: object) -> bool:
    """Tell whether a value can name a delegated publisher.

    Args:
        value: Anything.

    Returns:
        True for a lower-case letter and up to 39 letters, digits or hyphens that are not a top-level role's name.
    """
    return isinstance(value, str) and bool(_ROLE_NAME.fullmatch(value)) and value not in metadata.TOP_LEVEL


def is_pattern(value: object) -> bool:
    """Tell whether a value can limit a delegated publisher.

    Args:
        value: Anything.

    Returns:
        True for a plain relative path of up to eight names in which ``*`` and ``?`` stand for parts of one name; ``**``,
        which elsewhere crosses slashes and here would not, is refused.
    """
    return (
        isinstance(value, str)
        and len(value) <= _MAX_PATTERN
        and "**" not in value
        and bool(_PATTERN.fullmatch(value))
    )


def _check_delegated(delegator: Delegator, role: DelegatedRole) -> None:
    if not is_role_name(role.name):
        raise _bad_delegation(delegator, "a role's name is not short, plain and lower-case")
    if type(role.terminating) is not bool:
        raise _bad_delegation(delegator, f"whether {role.name} ends a search is neither true nor false")
    if role.paths is None:
        raise _bad_delegation(delegator, f"{role.name} is limited by hashes, which nobody can read")
    if not 0 < len(role.paths) <= MAX_PATTERNS or not all(map(is_pattern, role.paths)):
        raise _bad_delegation(
            delegator, f"{role.name} is not limited to 1 to {MAX_PATTERNS} plain path patterns"
        )


def _bad_delegation(delegator: Delegator, why: str) -> UntrustedBundle:
    return refuse(
        "delegation", f"What the {delegator.name} metadata delegates is refused: {why}.", role=delegator.name
    )
