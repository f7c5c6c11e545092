"""Energy: what counters say, over a tree like the kernel's, and what is said where they say nothing."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import EnergyEntry
from holdfast.daemon import energy
from holdfast.daemon.energy import Meter, Rapl, estimated, metered

WRAPS = 262_143_328_850  # microjoules, as a real package has it
SITE = EnergyEntry(watts_per_core=10.0, price_per_kwh=0.36, currency="EUR")


class Machine:
    """A powercap folder and a clock."""

    def __init__(self, root, zones):
        self.root, self.now = root, 0.0
        for folder, name, value in zones:
            (root / folder).mkdir(parents=True)
            (root / folder / "name").write_text(f"{name}\n")
            (root / folder / "max_energy_range_uj").write_text(f"{WRAPS}\n")
            self.set(folder, value)

    def set(self, folder, value):
        (self.root / folder / "energy_uj").write_text(f"{value}\n")

    def rapl(self, **more):
        return Rapl(self.root, clock=lambda: self.now, **more)


@pytest.fixture
def machine(tmp_path):
    return Machine(
        tmp_path / "powercap",
        [
            ("intel-rapl:0", "package-0", 1_000_000),
            ("intel-rapl:0:0", "core", 5),
            ("intel-rapl:0:1", "dram", 2_000_000),
            ("intel-rapl:1", "package-1", 0),
            ("intel-rapl:2", "psys", 7),
            ("intel-rapl-mmio:0", "package-0", 1),
        ],
    )


def test_packages_and_their_memory_are_added_up_and_what_would_count_twice_is_not(machine):
    rapl = machine.rapl()
    assert sorted(zone.name for zone in rapl.zones) == ["dram", "package-0", "package-1"]
    machine.set("intel-rapl:0", 4_000_000)
    machine.set("intel-rapl:0:1", 2_500_000)
    machine.set("intel-rapl:1", 1_500_000)
    for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        machine.set(other, 10**9)
    machine.now = 2.0
    rapl.sample()
    found = Meter(rapl, SITE).figures(cpu_seconds=1.0)
    assert found == {
        "joules": 5.0,
        "how": "measured: RAPL, the whole processor",
        "cost": round(5.0 / 3.6e6 * 0.36, 6),
        "currency": "EUR",
    }


def test_a_counter_that_wraps_around_is_added_up_past_its_end(machine):
    machine.set("intel-rapl:1", WRAPS - 250_000)
    rapl = machine.rapl()
    machine.set("intel-rapl:1", 750_000)
    machine.now = 1.0
    rapl.sample()
    assert rapl.joules == pytest.approx(1.0)


@given(
    st.lists(st.integers(min_value=0, max_value=10_000_000_000), min_size=1, max_size=40),
    st.integers(0, WRAPS - 1),
)
def test_whatever_is_used_between_readings_is_the_sum(tmp_path_factory, used, begin):
    machine = Machine(tmp_path_factory.mktemp("cap"), [("intel-rapl:0", "package-0", begin)])
    rapl = machine.rapl()
    total = begin
    for one in used:
        total += one
        machine.now += energy.SECONDS
        machine.set("intel-rapl:0", total % WRAPS)
        rapl.sample()
    assert rapl.joules == pytest.approx(sum(used) * 1e-6)


def test_where_a_counter_could_have_wrapped_twice_nothing_is_called_measured(machine):
    rapl = machine.rapl()
    machine.now = 3600.0
    rapl.sample()
    assert rapl.joules is None
    assert "too long" in rapl.why
    assert Meter(rapl, SITE).figures(2.0)["how"] == "estimated: 2 s of processor time at 10 W a core"


def refuse(path):
    if path.name == "energy_uj":
        raise PermissionError(13, "Permission denied")
    return path.read_text()


def test_counters_that_root_alone_may_read_make_it_an_estimate(machine):
    rapl = machine.rapl(read=refuse)
    assert rapl.why == "the energy counters are readable for root alone"
    assert Meter(rapl, SITE).figures(100.0)["joules"] == 1000.0


def test_a_counter_that_is_lost_on_the_way_makes_the_whole_an_estimate(machine):
    rapl = machine.rapl()
    (machine.root / "intel-rapl:1" / "energy_uj").unlink()
    rapl.sample()
    assert rapl.joules is None
    assert "intel-rapl:1" in rapl.why
    rapl.sample()
    assert rapl.joules is None


@pytest.mark.parametrize("value", ["", "-1", "many", "1.5", "²", "9" * 100_000 + "x"])
def test_a_counter_that_gives_no_number_makes_it_an_estimate(machine, value):
    (machine.root / "intel-rapl:0" / "energy_uj").write_text(value)
    assert machine.rapl().joules is None


def test_a_machine_without_counters_says_so(tmp_path):
    assert Rapl(tmp_path / "nowhere").why == "this machine offers no energy counters"
    only = Machine(tmp_path / "cap", [("intel-rapl:0", "psys", 1)])
    assert only.rapl().why == "this machine offers no energy counters"


def test_estimates_are_labelled_and_priced_and_nothing_is_invented():
    assert estimated(SITE, 360.0) == {
        "joules": 3600.0,
        "how": "estimated: 360 s of processor time at 10 W a core",
        "cost": 0.00036,
        "currency": "EUR",
    }
    free = estimated(EnergyEntry(), 2.0)
    assert (free["joules"], free["cost"], free["currency"]) == (30.0, None, None)
    nothing = estimated(SITE, None)
    assert (nothing["joules"], nothing["cost"]) == (None, None)
    assert nothing["how"].startswith("unknown")


def test_a_graphics_processor_is_added_and_named(machine):
    rapl = machine.rapl()
    rapl.sample()
    assert Meter(rapl, SITE).figures(1.0, 7.0)["joules"] == 7.0
    assert Meter(rapl, SITE).figures(1.0, 7.0)["how"] == "measured: RAPL, the whole processor, and NVML"
    assert estimated(SITE, 1.0, 7.0)["joules"] == 17.0
    assert estimated(SITE, 1.0, 7.0)["how"].endswith("and NVML")


async def test_a_long_block_is_sampled_on_the_way_and_once_more_at_its_end(machine, monkeypatch):
    monkeypatch.setattr(energy, "SECONDS", 0.0)
    rapl = machine.rapl()
    seen, begun = [], asyncio.Event()
    real = rapl.sample

    def sample():
        seen.append(machine.now)
        begun.set()
        real()

    monkeypatch.setattr(rapl, "sample", sample)
    async with metered(SITE, rapl) as meter:
        await begun.wait()
        machine.set("intel-rapl:1", 3_000_000)
    before = len(seen)
    assert before >= 2
    assert meter.figures(None)["joules"] == 3.0
    await asyncio.sleep(0)
    assert len(seen) == before
