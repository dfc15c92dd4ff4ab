"""What the gateway counts, for Prometheus. No label ever holds text of a caller."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from spct.engines.readouts.decision import Answers
from spct.serve.groups import Closed
from spct.types import Unscored, Usage, Verdict

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One registry an app, so that two apps of one process do not share numbers."""

    def __init__(self, version: str, fingerprint: str) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"spct_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"spct_{name}", text, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(
                f"spct_{name}_seconds", text, labels, registry=registry, buckets=_SECONDS
            )

        self.requests = counter("http_requests", "Replies sent.", "route", "status")
        self.request_seconds = seconds("http", "From the first byte to the last.", "route")
        self.in_flight = gauge("requests_in_flight", "Requests being answered.")
        self.refused = counter("refused", "Requests refused before any judgement.", "reason")
        self.gone = counter("client_gone", "Requests whose client went away.")
        self.judged = counter("examples", "Examples judged.", "outcome")
        self.judge_seconds = seconds("judge", "One example, its wait for a slot not included.")
        self.judging = gauge("judging", "Examples being judged.")
        self.waiting = gauge("waiting", "Examples waiting for a slot.")
        self.trajectories = counter("trajectories", "Judgements drawn, by outcome.", "outcome")
        self.stoppable = counter(
            "trajectories_stoppable", "Judgements that --stop predictive would not have drawn."
        )
        self.tokens = counter("tokens", "Tokens of the judge model.", "kind", "key")
        self.lm_calls = counter("lm_calls", "Calls to the judge model.", "key")
        self.ties = counter("ties", "Examples whose highest reward was shared.")
        self.no_spread = counter("no_spread", "Examples whose rewards were all equal.")
        self.priced = counter(
            "unscored_priced", "Failed judgements answered with the operator's number.", "wire"
        )
        self.unknown_fields = counter(
            "unknown_fields", "Requests with fields this version does not know.", "wire"
        )
        self.groups = counter("groups", "Groups closed.", "by")
        self.group_members = Histogram(
            "spct_group_members",
            "Seats of a group when it closed.",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        self.late = counter("group_late", "Members judged beside a group that had closed.")
        self.replays = counter("replays", "Answers given again.", "by")
        info = Gauge("spct_build_info", "Always 1.", ("version", "fingerprint"), registry=registry)
        info.labels(version, fingerprint).set(1)

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    def count_verdict(self, verdict: Verdict, key: str, stoppable: int) -> None:
        """Count one judged example, who it was judged for, and what an early stop would save."""
        self.stoppable.inc(stoppable)
        rewards = verdict.rewards
        self.judged.labels("unscored" if rewards is None else "scored").inc()
        self._count_usage(verdict.usage, key)
        if verdict.k_counted:
            self.trajectories.labels("scored").inc(verdict.k_counted)
        for reason, times in verdict.unscored.items():
            self.trajectories.labels(reason).inc(times)
        if rewards is not None and len(rewards) > 1:
            self.ties.inc(len(verdict.best) > 1)
            self.no_spread.inc(len(set(rewards)) == 1)

    def count_answers(self, found: Answers, key: str) -> None:
        """Count the answers of a decision model and who they were for."""
        missing = [answer for answer in found.answers if isinstance(answer, Unscored)]
        self.judged.labels("scored").inc(len(found.answers) - len(missing))
        self.judged.labels("unscored").inc(len(missing))
        for answer in missing:
            self.trajectories.labels(answer.reason).inc()
        self._count_usage(found.usage, key)

    def _count_usage(self, usage: Usage, key: str) -> None:
        self.tokens.labels("prompt", key).inc(usage.prompt_tokens)
        self.tokens.labels("completion", key).inc(usage.completion_tokens)
        self.lm_calls.labels(key).inc(usage.calls)

    def count_group(self, closed: Closed) -> None:
        """Count one group that closed."""
        self.groups.labels(closed.by).inc()
        self.group_members.observe(closed.seats)
