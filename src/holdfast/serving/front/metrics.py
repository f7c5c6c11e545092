"""Figures for a monitoring system, in Prometheus' exposition format.

Invariants: labels hold model ids of the table, ends and HTTP statuses only, so that their number is bounded and nothing of a
tenant can be read from them; what is no longer served is no longer shown.

Source: the Prometheus text-based exposition format 0.0.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.serving.front.acts import Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)  # seconds
_STATUSES = frozenset({200, 400, 401, 403, 404, 405, 408, 410, 413, 429, 431, 500, 503, 504})


class Metrics:
    """All figures of a front. Belongs to one event loop."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry(auto_describe=True)
        self._answers = Counter(
            "holdfast_answers",
            "Requests that were recorded, by how they ended.",
            ["model", "end"],
            registry=registry,
        )
        self._responses = Counter(
            "holdfast_responses", "HTTP responses, by status.", ["status"], registry=registry
        )
        self._prompt = Counter("holdfast_prompt_tokens", "Tokens of prompts.", ["model"], registry=registry)
        self._cached = Counter(
            "holdfast_cached_tokens",
            "Tokens of prompts that needed no computing.",
            ["model"],
            registry=registry,
        )
        self._completion = Counter(
            "holdfast_completion_tokens", "Tokens of answers.", ["model"], registry=registry
        )
        self._processor = Counter(
            "holdfast_processor_seconds", "Processor time of answers.", ["model"], registry=registry
        )
        self._deaths = Counter(
            "holdfast_engine_deaths", "Engines that ended unexpectedly.", ["model"], registry=registry
        )
        self._first = Histogram(
            "holdfast_first_token_seconds",
            "From a request to the first text of its answer.",
            ["model"],
            buckets=_FIRST,
            registry=registry,
        )
        self._whole = Histogram(
            "holdfast_answer_seconds",
            "From a request to the end of its answer.",
            ["model"],
            buckets=_WHOLE,
            registry=registry,
        )
        self._up = Gauge(
            "holdfast_engine_up", "Whether the model's engine computes.", ["model"], registry=registry
        )
        self._by_model = (
            self._prompt,
            self._cached,
            self._completion,
            self._processor,
            self._deaths,
            self._first,
            self._whole,
            self._up,
        )
        self._models: set[str] = set()
        self._engines: Callable[[], dict[str, bool]] = dict[str, bool]

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a figure that is asked for when it is read.

        Args:
            name: Its name, without the prefix.
            what: What it is.
            value: Gives it.
        """
        Gauge(f"holdfast_{name}", what, registry=self._registry).set_function(value)

    def engines(self, up: Callable[[], dict[str, bool]]) -> None:
        """Show which engines are up.

        Args:
            up: Gives the models and whether the engine of each computes.
        """
        self._engines = up

    def keep(self, models: frozenset[str]) -> None:
        """Take the model ids that are served; figures of others are forgotten.

        Args:
            models: The ids.
        """
        for name in self._models - models:
            for one in self._by_model:
                one.remove_by_labels({"model": name})
            self._answers.remove_by_labels({"model": name})
        self._models = set(models)

    def response(self, status: int) -> None:
        """Count a response.

        Args:
            status: Its HTTP status.
        """
        self._responses.labels(str(status) if status in _STATUSES else "other").inc()

    def first(self, model: str, seconds: float) -> None:
        """Count the beginning of an answer.

        Args:
            model: The model id asked.
            seconds: Since the request.
        """
        if model in self._models:
            self._first.labels(model).observe(seconds)

    def ended(self, model: str, end: str, totals: Totals, seconds: float) -> None:
        """Count the end of a request that was recorded.

        Args:
            model: The model id asked.
            end: ``done``, ``cancelled`` or ``failed``.
            totals: What it took.
            seconds: Since the request.
        """
        if model not in self._models:
            return
        self._answers.labels(model, end).inc()
        self._whole.labels(model).observe(seconds)
        self._prompt.labels(model).inc(totals.prompt_tokens)
        self._cached.labels(model).inc(totals.cached_tokens)
        self._completion.labels(model).inc(totals.completion_tokens)
        self._processor.labels(model).inc(totals.processor_ms / 1000)

    def death(self, model: str) -> None:
        """Count an engine that ended unexpectedly.

        Args:
            model: The id of the model that it computed with.
        """
        if model in self._models:
            self._deaths.labels(model).inc()

    def exposition(self) -> tuple[bytes, str]:
        """Write all figures.

        Returns:
            The text and its content type.
        """
        for model, up in self._engines().items():
            self._up.labels(model).set(up)
        return generate_latest(self._registry), CONTENT_TYPE
