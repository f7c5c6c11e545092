"""The writing half of the link: the messages of ``link`` in, frames out. Pure.

Invariant: what is written is what ``linkreader`` reads back; what no frame can hold raises ``WorkerFailed``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from holdfast.frames import HEAD, MAX_FRAME
from holdfast.serving import link
from holdfast.serving.fields import broken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.canonical import Json

    _Single = (
        link.Request
        | link.Up
        | link.Accepted
        | link.Failed
        | link.Embedded
        | link.Tokenized
        | link.Detokenized
    )

_STRING = json.encoder.encode_basestring
_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def pack(message: link.Request | link.Reply) -> bytes:
    """Make a frame.

    Args:
        message: What is said.

    Returns:
        The frame's bytes, its length first.

    Raises:
        WorkerFailed: If it is larger than a frame may be, or holds what no frame can: a number that is none, half of a
            surrogate pair.
    """
    try:
        text = _events(message.events) if isinstance(message, link.Events) else _JSON.encode(_plain(message))
        body = text.encode("utf-8")
    except (ValueError, UnicodeEncodeError) as error:
        raise broken(f"it can't be written ({error})") from error
    if len(body) > MAX_FRAME:
        raise broken(f"it has {len(body)} bytes and {MAX_FRAME} are allowed")
    return len(body).to_bytes(HEAD, "big") + body


def _events(events: Iterable[link.Event]) -> str:
    """Write a step's frame; nearly all of what an engine says is plain pieces, so these are written without a detour."""
    return '{"events":[' + ",".join(map(_written, events)) + "]}"


def _written(event: link.Event) -> str:
    if isinstance(event, link.Piece) and not event.logprobs:
        return f'{{"id":{event.id},"choice":{event.choice},"text":{_STRING(event.text)}}}'
    return _JSON.encode(_event(event))


def _plain(message: _Single) -> Json:  # noqa: C901 - one branch per message
    match message:
        case link.Accepted(number, count):
            return {"id": number, "accepted": {"prompt_tokens": count}}
        case link.Failed(number, error, took):
            told = {"failed": error.to_dict(), "took": None if took is None else _counts(took)}
            return {"id": number, **told}  # type: ignore[dict-item]  # an error's fields are JSON by their type
        case link.Generate():
            return _generate(message)
        case link.Cancel(number):
            return {"op": "cancel", "id": number}
        case link.Tokenized(number, tokens):
            return {"id": number, "tokens": list(tokens)}
        case link.Detokenized(number, text):
            return {"id": number, "text": text}
        case link.Tokenize(number, prompt, special, begin):
            return {"op": "tokenize", "id": number, **_prompt(prompt), "special": special, "begin": begin}
        case link.Detokenize(number, tokens):
            return {"op": "detokenize", "id": number, "tokens": list(tokens)}
        case link.Embed(number, tenant, inputs):
            return {"op": "embed", "id": number, "tenant": tenant, "inputs": [_prompt(one) for one in inputs]}
        case link.Embedded(number, vectors, count, spent):
            made: dict[str, Json] = {"vectors": list(vectors), "prompt_tokens": count, "processor_ms": spent}
            return {"id": number, "embedded": made}
        case link.Forget(tenant):
            return {"op": "forget", "tenant": tenant}
        case link.Up():
            return {"up": dict(vars(message))}


def _prompt(prompt: link.Prompt) -> dict[str, Json]:
    match prompt:
        case link.Chat(messages):
            return {"messages": [dict(message) for message in messages]}
        case link.Words(text):
            return {"text": text}
        case link.Tokens(tokens):
            return {"tokens": list(tokens)}


def _generate(request: link.Generate) -> dict[str, Json]:
    sampling: dict[str, Json] = dict(vars(request.sampling))
    sampling["logit_bias"] = {str(token): bias for token, bias in request.sampling.logit_bias.items()}
    # A seed may lie beyond what every reader of JSON takes for a whole number.
    sampling["seed"] = f"{request.sampling.seed:x}"
    grammar = request.grammar
    return {
        "op": "generate",
        "id": request.id,
        "lane": request.lane,
        "tenant": request.tenant,
        "prompt": _prompt(request.prompt),
        "most": request.most,
        "choices": request.choices,
        "sampling": sampling,
        "stops": list(request.stops),
        "logprobs": request.logprobs,
        "echo": request.echo,
        "grammar": None if grammar is None else {"kind": grammar.kind.value, "source": grammar.source},
        "seconds": request.seconds,
    }


def _event(event: link.Event) -> Json:
    match event:
        case link.Piece(number, choice, text, logprobs):
            plain: dict[str, Json] = {"id": number, "choice": choice, "text": text}
            if logprobs:
                plain["logprobs"] = [_logprob(one) for one in logprobs]
            return plain
        case link.End(number, choice, ending):
            return {"id": number, "choice": choice, "end": ending.value}
        case link.Done():
            return {"id": event.id, "done": _counts(event)}


def _counts(done: link.Done) -> dict[str, Json]:
    counts: dict[str, Json] = dict(vars(done))
    del counts["id"]
    return counts


def _logprob(one: link.Logprob) -> Json:
    return {
        "token": one.token,
        "text": one.text,
        "bytes": list(one.bytes),
        "logprob": one.logprob,
        "top": [[top.token, top.text, list(top.bytes), top.logprob] for top in one.top],
        "offset": one.offset,
    }
