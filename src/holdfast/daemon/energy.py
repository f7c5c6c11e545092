"""Energy of a piece of work: measured by the processor's own counters where they can be read, else estimated, and labelled so.

The counters are those of Linux' powercap interface (RAPL; Documentation/power/powercap/powercap.rst): one folder for each
zone with ``name``, ``energy_uj`` and ``max_energy_range_uj``. Counted are the packages and the memory beside them; what lies
inside a package (``core``, ``uncore``) and what holds it (``psys``) would count twice. Order of operations: a reading when
the work begins, one every ``SECONDS``, one at its end; the differences are added up. Invariants: a counter that wrapped
around is taken as having done so once, and if it could have done so twice nothing is called measured; a counter that can't be
read makes the whole an estimate, since part of a sum is no measurement. What RAPL measures is the whole processor, whoever
uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from holdfast.canonical import Json
    from holdfast.config import EnergyEntry

POWERCAP = Path("/sys/class/powercap")
SECONDS = 10.0  # between two readings; a counter of 262 kJ wraps after four minutes at MOST_WATTS
MOST_WATTS = 1000.0  # that one zone could draw: twice what the largest processors are sold with
MAX_ZONES = 256  # zones that are looked at; a machine with eight sockets has some forty
MAX_FILE = 64  # characters of one value
MAX_DIGITS = 20  # of a 64-bit counter
MICRO = 1e-6  # joules in the interface's unit
PER_KWH = 3.6e6  # joules


@dataclass(frozen=True)
class Zone:
    """One counter.

    Args:
        folder: Its folder.
        name: What it counts, for example ``package-0``.
        wraps: Microjoules at which it begins anew.
    """

    folder: Path
    name: str
    wraps: int


class Unreadable(Exception):  # noqa: N818 - never leaves this module
    """The counters can't be read; the message says why."""


def _read(path: Path) -> str:
    with path.open(encoding="ascii") as file:
        return file.read(MAX_FILE)


class Rapl:
    """The counters of this machine, and what they have counted since the first reading.

    Args:
        root: The powercap interface's folder.
        read: Reads one of its files.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        root: Path = POWERCAP,
        *,
        read: Callable[[Path], str] = _read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._last: dict[Zone, int] = {}
        self._at = 0.0
        self._micro = 0
        self.why: str | None = None  # why nothing is measured
        self.zones: tuple[Zone, ...] = ()
        try:
            self.zones = self._find(root)
            self._at, self._last = clock(), self._readings()
        except Unreadable as found:
            self.why = str(found)

    def _find(self, root: Path) -> tuple[Zone, ...]:
        if not root.is_dir():
            raise Unreadable("this machine offers no energy counters")
        found = []
        for folder in sorted(root.glob("intel-rapl:*"))[:MAX_ZONES]:
            try:
                name = self._read(folder / "name").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Unreadable(f"{folder.name} can't be read") from error
            if name.startswith("package-") or name == "dram":
                found.append(Zone(folder, name, self._number(folder / "max_energy_range_uj")))
        if not any(zone.name.startswith("package-") for zone in found):
            raise Unreadable("this machine offers no energy counters")
        return tuple(found)

    def _number(self, path: Path) -> int:
        try:
            text = self._read(path).strip()
        except PermissionError as error:
            raise Unreadable("the energy counters are readable for root alone") from error
        except (OSError, UnicodeDecodeError) as error:
            raise Unreadable(f"{path.parent.name} can't be read") from error
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
            raise Unreadable(f"{path.parent.name} gives no number")
        return int(text)

    def _readings(self) -> dict[Zone, int]:
        return {zone: self._number(zone.folder / "energy_uj") for zone in self.zones}

    def sample(self) -> None:
        """Take a reading and add up what was used since the one before."""
        if self.why is not None:
            return
        now = self._clock()
        try:
            found = self._readings()
        except Unreadable as why:
            self.why = str(why)
            return
        for zone, value in found.items():
            if (now - self._at) * MOST_WATTS >= zone.wraps * MICRO:
                self.why = "too long between two readings of a counter that wraps around"
                return
            used = value - self._last[zone]
            self._micro += used if used >= 0 else used + zone.wraps
        self._at, self._last = now, found

    @property
    def joules(self) -> float | None:
        """What all zones used from the first reading to the last; None if that could not be measured."""
        return None if self.why is not None else self._micro * MICRO


class Meter:
    """What one piece of work used.

    Args:
        rapl: The counters.
        site: The site's figures.
    """

    def __init__(self, rapl: Rapl, site: EnergyEntry) -> None:
        self._rapl = rapl
        self._site = site

    def figures(self, cpu_seconds: float | None, gpu_joules: float | None = None) -> dict[str, Json]:
        """Say what the work used.

        Args:
            cpu_seconds: Processor time of the worker, over all its threads; None if it left no word.
            gpu_joules: What the graphics processor counted (NVML), if the work was done on one.

        Returns:
            ``joules``, ``how`` they are known, ``cost`` and ``currency``; joules and cost are None where nothing is known.
        """
        measured = self._rapl.joules
        if measured is None:
            return estimated(self._site, cpu_seconds, gpu_joules)
        if gpu_joules is None:
            return _priced(self._site, measured, "measured: RAPL, the whole processor")
        return _priced(self._site, measured + gpu_joules, "measured: RAPL, the whole processor, and NVML")


def estimated(
    site: EnergyEntry, cpu_seconds: float | None, gpu_joules: float | None = None
) -> dict[str, Json]:
    """Estimate the energy of processor time.

    Args:
        site: The site's figures.
        cpu_seconds: Processor time over all threads; None if it is not known.
        gpu_joules: What a graphics processor counted, if there was one.

    Returns:
        As ``Meter.figures``.
    """
    if cpu_seconds is None:
        return _priced(site, None, "unknown: the worker left no figures")
    how = f"estimated: {cpu_seconds:.0f} s of processor time at {site.watts_per_core:g} W a core"
    if gpu_joules is None:
        return _priced(site, cpu_seconds * site.watts_per_core, how)
    return _priced(site, cpu_seconds * site.watts_per_core + gpu_joules, f"{how}, and NVML")


def _priced(site: EnergyEntry, joules: float | None, how: str) -> dict[str, Json]:
    cost = None
    if joules is not None and site.price_per_kwh is not None:
        cost = round(joules / PER_KWH * site.price_per_kwh, 6)
    return {
        "joules": None if joules is None else round(joules, 1),
        "how": how,
        "cost": cost,
        "currency": site.currency if cost is not None else None,
    }


@asynccontextmanager
async def metered(site: EnergyEntry, rapl: Rapl | None = None) -> AsyncIterator[Meter]:
    """Measure while a block runs.

    Args:
        site: The site's figures.
        rapl: The counters; the machine's own if left out.

    Yields:
        The meter; its figures are complete once the block has ended.
    """
    counters = rapl or Rapl()

    async def watch() -> None:
        while True:
            await asyncio.sleep(SECONDS)
            counters.sample()

    watching = asyncio.create_task(watch(), name="energy")
    try:
        yield Meter(counters, site)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        counters.sample()
