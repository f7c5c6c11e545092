"""A TUF repository in memory, to be changed by tests, and served over HTTP on the loopback interface.

Under our own rules (``holders`` given) its files are canonical, carry the signing policy and name each other by what they say; else
it is an ordinary repository whose files are indented and named by version, and by hashes if wanted. ``publish`` signs the present
content of roles as their next version; nothing else that is served changes. Every request is written down.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from holdfast.keys import person
from holdfast.trust import delegation, metadata, policy
from holdfast.trust.workflow import TrustState, Workflow

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
TOP = (Root.type, Timestamp.type, Snapshot.type, Targets.type)
ALL = (Targets.type, Snapshot.type, Timestamp.type)  # everything beneath root, in the order of publication


@cache
def holder(name):
    """Give a person's keys; the same in every test."""
    return person.generate(name)


@cache
def signer(number, scheme="ed25519"):
    """Give an ordinary key; the same in every test."""
    del number
    if scheme == "ed25519":
        return CryptoSigner.generate_ed25519()
    if scheme.startswith("rsa"):
        return CryptoSigner.generate_rsa(scheme=scheme)
    return CryptoSigner.generate_ecdsa()


def pair_signers(pair):
    """Give both of a person's signers."""
    return [CryptoSigner(pair.ed25519), CryptoSigner(pair.ml_dsa_87)]


class Repository:
    """The repository; its parts are plain attributes that tests change before ``publish``."""

    def __init__(self, *, holders=(), now=NOW, days=30):
        self.holders = list(holders)
        self.now = now
        self.hashes = False  # whether an ordinary repository names files by length and hashes too
        self.files = {}  # Metadata by role
        self.signers = {}  # signers by role
        self.served = {}  # bytes by file name
        self.targets = {}  # bytes by served path of a target
        self.requests = []
        self._published = set()
        expires = now + timedelta(days=days)
        mine = [one for pair in self.holders for one in pair_signers(pair)]
        for kind in (Root, Timestamp, Snapshot, Targets):
            self.files[kind.type] = Metadata(kind(expires=expires))
            self.signers[kind.type] = mine or [signer(kind.type)]
        self.root.consistent_snapshot = not self.holders
        for role in TOP:
            self.root.roles[role] = Role([], len(self.holders) or 1)
            for one in self.signers[role]:
                self.root.add_key(one.public_key, role)
        if self.holders:
            self.root.unrecognized_fields[delegation.POLICY] = rule(self.holders)
        self.publish(Root.type, *ALL)

    @property
    def root(self):
        return self.files[Root.type].signed

    @property
    def timestamp(self):
        return self.files[Timestamp.type].signed

    @property
    def snapshot(self):
        return self.files[Snapshot.type].signed

    @property
    def top(self):
        return self.files[Targets.type].signed

    def publish(self, *roles):
        """Sign roles as their next version, and let the roles above name them (when those are published)."""
        for role in roles:
            file = self.files[role]
            if role in self._published:
                file.signed.version += 1
            self._published.add(role)
            self.issue(role)

    def issue(self, role):
        """Sign a role as it is, at its present version."""
        file = self.files[role]
        file.signatures.clear()
        for one in self.signers[role]:
            file.sign(one, append=True)
        data = metadata.encode(file) if self.holders else file.to_bytes(JSONSerializer())
        self.serve(role, file.signed.version, data)
        if role not in TOP or role == Targets.type:
            self.snapshot.meta[f"{role}.json"] = self._named(file, data)
        elif role == Snapshot.type:
            self.timestamp.snapshot_meta = self._named(file, data)

    def serve(self, role, version, data):
        """Serve bytes as a role's file."""
        name = quote(role, safe="")
        prefixed = role == Root.type or (self.root.consistent_snapshot and role != Timestamp.type)
        self.served[f"{version}.{name}.json" if prefixed else f"{name}.json"] = data

    def latest(self, role):
        """Give the newest bytes served for a role."""
        name = quote(role, safe="")
        version = self.files[role].signed.version
        return self.served.get(f"{version}.{name}.json") or self.served[f"{name}.json"]

    def delegate(self, above, name, *, signers=None, threshold=None, terminating=False, holders=(), **paths):
        """Let a role speak for paths (``paths`` or ``path_hash_prefixes``); it is added last."""
        delegator = self.files[above].signed
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        people = list(holders)
        mine = signers or [one for pair in people for one in pair_signers(pair)] or [signer(name)]
        limits = paths or {"paths": ["*"]}
        role = DelegatedRole(name, [], threshold or len(people) or 1, terminating, **limits)
        delegator.delegations.roles[name] = role
        for one in mine:
            delegator.add_key(one.public_key, name)
        if people:
            field = delegator.delegations.unrecognized_fields
            before = field.get(delegation.POLICY, {"holders": {}})["holders"]
            field[delegation.POLICY] = {**rule(people), "holders": {**before, **rule(people)["holders"]}}
        if name not in self.files:
            self.files[name] = Metadata(Targets(expires=self.top.expires))
            self.signers[name] = mine
        return role

    def bins(self, bits, prefix):
        """Let hash bins speak for everything."""
        key = signer(prefix)
        self.top.delegations = Delegations({}, None, SuccinctRoles([], 1, bits, prefix))
        self.top.add_key(key.public_key)
        for name in self.top.delegations.succinct_roles.get_roles():
            self.files[name] = Metadata(Targets(expires=self.top.expires))
            self.signers[name] = [key]

    def add(self, role, path, data, algorithms=("sha512",)):
        """List a target and serve its bytes."""
        info = TargetFile.from_data(path, data, list(algorithms))
        self.files[role].signed.targets[path] = info
        above, slash, name = path.rpartition("/")
        for digest in info.hashes.values():
            self.targets[f"{above}{slash}{digest}.{name}"] = data
        self.targets[path] = data
        return info

    def rotate(self, role, *signers):
        """Replace a top-level role's keys."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        self.signers[role] = list(signers)
        for one in signers:
            self.root.add_key(one.public_key, role)

    def walk(self, state=None, now=None, **options):
        """Take our workflow over what is served, without a network."""
        flow = Workflow(state or self.pinned(), now or self.now, **options)
        while (name := f"{flow.root.version + 1}.root.json") in self.served:
            flow.update_root(self.served[name])
        flow.update_timestamp(self.latest(Timestamp.type))
        flow.update_snapshot(self.latest(Snapshot.type))
        flow.update_targets(self.latest(Targets.type))
        return flow

    def pinned(self):
        """Give a state that trusts the first root and has seen nothing else."""
        return TrustState(self.served["1.root.json"])

    def answer(self, path):
        """Answer a request: bytes, or None if there is no such file."""
        folder, _, name = path.lstrip("/").partition("/")
        if folder == "metadata":
            self.requests.append(name.removesuffix(".json"))
            return self.served.get(name)
        self.requests.append(path)
        return self.targets.get(unquote(name))

    def _named(self, file, data):
        if self.holders:
            return metadata.named(file)
        if self.hashes:
            return MetaFile.from_data(file.signed.version, data, ["sha256"])
        return MetaFile(file.signed.version)


def rule(holders, least=2):
    """Write a signing policy."""
    keyids = {pair.holder: tuple(s.public_key.keyid for s in pair_signers(pair)) for pair in holders}
    return policy.Policy(keyids, least).to_json()


@contextmanager
def serving(repository):
    """Serve a repository; gives the base of its addresses."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = repository.answer(self.path)
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format, *args):  # noqa: A002 - the base class's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
