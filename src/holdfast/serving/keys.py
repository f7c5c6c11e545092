"""API keys of applications. Pure: the daemon mints and stores them, the front matches them.

A key reads ``hf-<id>-<secret>``: an id of 8 hexadecimal digits that may be shown and logged, and a secret of 256 random
bits that is shown once, when it is minted. What it may do (``Grant``) is on the record; the SHA-256 of the whole key, by which
it is known again, is not (``daemon.serve.keystore``). Invariants: only that hash is kept (a secret of that entropy needs no slow
hash); matching takes the same time whichever part is wrong; a key opens exactly the model ids that it lists, and of these only
those whose label its clearance covers; what none of its scopes allows, it may not do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from holdfast.artefact import is_name
from holdfast.errors import UntrustedRequest
from holdfast.governance import labels
from holdfast.serving import quota as quotas
from holdfast.serving.quota import UNLIMITED, Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.canonical import Json
    from holdfast.governance.labels import Label
    from holdfast.serving.spec import Choice

ID_BYTES = 4  # enough to tell a site's keys apart
SECRET_BYTES = 32  # 256 bits: not to be guessed
MAX_KEYS = 10_000  # keys of one front; each is a few hundred bytes of memory
MAX_NAMED = 64  # model ids and patterns of one key; the event that creates it holds them all
MAX_ID = 400  # characters of a model id: three names and two separators, rounded up
ANY = "*"  # in a key's models: whatever is served and its clearance covers
ADAPTERS = ":*"  # behind a base: the base with any adapter, in any version; not the base alone
INFERENCE, METRICS = "inference", "metrics"
SCOPES = (INFERENCE, METRICS)

_ID = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")
_KEY = re.compile(rf"hf-([0-9a-f]{{{2 * ID_BYTES}}})-[0-9a-f]{{{2 * SECRET_BYTES}}}")
_HASH = re.compile(r"[0-9a-f]{64}")
_NOBODY = "0" * 64
_FIELDS = frozenset({"id", "tenant", "models", "clearance", "scopes", "quota"})


@dataclass(frozen=True)
class Grant:
    """What a key may do, as the log has it.

    Args:
        id: The part that may be shown.
        tenant: Whom it belongs to.
        models: Model ids that it opens, ``base:*``, or ``*``.
        clearance: The labels that it may see.
        scopes: What it is for, of ``SCOPES``.
        quota: How much it may take.
    """

    id: str
    tenant: str
    models: tuple[str, ...]
    clearance: Label
    scopes: tuple[str, ...] = (INFERENCE,)
    quota: Quota = UNLIMITED

    def may(self, scope: str) -> bool:
        """Tell whether the key is for something.

        Args:
            scope: One of ``SCOPES``.

        Returns:
            True if it is.
        """
        return scope in self.scopes

    def opens(self, choice: Choice) -> bool:
        """Tell whether the key may use a model.

        Args:
            choice: The model, perhaps with an adapter.

        Returns:
            True if it is for inference, lists the model's id, and covers its label.
        """
        return self.may(INFERENCE) and self._lists(choice.id) and self.clearance.permits(choice.label)

    def _lists(self, name: str) -> bool:
        return any(
            one in (ANY, name) or (one.endswith(ADAPTERS) and name.startswith(one.removesuffix("*")))
            for one in self.models
        )

    def to_json(self) -> dict[str, Json]:
        """Give what the log holds of a key.

        Returns:
            All fields; neither the secret nor its hash is among them.
        """
        return {
            "id": self.id,
            "tenant": self.tenant,
            "models": list(self.models),
            "clearance": self.clearance.to_json(),
            "scopes": list(self.scopes),
            "quota": self.quota.to_json(),
        }


@dataclass(frozen=True)
class ApiKey(Grant):
    """A key as the front knows it.

    Args:
        hash: SHA-256 of the whole key, 64 hexadecimal digits.
    """

    hash: str = _NOBODY

    def to_json(self) -> dict[str, Json]:
        """Give the key as plain data, without its secret.

        Returns:
            All fields, the hash among them: for the front alone.
        """
        return {**super().to_json(), "hash": self.hash}


class Minted(NamedTuple):
    """A new key.

    Args:
        secret: Its whole text, to be shown once.
        hash: What is kept of it, outside of the log.
        grant: What it may do, for the log.
    """

    secret: str
    hash: str
    grant: Grant

    @property
    def key(self) -> ApiKey:
        """The key as the front knows it."""
        return with_hash(self.grant, self.hash)


def mint(
    tenant: str,
    models: Iterable[str],
    clearance: Label,
    scopes: Iterable[str] = (INFERENCE,),
    *,
    quota: Quota = UNLIMITED,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> Minted:
    """Make a new key.

    Args:
        tenant: Whom it is for.
        models: Model ids that it opens, ``base:*``, or ``*``.
        clearance: The labels that it may see.
        scopes: What it is for.
        quota: How much it may take.
        random: Gives that many random bytes.

    Returns:
        The key.

    Raises:
        UntrustedRequest: If the tenant, a model id or a scope is not usable.
    """
    identity = random(ID_BYTES).hex()
    text = f"hf-{identity}-{random(SECRET_BYTES).hex()}"
    wanted = Grant(identity, tenant, tuple(models), clearance, tuple(scopes), quota)
    return Minted(text, _hash(text), parse_grant(wanted.to_json()))


def with_hash(grant: Grant, digest: str) -> ApiKey:
    """Join what the log and what the key store hold of a key.

    Args:
        grant: What the log holds.
        digest: The hash.

    Returns:
        The key as the front knows it.
    """
    fields = {one.name: getattr(grant, one.name) for one in dataclasses.fields(Grant)}
    return ApiKey(**fields, hash=digest)


def parse_grant(value: object) -> Grant:
    """Read from plain data what a key may do.

    Args:
        value: What ``Grant.to_json`` gives.

    Returns:
        It.

    Raises:
        UntrustedRequest: If a field is missing, unknown or malformed.
    """
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise _bad("its fields are not exactly " + ", ".join(sorted(_FIELDS)))
    identity, tenant, models, scopes = value["id"], value["tenant"], value["models"], value["scopes"]
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        raise _bad(f"its id is not {2 * ID_BYTES} hexadecimal digits")
    if not is_name(tenant):
        raise _bad("its tenant is not a short printable name without / : @", "Name the tenant otherwise.")
    if not isinstance(models, list) or len(models) > MAX_NAMED:
        raise _bad(f"its models are not a list of at most {MAX_NAMED} ids")
    for name in models:
        _require_pattern(name)
    if not isinstance(scopes, list) or not scopes or not all(isinstance(one, str) for one in scopes):
        raise _bad("it has no scope")
    if len(set(scopes)) != len(scopes) or not set(scopes) <= set(SCOPES):
        raise _bad(f"its scopes are not some of {', '.join(SCOPES)}, each once")
    clearance, quota = labels.parse(value["clearance"]), quotas.parse(value["quota"])
    return Grant(identity, str(tenant), tuple(models), clearance, tuple(scopes), quota)


def _require_pattern(name: object) -> None:
    """Refuse what is neither a model id nor one of the two patterns."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_ID or not name.isprintable():
        raise _bad("one of its models is not a model id")
    if "*" in name.removesuffix(ADAPTERS) and name != ANY:
        raise _bad(
            f"{name[:60]!r} is neither a model id, nor a base with {ADAPTERS} behind it, nor {ANY}",
            "Write a model id as `holdfast serve status` lists it; only BASE:* and * stand for several.",
        )
    if name == ADAPTERS:
        raise _bad(f"{ADAPTERS} has no base before it")


