"""Verify a report's folder, offline.

Order of operations: the folder's names; the signature document and its key; both signatures; every file against the signed
digests; the key against the fingerprint that the auditor trusts; then what the files say of each other (the PDF of the
JSON, the facts of the checkpoint, the checkpoint of the log's keys). Invariants: every problem names its file; nothing that
is read can raise anything but our errors; no I/O.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.audit import verify as log
from holdfast.errors import HoldfastError, UsageRefused, VerificationFailed
from holdfast.keys import person
from holdfast.keys.person import FINGERPRINT_DIGITS
from holdfast.report import reading, receiptverify, shape, sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json
    from holdfast.keys.person import PublicKeys
    from holdfast.report.sign import Form

MAX_SIGNATURE = 256 * 1024  # bytes; keys and signatures take 15 KB, the checkpoint at most twice 64 KB
MAX_FACTS = 32 * 2**20  # bytes; facts that fit a worker's frame have at most 16 MiB
_NAMED_IN_PDF = re.compile(rb"holdfast-facts:(sha512:[0-9a-f]{128})")


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Args:
        file: Name of the file that is at fault.
        text: What is wrong with it.
    """

    file: str
    text: str


@dataclass
class Verdict:
    """What was found.

    Args:
        form: What it is: a residency report or an import receipt.
        site: Name of the site, as the facts state it.
        made: When the report was made.
        banner: The report's label.
        signer: Holder of the key that signed.
        fingerprint: Fingerprint of that key.
        compared: Whether the fingerprint was compared with one that the auditor trusts.
        origin: The log's name.
        size: Events that the checkpoint covers.
        root: The log's Merkle root, hexadecimal.
        gaps: The gaps that the report admits.
        problems: What is wrong; empty means verified.
    """

    form: str = sign.RESIDENCY.title
    site: str | None = None
    made: str | None = None
    banner: str | None = None
    signer: str | None = None
    fingerprint: str | None = None
    compared: bool = False
    origin: str | None = None
    size: int | None = None
    root: str | None = None
    gaps: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def standing(self) -> str:
        """One sentence on who signed and how far that can be trusted."""
        if self.fingerprint is None:
            return "The signer's key can't be read."
        signed = f"Signed by the appliance key {self.fingerprint}"
        if self.compared:
            return f"{signed}, which is the one that you trust."
        return f"{signed}, which was NOT compared with one that you trust: give --fingerprint or --key."

    def to_json(self) -> dict[str, Json]:
        """Give the verdict as plain data.

        Returns:
            All fields, ``ok`` and ``standing``.
        """
        return {"ok": self.ok, "standing": self.standing, **asdict(self)}

    def add(self, file: str, text: str) -> None:
        """Note a problem.

        Args:
            file: The file at fault.
            text: What is wrong.
        """
        self.problems.append(Problem(file, text))


def verify(files: Mapping[str, bytes], *, fingerprint: str | None = None) -> Verdict:
    """Verify a report.

    Args:
        files: Everything that lies in the report's folder, by name.
        fingerprint: The appliance's fingerprint, received out of band; None to leave the key uncompared.

    Returns:
        The verdict.

    Raises:
        UsageRefused: If the fingerprint given is not one.
    """
    wanted = None if fingerprint is None else _fingerprint(fingerprint)
    form = sign.RECEIPT if {sign.RECEIPT.facts, sign.RECEIPT.signature} & files.keys() else sign.RESIDENCY
    verdict = Verdict(form.title)
    for name in sorted({*form.signed, form.signature} - files.keys()):
        verdict.add(name, "it is missing")
    for name in sorted(files.keys() - {*form.signed, form.signature}):
        verdict.add(name, f"it does not belong to a {form.title}")
    if form.signature in files:
        _check_signature(form, files, verdict, wanted)
    if form.facts in files:
        _check_facts(form, files, verdict)
    return verdict


def _check_signature(form: Form, files: Mapping[str, bytes], verdict: Verdict, wanted: str | None) -> None:
    try:
        document = canonical.decode(
            files[form.signature], limit=MAX_SIGNATURE, what="The signature", error=VerificationFailed
        )
        if not isinstance(document, dict) or set(document) != {"statement", "public", "signatures"}:
            verdict.add(form.signature, "its fields are not exactly statement, public and signatures")
            return
        if canonical.encode(document) != files[form.signature]:
            verdict.add(form.signature, "it is not in canonical form")
        public = person.public_from_json(document["public"])
        verdict.signer, verdict.fingerprint = public.holder, public.fingerprint
        stated = document["statement"]
        person.verify(
            public, form.domain, canonical.encode(stated), document["signatures"], error=VerificationFailed
        )
    except HoldfastError as error:
        verdict.add(form.signature, error.message)
        return
    _check_statement(form, files, verdict, stated, public)
    if wanted is not None:
        verdict.compared = _fingerprint(public.fingerprint) == wanted
        if not verdict.compared:
            verdict.add(
                form.signature,
                f"the key that signed has the fingerprint {public.fingerprint}, and you trust {person.grouped(wanted)}",
            )


