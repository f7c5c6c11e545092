"""The auditor's device: what it keeps, in which order, against whom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.witness.toylog import NOW, ORIGIN, OTHER, ToyLog

from holdfast.audit import cosignature, cosigning, frames, segment, verify, witness
from holdfast.audit.cosignature import Cosigner
from holdfast.audit.witnessfolder import MAX_REFUSED, WitnessFolder
from holdfast.errors import (
    Conflict,
    HoldfastError,
    Locked,
    NotAuthenticated,
    NotFound,
    UntrustedInput,
    UsageRefused,
    VerificationFailed,
)
from holdfast.keys import scryptbox

NAME, PASSPHRASE = "auditor.example/ada", "open sesame"


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("witness") / "new"
    WitnessFolder.create(path, NAME, PASSPHRASE, n=scryptbox.MIN_N)
    return path


@pytest.fixture(scope="session")
def cosigner(empty):
    return WitnessFolder(empty).open(PASSPHRASE)


@pytest.fixture
def folder(empty, tmp_path):
    return WitnessFolder(Path(shutil.copytree(empty, tmp_path / "device")))


@pytest.fixture
def ask(folder, cosigner):
    """Hand a request in; the log's keys are given with every one, as careful people do."""

    def handed(log, old, size=None, *, now=NOW, time=NOW, log_keys=b"", data=None, on=None):
        return cosigning.cosign(
            on or folder,
            data or log.request(old, size, time=time),
            log_keys=log.keys if log_keys == b"" else log_keys,
            opened=lambda: cosigner,
            now=now,
        )

    return handed


