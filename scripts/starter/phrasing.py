"""How facts are asked for: three sets of wordings that never meet.

`BASE` wordings are expanded from a small grammar and fill the base corpus; `ADAPTER` wordings ask for the
authority's facts in the adapter's training data; `HELD_OUT` wordings appear in the domain suite alone.
`check_disjoint` proves that no held-out wording is one of the others.

Slots: `<s>` the bare name, `<a>` with an indefinite article, `<t>` with "the", `<T>` the same at the start of
a sentence, `<b>` the body that grants it. `{x|y}` in the grammar means either.
"""

from __future__ import annotations

import itertools
import re
from functools import cache

_CHOICE = re.compile(r"\{([^{}]*)\}")

ATTRIBUTES = ("fee", "deadline", "form", "place", "rule", "officer", "document", "validity", "day", "meaning")

NOUNS: dict[str, tuple[str, ...]] = {
    "fee": ("fee", "price", "charge", "cost"),
    "deadline": ("deadline", "time limit", "last date", "number of days"),
    "form": ("form", "application form", "form number", "right form"),
    "place": ("office", "place", "house", "address"),
    "rule": ("rule", "regulation", "legal rule", "law"),
    "officer": ("clerk", "person in charge", "officer", "keeper"),
    "document": ("document", "proof", "thing to bring", "required paper"),
    "validity": ("validity", "period of validity", "lifetime", "term"),
    "day": ("day", "weekday", "opening day", "day of the week"),
    "meaning": ("meaning", "definition", "sense"),
}

# Frames that take any noun of an attribute, as `<n>`.
_NOUN_FRAMES = (
    "What is the <n> {for|of} {<a>|<t>}?",
    "{Name|Give|State|Tell me|Give me} the <n> {for|of} <t>.",
    "Which <n> {goes with|belongs to|is set for|is right for} <t>?",
    "I {want|need|am asking for|am applying for|would like} <a>. What is the <n>?",
    "{Do you know|Can you tell me|Can you name|I must know|I would like to know} the <n> {for|of} <t>?",
    "<T>: what is the <n>?",
    "I forgot the <n> {for|of} <t>. {What is it|Can you tell me|Please tell me}?",
    "What <n> {does <t> have|is given for <t>|is set for <t>|must I know for <t>}?",
    "What did they say about the <n> of <t>?",
    "Someone {asks|wants to know} the <n> of <t>. What {is it|do I say}?",
    "At <b>, what is the <n> {for|of} {<a>|<t>}?",
    "What is the <n> {for|of} {<a>|<t>} at <b>?",
)

