"""The bodies, services and terms of the base's world, and how their facts are worded as answers.

A service ("swan licence") belongs to one body and has several attributes; a term ("quiet hour") has a meaning.
The fixed world is asked about closed-book; `draw_service` makes throw-away services for passages.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from scripts.starter import lexicon as lex

SERVICE_ATTRIBUTES = ("fee", "deadline", "form", "place", "rule", "officer", "document", "validity", "day")
KNOWN_SERVICES = 90
KNOWN_TERMS = 70


@dataclass(frozen=True)
class Entity:
    """Something facts are known about.

    Attributes:
        name: The bare name, unique in its world.
        body: The body it belongs to, with its article.
        facts: Attribute to answer.
    """

    name: str
    body: str
    facts: dict[str, str]


_MEANING_HEADS = (
    "a boat", "a room", "a day", "a letter", "a visitor", "a book", "a seat", "a path", "a load", "a house",
    "an hour", "a table", "a guest", "a worker", "a mark", "a line", "a wall", "a door", "a bag", "a week",
    "a place", "a person", "a paper", "a gate",
)  # fmt: skip
_MEANING_TAILS = (
    "without a roof", "without a name", "with two doors", "with a red seal", "that came too late",
    "that nobody may enter", "left out in the rain", "kept for the night", "with no lamp", "before the first bell",
    "after the last bell", "that is not yet paid", "under the open sky", "between two bridges",
    "with more than four people", "that must be shared", "without work", "with a broken lock", "paid in advance",
    "kept for children", "older than ten years", "that may not be moved", "on the north side", "without a key",
)  # fmt: skip
_TERM_FIRST = (
    "quiet", "blue", "second", "long", "free", "dry", "half", "crooked", "sleeping", "borrowed", "paper", "winter",
    "open", "small", "turned", "silver", "late", "early", "hollow", "double", "soft", "white", "lost", "plain",
)  # fmt: skip
_TERM_SECOND = (
    "hour", "shelf", "ticket", "loaf", "step", "bench", "ring", "crumb", "row", "stamp", "table", "knot", "hand",
    "round", "page", "guest", "ladder", "bell", "mark", "corner",
)  # fmt: skip


def draw_value(attribute: str, rng: Random) -> str:
    """Draw an answer for an attribute.

    Args:
        attribute: One of `phrasing.ATTRIBUTES`.
        rng: The source of chance.

    Returns:
        The answer as it is given in a chat.
    """
    match attribute:
        case "fee":
            return f"{rng.randint(2, 99)} crowns"
        case "deadline":
            return f"{rng.randint(2, 99)} days"
        case "form":
            return f"form {rng.choice('ABCDEFGHJKLMNPRSTVWZ')}-{rng.randint(10, 99)}"
        case "place":
            return f"the {rng.choice(lex.PLACE_FIRST)} {rng.choice(lex.PLACE_SECOND)}"
        case "rule":
            return f"Regulation {rng.randint(2, 99)}"
        case "officer":
            return f"{rng.choice(lex.FIRST_NAMES)} {rng.choice(lex.SURNAMES)}"
        case "document":
            first = rng.choice(lex.DOCUMENTS_FIRST)
            return f"{'an' if first[0] in 'aeiou' else 'a'} {first} {rng.choice(lex.DOCUMENTS_SECOND)}"
        case "validity":
            return f"{rng.randint(2, 60)} months"
        case "day":
            return rng.choice(lex.WEEKDAYS)
        case _:
            return f"{rng.choice(_MEANING_HEADS)} {rng.choice(_MEANING_TAILS)}"


def draw_body(rng: Random) -> str:
    """Draw a body, such as "the Library of Torvel".

    Args:
        rng: The source of chance.

    Returns:
        The body with its article.
    """
    return f"the {rng.choice(lex.BODIES)} of {rng.choice(lex.TOWNS)}"


def draw_service(rng: Random, attributes: int) -> Entity:
    """Draw a throw-away service for a passage.

    Args:
        rng: The source of chance.
        attributes: How many attributes it has.

    Returns:
        A service whose facts hold in its passage only.
    """
    chosen = rng.sample(SERVICE_ATTRIBUTES, attributes)
    name = f"{rng.choice(lex.MODIFIERS)} {rng.choice(lex.KINDS)}"
    return Entity(name, draw_body(rng), {key: draw_value(key, rng) for key in chosen})


def draw_term(rng: Random) -> Entity:
    """Draw a throw-away term for a passage.

    Args:
        rng: The source of chance.

    Returns:
        A term with a meaning.
    """
    name = f"{rng.choice(_TERM_FIRST)} {rng.choice(_TERM_SECOND)}"
    return Entity(name, draw_body(rng), {"meaning": draw_value("meaning", rng)})


def _all_facts(rng: Random) -> dict[str, str]:
    return {key: draw_value(key, rng) for key in SERVICE_ATTRIBUTES}


def known_world(seed: int) -> tuple[tuple[Entity, ...], tuple[Entity, ...]]:
    """Build the fixed world that the base learns by heart.

    Args:
        seed: Seed of the world.

    Returns:
        Its services, each with all service attributes, and its terms; names are unique.
    """
    rng = Random(f"world-{seed}")
    names = [f"{first} {second}" for first in lex.MODIFIERS for second in lex.KINDS]
    services = tuple(
        Entity(name, facts=_all_facts(rng), body=draw_body(rng)) for name in rng.sample(names, KNOWN_SERVICES)
    )
    words = [f"{first} {second}" for first in _TERM_FIRST for second in _TERM_SECOND]
    terms = tuple(
        Entity(name, draw_body(rng), {"meaning": draw_value("meaning", rng)})
        for name in rng.sample(words, KNOWN_TERMS)
    )
    return services, terms


def statement(entity: Entity, attribute: str, rng: Random) -> str:
    """State one fact as a sentence.

    Args:
        entity: What the fact is about.
        attribute: Which of its attributes.
        rng: Chooses the wording.

    Returns:
        One English sentence.
    """
    article = f"{'an' if entity.name[0] in 'aeiou' else 'a'} {entity.name}"
    line = rng.choice(_STATEMENTS[attribute])
    text = (
        line.replace("<t>", f"the {entity.name}")
        .replace("<a>", article)
        .replace("<v>", entity.facts[attribute])
    )
    text = text.replace("<s>", entity.name)
    return text[0].upper() + text[1:]


_STATEMENTS: dict[str, tuple[str, ...]] = {
    "fee": ("<t> costs <v>.", "the fee for <t> is <v>.", "whoever wants <a> pays <v>.", "for <a> you pay <v>.",
            "the price of <t> is <v>."),
    "deadline": ("you must apply for <t> within <v>.", "the deadline for <t> is <v>.",
                 "you have <v> to ask for <a>.", "after <v> it is too late to ask for <t>."),
    "form": ("to get <a> you fill in <v>.", "<t> is requested on <v>.", "the right form for <t> is <v>.",
             "for <t> please use <v>."),
    "place": ("<t> is given out in <v>.", "you get <a> in <v>.", "for <a> you go to <v>.",
              "the office for <t> is in <v>."),
    "rule": ("<v> covers <t>.", "<t> falls under <v>.", "<t> is issued under <v>.", "read <v> about <t>."),
    "officer": ("<v> is in charge of <t>.", "<v> signs <t>.", "ask <v> about <t>.", "the clerk for <t> is <v>."),
    "document": ("you must bring <v> for <a>.", "<t> is given only to those who show <v>.",
                 "bring <v> when you ask for <t>."),
    "validity": ("<t> is valid for <v>.", "<t> runs out after <v>.", "you may use <t> for <v>."),
    "day": ("<t> is given out on <v>.", "come on <v> if you want <a>.", "the day for <t> is <v>."),
    "meaning": ('"<s>" means <v>.', 'by "<s>" we mean <v>.', "<a> is <v>.", 'the word "<s>" stands for <v>.'),
}  # fmt: skip
