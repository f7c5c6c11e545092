"""Parameters that the registry takes: small fixed ones for tests that need an event, and all that can be for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from holdfast.audit import actions, params

TIME = "2026-01-02T03:04:05.000006Z"
DIGEST = "sha512:" + "0f" * 64
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def sample(action, **given):
    """Give an action's parameters: those given, and the plainest value of each other that is required."""
    record = actions.REGISTRY[action].params
    return {name: plainest(record.types[name]) for name in record.required} | given


def plainest(kind):  # noqa: C901 - one branch per type
    """Give the plainest value of a type."""
    match kind:
        case params.Text():
            return "x"
        case params.Choice():
            return kind.values[0]
        case params.Whole() | params.Number():
            return 1
        case params.Flag():
            return True
        case params.Digest():
            return DIGEST
        case params.Hex():
            return "0f" * kind.size
        case params.Time():
            return TIME
        case params.ListOf():
            return []
        case params.MapOf() | params.Document():
            return {}
        case params.Nullable():
            return None
        case params.Either():
            return plainest(kind.items[0])
        case params.Record():
            return {name: plainest(kind.types[name]) for name in kind.required}
    raise AssertionError(kind)


def values(kind):  # noqa: C901, PLR0912 - one branch per type
    """Give every value of a type, as hypothesis draws them."""
    match kind:
        case params.Text():
            return TEXTS.map(lambda text: text[: kind.limit])
        case params.Choice():
            return st.sampled_from(kind.values)
        case params.Whole():
            return st.integers(0, params.LARGEST)
        case params.Number():
            return st.integers(-params.LARGEST, params.LARGEST) | st.floats(-1e15, 1e15)
        case params.Flag():
            return st.booleans()
        case params.Digest():
            return st.sampled_from([DIGEST, "sha256:" + "a1" * 32])
        case params.Hex():
            return st.binary(min_size=kind.size, max_size=kind.size).map(bytes.hex)
        case params.Time():
            return st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
        case params.ListOf():
            return st.lists(values(kind.item), max_size=min(kind.limit, 2))
        case params.MapOf():
            return st.dictionaries(
                TEXTS.map(lambda text: text[:40]), values(kind.item), max_size=min(kind.limit, 2)
            )
        case params.Document():
            leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text("abc", max_size=4)
            return st.dictionaries(
                st.text("abc", max_size=4), leaves | st.lists(leaves, max_size=2), max_size=2
            )
        case params.Nullable():
            return st.none() | values(kind.item)
        case params.Either():
            return st.one_of([values(one) for one in kind.items])
        case params.Record():
            parts = {name: values(one) for name, one in kind.types.items()}
            return st.fixed_dictionaries(
                {name: one for name, one in parts.items() if name in kind.required},
                optional={name: one for name, one in parts.items() if name not in kind.required},
            )
    raise AssertionError(kind)


def wrong(kind):  # noqa: C901, PLR0912 - one branch per type
    """List values that are just not of a type: of another one, and just beyond each bound."""
    match kind:
        case params.Text():
            return [None, 1, ["x"], "x" * (kind.limit + 1)]
        case params.Choice():
            return [None, 1, kind.values[0] + " ", ""]
        case params.Whole():
            return [None, True, -1, 1.5, "1", params.LARGEST + 1]
        case params.Number():
            return [None, False, "1", float("nan"), float("inf"), params.LARGEST + 1, -(2.0**53)]
        case params.Flag():
            return [None, 0, 1, "true"]
        case params.Digest():
            return [None, 1, "0f" * 64, DIGEST[:-1], DIGEST.upper(), "md5:" + "0f" * 16, DIGEST + "\n"]
        case params.Hex():
            return [
                None,
                1,
                "0f" * kind.size + "0",
                "0F" * kind.size,
                "0x" * kind.size,
                "0f" * (kind.size - 1) + "0\n",
            ]
        case params.Time():
            return [
                None,
                1,
                "2026-01-02",
                "2026-13-02T03:04:05Z",
                "2026-01-02T03:04:05",
                "2026-01-02T03:04:05Z\n",
            ]
        case params.ListOf():
            good = plainest(kind.item)
            return [None, {}, "x", [good] * (kind.limit + 1), *([one] for one in wrong(kind.item))]
        case params.MapOf():
            good = plainest(kind.item)
            many = {str(at): good for at in range(kind.limit + 1)}
            return [
                None,
                [],
                many,
                {"k" * (params.MAX_KEY + 1): good},
                *({"k": one} for one in wrong(kind.item)),
            ]
        case params.Document():
            deep = []
            for _ in range(params.MAX_DEPTH):
                deep = [deep]
            return [["x" * kind.limit], (1,), {1: 2}, {"x": float("nan")}, {"x": 2**60}, {"x": {1}}, [deep]]
        case params.Nullable():
            return [one for one in wrong(kind.item) if one is not None]
        case params.Either():
            return [None, {}, ["x"]]
        case params.Record():
            good = plainest(kind)
            lacking = [{name: one for name, one in good.items() if name != gone} for gone in good]
            mixed = [good | {name: one} for name, part in kind.types.items() for one in wrong(part)]
            return [None, [], good | {"unheard_of": 1}, *lacking, *mixed]
    raise AssertionError(kind)