def test_a_witness_is_made_once_and_its_keys_open_with_its_passphrase_alone(empty, tmp_path):
    folder = WitnessFolder(empty)
    assert folder.keys()[0].name == NAME
    assert folder.public() == cosignature.write_keys(folder.keys())
    assert (empty / "witness.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotAuthenticated):
        folder.open("open says me")
    with pytest.raises(Conflict):
        WitnessFolder.create(empty, NAME, PASSPHRASE, n=scryptbox.MIN_N)
    with pytest.raises(UsageRefused):
        WitnessFolder.create(tmp_path / "short", NAME, "short")
    with pytest.raises(NotFound):
        WitnessFolder(tmp_path / "nowhere").keys()
    other = WitnessFolder.create(tmp_path / "other", NAME, PASSPHRASE, n=scryptbox.MIN_N)
    shutil.copy(empty / "witness.pub", tmp_path / "other")
    with pytest.raises(VerificationFailed, match="does not belong"):
        other.open(PASSPHRASE)
    (tmp_path / "other" / "witness.key").write_bytes(b"{}")
    with pytest.raises(UntrustedInput):
        other.open(PASSPHRASE)
    (tmp_path / "other" / "witness.key").unlink()
    with pytest.raises(NotFound):
        other.open(PASSPHRASE)


def test_what_it_gives_is_a_note_that_bears_both_signatures_of_both(folder, ask):
    log = ToyLog(5)
    made = ask(log, 0)
    assert (made.origin, made.size, made.before, made.scanned) == (ORIGIN, 5, None, False)
    note = verify.verify_note(made.note, verify.parse_keys(log.keys))
    assert cosignature.verify(note, folder.keys()) == NOW
    assert len(note.signatures) == 4
    assert folder.seen(ORIGIN) == witness.Seen(5, log.root(), NOW, NOW)
    assert folder.origins() == [ORIGIN]


def test_a_log_is_believed_only_by_keys_from_elsewhere_and_these_never_change(folder, ask):
    log = ToyLog(5)
    with pytest.raises(VerificationFailed) as caught:
        ask(log, 0, log_keys=None)
    assert caught.value.key == "witness.unknown-log"
    assert folder.origins() == []
    with pytest.raises(VerificationFailed) as caught:  # a request by one key, keys by another
        ask(ToyLog(5, signer=OTHER), 0, log_keys=log.keys)
    assert caught.value.key == "witness.other-key"
    assert folder.origins() == []
    ask(log, 0)
    ask(ToyLog(6), 5, log_keys=None)
    with pytest.raises(VerificationFailed) as caught:  # a log that was signed anew, with its new keys
        ask(ToyLog(7, signer=OTHER), 6)
    assert caught.value.key == "witness.other-keys"
    with pytest.raises(VerificationFailed) as caught:
        ask(ToyLog(7, signer=OTHER), 6, log_keys=None)
    assert caught.value.key == "witness.other-key"
    for wrong in (
        b"",
        b"x",
        ToyLog(1, origin="elsewhere.example").keys,
        log.keys.splitlines(keepends=True)[0],
    ):
        with pytest.raises(VerificationFailed):
            ask(ToyLog(7), 6, log_keys=wrong or b"\n")


def test_a_fork_is_refused_whatever_came_before_and_the_request_kept_as_evidence(folder, ask):
    ask(ToyLog(40), 0)
    forked = ToyLog(50, 20)
    with pytest.raises(VerificationFailed) as caught:
        ask(forked, 40)
    assert caught.value.key == "witness.rewritten"
    kept = Path(str(caught.value.fields["kept"]))
    assert witness.parse(kept.read_bytes()).checkpoint
    assert str(kept) in caught.value.remedy
    with pytest.raises(VerificationFailed) as caught:
        ask(ToyLog(40, 39), 40)
    assert caught.value.key == "witness.forked"
    assert folder.sizes(ORIGIN) == [40]
    ask(ToyLog(50), 40)
    assert folder.sizes(ORIGIN) == [40, 50]


def test_evidence_is_bounded(folder, ask):
    ask(ToyLog(40), 0)
    for size in range(41, 41 + MAX_REFUSED + 2):
        with pytest.raises(VerificationFailed):
            ask(ToyLog(size, 20), 40)
    assert len([*folder.path.glob("logs/*/refused/*.request")]) == MAX_REFUSED


def test_what_the_log_did_not_sign_leaves_no_trace(folder, ask):
    ask(ToyLog(40), 0)
    data = ToyLog(50).request(40).replace(b"\n50\n", b"\n51\n")
    with pytest.raises(VerificationFailed) as caught:
        ask(ToyLog(50), 40, data=data)
    assert caught.value.key == "witness.signature"
    assert not [*folder.path.glob("logs/*/refused/*")]


def test_a_roll_back_a_replay_and_a_clock_are_told_apart(ask):
    ask(ToyLog(40), 0, time=NOW - 50)
    for time, key in ((NOW - 10, "witness.rolled-back"), (NOW - 90, "witness.replayed")):
        with pytest.raises(VerificationFailed) as caught:
            ask(ToyLog(30), 20, time=time)
        assert caught.value.key == key
    with pytest.raises(VerificationFailed) as caught:
        ask(ToyLog(50), 40, now=NOW - 1)
    assert caught.value.key == "witness.clock"


def test_a_lost_answer_is_given_again(ask):
    first = ask(ToyLog(40), 0)
    again = ask(ToyLog(40), 0, now=NOW + 60)
    assert (again.size, again.root, again.before) == (first.size, first.root, 40)


def test_scanned_frames_are_taken_and_their_answer_says_what_was_checked(folder, ask):
    log = ToyLog(40)
    ask(log, 0)
    grown = ToyLog(50)
    request = witness.parse(grown.request(40))
    small = witness.Request(40, request.proof, witness.compact(request.checkpoint)).encode()
    made = ask(grown, 40, data="\n".join(frames.split(small)).encode())
    assert made.scanned
    assert folder.seen(ORIGIN) == witness.Seen(50, grown.root(), None, NOW)
    with pytest.raises(VerificationFailed) as caught:  # the short form is for frames alone
        ask(ToyLog(50), 50, data=small)
    assert caught.value.key == "witness.signature"
    ask(ToyLog(60), 50)


@pytest.mark.parametrize("spoil", ["flip", "swap", "log.pub", "long"])
def test_a_memory_that_was_damaged_is_noticed_and_never_believed(folder, ask, spoil):
    ask(ToyLog(40), 0)
    ask(ToyLog(50), 40)
    heads = sorted(folder.path.glob("logs/*/heads/*"))
    if spoil == "flip":
        data = bytearray(heads[1].read_bytes())
        data[60] ^= 1
        heads[1].write_bytes(data)
    elif spoil == "swap":
        shutil.copy(heads[0], heads[1])
    elif spoil == "long":
        heads[1].write_bytes(bytes(verify.MAX_NOTE + 1))
    else:
        next(folder.path.glob("logs/*/log.pub")).write_bytes(b"nonsense")
    with pytest.raises(VerificationFailed) as caught:
        ask(ToyLog(60), 50)
    assert caught.value.key == "witness.memory"


def test_one_process_at_a_time_uses_a_witness(folder, ask):
    holding = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(folder.path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Locked) as caught:
            ask(ToyLog(5), 0)
        assert caught.value.exit_code == 6
        other.communicate("\n")
    ask(ToyLog(5), 0)


# --- crashes


class Cut(Exception):  # noqa: N818 - the power is cut
    pass


class CutDisk(segment.HostDisk):
    """Real files, of which ``image`` keeps what was synced; the power is cut after some steps, one kind of sync left out."""

    def __init__(self, steps, ignored=None):
        self.left, self.ignored, self.image, self.pending = steps, ignored, {}, {}
        self.paths, self.folders = {}, []

    def make_folder(self, path):
        self.step()
        super().make_folder(path)
        self.folders.append(path)

    def step(self):
        self.left -= 1
        if self.left < 0:
            raise Cut

    def create(self, path):
        self.step()
        handle = super().create(path)
        self.paths[handle] = path
        self.pending[path] = b""
        return handle

    def sync(self, handle):
        self.step()
        if self.ignored != "file":
            self.pending[self.paths[handle]] = self.paths[handle].read_bytes()

    def rename(self, source, target):
        self.step()
        super().rename(source, target)
        self.pending[target] = self.pending.pop(source)

    def sync_folder(self, folder):
        self.step()
        if self.ignored != "folder":
            for path in [path for path in self.pending if path.parent == folder]:
                self.image[path] = self.pending.pop(path)


def crash(empty, target, cosigner, steps, ignored=None):
    """Cosign twice on a disk that is cut; give whether an answer was given out, and the folder as it is found again."""
    target.mkdir()
    real, found = target / "real", target / "found"
    shutil.copytree(empty, real)
    shutil.copytree(empty, found)
    disk, given = CutDisk(steps, ignored), []
    folder = WitnessFolder(real, disk)
    try:
        for log, old in ((ToyLog(40), 0), (ToyLog(50), 40)):
            made = cosigning.cosign(
                folder, log.request(old), log_keys=log.keys, opened=lambda: cosigner, now=NOW
            )
            given.append(made.size)
        cut = False
    except Cut:
        cut = True
    for path in disk.folders:
        (found / path.relative_to(real)).mkdir(exist_ok=True)
    for path, data in disk.image.items():
        (found / path.relative_to(real)).write_bytes(data)
    return given, WitnessFolder(found), cut


def violation(given, folder, cosigner):
    """Say what a crash broke: whatever was given out must be remembered, and the honest log must still be cosigned."""
    try:
        seen = folder.seen(ORIGIN)
        if given and (seen is None or seen.size < given[-1]):
            return "a cosigned head was forgotten"
        log = ToyLog(60)
        old = seen.size if seen else 0
        cosigning.cosign(folder, log.request(old), log_keys=log.keys, opened=lambda: cosigner, now=NOW)
    except HoldfastError as error:
        return f"it does not go on: {error}"
    return None


@pytest.mark.parametrize("ignored", [None, "file", "folder"])
def test_the_head_is_on_disk_before_its_cosignature_is_given(empty, tmp_path, cosigner, ignored):
    broken, steps, cut = [], 0, True
    while cut:
        given, folder, cut = crash(empty, tmp_path / f"{steps}", cosigner, steps, ignored)
        broken += [found] if (found := violation(given, folder, cosigner)) else []
        steps += 1
    assert steps > 12
    assert bool(broken) == (ignored is not None), broken  # without a sync it must not hold: the test can fail


# --- successors


def restored(old_size, taken, parted=None, extra=3, **event):
    """A log that was restored with the first events of another, and the receipt of its ``home.restored``."""
    from holdfast.audit import event as events
    from holdfast.audit import merkle, proof
    from holdfast.audit.event import Actor, Draft, Source

    log = ToyLog(
        taken + extra, taken if parted is None else parted, origin="holdfast.example/toy/1", signer=OTHER
    )
    params = {"origin": ORIGIN, "size": taken, "root": "", "lost": [], **event}
    action = str(params.pop("action", "home.restored"))
    body = events.prepare(Draft(action, Actor("holdfastd", None, "service"), params=params)).stamp(
        taken, "2026-01-01T00:00:00.000000Z", "host", Source("daemon", "0" * 16, 0)
    )
    log.leaves[taken] = merkle.leaf_hash(body)
    log.tree = merkle.Tree(lambda start, stop: log.leaves[start:stop])
    for leaf in log.leaves:
        log.tree.append(leaf)
    assert old_size >= 0
    return log, proof.make(taken, body, log.tree.inclusion(taken, log.size), log.checkpoint())


@pytest.fixture
def succeed(folder, cosigner):
    def handed(log, receipt, old, *, lost=0, now=NOW):
        return cosigning.succeed(
            folder,
            log.request(old),
            receipt=receipt,
            log_keys=log.keys,
            lost=lost,
            opened=lambda: cosigner,
            now=now,
        )

    return handed


def test_a_restored_log_is_taken_on_by_proof_and_the_old_one_is_cosigned_no_more(folder, ask, succeed):
    ask(ToyLog(40), 0)
    log, receipt = restored(40, 45)
    with pytest.raises(VerificationFailed) as caught:  # not by itself
        ask(log, 40, log_keys=None)
    assert caught.value.key == "witness.unknown-log"
    made = succeed(log, receipt, 40)
    assert (made.origin, made.size, made.before) == ("holdfast.example/toy/1", 48, 40)
    assert folder.successor(ORIGIN) == made.origin
    with pytest.raises(Conflict) as caught:
        ask(ToyLog(50), 40)
    assert caught.value.key == "witness.succeeded"
    with pytest.raises(Conflict):
        succeed(log, receipt, 40)
    grown, _ = restored(40, 45, extra=9)
    assert ask(grown, 48).before == 48


def test_what_a_restored_log_lost_is_counted_and_accepted_by_number_only(folder, ask, succeed):
    for size, old in ((20, 0), (40, 20)):
        ask(ToyLog(size), old)
    log, receipt = restored(40, 25)
    with pytest.raises(VerificationFailed, match="15 events are lost") as caught:
        succeed(log, receipt, 20)
    assert "--lost 15" in caught.value.remedy
    with pytest.raises(Conflict):
        succeed(log, receipt, 25, lost=15)
    made = succeed(log, receipt, 20, lost=15)
    assert made.size == 28
    assert folder.sizes("holdfast.example/toy/1") == [28]


def test_what_is_no_successor_is_refused(folder, ask, succeed):
    ask(ToyLog(40), 0)
    good = restored(40, 45)
    for (log, receipt), key in (
        (restored(40, 45, parted=30), "witness.not-successor"),
        (restored(40, 30), "witness.not-successor"),  # nothing that was seen lies within
        (restored(40, 45, origin="elsewhere.example"), "witness.unknown-log"),
        (restored(40, 45, size=44), "witness.receipt"),
        (restored(40, 45, action="access.denied"), "witness.receipt"),
        ((good[0], restored(40, 46)[1].replace(b"index 46", b"index 45")), "witness.receipt"),
        ((good[0], b""), "witness.receipt"),
        ((good[0], b"x" * 10_000), "witness.receipt"),
    ):
        with pytest.raises(VerificationFailed) as caught:
            succeed(log, receipt, 40 if log.size > 40 else 0)
        assert caught.value.key == key
        assert caught.value.exit_code == 3
    assert folder.successor(ORIGIN) is None
    assert folder.origins() == [ORIGIN]


def test_a_take_over_that_a_crash_cut_short_can_be_repeated(folder, ask, succeed):
    ask(ToyLog(40), 0)
    log, receipt = restored(40, 45)
    folder.close(ORIGIN, log.origin)  # the first of its three steps
    assert succeed(log, receipt, 40).size == 48


def test_the_secret_of_a_witness_is_two_seeds(cosigner):
    assert isinstance(cosigner, Cosigner)
    assert "PrivateKey" not in repr(cosigner)
