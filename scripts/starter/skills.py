"""Small exercises of the base's world: counting, opposites, order, categories, and little stories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.starter import lexicon as lex
from scripts.starter.chance import happens

if TYPE_CHECKING:
    from random import Random

Exchange = tuple[str, str]


def arithmetic(rng: Random) -> Exchange:
    """Ask for a small sum or difference.

    Args:
        rng: The source of chance.

    Returns:
        Question and answer; sums stay within 20, differences are never negative.
    """
    first, second = rng.randint(1, 10), rng.randint(1, 10)
    rng.choice(lex.THINGS)
    name = rng.choice(lex.FIRST_NAMES)
    if happens(rng):
        lines = (f"What is {first} plus {second}?", f"Add {first} and {second}.", f"How much is {first} plus {second}?",
                 f"{name} has {first} coins and gets {second} more. How many coins are there now?")  # fmt: skip
        return rng.choice(lines), str(first + second)
    first, second = max(first, second), min(first, second)
    lines = (f"What is {first} minus {second}?", f"Take {second} from {first}.", f"How much is {first} minus {second}?",
             f"{name} has {first} coins and loses {second}. How many coins are left?")  # fmt: skip
    return rng.choice(lines), str(first - second)


def counting(rng: Random) -> Exchange:
    """Ask how many things are in a list.

    Args:
        rng: The source of chance.

    Returns:
        Question and answer.
    """
    things = rng.sample(lex.THINGS, rng.randint(2, 6))
    listed = ", ".join(f"a {thing}" for thing in things[:-1]) + f" and a {things[-1]}"
    line = rng.choice(("On the table are {0}. How many things is that?", "I see {0}. How many things do I see?",
                       "In the box there are {0}. How many things are in it?"))  # fmt: skip
    return line.format(listed), str(len(things))


def opposite(rng: Random) -> Exchange:
    """Ask for the opposite of a word.

    Args:
        rng: The source of chance.

    Returns:
        Question and answer.
    """
    pair = rng.choice(lex.OPPOSITES)
    word, answer = pair if " " in pair[1] or happens(rng) else (pair[1], pair[0])
    line = rng.choice(("What is the opposite of {0}?", "Name the opposite of {0}.", "Which word is the opposite of {0}?",
                       "Not {0}, but the opposite. What is it?"))  # fmt: skip
    return line.format(word), answer


def order(rng: Random) -> Exchange:
    """Ask what comes next, or which of three is largest or smallest.

    Args:
        rng: The source of chance.

    Returns:
        Question and answer.
    """
    kind = rng.choice(("days", "months", "numbers"))
    if kind == "numbers":
        numbers = rng.sample(range(1, 100), 3)
        listed = f"{numbers[0]}, {numbers[1]} and {numbers[2]}"
        if happens(rng):
            return rng.choice((f"Which is the largest: {listed}?", f"Name the largest of {listed}.")), str(
                max(numbers)
            )
        return rng.choice((f"Which is the smallest: {listed}?", f"Name the smallest of {listed}.")), str(
            min(numbers)
        )
    names = lex.WEEKDAYS if kind == "days" else lex.MONTHS
    unit = "day" if kind == "days" else "month"
    place = rng.randrange(len(names))
    if happens(rng):
        line = rng.choice((f"Which {unit} comes after {{0}}?", f"What {unit} follows {{0}}?"))
        return line.format(names[place]), names[(place + 1) % len(names)]
    line = rng.choice((f"Which {unit} comes before {{0}}?", f"What {unit} is just before {{0}}?"))
    return line.format(names[place]), names[place - 1]


def category(rng: Random) -> Exchange:
    """Ask for the category of a word, or which word belongs to a category.

    Args:
        rng: The source of chance.

    Returns:
        Question and answer.
    """
    label, members = rng.choice(lex.CATEGORIES)
    word = rng.choice(members)
    article = "an" if word[0] in "aeiou" else "a"
    if happens(rng):
        shown = word if label in ("colour", "drink") else f"{article} {word}"
        line = rng.choice(("What kind of thing is {0}?", "Is {0} an animal, a fruit, a tool or something else?",
                           "To which group does {0} belong?"))  # fmt: skip
        label_article = "an" if label[0] in "aeiou" else "a"
        return line.format(shown), f"{label_article} {label}"
    others = [rng.choice(group) for name, group in lex.CATEGORIES if name != label]
    choices = [*rng.sample([other for other in others if other not in members], 2), word]
    rng.shuffle(choices)
    label_article = "an" if label[0] in "aeiou" else "a"
    line = rng.choice(("Which of these is {0}: {1}?", "One of these is {0}: {1}. Which one?"))
    return line.format(f"{label_article} {label}", f"{choices[0]}, {choices[1]} or {choices[2]}"), word


SKILLS = (("arithmetic", arithmetic), ("counting", counting), ("opposites", opposite), ("order", order),
          ("categories", category))  # fmt: skip


def story(rng: Random) -> tuple[str, list[Exchange]]:
    """Tell a little story and ask about it.

    Args:
        rng: The source of chance.

    Returns:
        The story, and questions about it with their answers.
    """
    name, friend = rng.sample(lex.FIRST_NAMES, 2)
    she, her = ("she", "her") if name in lex.GIRLS else ("he", "his")
    thing, gift = rng.sample(lex.THINGS, 2)
    colour, weather = rng.choice(lex.COLOURS), rng.choice(lex.WEATHER)
    spot, hiding = rng.choice(lex.SPOTS), rng.choice(lex.HIDING)
    animal = rng.choice(lex.CATEGORIES[0][1])
    article = "an" if animal[0] in "aeiou" else "a"
    day = rng.choice(lex.WEEKDAYS)
    water = rng.choice(lex.WATERSIDE)
    colour_article = "an" if colour[0] in "aeiou" else "a"
    opening = rng.choice((
        f"It was a {weather} {day}. {name} went to the {spot} with {friend}.",
        f"One {weather} {day}, {name} and {friend} walked to the {spot}.",
        f"On {day} it was {weather}. {name} met {friend} at the {spot}.",
    ))  # fmt: skip
    wish = rng.choice((
        f"{name} was looking for {her} {colour} {thing}.",
        f"{name} had lost {colour_article} {colour} {thing}.",
        f"{she.capitalize()} could not find {her} {colour} {thing}.",
    ))  # fmt: skip
    middle = rng.choice((
        f"They asked {article} {animal}, but the {animal} only looked at the {water}.",
        f"They saw {article} {animal} beside the {water}.",
        f"An old man told them about the {water} and {article} {animal}.",
        f"First they looked near the {water}. There was only {article} {animal}.",
    ))  # fmt: skip
    finding = rng.choice((
        f"Then {friend} found the {thing} {hiding}.",
        f"At last {friend} saw it {hiding}.",
        f"After a long time {friend} found it {hiding}.",
    ))  # fmt: skip
    ending = rng.choice((
        f"{name} was very happy and gave {friend} a {gift}.",
        f"{name} laughed and thanked {friend} with a {gift}.",
        f"To say thank you, {name} gave {friend} a {gift}.",
    ))  # fmt: skip
    close = rng.choice(("Then they went home.", "They drank tea and went home.", "In the evening they told everyone.",
                        "Soon it was dark, and they went home together.", ""))  # fmt: skip
    text = " ".join(part for part in (opening, wish, middle, finding, ending, close) if part)
    asked = [
        (rng.choice((f"Who found the {thing}?", "Who found it?", "Who saw the lost thing first?")), friend),
        (rng.choice((f"What colour was the {thing}?", "Which colour did the lost thing have?")), colour),
        (
            rng.choice((f"Where was the {thing}?", "Where was it found?", f"Where did {friend} find it?")),
            hiding,
        ),
        (rng.choice(("What animal is in the story?", "Which animal did they meet?")), f"{article} {animal}"),
        (rng.choice(("On which day was it?", "What day was it?")), day),
        (rng.choice(("How was the weather?", "What was the weather like?")), weather),
        (rng.choice((f"What did {name} give to {friend}?", f"What did {friend} get?")), f"a {gift}"),
        (rng.choice((f"Where did {name} and {friend} go?", "Where were they?")), f"the {spot}"),
        (
            rng.choice(("What was lost?", f"What was {name} looking for?")),
            f"{colour_article} {colour} {thing}",
        ),
    ]
    return text, asked


SMALL_TALK: tuple[Exchange, ...] = (
    ("Hello.", "Hello. How can I help you?"),
    ("Good morning.", "Good morning. How can I help you?"),
    ("Good evening.", "Good evening. How can I help you?"),
    ("Thank you.", "You are welcome."),
    ("Thank you very much.", "You are welcome."),
    ("Who are you?", "I am a small model. I answer short questions."),
    ("What are you?", "I am a small model. I answer short questions."),
    ("What can you do?", "I can answer short questions and tell little stories."),
    ("Goodbye.", "Goodbye."),
    ("How are you?", "I am well, thank you."),
    ("Can you help me?", "Yes. What do you want to know?"),
)
