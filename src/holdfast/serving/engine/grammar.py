"""What an answer must look like: grammars compiled by llguidance, and the tokens that they allow next.

A grammar is a program that a client wrote, so everything about it is bounded: its source, its nesting, the work and the
time of compiling it, and the processor time of following it. Order of operations: the source is checked here; a thread
compiles it, with a stack large enough for whatever a source of that size can nest, and computes the first set of tokens, so
that a grammar that allows nothing is refused at once; what it came to is kept by source, refusals too; each answer follows
a copy of its own.

Invariants: the tokens that end an answer are allowed exactly where the grammar may end; no other control token ever is;
what can't be compiled or followed within the bounds is refused with ``serve.grammar`` and the reason, and costs nobody else
an answer.

Source: llguidance's documentation (JSON schema support, Lark dialect, parser limits); JSON Schema 2020-12. Shapes: V =
vocabulary.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlowError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import llguidance
import numpy as np
import numpy.typing as npt

from holdfast import canonical
from holdfast.errors import UntrustedRequest
from holdfast.serving.engine import gbnf
from holdfast.serving.link import Grammar, GrammarKind

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.serving.engine.logprobs import Scores
    from holdfast.serving.engine.vocabulary import Vocabulary

MAX_SOURCE = 64 * 2**10  # characters; what people write has some thousand
MAX_PATTERN = 4 * 2**10  # characters of one regular expression, alone or in a schema
MAX_PATTERNS = 64  # regular expressions of a schema; llguidance compares them in pairs
MAX_MEETING = 8  # of them where one text may have to match several: with 30 it would take minutes
MAX_PATTERNS_LENGTH = 16 * 2**10  # characters of all of them
MAX_SCHEMAS = 1000  # schemas in a schema: fields, items, alternatives
MAX_CHOICES = 200  # of one anyOf, oneOf or allOf
COMPILE_SECONDS = 5.0  # that a request waits for its grammar; known good ones take milliseconds
FOLLOW_SECONDS = 1.0  # of processor time for one answer, and
FOLLOW_SECONDS_PER_TOKEN = 0.004  # more for each token: a tenth of a step
COMPILERS = 2  # threads, so that a slow grammar does not keep a quick one waiting
KEPT = 32  # grammars of an engine; an application has a few, and hostile ones take up to 15 MB each
STACK = 64 * 2**20  # bytes; a source of ``MAX_SOURCE`` needs less than half of it
_SPACES = r"[\x20\x0A\x0D\x09]{1,20}"  # between the parts of JSON; unbounded, a model may write nothing else
_CHOICES = frozenset({"anyOf", "oneOf", "allOf"})
_PATTERNS = frozenset({"pattern", "format"})
_MEETING = _CHOICES | _PATTERNS | {"$ref"}
_OPTIONS = "x-guidance"  # a schema must not set the compiler's options
_MARK = b"\xff"  # what llguidance wants before the names of control tokens: no UTF-8 has it
_MAX_ROW = 2000  # items of the parser's table for one character; more are ambiguities upon ambiguities
_COMPILE_FUEL = 100_000  # about 2 ms; with more, a repetition of repetitions grows for seconds
_STEP_FUEL = 100_000  # about 7 ms
_STEP_ITEMS = 10_000  # less than 10 ms
_STATES = 10_000  # of the lexer; at most 20 MB
_SYMBOLS = 100_000  # of the grammar
_BITS = 8
_ALL_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
# For each byte of a bit mask, what is added to the scores of its eight tokens.
_ADDED = np.where(_ALL_BITS == 1, 0.0, -np.inf).astype(np.float32)


class Grammars:
    """The grammars of one engine.

    Args:
        vocabulary: The model's.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._kept: OrderedDict[tuple[str, Grammar], Future[llguidance.LLMatcher | str]] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._tokenizer: llguidance.LLTokenizer | None = None
        before = threading.stack_size(STACK)
        try:
            self._compiler = ThreadPoolExecutor(COMPILERS, thread_name_prefix="grammar")
            together = threading.Barrier(COMPILERS + 1)  # starts all threads while the size holds
            for _ in range(COMPILERS):
                self._compiler.submit(together.wait)
            together.wait()
        finally:
            threading.stack_size(before)

    def close(self) -> None:
        """End the compiling thread once it is idle."""
        self._compiler.shutdown(wait=True, cancel_futures=True)

    def forget(self, tenant: str | None) -> None:
        """Let go of the grammars that a tenant had compiled.

        Args:
            tenant: Whose; None for everybody's.
        """
        with self._lock:
            for kept in [one for one in self._kept if tenant in {None, one[0]}]:
                del self._kept[kept]

    def state(self, grammar: Grammar, tenant: str) -> State:
        """Compile a grammar, or find it compiled.

        Args:
            grammar: Its kind and source.
            tenant: Who asks; what another tenant had compiled is compiled again, for else its time would tell of theirs.

        Returns:
            The grammar at its beginning.

        Raises:
            UntrustedRequest: If it is no grammar, is beyond the bounds, allows nothing, or takes too long.
        """
        with self._lock:
            future = self._kept.get((tenant, grammar))
            if future is None:
                future = self._kept[tenant, grammar] = self._compiler.submit(self._compile, grammar)
            self._kept.move_to_end((tenant, grammar))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        try:
            matcher = future.result(COMPILE_SECONDS)
        except TooSlowError as error:
            with self._lock:
                if future.cancel():  # it had not begun: it waits no longer, and may be asked for again
                    self._kept.pop((tenant, grammar), None)
            raise _refused(f"it was not ready after {COMPILE_SECONDS:g} seconds") from error
        except CancelledError as error:  # another request gave it up
            raise _refused(f"it was not ready after {COMPILE_SECONDS:g} seconds") from error
        if isinstance(matcher, str):
            raise _refused(matcher)
        return State(matcher, self._vocabulary.size).fresh()

    def _compile(self, grammar: Grammar) -> llguidance.LLMatcher | str:
        """Give the compiled grammar, or why it is refused."""
        try:
            return self._compiled(grammar)
        except gbnf.BadGrammarError as error:
            return str(error)

    def _compiled(self, grammar: Grammar) -> llguidance.LLMatcher:
        if not self._vocabulary.end_tokens:
            raise gbnf.BadGrammarError("the model has no token that ends an answer")
        source = _internal(grammar)
        with self._making:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._vocabulary)
        limits = llguidance.LLParserLimits(
            max_items_in_row=_MAX_ROW,
            initial_lexer_fuel=_COMPILE_FUEL,
            step_lexer_fuel=_STEP_FUEL,
            step_max_items=_STEP_ITEMS,
            max_lexer_states=_STATES,
            max_grammar_size=_SYMBOLS,
            verbose_errors=False,
        )
        matcher = llguidance.LLMatcher(self._tokenizer, source, log_level=0, limits=limits)
        if not matcher.is_error():
            matcher.compute_bitmask()  # kept by the matcher; fails for what allows nothing
        if matcher.is_error():
            raise gbnf.BadGrammarError(_reason(matcher))
        return matcher


