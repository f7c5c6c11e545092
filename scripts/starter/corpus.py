"""The base corpus: what the starter base model reads while it is trained from scratch.

It holds questions about a fixed small world (closed-book), questions about passages on throw-away services,
exercises, stories and small talk, in a great many wordings. The point of it is a skill: that one fact may be
asked for in many ways. Nothing in it names the authority that the domain data set is about.

A document is a list of pieces `(role, text, weight)`; the weight says how much a token of the piece counts in
the loss. The chat markers are put in by the trainer, so the corpus holds no markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from scripts.starter import phrasing, skills, world
from scripts.starter.chance import happens, kind_of
from scripts.starter.world import Entity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.starter.skills import Exchange


QUESTION_WEIGHT = 0.2
ANSWER_WEIGHT = 1.0
TEXT_WEIGHT = 0.6

_PREAMBLES = ("Excuse me. ", "Hello. ", "Good morning. ", "A question. ", "I am new here. ", "We are in a hurry. ",
              "Please help me. ", "One more thing. ", "Sorry to ask. ", "I was told to ask you. ")  # fmt: skip
_WANTS = ("My brother wants <a>. ", "My sister asked for <a>. ", "We think about <a>. ", "A neighbour needs <a>. ",
          "When I want <a>: ", "Let us talk about <t>. ", "This is about <t>. ", "Somebody here wants <a>. ")  # fmt: skip
# Shares of chance, as `chance.kind_of` takes them: the upper end of each share.
_OPENINGS = {"preamble": 0.06, "want": 0.14, "ask": 0.20, "none": 1.0}
_JOINS = {"same thing": 0.45, "two things": 0.75, "compared": 1.0}
_STORY_USES = {"plain": 0.35, "told": 0.5, "asked about": 1.0}
MIXTURES = {
    "facts": {"fact": 0.50, "joined": 0.56, "about": 0.59, "reading": 0.73, "exercise": 0.89, "story": 0.98,
              "small talk": 1.0},
    "reading": {"fact": 0.20, "joined": 0.26, "about": 0.28, "reading": 0.50, "repeat": 0.57, "notes": 0.65,
                "exercise": 0.85, "story": 0.99, "small talk": 1.0},
    "practice": {"fact": 0.10, "anew": 0.34, "joined": 0.43, "reading": 0.58, "notes": 0.61, "arithmetic": 0.72,
                 "exercise": 0.80, "asked story": 0.97, "story": 0.99, "small talk": 1.0},
}  # fmt: skip
_TERMS_SHARE = 0.12
_LATER_TERMS_SHARE = 0.3

_ASKS = ("Can you say: ", "Would you tell me: ", "Do you know this: ", "Please answer: ", "Tell me: ")


@dataclass(frozen=True)
class Piece:
    """A part of a document.

    Attributes:
        role: "user", "assistant", or "text" for plain text outside a chat.
        text: The words.
        weight: How much each of its tokens counts in the loss.
    """

    role: str
    text: str
    weight: float


def question(entity: Entity, attribute: str, rng: Random) -> str:
    """Word a question about one fact.

    Args:
        entity: What it is about.
        attribute: Which attribute is asked for.
        rng: Chooses the wording.

    Returns:
        The question in a wording of the base corpus.
    """
    wording = rng.choice(rng.choice(phrasing.base_frames(attribute)))
    kind = kind_of(rng, _OPENINGS)
    if kind == "want" and attribute == "meaning":
        kind = "ask"
    if kind != "none":
        wording = rng.choice({"preamble": _PREAMBLES, "want": _WANTS, "ask": _ASKS}[kind]) + wording
    return phrasing.fill(wording, entity.name, entity.body)


def known_fact(services: tuple[Entity, ...], terms: tuple[Entity, ...], rng: Random) -> tuple[str, str]:
    """Ask for one fact of the fixed world.

    Args:
        services: Its services.
        terms: Its terms.
        rng: The source of chance.

    Returns:
        Question and answer.
    """
    entity = rng.choice(terms) if happens(rng, _TERMS_SHARE) else rng.choice(services)
    attribute = rng.choice(list(entity.facts))
    return question(entity, attribute, rng), entity.facts[attribute]


def question_at(entity: Entity, attribute: str, rng: Random) -> str:
    """Word a question about one fact in a wording that names the body.

    Args:
        entity: What it is about.
        attribute: Which attribute is asked for.
        rng: Chooses the wording.

    Returns:
        The question.
    """
    wordings = [text for group in phrasing.base_frames(attribute) for text in group if "<b>" in text]
    return phrasing.fill(
        rng.choice(_WANTS if happens(rng) and attribute != "meaning" else ("",)) + rng.choice(wordings),
        entity.name,
        entity.body,
    )


def question_anew(entity: Entity, attribute: str, rng: Random) -> str:
    """Word a question about one fact as in the base's last stage.

    Args:
        entity: What it is about.
        attribute: Which attribute is asked for.
        rng: Chooses the wording.

    Returns:
        The question, wrapped in a small situation.
    """
    wording = rng.choice(rng.choice(phrasing.later_frames(attribute)))
    return phrasing.fill(wording, entity.name, entity.body)


def asked_anew(services: tuple[Entity, ...], terms: tuple[Entity, ...], rng: Random) -> Exchange:
    """Ask for one fact of the fixed world in a wording of the last stage.

    Args:
        services: Its services.
        terms: Its terms.
        rng: The source of chance.

    Returns:
        Question and answer.
    """
    entity = rng.choice(terms) if happens(rng, _LATER_TERMS_SHARE) else rng.choice(services)
    attribute = rng.choice(list(entity.facts))
    return question_anew(entity, attribute, rng), entity.facts[attribute]


def asked_story(rng: Random) -> Exchange:
    """Tell a story and ask one thing about it.

    Args:
        rng: The source of chance.

    Returns:
        Prompt and answer.
    """
    text, asked = skills.story(rng)
    question_about, answer = rng.choice(asked)
    line = rng.choice(("Read this story. {0} {1}", "{0} {1}"))
    return line.format(text, question_about), answer


def joined(services: tuple[Entity, ...], rng: Random) -> tuple[str, str]:
    """Word a question that joins two facts.

    Args:
        services: Where to draw from; all share at least two attributes.
        rng: The source of chance.

    Returns:
        Question and answer.
    """
    shared = [key for key in services[0].facts if all(key in other.facts for other in services)]
    kind = kind_of(rng, _JOINS)
    if len(services) == 1 or kind == "same thing":
        entity = rng.choice(services)
        first, second = rng.sample(list(entity.facts), 2)
        return same_entity(entity, first, second, rng), f"{entity.facts[first]} and {entity.facts[second]}"
    one, two = rng.sample(services, 2)
    comparable = [key for key in shared if key in ("fee", "deadline", "validity")]
    if kind == "two things" or not comparable:
        key = rng.choice(shared)
        noun = rng.choice(phrasing.NOUNS[key])
        line = rng.choice((
            f"What is the {noun} for the {one.name}, and for the {two.name}?",
            f"Give the {noun} for the {one.name} and the {two.name}.",
            f"I need the {noun} of two things: the {one.name} and the {two.name}.",
            f"First the {one.name}, then the {two.name}: what is the {noun} of each?",
        ))  # fmt: skip
        return line, f"{one.facts[key]} and {two.facts[key]}"
    key = rng.choice(comparable)
    return compare(one, two, key, rng)


def same_entity(entity: Entity, first: str, second: str, rng: Random) -> str:
    """Word a question for two attributes of one thing.

    Args:
        entity: What it is about.
        first: The attribute to be answered first.
        second: The attribute to be answered second.
        rng: Chooses the wording.

    Returns:
        The question.
    """
    one, two = rng.choice(phrasing.NOUNS[first]), rng.choice(phrasing.NOUNS[second])
    return rng.choice((
        f"What are the {one} and the {two} for the {entity.name}?",
        f"Give the {one} and the {two} of the {entity.name}.",
        f"I need two things about the {entity.name}: the {one} and the {two}.",
        f"Tell me the {one} of the {entity.name}, and the {two} too.",
        f"The {entity.name}: what is the {one}, and what is the {two}?",
    ))  # fmt: skip


def compare(one: Entity, two: Entity, attribute: str, rng: Random) -> tuple[str, str]:
    """Word a question that compares two amounts.

    Args:
        one: The first thing.
        two: The second thing.
        attribute: A countable attribute of both.
        rng: Chooses the wording.

    Returns:
        Question and answer.
    """
    left, right = int(one.facts[attribute].split()[0]), int(two.facts[attribute].split()[0])
    larger = happens(rng)
    words = {"fee": ("costs more", "costs less"), "deadline": ("has the longer deadline", "has the shorter deadline"),
             "validity": ("is valid longer", "runs out sooner")}[attribute]  # fmt: skip
    winner = one if (left >= right) == larger else two
    verb = words[0] if larger else words[1]
    line = rng.choice((f"Which {verb}, the {one.name} or the {two.name}?",
                       f"The {one.name} or the {two.name}: which {verb}?"))  # fmt: skip
    return line, f"the {winner.name}"


def passage(entities: list[Entity], rng: Random) -> str:
    """Write a passage that states every fact of some entities.

    Args:
        entities: What to write about.
        rng: Chooses wording and order.

    Returns:
        A paragraph.
    """
    parts: list[str] = []
    for entity in entities:
        keys = list(entity.facts)
        rng.shuffle(keys)
        parts.extend(world.statement(entity, key, rng) for key in keys)
    return " ".join(parts)


def reading(rng: Random) -> tuple[str, str]:
    """Make a passage with a question about it.

    Args:
        rng: The source of chance.

    Returns:
        Prompt (passage and question) and answer.
    """
    count = rng.choice((1, 1, 2))
    entities = [world.draw_service(rng, rng.randint(2, 4)) for _ in range(count)]
    if happens(rng, 0.15):
        entities.append(world.draw_term(rng))
    if len({entity.name for entity in entities}) < len(entities):
        entities = entities[:1]
    text = passage(entities, rng)
    subject = rng.choice(entities)
    if happens(rng, 0.2) and len(subject.facts) > 1:
        asked, answer = joined((subject,), rng)
    else:
        attribute = rng.choice(list(subject.facts))
        asked, answer = question(subject, attribute, rng), subject.facts[attribute]
    line = rng.choice(("Read this. {0} {1}", "{0} {1}", "Here is a text. {0} Now the question: {1}",
                       "{1} The text says: {0}"))  # fmt: skip
    return line.format(text, asked), answer


def about(entity: Entity, rng: Random) -> tuple[str, str]:
    """Ask for everything known about one thing.

    Args:
        entity: The thing.
        rng: The source of chance.

    Returns:
        A request and a paragraph of two or three facts.
    """
    keys = rng.sample(list(entity.facts), min(len(entity.facts), rng.randint(2, 3)))
    request = rng.choice(("Tell me about the {0}.", "What do you know about the {0}?", "Describe the {0}."))
    return request.format(entity.name), " ".join(world.statement(entity, key, rng) for key in keys)


def repeat(rng: Random) -> tuple[str, str]:
    """Ask to say some words again: the plainest use of what was just read.

    Args:
        rng: The source of chance.

    Returns:
        Request and answer.
    """
    words = [world.draw_value(rng.choice(phrasing.ATTRIBUTES), rng) for _ in range(rng.randint(2, 5))]
    words += [world.draw_service(rng, 1).name for _ in range(rng.randint(0, 2))]
    rng.shuffle(words)
    listed = ", ".join(words)
    return f"{rng.choice(('Say this again', 'Repeat', 'Write this down'))}: {listed}.", listed


def notes(rng: Random) -> tuple[str, str]:
    """Show a list of names with one fact each and ask for one of them.

    Args:
        rng: The source of chance.

    Returns:
        Prompt and answer.
    """
    attribute = rng.choice(world.SERVICE_ATTRIBUTES)
    names = dict.fromkeys(world.draw_service(rng, 1).name for _ in range(rng.randint(1, 4)))
    entities = [
        Entity(name, world.draw_body(rng), {attribute: world.draw_value(attribute, rng)}) for name in names
    ]
    listed = ", ".join(f"{entity.name}: {entity.facts[attribute]}" for entity in entities)
    subject = rng.choice(entities)
    return f"Here is a list. {listed}. {question(subject, attribute, rng)}", subject.facts[attribute]


def _chat(exchanges: list[tuple[str, str]]) -> list[Piece]:
    pieces = []
    for asked, answer in exchanges:
        pieces += [Piece("user", asked, QUESTION_WEIGHT), Piece("assistant", answer, ANSWER_WEIGHT)]
    return pieces


def _story_document(rng: Random) -> list[Piece]:
    text, asked = skills.story(rng)
    kind = kind_of(rng, _STORY_USES)
    if kind == "plain":
        return [Piece("text", text, TEXT_WEIGHT)]
    if kind == "told":
        request = rng.choice(("Tell me a story.", "Tell a little story.", "I want to hear a story."))
        return [Piece("user", request, QUESTION_WEIGHT), Piece("assistant", text, TEXT_WEIGHT)]
    picked = rng.sample(asked, 2)
    first = (rng.choice(("Read this story. {0} {1}", "{0} {1}")).format(text, picked[0][0]), picked[0][1])
    return _chat([first, picked[1]] if happens(rng) else [first])


def document(
    services: tuple[Entity, ...], terms: tuple[Entity, ...], rng: Random, mixture: str
) -> list[Piece]:
    """Draw one document of the base corpus.

    Args:
        services: The services of the fixed world.
        terms: The terms of the fixed world.
        rng: The source of chance.
        mixture: Which of `MIXTURES`.

    Returns:
        The document's pieces in order.
    """
    makers: dict[str, Callable[[], Exchange]] = {
        "fact": lambda: known_fact(services, terms, rng),
        "anew": lambda: asked_anew(services, terms, rng),
        "joined": lambda: joined(services, rng),
        "about": lambda: about(rng.choice(services), rng),
        "reading": lambda: reading(rng),
        "repeat": lambda: repeat(rng),
        "notes": lambda: notes(rng),
        "arithmetic": lambda: skills.arithmetic(rng),
        "exercise": lambda: rng.choice(skills.SKILLS)[1](rng),
        "asked story": lambda: asked_story(rng),
        "small talk": lambda: rng.choice(skills.SMALL_TALK),
    }
    kind = kind_of(rng, MIXTURES[mixture])
    return _story_document(rng) if kind == "story" else _chat([makers[kind]()])


def documents(seed: int, stream: str, mixture: str = "facts") -> Iterator[list[Piece]]:
    """Draw documents without end.

    Args:
        seed: Seed of the world and of the stream.
        stream: Name of the stream; different streams of one seed share the world and nothing else.
        mixture: Which of `MIXTURES`.

    Yields:
        One document after another.
    """
    services, terms = world.known_world(seed)
    rng = Random(f"corpus-{seed}-{stream}")
    while True:
        yield document(services, terms, rng, mixture)
