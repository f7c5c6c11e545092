"""The controls of NIST SP 800-53 Rev. 5 that events serve, and how.

An event is evidence for a control when an assessor who asks whether the control is in place would ask for it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """One control.

    Args:
        id: As the catalogue names it, enhancements in parentheses.
        title: Its title there.
        how: What the events that serve it show.
    """

    id: str
    title: str
    how: str


_TABLE = (
    ("AC-2", "Account Management", "who was made known to the site, with which roles and keys; application keys made and withdrawn"),
    ("AC-3", "Access Enforcement", "what was asked for and denied, and every opening of what is sealed"),
    ("AC-3(2)", "Dual Authorization", "which second person, with which signed statement, allowed the act of the first"),
    ("AC-4", "Information Flow Enforcement", "what crossed a boundary of the site or of a label, and what was kept from crossing"),
    ("AC-5", "Separation of Duties", "that whoever asked and whoever decided are two people with two keys"),
    ("AC-6(9)", "Log Use of Privileged Functions", "each use of a function that only one role has"),
    ("AC-7", "Unsuccessful Logon Attempts", "failed attempts to open a session or to use an application key, how many and how fast"),
    ("AC-12", "Session Termination", "when a session ended"),
    ("AC-21", "Information Sharing", "what was let out, to whom, and who decided it"),
    ("AU-2", "Event Logging", "that the event is of a registered type: the registry is the list of what is logged, with reasons"),
    ("AU-3", "Content of Audit Records", "what, when, where from, by whom, on what, with which outcome, in typed fields"),
    ("AU-4", "Audit Log Storage Capacity", "how much space the log has, in time to act"),
    ("AU-5", "Response to Audit Logging Process Failures", "that logging ran short, stopped or failed, and what was stopped with it"),
    ("AU-6", "Audit Record Review, Analysis, and Reporting", "who reviewed the log, by which question, and what was reported"),
    ("AU-7", "Audit Record Reduction and Report Generation", "queries, exports and reports made from the log, and of which part of it"),
    ("AU-8", "Time Stamps", "that the clock which stamps events was moved, and by how much"),
    ("AU-9", "Protection of Audit Information", "that the log was verified, or that somebody submitted what it may not take"),
    ("AU-9(2)", "Store on Separate Physical Systems or Components", "that a copy of the log, or a witness of its head, is elsewhere"),
    ("AU-9(3)", "Cryptographic Protection", "signed heads of the log and cosignatures by devices that are not ours"),
    ("AU-10", "Non-repudiation", "a person's own signature over what they decided, or a receipt for what was answered"),
    ("AU-11", "Audit Record Retention", "what was archived, kept or shredded, and by which rule"),
    ("AU-12", "Audit Record Generation", "that the component which acted recorded it itself, before it acted"),
    ("CA-7", "Continuous Monitoring", "the state of the site as assessed from its own evidence"),
    ("CM-3", "Configuration Change Control", "a change of what runs or is used here: asked for, decided, done or undone"),
    ("CM-5", "Access Restrictions for Change", "who was allowed to make a change, and who was not"),
    ("CM-8", "System Component Inventory", "which artefacts are here, with digests, versions and origins"),
    ("CM-14", "Signed Components", "that signatures on what came in were verified before it was used"),
    ("CP-9", "System Backup", "that a backup was made, of what, up to which event"),
    ("CP-10", "System Recovery and Reconstitution", "that a home was restored, from which state, and what was lost"),
    ("IA-2", "Identification and Authentication (Organizational Users)", "that a person proved by their own key who they are"),
    ("IA-5", "Authenticator Management", "which keys and roots of trust count here, from when, and by whose word"),
    ("IA-9", "Service Identification and Authentication", "which application, by which key, asked"),
    ("IR-4", "Incident Handling", "what was found, contained and undone: withdrawn models, refused media, damaged files"),
    ("IR-5", "Incident Monitoring", "incidents as they were noticed, with what is needed to follow them"),
    ("MP-6", "Media Sanitization", "that data was made unreadable by destroying its key"),
    ("MP-7", "Media Use", "which medium was read, on which device, and what was on it"),
    ("SC-7", "Boundary Protection", "an attempt to reach beyond the walls around a worker, and where it was bound for"),
    ("SC-12", "Cryptographic Key Establishment and Management", "that a key was made, replaced, restored or destroyed"),
    ("SC-28", "Protection of Information at Rest", "that payloads lie sealed, with a commitment in the log"),
    ("SC-39", "Process Isolation", "which walls hold around workers, and who ran against them"),
    ("SI-4", "System Monitoring", "that the system was alive and watched, and what it saw"),
    ("SI-7", "Software, Firmware, and Information Integrity", "what was hashed, compared or replayed, and whether it was what it should be"),
    ("SI-12", "Information Management and Retention", "how long people's data is kept, and when it was removed"),
    ("SR-4", "Provenance", "from which data, models and recipes something was made, by whom and when"),
    ("SR-11", "Component Authenticity", "that what came in is what its publisher signed, or that it was refused"),
)  # fmt: skip
CONTROLS = {id_: Control(id_, title, how) for id_, title, how in _TABLE}
EVERY = ("AU-2", "AU-3", "AU-12")
"""What every event serves: it is of a registered type, has typed contents, and was written by the component that acted."""


def served(names: str) -> tuple[str, ...]:
    """List what an action serves.

    Args:
        names: Controls beside ``EVERY``, with spaces between them.

    Returns:
        All of them, in the table's order.

    Raises:
        ValueError: If the table has no such control.
    """
    wanted = {*EVERY, *names.split()}
    if unknown := wanted - CONTROLS.keys():
        raise ValueError(f"the table has no control {', '.join(sorted(unknown))}")
    return tuple(name for name in CONTROLS if name in wanted)
