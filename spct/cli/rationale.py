"""`spct criteria rationale`: how far a run's judgements give the reasons that people gave."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from spct.cli.options import takes_settings
from spct.cli.process import Job
from spct.config import Config
from spct.core.stream import stream
from spct.errors import ConfigError, OverBudget, printable
from spct.measure.criteria import s_corr
from spct.measure.outcomes import telling
from spct.measure.rationale import matched, mean_consistency, points_of
from spct.measure.rules import credit
from spct.models.engines import build_engine
from spct.models.judges import with_defaults
from spct.protocols import Engine
from spct.runs.engines import RecordingEngine
from spct.runs.identity import digest_of_all
from spct.runs.run import open_run
from spct.runs.store import Store
from spct.types import Example, Unscored, Verdict

NAMED = 0.5  # a critique with this much of the human points names what is decisive


@dataclass(slots=True)
class _Found:
    """Rationale consistency of each example's judgement, right verdicts and wrong ones apart."""

    right: list[float | Unscored] = field(default_factory=list)
    wrong: list[float | Unscored] = field(default_factory=list)

    def summary(self) -> str:
        """Lines for people."""
        lines = []
        for name, some in (("right", self.right), ("wrong", self.wrong)):
            mean, n_out = mean_consistency(some)
            told = "-" if mean is None else f"{mean:.3f}"
            lines.append(f"RC of {name} verdicts: {told} ({len(some) - n_out} of {len(some)})")
        scored = [one for one in self.right if not isinstance(one, Unscored)]
        named = sum(one >= NAMED for one in scored)
        accuracy = len(self.right) / max(1, len(self.right) + len(self.wrong))
        spurious, f_score = s_corr(named, len(scored) - named, accuracy)
        if spurious is not None and f_score is not None:
            lines.append(
                f"S-Corr {spurious:.3f}, F-Score {f_score:.3f} (a right verdict whose critique has "
                f"an RC below {NAMED:g} is right for other reasons)"
            )
        whys = Counter(
            f"{one.reason}: {one.detail[:120]}"
            for one in (*self.right, *self.wrong)
            if isinstance(one, Unscored)
        )
        return "\n".join([*lines, *(f"  unscored, {n}: {why}" for why, n in whys.most_common(3))])


@takes_settings
def rationale(
    config: Config,
    run: Annotated[Path, typer.Argument(help="A run whose rows have a `rationale` and gold.")],
    root: Annotated[Path, typer.Option("--output-dir", help="Where the replies are kept.")] = Path(
        "runs"
    ),
) -> None:
    """How far judgements give people's reasons, as a model matches them (--engine, --model).

    One call for each human point of each row, about one judgement that agrees with the vote. The
    same command goes on after a kill and pays once.

    Example: spct criteria rationale runs/20260101T000000Z_pairs_a1b2c3 --model matcher
    """
    with closing(Store.read(run)) as store:
        asked = {
            judged.example.id: (judged.example, judged.verdict)
            for judged in store.judged()
            if judged.example is not None and judged.example.gold and points_of(judged.example)
        }
    if not asked:
        raise ConfigError(
            f"no row of {run} has a `rationale` and gold; give each row the points that people "
            "find decisive as a list of texts"
        )
    config, job = with_defaults(config), Job()
    found = job.run(_match_all(job, config, asked, root))
    print(printable(found.summary()))
    if all(isinstance(one, Unscored) for one in (*found.right, *found.wrong)):
        raise OverBudget("no judgement could be matched; the reasons are above")


async def _match_all(
    job: Job, config: Config, asked: dict[str, tuple[Example, Verdict]], root: Path
) -> _Found:
    engine, found = build_engine(config.engine), _Found()
    try:
        await engine.open()
        whole = {
            "engine": engine.fingerprint,
            "rationale": "1",
            "data": digest_of_all(v.trajectories for _, v in asked.values()),
        }
        with open_run(root, "rationale", whole, config.model_dump()) as store:
            recording = RecordingEngine(engine, store)

            async def one(example: Example) -> Verdict:
                verdict = asked[example.id][1]
                rc = await _matched(recording, example, verdict, config.judge.seed)
                is_right = credit(verdict.rewards, example.gold or ()) == 1
                (found.right if is_right else found.wrong).append(rc)
                return verdict

            examples = [example for example, _ in asked.values()]
            async for _ in stream(one, job.gate(examples), config.judge.concurrency):
                pass  # what was found is kept above
            told = f"{recording.n_drawn} replies drawn, {recording.n_replayed} taken from the store"
            print(told, file=sys.stderr)
    finally:
        await engine.aclose()
    return found


async def _matched(
    engine: Engine, example: Example, verdict: Verdict, seed: int
) -> float | Unscored:
    said = telling(verdict)
    if said is None or said.judgement is None:
        return Unscored("empty", "no judgement was counted")
    return await matched(engine, example, said.judgement.critique, seed=seed)