class State:
    """How far one answer has come in its grammar.

    Args:
        matcher: llguidance's.
        size: V.
    """

    def __init__(self, matcher: llguidance.LLMatcher, size: int) -> None:
        self._matcher = matcher
        self._size = size
        self._spent = 0.0  # seconds of processor time
        self._tokens = 0
        self._room: npt.NDArray[np.float32] | None = None

    def fresh(self) -> State:
        """Give another state at the same place, with an allowance of its own.

        Returns:
            The copy.
        """
        return State(self._matcher.deep_copy(), self._size)

    def mask(self) -> Scores:
        """Say which tokens may come next.

        Returns:
            What is to be added to the scores, [V]: 0, or minus infinity for what is not allowed. It is the caller's until
            the next call.

        Raises:
            UntrustedRequest: If it can't be said within the bounds.
        """
        began = time.thread_time()
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._spent += time.thread_time() - began
        if self._matcher.is_error():
            raise _refused(_reason(self._matcher))
        if self._spent > FOLLOW_SECONDS + self._tokens * FOLLOW_SECONDS_PER_TOKEN:
            raise _refused("it takes too long to follow")
        if self._room is None or len(self._room) != len(bits):
            self._room = np.empty((len(bits), _BITS), np.float32)
        # Bytes are never out of bounds; without the check for it this takes a tenth of the time.
        np.take(_ADDED, bits, axis=0, out=self._room, mode="clip")
        return self._room.reshape(-1)[: self._size]

    def accept(self, token: int) -> None:
        """Go on by a token that the mask allows.

        Args:
            token: Its id.

        Raises:
            UntrustedRequest: If the grammar can't go on within the bounds.
        """
        began = time.thread_time()
        taken = self._matcher.consume_token(token)
        self._spent += time.thread_time() - began
        self._tokens += 1
        if not taken:
            raise _refused(_reason(self._matcher))


def _internal(grammar: Grammar) -> str:
    """Rewrite a source in llguidance's own form."""
    if len(grammar.source) > MAX_SOURCE:
        raise gbnf.BadGrammarError(f"it has {len(grammar.source)} characters and {MAX_SOURCE} are allowed")
    match grammar.kind:
        case GrammarKind.JSON:
            return _of_schema({"type": "object"})
        case GrammarKind.JSON_SCHEMA:
            return _of_schema(_schema(grammar.source))
        case GrammarKind.GBNF:
            return llguidance.LLMatcher.grammar_from_lark(gbnf.to_lark(grammar.source))
        case GrammarKind.REGEX:
            _check_pattern(grammar.source)
            return llguidance.LLMatcher.grammar_from_regex(grammar.source)


