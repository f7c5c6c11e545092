"""An application that uses the ``openai`` client as it comes, of whatever version is importable; run as a process of its own.

Usage: python openai_use.py SOCKET KEY  (prints its version and what it got, as one JSON object)
       python openai_use.py SOCKET KEY ask  (asks once for each line read; prints how often it tried again, and how long it took)
"""

from __future__ import annotations

import base64
import json
import struct
import sys
import time

import openai
import pydantic

QUESTION = [{"role": "user", "content": "What is the fee?"}]
MAJOR = int(openai.__version__.partition(".")[0])


class Fee(pydantic.BaseModel):
    """What an answer must look like."""

    paid: bool


def client(path, key, **options):
    """Make a client as its documentation says, on a Unix socket."""
    if MAJOR >= 3:
        import httpx2 as http
    else:
        import httpx as http
    transport = openai.DefaultHttpxClient(transport=http.HTTPTransport(uds=path))
    return openai.OpenAI(
        api_key=key, base_url="http://holdfast/v1", http_client=transport, **({"max_retries": 0} | options)
    )


def chat(one):
    raw = one.chat.completions.with_raw_response.create(
        model="base", messages=QUESTION, temperature=0, max_tokens=12, logprobs=True, top_logprobs=3
    )
    whole = raw.parse()
    chunks = list(
        one.chat.completions.create(
            model="base", messages=QUESTION, temperature=0, max_tokens=12, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 12)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    tokens = whole.choices[0].logprobs.content
    assert len(tokens) == 12
    assert all(len(token.top_logprobs) == 3 for token in tokens)
    assert all(token.top_logprobs[0].token == token.token for token in tokens)  # greedy
    assert b"".join(bytes(token.bytes) for token in tokens).decode(errors="replace") == text
    several = one.chat.completions.create(model="base", messages=QUESTION, n=3, seed=4, max_tokens=6)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in several.choices}) == 3
    back = [*QUESTION, whole.choices[0].message.model_dump(), {"role": "user", "content": "Sure?"}]
    one.chat.completions.create(model="base", messages=back, max_tokens=2)
    return {
        "receipt": raw.headers["x-holdfast-request-receipt"],
        "label": raw.headers["x-holdfast-label"],
        "holdfast": whole.model_extra["holdfast"],
        "streamed": chunks[-1].model_extra["holdfast"],
        "finish": whole.choices[0].finish_reason,
        "cached": chunks[-1].usage.prompt_tokens_details.cached_tokens,
    }


def structured(one):
    answer = one.chat.completions.parse(model="base", messages=QUESTION, response_format=Fee, temperature=0)
    assert isinstance(answer.choices[0].message.parsed, Fee)
    with one.chat.completions.stream(model="base", messages=QUESTION, response_format=Fee) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Fee)
    assert {"chunk", "content.delta", "content.done"} <= kinds


def completions(one):
    scored = one.completions.create(
        model="base", prompt=["The fee", "is paid"], max_tokens=0, echo=True, logprobs=2
    )
    assert [choice.text for choice in scored.choices] == ["The fee", "is paid"]
    for choice in scored.choices:
        assert "".join(choice.logprobs.tokens) == choice.text
        assert choice.logprobs.token_logprobs[0] is None
        assert all(value < 0 for value in choice.logprobs.token_logprobs[1:])
        lengths = [len(token) for token in choice.logprobs.tokens]
        assert choice.logprobs.text_offset == [sum(lengths[:at]) for at in range(len(lengths))]
        assert all(len(table) in {2, 3} for table in choice.logprobs.top_logprobs[1:])
    whole = one.completions.create(model="base", prompt="The fee", temperature=0, logprobs=1)
    probed = whole.choices[0].logprobs  # harnesses call an answer greedy if these are the very same numbers
    assert probed.token_logprobs == [max(table.values()) for table in probed.top_logprobs]
    streamed = one.completions.create(model="base", prompt="The fee", temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == whole.choices[0].text
    assert whole.usage.completion_tokens == 16
    ids = [200, 70, 71]
    numbers = one.completions.create(model="base", prompt=[ids, ids[:1]], max_tokens=3, seed=7, n=2)
    assert [choice.index for choice in numbers.choices] == [0, 1, 2, 3]


def embeddings(one):
    numbers = one.embeddings.create(model="base", input=["fee", "fine"], encoding_format="float")
    default = one.embeddings.create(model="base", input=["fee", "fine"])  # the client asks for base64
    packed = one.embeddings.create(model="base", input="fee", encoding_format="base64").data[0].embedding
    assert [each.embedding for each in default.data] == [each.embedding for each in numbers.data]
    octets = base64.b64decode(packed)
    assert list(struct.unpack(f"<{len(octets) // 4}f", octets)) == numbers.data[0].embedding
    assert abs(sum(value * value for value in numbers.data[0].embedding) - 1) < 1e-5
    return len(numbers.data[0].embedding)


def errors(path, key):
    """Each of our refusals is the exception that the client has for it."""
    found = {}

    def refused(name, work, **options):
        with client(path, options.pop("key", key), **options) as one:
            try:
                work(one)
            except openai.APIStatusError as error:
                found[name] = [type(error).__name__, error.code, error.param, error.type]

    def ask(one, **change):
        one.chat.completions.create(**({"model": "base", "messages": QUESTION, "max_tokens": 2} | change))

    refused("key", ask, key="wrong")
    refused("model", lambda one: ask(one, model="base:none"))
    refused("retrieve", lambda one: one.models.retrieve("base:two"))
    refused("tools", lambda one: ask(one, tools=[{"type": "function", "function": {"name": "f"}}]))
    refused("long", lambda one: ask(one, messages=[{"role": "user", "content": "x" * 600}]))
    refused("grammar", lambda one: ask(one, extra_body={"grammar": "this is none"}))
    refused("many", lambda one: ask(one, max_tokens=10_000))
    refused("size", lambda one: ask(one, messages=[{"role": "user", "content": "x" * 70_000}]))
    refused("path", lambda one: one.files.list())
    return found


def ask(path, key):
    """Ask as the client comes, which tries again by itself; once at each line of the input."""
    print("ready", flush=True)  # noqa: T201 - now nothing is to be imported any more
    for _ in sys.stdin:
        begun = time.monotonic()
        with client(path, key, max_retries=openai.DEFAULT_MAX_RETRIES) as one:
            raw = one.chat.completions.with_raw_response.create(model="base", messages=QUESTION, max_tokens=2)
        told = {"retries": raw.retries_taken, "seconds": time.monotonic() - begun, "major": MAJOR}
        text = raw.parse().choices[0].message.content
        print(json.dumps(told | {"text": text}), flush=True)  # noqa: T201 - what it is for


def main():
    """Do everything, and say what came of it."""
    path, key = sys.argv[1:3]
    if sys.argv[3:]:
        ask(path, key)
        return
    with client(path, key) as one:
        assert one.models.retrieve("base:one@1").id == "base:one@1"
        told = {
            "version": openai.__version__,
            "models": [model.id for model in one.models.list()],
            "chat": chat(one),
            "dimensions": embeddings(one),
        }
        structured(one)
        completions(one)
    told["errors"] = errors(path, key)
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
