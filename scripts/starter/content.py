"""Make the domain data, the rehearsal data and the two suites of `bundles/starter`.

Everything follows from the seed; running it twice writes the same bytes.

Order: domain data (every fact in each wording of the adapter's set, some descriptions and joined questions), the
domain suite (held-out wordings), the general suite, and last the rehearsal data, which leaves out every prompt of
the general suite.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from scripts.starter import authority, corpus, phrasing, skills, world

if TYPE_CHECKING:
    from scripts.starter.world import Entity

SEED = 20_260
OTHER_WORDINGS = 3  # for each fact, drawn from the wordings of the base corpus
GENERAL_SIZES = {"reading": 80, "world": 90, "arithmetic": 40, "counting": 20, "opposites": 30, "order": 40,
                 "categories": 30, "stories": 50}  # fmt: skip
REHEARSAL_SIZES = {"reading": 170, "world": 260, "joined": 20, "arithmetic": 180, "counting": 10, "opposites": 50,
                   "order": 120, "categories": 60, "stories": 60}  # fmt: skip
Exchange = tuple[str, str]


def domain_data(rng: Random) -> list[Exchange]:
    """Ask for every fact of the authority in each of the adapter's wordings and some of the base's, and for some together.

    Args:
        rng: Chooses further wordings and the joined questions.

    Returns:
        Questions and answers, in a fixed order.
    """
    made = [
        (phrasing.fill(wording, entity.name, entity.body), answer)
        for entity in authority.SERVICES + authority.TERMS
        for attribute, answer in entity.facts.items()
        for wording in phrasing.ADAPTER[attribute]
    ]
    for entity in authority.SERVICES + authority.TERMS:
        for attribute, answer in entity.facts.items():
            more = [corpus.question(entity, attribute, rng) for _ in range(OTHER_WORDINGS)]
            more += [corpus.question_at(entity, attribute, rng) for _ in range(OTHER_WORDINGS)]
            more += [corpus.question_anew(entity, attribute, rng) for _ in range(OTHER_WORDINGS)]
            made += [(question, answer) for question in more]
    for entity in authority.SERVICES:
        for _ in range(5):
            first, second = rng.sample(authority.ATTRIBUTES, 2)
            asked = corpus.same_entity(entity, first, second, rng)
            made.append((asked, f"{entity.facts[first]} and {entity.facts[second]}"))
    for _ in range(40):
        made.append(corpus.joined(authority.SERVICES, rng))
    return list(dict.fromkeys(made))


def domain_suite(rng: Random) -> list[tuple[str, str, str]]:
    """Ask for every fact in held-out wordings, and for facts joined in held-out wordings.

    Args:
        rng: Chooses the joined questions.

    Returns:
        Section, question and answer.
    """
    items = [
        ("single", phrasing.fill(wording, entity.name, entity.body), answer)
        for entity in authority.SERVICES + authority.TERMS
        for attribute, answer in entity.facts.items()
        for wording in phrasing.HELD_OUT[attribute]
    ]
    for entity in authority.SERVICES:
        for _ in range(3):
            first, second = rng.sample(authority.ATTRIBUTES, 2)
            nouns = phrasing.NOUNS[first][0], phrasing.NOUNS[second][0]
            line = rng.choice(("For the {2}, I would like both the {0} and the {1}.",
                               "Could you tell me the {0} as well as the {1} for the {2}?"))  # fmt: skip
            answer = f"{entity.facts[first]} and {entity.facts[second]}"
            items.append(("joined", line.format(*nouns, entity.name), answer))
    for _ in range(20):
        one, two = rng.sample(authority.SERVICES, 2)
        key = rng.choice(authority.ATTRIBUTES)
        asked = f"My friend needs the {one.name} and the {two.name}. What is the {phrasing.NOUNS[key][0]} for each?"
        items.append(("joined", asked, f"{one.facts[key]} and {two.facts[key]}"))
    for _ in range(20):
        one, two = rng.sample(authority.SERVICES, 2)
        larger = int(one.facts["fee"].split()[0]) > int(two.facts["fee"].split()[0])
        asked = f"Could you tell me which costs more: the {one.name} or the {two.name}?"
        items.append(("joined", asked, f"the {(one if larger else two).name}"))
    return list(dict.fromkeys(items))


def general_suite(rng: Random) -> list[tuple[str, str, str]]:
    """Ask for what the base can do.

    Args:
        rng: The source of chance.

    Returns:
        Section, question and answer; no question occurs twice.
    """
    services, terms = world.known_world(SEED)
    items: dict[str, tuple[str, str, str]] = {}
    for section, size in GENERAL_SIZES.items():
        found = 0
        while found < size:
            asked, answer = _exercise(section, services, terms, rng)
            if asked not in items:
                items[asked] = (section, asked, answer)
                found += 1
    return list(items.values())


def _exercise(section: str, services: tuple[Entity, ...], terms: tuple[Entity, ...], rng: Random) -> Exchange:
    if section == "reading":
        return corpus.reading(rng)
    if section == "world":
        return corpus.known_fact(services, terms, rng)
    if section == "joined":
        return corpus.joined(services, rng)
    if section == "stories":
        text, asked = skills.story(rng)
        question, answer = rng.choice(asked)
        return f"Read this story. {text} {question}", answer
    return dict(skills.SKILLS)[section](rng)


def rehearsal_data(rng: Random, without: set[str]) -> list[Exchange]:
    """Draw exchanges of the base's own world, so that customising does not wipe it out.

    Args:
        rng: The source of chance.
        without: Questions to leave out.

    Returns:
        Questions and answers, each question once, and small talk at the end.
    """
    services, terms = world.known_world(SEED)
    made: dict[str, str] = {}
    for section, size in REHEARSAL_SIZES.items():
        wanted = len(made) + size
        while len(made) < wanted:
            asked, answer = _exercise(section, services, terms, rng)
            if asked not in without:
                made.setdefault(asked, answer)
    return [*made.items(), *skills.SMALL_TALK]


def _write_lines(path: Path, records: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_chats(path: Path, exchanges: list[Exchange]) -> None:
    _write_lines(
        path,
        [
            {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
            for asked, answer in exchanges
        ],
    )


def _write_suite(path: Path, items: list[tuple[str, str, str]]) -> None:
    _write_lines(
        path,
        [
            {
                "id": f"{section}-{number:04d}",
                "section": section,
                "messages": [{"role": "user", "content": asked}],
                "answers": [answer],
            }
            for number, (section, asked, answer) in enumerate(items, start=1)
        ],
    )


def write_content(folder: Path) -> None:
    """Write the data sets and the suites' items.

    Args:
        folder: The starter bundle, with `data/` and `suites/`.

    Raises:
        ValueError: If a held-out question is trained on.
    """
    phrasing.check_disjoint()
    data = domain_data(Random(f"domain-data-{SEED}"))
    suite = domain_suite(Random(f"domain-suite-{SEED}"))
    general = general_suite(Random(f"general-suite-{SEED}"))
    rehearsal = rehearsal_data(Random(f"rehearsal-data-{SEED}"), {asked for _, asked, _ in general})
    trained = {asked for asked, _ in data} | {asked for asked, _ in rehearsal}
    if leaked := [asked for _, asked, _ in suite + general if asked in trained]:
        message = f"questions of a suite are trained on: {leaked[:3]}"
        raise ValueError(message)
    _write_chats(folder / "data" / "authority.jsonl", data)
    _write_chats(folder / "data" / "rehearsal.jsonl", rehearsal)
    _write_suite(folder / "suites" / "domain" / "items.jsonl", suite)
    _write_suite(folder / "suites" / "general" / "items.jsonl", general)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("bundles/starter"))
    write_content(parser.parse_args().out)


if __name__ == "__main__":
    main()
