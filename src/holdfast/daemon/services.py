"""What the daemon's rooms share: one record, put together by ``process`` (or by a test over a folder of its own)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.store.leases import Leases

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from holdfast.audit.log import Log
    from holdfast.audit.sealed import SealedStore
    from holdfast.config import Site
    from holdfast.daemon.evidence import Index
    from holdfast.daemon.jobs import Jobs
    from holdfast.daemon.recorder import Recorder
    from holdfast.daemon.refusals import Refusals
    from holdfast.daemon.serve.keystore import KeyStore
    from holdfast.daemon.serve.serving import Serving
    from holdfast.daemon.sessions import Sessions
    from holdfast.daemon.space import Space
    from holdfast.daemon.uploads import Uploads
    from holdfast.daemon.workforce import Workforce
    from holdfast.governance.state import State
    from holdfast.keys.person import KeyPair
    from holdfast.paths import Home
    from holdfast.store.files import Store


@dataclass
class Services:
    """The daemon's parts.

    Args:
        home: Where everything lies.
        site: The founding document.
        log: The audit log.
        state: The fold of it.
        recorder: The way to the log.
        refusals: What the control socket refused.
        space: What is done when space for the log runs out.
        store: Artefacts' files.
        launcher: Starts confined workers, and remembers them.
        jobs: Long acts.
        sessions: Who is here.
        uploads: Files streamed in by clients.
        index: The index worker's client.
        serving: What is served.
        sealed: Prompts and answers.
        key_hashes: By which applications' keys are known again.
        appliance: The key that signs reports.
        now: Wall clock, aware, UTC.
        deciding: Held while something is admitted, rejected, rolled back or removed.
        leases: What must not be removed, because something runs on it.
        importing: Manifests that are being imported, and the job that does it.
        revoking: Held while what was revoked is recorded and stopped.
    """

    home: Home
    site: Site
    log: Log
    state: State
    recorder: Recorder
    refusals: Refusals
    space: Space
    store: Store
    launcher: Workforce
    jobs: Jobs
    sessions: Sessions
    uploads: Uploads
    index: Index
    serving: Serving
    sealed: SealedStore
    key_hashes: KeyStore
    appliance: KeyPair
    now: Callable[[], datetime]
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    leases: Leases = field(default_factory=Leases)
    importing: dict[str, int] = field(default_factory=dict)
    revoking: asyncio.Lock = field(default_factory=asyncio.Lock)
