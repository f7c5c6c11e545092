"""From what an application asked to what an engine is asked, and to what the record keeps of it.

Invariant: what is kept says every setting with its value, the drawn seed among them, so that asking it again gives the same
answer. A schema is kept as text, for the order of its members decides the order of the answer's.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.serving import link
from holdfast.serving.api.parameters import ObjectFormat, SchemaFormat
from holdfast.serving.api.reading import refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.serving.api.parameters import Generation
    from holdfast.serving.api.requests import ChatRequest, CompletionRequest


class Wanted:
    """What an application asked for, with every setting decided.

    Args:
        asked: The request.
        new_tokens: Tokens of an answer that are allowed at most.

    Raises:
        UntrustedRequest: If more tokens are asked for than are allowed.
    """

    def __init__(self, asked: ChatRequest | CompletionRequest, new_tokens: int) -> None:
        if asked.most is not None and asked.most > new_tokens:
            raise refused(
                "max_tokens",
                f"An answer of {asked.most} tokens is asked for; {new_tokens} are allowed.",
                "invalid_value",
            )
        self._asked = asked
        self._most = asked.most
        if asked.most is None and asked.default is not None:
            self._most = min(asked.default, new_tokens)
        self._seed = secrets.randbelow(canonical.MAX_SAFE_INTEGER) if asked.seed is None else asked.seed
        self._sampling = _sampling(asked, self._seed)
        self._grammar = _grammar(asked)

    def asks(
        self,
        prompts: Sequence[link.Prompt],
        lane: str,
        tenant: str,
        *,
        logprobs: int | None,
        echo: bool,
    ) -> tuple[link.Generate, ...]:
        """Write what the engine is asked.

        Args:
            prompts: What is answered.
            lane: The engine's name for the adapter.
            tenant: Whose request it is.
            logprobs: Alternatives for each token; None for no log-probabilities.
            echo: Whether the prompt comes first.

        Returns:
            One for each prompt; the desk gives them numbers and their time.
        """
        return tuple(
            link.Generate(
                id=0,
                lane=lane,
                tenant=tenant,
                prompt=prompt,
                most=self._most,
                sampling=self._sampling,
                seconds=0,
                choices=self._asked.choices,
                stops=self._asked.stops,
                logprobs=logprobs,
                echo=echo,
                grammar=self._grammar,
            )
            for prompt in prompts
        )

    def document(self, model: str, given: dict[str, Json]) -> bytes:
        """Write what is kept of the request.

        Args:
            model: The model id asked.
            given: What is answered, and what only this kind of request has.

        Returns:
            Canonical JSON.
        """
        sampling, grammar = self._sampling, self._grammar
        return canonical.encode(
            {
                **given,
                "model": model,
                "max_tokens": self._most,
                "n": self._asked.choices,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
                "repetition_penalty": sampling.repetition_penalty,
                "presence_penalty": sampling.presence_penalty,
                "frequency_penalty": sampling.frequency_penalty,
                "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()},
                "seed": self._seed,
                "stop": list(self._asked.stops),
                "grammar": None
                if grammar is None
                else {"kind": grammar.kind.value, "source": grammar.source},
                "user": self._asked.user,
            }
        )


def _sampling(asked: Generation, seed: int) -> link.Sampling:
    plain = link.Sampling()

    def chosen(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    return link.Sampling(
        temperature=chosen(asked.temperature, plain.temperature),
        top_p=chosen(asked.top_p, plain.top_p),
        top_k=plain.top_k if asked.top_k is None else asked.top_k,
        min_p=chosen(asked.min_p, plain.min_p),
        repetition_penalty=chosen(asked.repetition_penalty, plain.repetition_penalty),
        presence_penalty=chosen(asked.presence_penalty, plain.presence_penalty),
        frequency_penalty=chosen(asked.frequency_penalty, plain.frequency_penalty),
        logit_bias={int(token): bias for token, bias in (asked.logit_bias or {}).items()},
        seed=seed % (link.MAX_SEED + 1),
    )


def _grammar(asked: Generation) -> link.Grammar | None:
    if asked.grammar is not None:
        return link.Grammar(link.GrammarKind.GBNF, asked.grammar)
    if asked.regex is not None:
        return link.Grammar(link.GrammarKind.REGEX, asked.regex)
    wanted = asked.response_format
    if isinstance(wanted, SchemaFormat):
        source = json.dumps(wanted.json_schema.schema_, ensure_ascii=False, separators=(",", ":"))
        return link.Grammar(link.GrammarKind.JSON_SCHEMA, source)
    return link.Grammar(link.GrammarKind.JSON) if isinstance(wanted, ObjectFormat) else None
