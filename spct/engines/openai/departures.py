"""What an endpoint does otherwise: noticed once, warned of once, remembered for the session."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from spct.engines.openai.openai_errors import FieldRefused
from spct.engines.openai.openai_wire import Reply
from spct.types import Completion, SamplingParams

log = logging.getLogger(__name__)

SUSPICIOUS = 200  # characters: judgements so long are never alike by chance


class Departures:
    """Those of one endpoint, or of several with one model; `warnings` counts each kind."""

    def __init__(self, base_url: str, warnings: Counter[str]) -> None:
        self._base_url, self._warnings = base_url, warnings
        self._said: dict[str, str | None] = {}  # what the first good reply said of the model
        self._fields: dict[str, str | None] = {}

    @property
    def is_new(self) -> bool:
        """Whether no good reply has come yet."""
        return not self._said

    @property
    def fields(self) -> Mapping[str, str | None]:
        """The fields that were refused: the new name of each, or None to leave it out."""
        return self._fields

    def learn(self, refused: FieldRefused) -> None:
        """Remember how to do without a field; many first calls may learn it at once."""
        self._fields[refused.field] = refused.use
        instead = f"sending {refused.use!r}" if refused.use else "leaving it to its own value"
        self.warn(
            f"{refused.field}_refused",
            f"it refuses the field {refused.field!r} ({refused}); {instead} from now on",
        )

    def note(self, reply: Reply, params: SamplingParams) -> None:
        """Count what is odd about a good reply."""
        said = {"model": reply.model, "system_fingerprint": reply.system_fingerprint}
        for name, now in said.items():
            first = self._said.setdefault(name, now)
            if now != first:
                self.warn(f"{name}_changed", f"`{name}` was {first!r} and is now {now!r}")
        if not reply.has_usage:
            self.warn("no_usage", "the reply lacks usable token counts; what lacks counts as 0")
        if params.top_logprobs is not None and reply.completions[0].logprobs is None:
            self.warn("no_logprobs", "log probabilities were asked for and are not in the reply")

    def alike(self, done: Sequence[Completion], params: SamplingParams) -> None:
        """Warn where the choices of one reply cannot be separate draws."""
        text = done[0].text
        same = len(done) > 1 and all(c.text == text for c in done)
        if same and params.temperature > 0 and len(text) > SUSPICIOUS:
            self.warn(
                "identical_choices",
                f"all {len(done)} choices of one reply are the same {len(text)} characters: one "
                "judgement counted several times; does the endpoint draw each choice anew?",
            )

    def warn(self, name: str, text: str) -> None:
        """Count it, and say it the first time."""
        self._warnings[name] += 1
        if self._warnings[name] == 1:
            log.warning("%s: %s", self._base_url, text)
