"""From a request as it crossed the link to one that can be computed: tokens, bounds, grammar. Any thread may call it.

Invariants: what passes has a prompt of at least one token that fits, with its answer, into the context; ids that a client
named are in the vocabulary; a grammar is compiled; nothing here computes with the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle, UntrustedRequest
from holdfast.serving import link
from holdfast.serving.engine import conversation
from holdfast.serving.engine.asked import Asked
from holdfast.serving.engine.embedder import generates
from holdfast.serving.engine.grammar import Grammars
from holdfast.serving.engine.template import MAX_TEMPLATE, ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.serving.engine.llama import Weights
    from holdfast.serving.engine.speech import Speech
    from holdfast.serving.spec import Limits


class Reception:
    """Reads requests for one model.

    Args:
        weights: The open model.
        limits: How much one request may take.

    Raises:
        UntrustedBundle: If its chat template can't be used.
    """

    def __init__(self, weights: Weights, limits: Limits) -> None:
        self._vocabulary = weights.vocabulary
        self._context = weights.spec.context
        self._limits = limits
        self._generates = generates(weights)
        self._template = _template(weights) if self._generates else None
        self._grammars = Grammars(weights.vocabulary)

    @property
    def chat(self) -> bool:
        """Whether messages can be answered."""
        return self._template is not None

    def close(self) -> None:
        """End what compiles grammars."""
        self._grammars.close()

    def forget(self, tenant: str | None) -> None:
        """Let go of what is kept of a tenant's requests.

        Args:
            tenant: Whose; None for everybody's.
        """
        self._grammars.forget(tenant)

    def ask(
        self,
        request: link.Generate,
        received: float,
        emit: Callable[[link.Event | link.Failed | Speech], None],
    ) -> Asked:
        """Read a request for answers.

        Args:
            request: The request.
            received: When it came, in monotonic seconds.
            emit: Takes what it gives.

        Returns:
            What is to be computed.

        Raises:
            UntrustedRequest: If it can't be: the fields ``param`` and ``code`` are those of OpenAI's errors.
        """
        if not self._generates:
            raise UntrustedRequest(
                "serve.no-answers",
                "The model gives embeddings and no answers.",
                remedy="Use /v1/embeddings.",
                param="model",
                code="no_completions",
            )
        prompt = self._read(request.prompt, special=True, begin=True)
        text = ""
        if request.echo:
            given = request.prompt
            text = given.text if isinstance(given, link.Words) else self._text(prompt)
        return Asked(
            request=request,
            prompt=prompt,
            text=text,
            most=self._room(len(prompt), request),
            grammar=None
            if request.grammar is None
            else self._grammars.state(request.grammar, request.tenant),
            emit=emit,
            received=received,
        )

    def tokenize(self, request: link.Tokenize) -> tuple[int, ...]:
        """Turn text or messages into token ids.

        Args:
            request: Which.

        Returns:
            The ids.

        Raises:
            UntrustedRequest: If the model can't express the messages.
        """
        return tuple(self._read(request.prompt, special=request.special, begin=request.begin))

    def detokenize(self, request: link.Detokenize) -> str:
        """Turn token ids into text.

        Args:
            request: Which.

        Returns:
            The text.

        Raises:
            UntrustedRequest: If the vocabulary does not have one of them.
        """
        return self._vocabulary.detokenize(request.tokens)

    def _read(self, prompt: link.Prompt, *, special: bool, begin: bool) -> Sequence[int]:
        match prompt:
            case link.Tokens(tokens):
                self._vocabulary.check(tokens)
                return tokens
            case link.Words(text):
                return self._vocabulary.tokenize(text, begin=begin, special=special)
            case link.Chat(messages):
                if self._template is None:
                    raise UntrustedRequest(
                        "serve.no-template",
                        "The model has no chat template.",
                        remedy="Use /v1/completions.",
                        param="model",
                        code="no_chat_template",
                    )
                return conversation.tokens(self._template, self._vocabulary, messages)

    def _text(self, tokens: Sequence[int]) -> str:
        pieces = [self._vocabulary.piece(token) for token in tokens]
        return b"".join(pieces).decode("utf-8", "replace")

    def _room(self, prompt: int, request: link.Generate) -> int:
        """Give the most tokens of the answer, or refuse with the numbers."""
        scored = request.most == 0  # a prompt that is only scored may fill the context
        longest = min(self._limits.prompt_tokens, self._context - (0 if scored else 1))
        if not 0 < prompt <= longest:
            raise UntrustedRequest(
                "serve.prompt-length",
                f"The prompt has {prompt} tokens; 1 to {longest} are allowed (the context has {self._context}).",
                remedy="Send a prompt that fits.",
                param="messages" if isinstance(request.prompt, link.Chat) else "prompt",
                code="context_length_exceeded" if prompt else "empty_prompt",
                prompt_tokens=prompt,
                allowed_tokens=longest,
                context_tokens=self._context,
            )
        if request.most is not None and request.most > self._limits.new_tokens:
            raise UntrustedRequest(
                "serve.answer-length",
                f"An answer of {request.most} tokens is asked for; {self._limits.new_tokens} are allowed.",
                remedy="Ask for fewer.",
                param="max_tokens",
                code="invalid_value",
            )
        wanted = self._limits.new_tokens if request.most is None else request.most
        return min(wanted, self._context - prompt)


def _template(weights: Weights) -> ChatTemplate | None:
    """Read the chat template: the model's own file of one, else that of its metadata."""
    source, given = weights.template(), weights.spec.template
    if given is not None:
        try:
            with Path(given).open(encoding="utf-8") as file:
                source = file.read(MAX_TEMPLATE + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise UntrustedBundle(
                "serve.template",
                f"The chat template of {weights.spec.id} can't be read: {error}.",
                remedy="Import the model again.",
            ) from error
    return None if source is None else ChatTemplate(source, weights.vocabulary.special_texts())
