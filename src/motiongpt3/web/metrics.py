"""Numbers for Prometheus, in a registry of this server's own."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What the server counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # Memory, processor time and open files of the server.
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "motiongpt3_requests",
            "Requests, by route and status",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "motiongpt3_request_seconds",
            "Seconds until the answer is complete",
            ["route"],
            buckets=(0.05, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120),
            registry=self.registry,
        )
        self.batch_rows = Histogram(
            "motiongpt3_batch_rows",
            "Motions, captions or replies that shared a call",
            ["lane"],
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.batch_seconds = Counter(
            "motiongpt3_batch_seconds", "Seconds spent in calls", ["lane"], registry=self.registry
        )
        self.waiting = Gauge("motiongpt3_waiting", "Jobs that wait", ["lane"], registry=self.registry)
        self.motions = Gauge("motiongpt3_motions_kept", "Motions in memory", registry=self.registry)
        self.conversations = Gauge(
            "motiongpt3_conversations", "Conversations in memory", registry=self.registry
        )
        self.ready = Gauge("motiongpt3_ready", "Whether a model is loaded", ["model"], registry=self.registry)

    def batch(self, lane: str, rows: int, seconds: float) -> None:
        """Count a call of a lane."""
        self.batch_rows.labels(lane).observe(rows)
        self.batch_seconds.labels(lane).inc(seconds)

    def text(self) -> bytes:
        """All numbers in Prometheus's format."""
        return generate_latest(self.registry)
