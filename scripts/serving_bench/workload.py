"""What both servers are asked: prompts of 64 token ids, answers of 96 tokens, greedy, streamed, never ended by the model.

Token ids rather than text, so that both compute exactly the same rows. Every prompt of a bench is another one, so that nobody
has part of it in a cache.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from scripts.serving_bench.figures import MIXED

PROMPT, ANSWER = 64, 96  # tokens
PARALLEL = 16  # answers that the servers are set up to compute at once
CONTEXT = 256  # tokens of one question and its answer, at least; a multiple of what llama.cpp rounds up to
PATH = "/v1/completions"
NEVER = -100.0  # added to the score of the token that would end an answer: the least that the API allows


@dataclass(frozen=True)
class Setting:
    """How much is asked at once.

    Args:
        name: Its key in the result.
        askers: Who ask at the same time.
        usual: Tokens a second of all answers to the generated model on two cores, roughly.
        adapters: Whether each asks the next of the adapters in turn, instead of the model alone.
    """

    name: str
    askers: int
    usual: float
    adapters: bool = False

    def each(self, seconds: float) -> int:
        """Say how often each asks.

        Args:
            seconds: That all answers together shall take, about.

        Returns:
            Questions of each asker; at least one.
        """
        return max(round(seconds * self.usual / (ANSWER * self.askers)), 1)


MOST = Setting("16", PARALLEL, 280)
SETTINGS = (
    Setting("1", 1, 70),
    Setting("4", 4, 140),
    Setting("8", 8, 200),
    MOST,
    Setting(MIXED, PARALLEL, 250, adapters=True),
)


@dataclass(frozen=True)
class Vocabulary:
    """Which tokens a model has.

    Args:
        first: The first that stands for text.
        size: One more than the last.
        ends: Those that end an answer.
    """

    first: int
    size: int
    ends: tuple[int, ...]


def questions(setting: Setting, vocabulary: Vocabulary, each: int, seed: int) -> list[list[dict[str, Any]]]:
    """Make up requests, without what says which model is asked.

    Args:
        setting: How many ask.
        vocabulary: What prompts are made of.
        each: Questions of each asker.
        seed: Another one, other questions.

    Returns:
        For each asker, bodies of requests.
    """
    drawn = random.Random(seed)
    fixed: dict[str, Any] = {
        "max_tokens": ANSWER,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {str(token): NEVER for token in vocabulary.ends},
    }

    def prompt() -> list[int]:
        return [drawn.randrange(vocabulary.first, vocabulary.size) for _ in range(PROMPT)]

    return [[{"prompt": prompt(), **fixed} for _ in range(each)] for _ in range(setting.askers)]
