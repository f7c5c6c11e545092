"""What can be known of the thing that a medium's folder lies on: file system, read-only state, the device and its serial number.

Everything is read from the open descriptor that is imported from, so that it can't be another medium's: ``fdinfo`` names the
mount, ``mountinfo`` describes it, ``statvfs`` says whether it may be written, ``/sys/dev/block`` leads to the device.
Invariants: what can't be known is None and never guessed; what a device says of itself is taken as short printable text;
nothing here fails an import.

Sources: proc_pid_mountinfo(5), statvfs(3), the kernel's Documentation/ABI/stable/sysfs-block.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.canonical import Json

MAX_MOUNTS = 4 * 2**20  # bytes of mountinfo: ten thousand mounts
MAX_ATTRIBUTE = 4096  # bytes of one file of sysfs, which never gives more than a page
MAX_TEXT = 120  # characters of what a device says of itself
PARENTS = 8  # folders above a block device in which its serial number may stand: partition, disk, SCSI target, USB port
_OCTAL = re.compile(r"\\([0-7]{3})")
_PRINTABLE = re.compile(r"[ -~]+")


def describe(handle: int) -> dict[str, Json]:
    """Describe what an open folder lies on.

    Args:
        handle: A descriptor of the folder.

    Returns:
        ``read_only`` (whether the mounted file system takes no writes), ``device_read_only``, ``filesystem``, ``source``,
        ``device`` (major:minor), ``uuid``, ``vendor``, ``model``, ``serial``; each None if it can't be known.
    """
    found: dict[str, Json] = {
        "read_only": _flag(handle),
        "device_read_only": None,
        "filesystem": None,
        "source": None,
        "device": None,
        "uuid": None,
        "vendor": None,
        "model": None,
        "serial": None,
    }
    mount = _mount(handle)
    if mount is None:
        return found
    device = mount["device"]
    found |= {"filesystem": mount["filesystem"], "source": mount["source"], "device": device}
    place = Path("/sys/dev/block") / device
    if not place.exists():  # no block device: a memory file system, an overlay, the network
        return found
    locked = _attribute(place / "ro")
    found["device_read_only"] = None if locked is None else locked == "1"
    found["uuid"] = _uuid(device)
    return found | _identity(place.resolve())


def parse_mounts(text: str, mount: str) -> dict[str, str] | None:
    """Find a mount in the text of ``mountinfo``.

    Args:
        text: Its text.
        mount: The mount's number.

    Returns:
        ``device``, ``filesystem`` and ``source``; None if it is not there.
    """
    for line in text.splitlines():
        head, dash, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if dash and fields[0] == mount and len(fields) > 2 and len(rest) > 1:  # noqa: PLR2004 - up to major:minor
            return {
                "device": fields[2],
                "filesystem": _plain(rest[0]) or "",
                "source": _plain(_OCTAL.sub(lambda code: chr(int(code[1], 8)), rest[1])) or "",
            }
    return None


def _flag(handle: int) -> bool | None:
    try:
        return bool(os.fstatvfs(handle).f_flag & os.ST_RDONLY)
    except OSError:
        return None


def _mount(handle: int) -> dict[str, str] | None:
    facts = _text(Path(f"/proc/self/fdinfo/{handle}"), MAX_ATTRIBUTE)
    number = re.search(r"^mnt_id:\s*(\d+)$", facts or "", re.MULTILINE)
    mounts = _text(Path("/proc/self/mountinfo"), MAX_MOUNTS)
    return parse_mounts(mounts, number[1]) if number and mounts else None


def _identity(place: Path) -> dict[str, Json]:
    """Look for what the device says of itself, from the partition upwards."""
    found: dict[str, Json] = {"vendor": None, "model": None, "serial": None}
    for folder in [place, *place.parents][:PARENTS]:
        for name, files in (
            ("vendor", ("vendor", "device/vendor", "manufacturer")),
            ("model", ("model", "device/model", "product")),
            ("serial", ("serial", "device/serial", "device/cid")),
        ):
            if found[name] is None:
                found[name] = next(filter(None, (_attribute(folder / file) for file in files)), None)
    return found


def _uuid(device: str) -> str | None:
    """Find the file system's UUID among the links that udev keeps."""
    try:
        for link in Path("/dev/disk/by-uuid").iterdir():
            node = link.stat().st_rdev
            if f"{os.major(node)}:{os.minor(node)}" == device:
                return _plain(link.name)
    except OSError:
        return None
    return None


def _attribute(path: Path) -> str | None:
    text = _text(path, MAX_ATTRIBUTE)
    return None if text is None else _plain(text)


def _text(path: Path, limit: int) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return None


def _plain(text: str) -> str | None:
    """Keep what is short and printable."""
    return " ".join("".join(_PRINTABLE.findall(text)).split())[:MAX_TEXT] or None