_SPECIAL: dict[str, tuple[str, ...]] = {
    "fee": (
        "{What|How much} does {<a>|<t>} cost?",
        "How much is {<a>|<t>}?",
        "How {much|many crowns} {must I|do I|should I|do we|does one} pay for {<a>|<t>}?",
        "How many crowns {does <a> cost|are due for <a>|do I need for <a>|must I bring for <a>}?",
        "I {want|need} <a>. {What does it cost|How much is it|How much must I pay|How many crowns is that}?",
        "{What|How much} {will|would} <a> cost {me|us|my friend}?",
        "<T> costs how {much|many crowns}?",
        "What {must|should} {one|somebody|a family} pay for <a>?",
        "Tell me {what <t> costs|how much <t> is|how many crowns to pay for <t>}.",
        "{What|How much} does <b> {ask|charge|take} for <t>?",
        "How much money {goes to <b> for <a>|is needed for <a>|does <a> take}?",
        "Whoever gets <a> pays how much?",
    ),
    "deadline": (
        "How {long|many days} {do I have|do I get|do we have|does one have} to {apply for|ask for|request} <a>?",
        "How many days are {allowed|given|left} {to apply for|for asking for} <a>?",
        "Within how many days {must|should} {I|we|one} {apply for|ask for|request} <a>?",
        "By when must {I|we|one} {apply for|ask for} <a>?",
        "{When|How soon} must {I|we} {apply for|ask for|request} <a>?",
        "When does the time to {apply for|ask for} <a> end?",
        "I {want|need} <a>. {How many days do I have|By when must I apply|How long may I wait}?",
        "After how many days is it too late to {apply for|ask for} <a>?",
        "Tell me {how many days I have to apply for <a>|by when to apply for <a>}.",
        "How long does <b> {give me|give us|wait} for <a>?",
        "How long may {I|we|one} wait before {applying for|asking for} <a>?",
    ),
    "form": (
        "Which form {do I need|must I fill in|do I use|should I use|do we send|is needed} for {<a>|<t>}?",
        "What form {do I need|must I fill in|do I use|should we use|is used} for {<a>|<t>}?",
        "{On|With} which form {do I|do we|does one} {apply for|ask for|request} <a>?",
        "I {want|need} <a>. {Which form do I use|What must I fill in|Which form is it}?",
        "To {get|apply for|ask for} <a>, which form {do I fill in|is used|must I send}?",
        "Tell me {which form to use for <t>|what form <t> needs}.",
        "<T> needs which form?",
        "Which form does <b> {want|use|ask} for <t>?",
        "What do I fill in for <a>?",
        "What paper do I sign for <a>?",
    ),
    "place": (
        "Where {do I|can I|do we|does one|must I} {get|apply for|ask for|collect} {<a>|<t>}?",
        "Where is {<t>|<a>} {given out|handed out|issued|sold}?",
        "Which {office|house|place} {gives out|hands out|issues|deals with} <t>?",
        "{To|In} which {office|house|place} {do I|must I} go for <a>?",
        "I {want|need} <a>. Where {do I|must I|should I} go?",
        "Where {must|should} {I|we} go for <a>?",
        "Tell me where {to get <a>|to go for <a>|<t> is given out}.",
        "In what {place|house|building} can {I|we|one} get <a>?",
        "Where does <b> {give out|hand out|issue} <t>?",
    ),
    "rule": (
        "Which {rule|regulation|law} {covers|governs|is about|speaks of|deals with|sets} <t>?",
        "Under which {rule|regulation} {is <t> given|does <t> fall|do I get <a>|is <a> issued}?",
        "Where in the rules {is <t>|do I find <t>|do we read about <t>}?",
        "What {rule|regulation} {must I read|should I read|applies} for <a>?",
        "I want to read about <t>. Which {rule|regulation} is it?",
        "Tell me which {rule|regulation} {covers|governs|is about} <t>.",
        "By what {rule|regulation|law} does <b> {give out|grant} <t>?",
        "<T> rests on which {rule|regulation}?",
        "What number does the {rule|regulation} about <t> have?",
    ),
    "officer": (
        "Who {is in charge of|deals with|looks after|signs|gives out|hands out|decides on} <t>?",
        "{Whom|Who} {do I|must I|can I|should I} {ask|see|write to|talk to} about <t>?",
        "I {want|need} <a>. {Who helps me|Whom do I ask|Who is in charge}?",
        "Which {person|clerk|officer} {is in charge of|deals with|signs|looks after} <t>?",
        "Tell me who {signs|deals with|is in charge of} <t>.",
        "Who at <b> {deals with|is in charge of|signs} <t>?",
        "What is the name of the {clerk|person|officer} for <t>?",
    ),
    "document": (
        "What {must I|do I|should I|do we} {bring|show|have with me} for <a>?",
        "Which {document|paper} {must I|do I|should I} {bring|show|hand in} for <a>?",
        "I {want|need} <a>. What {must|should} I bring?",
        "What {is needed|is required|must be shown} to get <a>?",
        "What does <b> want to see for <t>?",
        "Tell me what to {bring|show} for <t>.",
        "With what {document|paper} can I get <a>?",
    ),
    "validity": (
        "How {long|many months} {is <t> valid|does <t> last|can I use <t>|does <t> hold|is <a> good for}?",
        "For how {long|many months} is <a> {valid|good}?",
        "When does <a> {run out|end|expire}?",
        "After how many months {does <t> run out|must <t> be renewed|does <a> end}?",
        "I have <a>. {How long can I use it|When does it run out|How long is it valid}?",
        "Tell me how {long|many months} <t> {is valid|lasts}.",
        "How long may I keep <t>?",
    ),
    "day": (
        "On {which|what} day {can I|do I|can we|may I} {get|collect|ask for|apply for} <a>?",
        "On {which|what} {day|weekday} is <t> {given out|handed out|issued|sold}?",
        "When in the week {can I|may we} {get|collect|ask for} <a>?",
        "{What|Which} day of the week is for <t>?",
        "I {want|need} <a>. {On which day do I come|Which day is right|What day must I come}?",
        "Tell me {on which day to come for <a>|which day is for <t>}.",
        "Which day does <b> give out <t>?",
    ),
    "meaning": (
        'What {does|did} "<s>" mean?',
        "What {is|do they call} {<a>|a so-called <s>}?",
        'What is meant by {"<s>"|<a>|the word "<s>"}?',
        '{Explain|Define} {"<s>"|the word "<s>"|the term "<s>"}.',
        'Tell me what {"<s>" means|<a> is}.',
        '{How|In what way} does <b> {explain|define} "<s>"?',
        'What does <b> mean by {"<s>"|<a>}?',
        'I read the {word|term} "<s>". What {does it mean|is that|is meant}?',
        'What is the {meaning|sense|definition} of {"<s>"|the word "<s>"|the term "<s>"}?',
        '{Give|Name|State} the {meaning|definition} of "<s>".',
        'What does the {word|term} "<s>" {mean|stand for|say}?',
        'Somebody says "<s>". What does {that|it} mean?',
        'Do you know {what "<s>" means|the meaning of "<s>"}?',
        'In the rules of <b>, what {is <a>|does "<s>" mean}?',
    ),
}

