"""Whatever the log says, the report is made, is bounded, and shows only what can be shown."""

from __future__ import annotations

import re

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from holdfast import canonical
from holdfast.audit.actions import REGISTRY
from holdfast.report import pages, shape, wording
from holdfast.report.facts import gather

DIGESTS = st.sampled_from(["sha512:" + digit * 128 for digit in "0a"])
LABELS = st.fixed_dictionaries(
    {
        "level": st.sampled_from(["public", "secret", "none"]),
        "compartments": st.lists(st.text(max_size=3), max_size=2),
        "zones": st.lists(st.sampled_from(["site", "b"]), max_size=2),
    }
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | DIGESTS
    | LABELS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
NAMES = re.findall(
    r"\w+",
    "site zones people gaps version walls fingerprint self_made name publisher manifest root_version holders artefacts bytes "
    "requester request generation recipe base datasets run steps telemetry adapter_digest replayed_digest equal scores "
    "fidelity go reasons models address model model_digest tenant prompt_tokens completion_tokens job worker syscall "
    "destination count reason route error message",
)
ARTEFACTS = st.lists(
    st.dictionaries(
        st.sampled_from(["kind", "name", "version", "digest", "files", "label", "parents"]), PLAIN
    ),
    max_size=3,
)
PARAMS = st.dictionaries(st.sampled_from(NAMES), PLAIN, max_size=6).flatmap(
    lambda params: ARTEFACTS.map(lambda listed: {**params, "artefacts": listed} if listed else params)
)
ACTORS = st.fixed_dictionaries(
    {
        "person": st.text(min_size=1, max_size=4),
        "uid": st.none() | st.integers(0, 3),
        "role": st.sampled_from(["operator", "administrator", "service", "x"]),
        "session": st.none() | st.text(max_size=3),
    }
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.just("2026-11-22T09:00:00.000000Z") | st.text(max_size=9),
            "clock": st.sampled_from(["host", "trusted"]),
            "actor": ACTORS | PLAIN,
            "action": st.sampled_from(sorted(REGISTRY)) | st.text(max_size=9),
            "label": st.none() | LABELS,
            "params": PARAMS | PLAIN,
            "cause": st.none() | st.integers(0, 6),
        },
        optional={"subject": PLAIN, "seq": PLAIN},
    ),
    max_size=6,
).map(lambda listed: [{"seq": seq, **event} for seq, event in enumerate(listed)])


@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    EVENTS, st.text(max_size=9), st.dictionaries(st.text(max_size=5), PLAIN, max_size=3), st.text(max_size=5)
)
def test_any_log_gives_facts_and_pages(listed, site, walls, now):
    facts = gather(listed, site=site or "s", walls=walls, now=now or "n", log={"size": len(listed)})
    assert list(shape.faults(facts)) == []
    assert canonical.decode(canonical.encode(facts), limit=2**24, what="facts") == facts
    laid_out = pages.lay_out(facts)
    for text in _texts(laid_out):
        assert wording.printable(text.replace("\u200b", "")) == text


@given(st.text())
def test_printable_text_holds_only_what_fonts_have_and_loses_nothing_ascii(text):
    shown = wording.printable(text)
    assert all(character.isprintable() or character == "\u200b" for character in shown)
    assert wording.printable(shown.replace("\u200b", "")) == shown
    if text.isascii() and text.isprintable():
        assert shown.replace("\u200b", "") == text


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
