"""The profile of any TUF repository: what the framework itself asks for, and nothing more."""

from __future__ import annotations

from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import LengthOrHashMismatchError

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.trust import metadata

MAX_BYTES = {  # per file; what other clients of the framework allow
    "root": 512_000,
    "timestamp": 16_384,
    "snapshot": 2_000_000,
    "targets": 5_000_000,
}


class _Threshold:
    """A rule that adds nothing to the threshold."""

    def judge(self, role, valid):  # noqa: ARG002 - the protocol's
        return ()


class _Ordinary:
    """Any serialisation, any common key, files named by version and, if the repository likes, by length and hashes."""

    def parse(self, kind, data, role):
        limit = MAX_BYTES[kind.type]
        value = canonical.decode(data, limit=limit, what=f"the {role} metadata", error=UntrustedBundle)
        return metadata.read(kind, value, data, role)

    def rule(self, delegator):
        for key in delegator.keys.values():
            if not isinstance(key, SSlibKey):
                raise metadata.refuse("key-form", f"A key of {delegator.name} is of no type we know.")
        return _Threshold()

    def content(self, signed, role):
        """Anything may be listed."""

    def signatures(self, role, wrong, strangers):
        """Signatures that do not count do no harm either."""

    def named(self, role, info, data, found):  # noqa: ARG002 - the protocol's
        try:
            info.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as problem:
            raise metadata.mixed(role) from problem

    def again(self, role, version):
        """Another content of the same version is ignored: what was trusted stays."""


ORDINARY = _Ordinary()