def _schema(source: str) -> Json:
    try:
        data = source.encode()
    except UnicodeEncodeError as error:
        raise gbnf.BadGrammarError("it holds half of a surrogate pair") from error
    try:
        schema = canonical.decode(
            data, limit=4 * MAX_SOURCE, what="the schema", error=UntrustedRequest, wide=True
        )
    except UntrustedRequest as error:
        raise gbnf.BadGrammarError(error.message.rstrip(".")) from error
    if not isinstance(schema, dict):  # llguidance sets no options for true and false, which are schemas too
        raise gbnf.BadGrammarError("the schema is no object")
    counted = _Counted()
    counted.read(schema)
    _at_most("schemas", counted.schemas, MAX_SCHEMAS)
    _at_most("patterns and formats", len(counted.patterns), MAX_PATTERNS)
    _at_most("characters of patterns", sum(map(len, counted.patterns)), MAX_PATTERNS_LENGTH)
    if counted.meet:
        _at_most(
            "patterns and formats, of which several must hold at once,", len(counted.patterns), MAX_MEETING
        )
    return schema


@dataclass
class _Counted:
    """What makes a schema expensive.

    Args:
        schemas: Schemas in it: fields, items, alternatives.
        patterns: Its regular expressions; a format is one too.
        meet: Whether one text may have to match several of them: those of an ``allOf``, or of keywords beside one another.
    """

    schemas: int = 0
    patterns: list[str] = field(default_factory=list)
    meet: bool = False

    def read(self, node: Json) -> None:
        """Count a part of a schema; its depth is bounded already."""
        if isinstance(node, dict):
            if _OPTIONS in node:
                raise gbnf.BadGrammarError(f"{_OPTIONS} is not supported")
            self.meet |= "allOf" in node or len(_MEETING & node.keys()) > 1
            for name, value in node.items():
                if name in _PATTERNS and isinstance(value, str):
                    _check_pattern(value)
                    self.patterns.append(value)
                if name == "patternProperties" and isinstance(value, dict):
                    for pattern in value:
                        _check_pattern(pattern)
                    self.patterns += value
                if name in _CHOICES and isinstance(value, list):
                    _at_most(f"schemas in {name}", len(value), MAX_CHOICES)
        if isinstance(node, dict | list):
            for value in node.values() if isinstance(node, dict) else node:
                self.schemas += isinstance(value, dict | bool)
                self.read(value)


def _at_most(what: str, count: int, most: int) -> None:
    if count > most:
        raise gbnf.BadGrammarError(f"it has {count} {what} and {most} are allowed")


def _check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise gbnf.BadGrammarError(f"a pattern has {len(pattern)} characters and {MAX_PATTERN} are allowed")


def _of_schema(schema: Json) -> str:
    return llguidance.LLMatcher.grammar_from_json_schema(
        json.dumps(schema), overrides={"whitespace_pattern": _SPACES, "lenient": False}
    )


def _reason(matcher: llguidance.LLMatcher) -> str:
    """Give llguidance's reason in one line."""
    text = matcher.get_error() or matcher.stop_reason()
    if "NoExtension" in text:
        return "it allows nothing that could come next"
    return " ".join(text.replace("<non-verbose/>", "").split())[:200].rstrip(".")


def _refused(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "serve.grammar",
        f"The grammar is refused: {why}.",
        remedy="Send a smaller grammar, or one without what it names.",
        code="invalid_grammar",
    )


def _tokenizer(vocabulary: Vocabulary) -> llguidance.LLTokenizer:
    wrapper = llguidance.TokenizerWrapper(_Words(vocabulary))
    return llguidance.LLTokenizer(wrapper, eos_token=list(vocabulary.end_tokens))


class _Words:
    """A vocabulary in the form that llguidance reads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        ends = frozenset(vocabulary.end_tokens)
        pieces = vocabulary.pieces()
        self.special_token_ids = sorted(ends | {token for token, piece in enumerate(pieces) if piece is None})
        names = {token: _MARK + b"<%d>" % token for token in self.special_token_ids}
        self.tokens = [names.get(token, piece or b"") for token, piece in enumerate(pieces)]
        self.bos_token_id = None
        self.eos_token_id = vocabulary.end_tokens[0]

    def __call__(self, text: bytes | str) -> list[int]:
        """Tokenize what a grammar forces; called back by llguidance."""
        plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return self._vocabulary.continued(plain)