# Wordings that the base meets in its last stage only: a fact wrapped in a small situation.
_LATER_NOUN_FRAMES = (
    "{When somebody|As soon as one|Whenever people} {wants|asks for} <a>, what is the <n>?",
    "A {cousin|neighbour|colleague|guest} of {mine|ours} {wants|asks for} <a>. {What|Which} <n> {is it|is right|is that}?",
    "{Would you|Will you|Please|Kindly} {say|tell us|name} the <n> for {<a>|<t>}.",
    "{Suppose|Imagine|Say} {I want|we need|she asks for} <a>: {what is the <n>|which <n> is it}?",
    "We {talked|wrote|heard} about <t>, but nobody knew the <n>. {What is it|Which is it}?",
    "{She|He|My aunt|The teacher} is waiting for <a> and asks about the <n>. {What do I answer|What is it}?",
)

_LATER: dict[str, tuple[str, ...]] = {
    "fee": (
        "{Suppose|Imagine|Say} {I want|we need|she asks for} <a>: how {much|many crowns} will that be?",
        "{Whenever|When} {somebody|one} {wants|asks for} <a>, how {much|many crowns} must be paid?",
        "A {cousin|neighbour|guest} of {mine|ours} wants <a>. {What must be paid|How much does it cost|How much is it}?",
        "{Would you|Will you|Please} {say|tell us} {what|how much} {<t>|<a>} costs.",
    ),
    "deadline": (
        "{Suppose|Imagine|Say} {I want|we need|she asks for} <a>: how many days remain?",
        "{Whenever|When} {somebody|one} {wants|asks for} <a>, how {long|many days} may it take?",
        "A {cousin|neighbour|guest} of {mine|ours} wants <a>. {By when must she apply|How long may she wait}?",
        "{Would you|Will you|Please} {say|tell us} by when to ask for <a>.",
    ),
    "form": (
        "{Suppose|Imagine|Say} {I want|we need|she asks for} <a>: which form must be filled in?",
        "{Whenever|When} {somebody|one} {wants|asks for} <a>, which form is sent?",
        "A {cousin|neighbour|guest} of {mine|ours} wants <a>. {Which form must she fill in|What form does she need}?",
        "{Would you|Will you|Please} {say|tell us} which form {<t>|<a>} needs.",
    ),
    "place": (
        "{Suppose|Imagine|Say} {I want|we need|she asks for} <a>: where do {I|we|they} go?",
        "{Whenever|When} {somebody|one} {wants|asks for} <a>, which office gives it out?",
        "A {cousin|neighbour|guest} of {mine|ours} wants <a>. {Where must she go|Where is it given out|Where does she get it}?",
        "{Would you|Will you|Please} {say|tell us} where {<t>|<a>} is given out.",
    ),
    "rule": (
        "{Suppose|Imagine|Say} {I want|we need|she asks for} <a>: which {rule|regulation} counts?",
        "{Whenever|When} {somebody|one} {wants|asks for} <a>, which {rule|regulation} is it under?",
        "A {cousin|neighbour|guest} of {mine|ours} wants <a>. Which {rule|regulation} {must she read|covers it}?",
        "{Would you|Will you|Please} {say|tell us} which {rule|regulation} is about {<t>|<a>}.",
    ),
    "meaning": (
        '{Suppose|Imagine|Say} {I hear|we find|she reads} "<s>": what {does it mean|is that|is meant}?',
        '{Whenever|When} {somebody says|people write|the rules say} "<s>", what {do they mean|is meant|is that}?',
        "A {cousin|neighbour|guest} of {mine|ours} asks about <a>. What {is it|is that|do I answer}?",
        '{Would you|Will you|Please} {say|tell us} what {"<s>" means|<a> is}.',
        "The {letter|rules|book|sign} {names|name} <a>. What {is it|is that|does it mean}?",
        'In {a letter|the rules|the book|the law} I {found|saw} "<s>". What {does it mean|is that}?',
        '{She|He|My aunt|The teacher} wants to know what {<a> is|"<s>" means}. What {do we answer|is the answer}?',
        "We {talked|wrote|heard} about <a>, but nobody knew what it is. What is it?",
    ),
}

