"""API keys of applications. Pure: the daemon mints and stores them, the serve worker matches them.

A key reads ``hf-<id>-<secret>``: an id of 8 hexadecimal digits that may be shown and logged, and a secret of 256 random
bits that is shown once, when it is minted. Invariants: only the SHA-256 of the whole key is kept (a secret of that entropy
needs no slow hash); matching takes the same time whichever part is wrong; a key opens exactly the model ids it lists, and
of these only those whose label its clearance covers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.artefact import is_name
from holdfast.errors import UntrustedRequest
from holdfast.governance import labels
from holdfast.serving.spec import MAX_ADAPTERS, MAX_MODELS, Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.canonical import Json
    from holdfast.governance.labels import Label

ID_BYTES = 4  # enough to tell a site's keys apart
SECRET_BYTES = 32  # 256 bits: not to be guessed
MAX_KEYS = 10_000  # keys of one worker; each is a few hundred bytes of memory
MAX_NAMED = MAX_MODELS * (1 + MAX_ADAPTERS)  # model ids that one key may list
MAX_ID = 260  # characters of a model id: two names and a separator, rounded up
ANY = "*"  # in a key's models: whatever is served and its clearance covers

_KEY = re.compile(rf"hf-([0-9a-f]{{{2 * ID_BYTES}}})-[0-9a-f]{{{2 * SECRET_BYTES}}}")
_HASH = re.compile(r"[0-9a-f]{64}")
_NOBODY = "0" * 64


@dataclass(frozen=True)
class ApiKey:
    """What is kept of a key.

    Args:
        id: The part that may be shown.
        hash: SHA-256 of the whole key, 64 hexadecimal digits.
        tenant: Whom it belongs to.
        models: Model ids that it opens, or ``*``.
        clearance: The labels that it may see.
        revoked: True once it opens nothing.
    """

    id: str
    hash: str
    tenant: str
    models: tuple[str, ...]
    clearance: Label
    revoked: bool = False

    def opens(self, choice: Choice) -> bool:
        """Tell whether this key may use a model.

        Args:
            choice: The model, perhaps with an adapter.

        Returns:
            True if it is listed, its label is covered, and the key is not revoked.
        """
        listed = choice.id in self.models or ANY in self.models
        return listed and not self.revoked and self.clearance.permits(choice.label)

    def revoke(self) -> ApiKey:
        """Give the same key, opening nothing.

        Returns:
            The revoked key.
        """
        return dataclasses.replace(self, revoked=True)

    def to_json(self) -> dict[str, Json]:
        """Give the key as plain data, without its secret.

        Returns:
            All fields.
        """
        return {
            "id": self.id,
            "hash": self.hash,
            "tenant": self.tenant,
            "models": list(self.models),
            "clearance": self.clearance.to_json(),
            "revoked": self.revoked,
        }


def mint(
    tenant: str, models: Iterable[str], clearance: Label, random: Callable[[int], bytes] = secrets.token_bytes
) -> tuple[str, ApiKey]:
    """Make a new key.

    Args:
        tenant: Whom it is for.
        models: Model ids that it opens, or ``*``.
        clearance: The labels that it may see.
        random: Gives that many random bytes.

    Returns:
        The key's text, to be shown once, and what to keep.

    Raises:
        UntrustedRequest: If the tenant or a model id is not a usable name.
    """
    identity = random(ID_BYTES).hex()
    text = f"hf-{identity}-{random(SECRET_BYTES).hex()}"
    kept = ApiKey(identity, _hash(text), tenant, tuple(models), clearance)
    return text, parse(kept.to_json())


def parse(value: object) -> ApiKey:
    """Read a kept key from plain data.

    Args:
        value: What ``ApiKey.to_json`` gives.

    Returns:
        The key.

    Raises:
        UntrustedRequest: If a field is missing, unknown or malformed.
    """
    fields = {"id", "hash", "tenant", "models", "clearance", "revoked"}
    if not isinstance(value, dict) or set(value) != fields:
        raise _bad("its fields are not exactly " + ", ".join(sorted(fields)))
    identity, digest, tenant, models = value["id"], value["hash"], value["tenant"], value["models"]
    if not isinstance(identity, str) or not re.fullmatch(rf"[0-9a-f]{{{2 * ID_BYTES}}}", identity):
        raise _bad(f"its id is not {2 * ID_BYTES} hexadecimal digits")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise _bad("its hash is not 64 hexadecimal digits")
    if not is_name(tenant):
        raise _bad("its tenant is not a short printable name without / : @")
    if not isinstance(models, list) or len(models) > MAX_NAMED:
        raise _bad(f"its models are not a list of at most {MAX_NAMED} ids")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_ID and name.isprintable() for name in models):
        raise _bad("one of its models is not a model id")
    if not isinstance(value["revoked"], bool):
        raise _bad("revoked is neither true nor false")
    return ApiKey(identity, digest, tenant, tuple(models), labels.parse(value["clearance"]), value["revoked"])


def parse_all(value: object) -> list[ApiKey]:
    """Read a list of kept keys from plain data.

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


class KeyRing:
    """The keys that a worker accepts; replaced as a whole.

    Args:
        keys: The kept keys.
    """

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_id = {key.id: key for key in keys if not key.revoked}

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


def _bad(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "serve.key", f"An API key is refused: {why}.", remedy="Create one with `holdfast serve keys create`."
    )
