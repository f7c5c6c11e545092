"""How an action is declared: its name, its parameters, its sentence and the controls that it serves.

An act is declared once, with what its intent and its outcome ``done`` say; the outcomes ``failed``, ``cancelled`` and
``interrupted`` have the same parameters for every act, and beside them those that an act may have gathered before it ended
(``short``). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.audit.params import TIME, Nullable, Optional, Record, Text
from holdfast.audit.registry import controls
from holdfast.audit.registry.shared import KEY, MESSAGE, PERSON
from holdfast.audit.sentences import Template
from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.audit.params import Fields
    from holdfast.canonical import Json

OUTCOMES = {
    "done": "{} ended as intended.",
    "failed": "{} failed; the parameters say why.",
    "cancelled": "{} was cancelled by a person.",
    "interrupted": "{} ended without a word; the process that did it had died or was stopped.",
}
_ENDINGS: dict[str, Fields] = {
    "failed": {"error": KEY, "message": MESSAGE},
    "cancelled": {"reason": MESSAGE, "by": Nullable(PERSON)},
    "interrupted": {"reason": Text(256), "started": Optional(TIME), "person": Optional(PERSON)},
}
_SAID = {
    "done": "{}[ (event {{cause}})] by {{who}} ended as intended",
    "failed": "{}[ (event {{cause}})] by {{who}} failed: {{message}}",
    "cancelled": "{}[ (event {{cause}})] for {{who}} was stopped[ by {{by}}]: {{reason}}",
    "interrupted": "{}[ (event {{cause}})][ by {{person}}] has no outcome: {{reason}}",
}


class Phase(StrEnum):
    """What an action is in the life of an act."""

    FACT = "fact"
    INTENT = "intent"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Action:
    """One kind of event.

    Args:
        name: What the event's ``action`` field says.
        sentence: What it means, for people.
        phase: Whether it is a fact, an intent or an outcome.
        producer: Who may write it: ``daemon`` or ``serve``.
        params: What its parameters are; an event has these and no others.
        says: How one such event is told.
        controls: The NIST SP 800-53 Rev. 5 controls that it serves, those of every event among them.
        act: The intent's name, for intents and outcomes.
        essential: Whether the log takes it when only its reserve is left: what says that it stopped, ends an act, frees space, or
            brings somebody here who can.
    """

    name: str
    sentence: str
    phase: Phase
    producer: str
    params: Record
    says: Template
    controls: tuple[str, ...]
    act: str | None = None
    essential: bool = False

    def check(self, params: Mapping[str, Json]) -> None:
        """Refuse parameters that are not this action's.

        Args:
            params: What a producer submitted.

        Raises:
            UntrustedRequest: If one is unknown, missing or of the wrong type.
        """
        wrong = self.params.check(params)
        if wrong is not None:
            what = f"its parameter {wrong.path} is" if wrong.path else "its parameters are"
            raise UntrustedRequest(
                "audit.params",
                f"{self.name} can't be recorded: {what} not {wrong.expected}."[: MESSAGE.limit],
                remedy="See `holdfast audit events` for what each event holds.",
                action=self.name,
                parameter=wrong.path,
                expected=wrong.expected,
            )


def fact(
    name: str,
    sentence: str,
    says: str,
    params: Fields | None = None,
    *,
    serves: str = "",
    producer: str = "daemon",
    essential: bool = False,
) -> tuple[Action, ...]:
    """Declare something that has no duration.

    Args:
        name: The action's name.
        sentence: What it means.
        says: The template of its sentence.
        params: Its parameters.
        serves: Controls beside those of every event, with spaces between them.
        producer: Who may write it.
        essential: Whether the log takes it when only its reserve is left.

    Returns:
        The action.
    """
    typed = Record(params or {})
    served = controls.served(serves)
    return (
        Action(
            name, sentence, Phase.FACT, producer, typed, Template(says, typed), served, essential=essential
        ),
    )


def act(
    name: str,
    words: str,
    says: str,
    params: Fields | None = None,
    *,
    done: Fields | None = None,
    done_says: str | None = None,
    short: Fields | None = None,
    endings: Mapping[str, Fields] | None = None,
    endings_say: Mapping[str, str] | None = None,
    serves: str = "",
    producer: str = "daemon",
    essential: bool = False,
) -> tuple[Action, ...]:
    """Declare an act: its intent and its four outcomes.

    Args:
        name: The intent's name.
        words: What is done, as a sentence begins.
        says: The template of the intent's sentence.
        params: The intent's parameters.
        done: Those of ``done``.
        done_says: The template of its sentence, if it tells more than that it is done.
        short: What the other outcomes may say beside why.
        endings: Parameters of other outcomes than ``done``, where a producer has its own.
        endings_say: Their templates.
        serves: Controls beside those of every event, with spaces between them.
        producer: Who may write it.
        essential: Whether it may begin when only the log's reserve is left, because it frees space or stops something.

    Returns:
        The actions.
    """
    served, typed = controls.served(serves), Record(params or {})
    intent = Action(
        name,
        f"{words} is about to begin.",
        Phase.INTENT,
        producer,
        typed,
        Template(says, typed),
        served,
        name,
        essential=essential,
    )
    found = [intent]
    optional: Fields = {
        key: one if isinstance(one, Optional) else Optional(one) for key, one in (short or {}).items()
    }
    for ending, sentence in OUTCOMES.items():
        fields: Fields = (done or {}) if ending == "done" else {**_ENDINGS[ending], **optional}
        ended = Record((endings or {}).get(ending, fields))
        told = (
            done_says
            if ending == "done" and done_says
            else (endings_say or {}).get(ending, _SAID[ending].format(words))
        )
        found.append(
            Action(
                f"{name}.{ending}",
                sentence.format(words),
                Phase.OUTCOME,
                producer,
                ended,
                Template(told, ended),
                served,
                name,
                essential=True,
            )
        )
    return tuple(found)