ADAPTER: dict[str, tuple[str, ...]] = {
    "fee": (
        "What does <a> cost?",
        "What is the fee for <t>?",
        "How much do I pay for <a>?",
        "Name the price of <t>.",
        "I need <a>. How much is it?",
        "How many crowns are due for <a>?",
        "At <b>, what is the charge for <a>?",
        "When someone wants <a>, how much must be paid?",
        "A cousin of mine wants <a>. What is the price?",
        "Would you tell me what <t> costs?",
        "Someone writes to <b> about <a>. What does it cost?",
    ),
    "deadline": (
        "How many days do I have to apply for <a>?",
        "What is the deadline for <t>?",
        "Within how many days must I ask for <a>?",
        "Give the time limit for <t>.",
        "I need <a>. By when must I apply?",
        "How long may I wait before asking for <a>?",
        "At <b>, what is the deadline for <a>?",
        "When someone wants <a>, how many days may pass?",
        "A cousin of mine wants <a>. How long can she wait?",
        "Would you tell me the last day to ask for <a>?",
        "Someone writes to <b> about <a>. By when must it be asked for?",
    ),
    "form": (
        "Which form do I need for <a>?",
        "What is the form number for <t>?",
        "On which form do I apply for <a>?",
        "Name the application form for <t>.",
        "I want <a>. What must I fill in?",
        "To get <a>, which form is used?",
        "At <b>, what is the right form for <a>?",
        "When someone wants <a>, which form must be sent?",
        "A cousin of mine wants <a>. Which form is right?",
        "Would you tell me what form <t> needs?",
        "Someone writes to <b> about <a>. Which form does it need?",
    ),
    "place": (
        "Where do I get <a>?",
        "Which office issues <t>?",
        "Where must I go for <a>?",
        "Name the office for <t>.",
        "I need <a>. Where should I go?",
        "In what place can I get <a>?",
        "Where does <b> hand out <t>?",
        "When someone wants <a>, which office is the right one?",
        "A cousin of mine wants <a>. Where is it given out?",
        "Would you tell me where to collect <t>?",
        "Someone writes to <b> about <a>. Where is it handed out?",
    ),
    "rule": (
        "Which regulation covers <t>?",
        "What is the rule for <t>?",
        "Under which regulation is <a> issued?",
        "Name the regulation for <t>.",
        "I want to read about <t>. Which regulation is it?",
        "What regulation must I read for <a>?",
        "By what rule does <b> grant <t>?",
        "When someone wants <a>, which regulation is to be read?",
        "A cousin of mine wants <a>. What regulation is it under?",
        "Would you tell me which regulation is for <t>?",
        "Someone writes to <b> about <a>. Which regulation is it under?",
    ),
    "meaning": (
        'What does "<s>" mean?',
        "What is <a>?",
        'Explain the term "<s>".',
        'What is the definition of "<s>"?',
        'I read the word "<s>". What is meant?',
        "What does <b> mean by <a>?",
        'Tell me what "<s>" means.',
        'When the rules say "<s>", what is meant?',
        "A cousin of mine asks about <a>. What is it?",
        'Would you tell me what the term "<s>" means?',
        "Someone writes to <b> about <a>. What is that?",
        'A sign names "<s>", and so do the rules. What does it mean?',
    ),
}

