"""Prometheus metrics of the service."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one service; no label comes from a request, so clients cannot increase their number."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "tlaam_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self.request_seconds = Histogram(
            "tlaam_request_seconds",
            "From a request's headers to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.images = Counter(
            "tlaam_images", "Images by what became of them: answered, or a code.", ["outcome"], registry=self._registry
        )
        self.batch_images = Histogram(
            "tlaam_batch_images", "Images a pass.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self._registry
        )
        self.batch_seconds = Histogram(
            "tlaam_batch_seconds", "Seconds a pass.", buckets=_SECONDS, registry=self._registry
        )

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Export a gauge whose value is read on each scrape."""
        Gauge(f"tlaam_{name}", about, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