def _check_statement(
    form: Form, files: Mapping[str, bytes], verdict: Verdict, stated: Json, public: PublicKeys
) -> None:
    """Compare the files with what was signed; the statement is authentic by now, but not the files."""
    fields = reading.mapping(stated)
    listed = reading.mapping(fields.get("files"))
    if fields.get("schema") != form.schema or set(listed) != set(form.signed):
        verdict.add(form.signature, f"what it signs is not a {form.schema} over {', '.join(form.signed)}")
        return
    if fields.get("fingerprint") != public.fingerprint:
        verdict.add(form.signature, "it states another fingerprint than its key has")
    for name in form.signed:
        data = files.get(name)
        if data is not None and listed[name] != {"digest": hashing.sha512(data), "size": len(data)}:
            verdict.add(name, "it was changed after it was signed")
    checkpoint = files.get(sign.CHECKPOINT)
    if checkpoint is not None and fields.get("checkpoint") != checkpoint.decode("utf-8", "replace"):
        verdict.add(sign.CHECKPOINT, "it is not the checkpoint that the signature states")


def _check_facts(form: Form, files: Mapping[str, bytes], verdict: Verdict) -> None:
    data = files[form.facts]
    try:
        document = canonical.decode(data, limit=MAX_FACTS, what="The report's JSON", error=VerificationFailed)
    except HoldfastError as error:
        verdict.add(form.facts, error.message)
        return
    found = (
        receiptverify.faults(document, files.get(sign.LOG_KEYS))
        if form is sign.RECEIPT
        else shape.faults(document)
    )
    for fault in found:
        verdict.add(form.facts, fault)
    if canonical.encode(document) != data:
        verdict.add(form.facts, "it is not in canonical form")
    facts = reading.mapping(document)
    verdict.site = reading.text(reading.mapping(facts.get("site")).get("name"))
    verdict.made, verdict.banner = reading.text(facts.get("made")), reading.text(facts.get("banner"))
    listed = facts.get("gaps")
    verdict.gaps = [gap for gap in listed if isinstance(gap, str)] if isinstance(listed, list) else []
    if form.pdf in files:
        _check_pdf(form, files[form.pdf], hashing.sha512(data), verdict)
    if sign.CHECKPOINT in files and sign.LOG_KEYS in files:
        _check_checkpoint(form, files, reading.mapping(facts.get("log")), verdict)


def _check_pdf(form: Form, pdf: bytes, digest: str, verdict: Verdict) -> None:
    """The pages were made from these facts if the metadata, which is signed with the pages, names them alone."""
    named = {match.decode() for match in _NAMED_IN_PDF.findall(pdf)}
    if not pdf.startswith(b"%PDF-") or named != {digest}:
        verdict.add(form.pdf, f"it does not state that it was made from this {form.facts}")


def _check_checkpoint(
    form: Form, files: Mapping[str, bytes], stated: Mapping[str, object], verdict: Verdict
) -> None:
    try:
        keys = log.parse_keys(files[sign.LOG_KEYS])
    except log.Refused as error:
        verdict.add(sign.LOG_KEYS, str(error))
        return
    try:
        note = log.verify_note(files[sign.CHECKPOINT], keys)
    except log.Refused as error:
        verdict.add(sign.CHECKPOINT, str(error))
        return
    verdict.origin, verdict.size, verdict.root = note.origin, note.size, note.root.hex()
    root = str(stated.get("root")).removeprefix("sha256:")
    if (stated.get("origin"), stated.get("size"), root) != (note.origin, note.size, note.root.hex()):
        verdict.add(form.facts, "it speaks of another log, size or root than the signed checkpoint")


def _fingerprint(text: str) -> str:
    digits = "".join(text.split()).lower()
    if not re.fullmatch(rf"[0-9a-f]{{{FINGERPRINT_DIGITS}}}", digits):
        raise UsageRefused(
            "report.fingerprint",
            f"{text[:80]!r} is not a fingerprint.",
            remedy=f"A fingerprint has {FINGERPRINT_DIGITS} hexadecimal digits, in groups or not.",
        )
    return digits