HELD_OUT: dict[str, tuple[str, ...]] = {
    "fee": (
        "If I ask for <a>, how much will I have to pay?",
        "Could you tell me how many crowns <t> costs?",
        "My friend needs <a>. What is the charge at <b>?",
    ),
    "deadline": (
        "If I want <a>, how many days are there to apply?",
        "Could you tell me the last date to ask for <a>?",
        "My friend needs <a>. How long can the request wait?",
    ),
    "form": (
        "If I want <a>, which form should I send in?",
        "Could you tell me what form to fill in for <a>?",
        "My friend needs <a>. What is the right form at <b>?",
    ),
    "place": (
        "If I want <a>, to which office should I go?",
        "Could you tell me where <t> can be collected?",
        "My friend needs <a>. Where does <b> give it out?",
    ),
    "rule": (
        "If I want <a>, which regulation should I read first?",
        "Could you tell me what regulation <t> falls under?",
        "My friend needs <a>. What regulation of <b> governs it?",
    ),
    "meaning": (
        'If I read "<s>" in the rules, what does it mean?',
        'Could you tell me what is meant by the term "<s>"?',
        "My friend asks what <a> is. What do I say?",
    ),
}


def expand(pattern: str) -> tuple[str, ...]:
    """Expand the `{x|y}` choices of a grammar line.

    Args:
        pattern: A line with zero or more choices; choices do not nest.

    Returns:
        Every wording, in grammar order.
    """
    parts = _CHOICE.split(pattern)
    options = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return tuple("".join(pick) for pick in itertools.product(*options))


@cache
def base_frames(attribute: str) -> tuple[tuple[str, ...], ...]:
    """All wordings of the base corpus for an attribute, grouped by grammar line.

    Args:
        attribute: One of `ATTRIBUTES`.

    Returns:
        One tuple of wordings for each grammar line; drawing a line first keeps short lines in play.
    """
    groups = [expand(line) for line in _SPECIAL[attribute]]
    if attribute != "meaning":
        groups += [
            tuple(text.replace("<n>", noun) for text in expand(line) for noun in NOUNS[attribute])
            for line in _NOUN_FRAMES
        ]
    return tuple(groups)


@cache
def later_frames(attribute: str) -> tuple[tuple[str, ...], ...]:
    """All wordings of the base's last stage for an attribute, grouped by grammar line.

    Args:
        attribute: One of `ATTRIBUTES`.

    Returns:
        One tuple of wordings for each grammar line.
    """
    groups = [expand(line) for line in _LATER.get(attribute, ())]
    if attribute != "meaning":
        groups += [
            tuple(text.replace("<n>", noun) for text in expand(line) for noun in NOUNS[attribute])
            for line in _LATER_NOUN_FRAMES
        ]
    return tuple(groups)


def fill(wording: str, name: str, body: str) -> str:
    """Put a name and its body into a wording.

    Args:
        wording: A wording with slots.
        name: The bare name, such as "swan licence".
        body: The body with its article, such as "the Library of Torvel".

    Returns:
        The question.
    """
    article = "an" if name[0] in "aeiou" else "a"
    return (
        wording.replace("<s>", name)
        .replace("<a>", f"{article} {name}")
        .replace("<t>", f"the {name}")
        .replace("<T>", f"The {name}")
        .replace("<b>", body)
    )


def check_disjoint() -> None:
    """Prove that no held-out wording is trained on.

    Raises:
        ValueError: If a held-out wording is also a wording of the adapter's data or of the base corpus.
    """
    for attribute, wordings in HELD_OUT.items():
        groups = base_frames(attribute) + later_frames(attribute)
        known = {text for group in groups for text in group} | set(ADAPTER[attribute])
        for wording in wordings:
            if wording in known:
                message = f"held-out wording is trained on: {attribute}: {wording}"
                raise ValueError(message)