def parse(value: object) -> ApiKey:
    """Read a key from plain data.

    Args:
        value: What ``ApiKey.to_json`` gives.

    Returns:
        The key.

    Raises:
        UntrustedRequest: If a field is missing, unknown or malformed.
    """
    if not isinstance(value, dict) or not is_hash(value.get("hash")):
        raise _bad("its hash is not 64 hexadecimal digits")
    told = {name: one for name, one in value.items() if name != "hash"}
    return with_hash(parse_grant(told), str(value["hash"]))


def parse_all(value: object) -> list[ApiKey]:
    """Read a list of keys from plain data.

    Args:
        value: A list of what ``ApiKey.to_json`` gives.

    Returns:
        The keys.

    Raises:
        UntrustedRequest: If it is no list, there are too many, one is malformed, or two have the same id.
    """
    if not isinstance(value, list) or len(value) > MAX_KEYS:
        raise _bad(f"there is not a list of at most {MAX_KEYS} keys")
    found = [parse(item) for item in value]
    if len({key.id for key in found}) != len(found):
        raise _bad("two keys have the same id")
    return found


def is_id(value: object) -> bool:
    """Tell whether a value is a key's id.

    Args:
        value: Anything.

    Returns:
        True for 8 lower-case hexadecimal digits.
    """
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_hash(value: object) -> bool:
    """Tell whether a value is a key's hash.

    Args:
        value: Anything.

    Returns:
        True for 64 lower-case hexadecimal digits.
    """
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


class KeyRing:
    """The keys that a front accepts, their ``ids``, and the ``tenants`` that they belong to; replaced as a whole.

    Args:
        keys: The keys that count.
    """

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_id = {key.id: key for key in keys}
        self.tenants = frozenset(key.tenant for key in self._by_id.values())
        self.ids = frozenset(self._by_id)

    def match(self, presented: str) -> ApiKey | None:
        """Find the key that a client presents.

        Args:
            presented: Anything.

        Returns:
            The key, or None if it is unknown, wrong or revoked.
        """
        form = _KEY.fullmatch(presented)
        kept = self._by_id.get(form.group(1)) if form else None
        same = hmac.compare_digest(_hash(presented), kept.hash if kept else _NOBODY)
        return kept if same else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _bad(why: str, remedy: str = "Create one with `holdfast serve keys create`.") -> UntrustedRequest:
    return UntrustedRequest("serve.key", f"An API key is refused: {why}.", remedy=remedy)
