"""Who signed a file: every signature judged against the delegator through which the file was reached.

Invariants: only keys that the delegator lists for the role count; a key counts once, under however many ids it is listed; the
threshold is reached before the profile's rule is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError

from holdfast.trust.metadata import refuse

if TYPE_CHECKING:
    from collections.abc import Collection

    from tuf.api.metadata import Metadata

    from holdfast.trust.delegation import Delegator
    from holdfast.trust.metadata import S
    from holdfast.trust.profile import Profile, Rule


def judge(
    profile: Profile,
    delegator: Delegator,
    rule: Rule,
    name: str,
    found: Metadata[S],
    *,
    also: Collection[str] = (),
) -> tuple[str, ...]:
    """Judge every signature of a file, then the threshold, then the profile's rule.

    Args:
        profile: What the repository must obey.
        delegator: Who says which keys the role has.
        rule: What the profile made of the delegator.
        name: The role's name.
        found: The file.
        also: Ids of keys that may sign this file too and are judged elsewhere.

    Returns:
        The people who signed, as the rule knows them.

    Raises:
        UntrustedBundle: If the delegator does not vouch for the file.
    """
    role = delegator.role(name)
    if role is None:
        raise refuse("unnamed", f"The {delegator.name} metadata does not name the role {name!r}.", role=name)
    valid: dict[str, str] = {}  # the key itself, by its id
    wrong = []
    for keyid in role.keyids:
        key, signature = delegator.keys.get(keyid), found.signatures.get(keyid)
        if key is None or signature is None:
            continue
        try:
            key.verify_signature(signature, found.signed_bytes)
        except (UnverifiedSignatureError, VerificationError):
            wrong.append(keyid)
        else:
            valid[keyid] = str(key.keyval.get("public", "")).strip()
    profile.signatures(name, wrong, set(found.signatures) - set(role.keyids) - set(also))
    count = len(set(valid.values()))
    if count < role.threshold:
        raise refuse(
            "threshold",
            f"The {name} metadata has valid signatures by {count} keys; {role.threshold} are needed.",
            role=name,
            found=count,
            needed=role.threshold,
        )
    return rule.judge(name, valid)
