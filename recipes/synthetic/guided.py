"""Do guided votes beat plain ones? `python -m recipes.synthetic.guided --out docs`.

The judge is the study's erring teacher, who needs no weights; the meta RM is a real one, trained
from the shipped base on the teacher's judgements and calibrated on dev. Beside it stand the oracle
and meta scores of a stated AUC, and what the orders do to lists of four and five. The command
continues where it was stopped; docs/guided.md and its figure are written by it alone.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

from recipes.synthetic.rows import HERE, SEED, study_formats
from recipes.synthetic.teacher import ERRING, judgement_text
from recipes.synthetic.world import Split, draw_example
from spct.core.plan import Orders, order_of
from spct.core.settle import settle
from spct.engines.scripted import ScriptedEngine
from spct.measure.estimator import by, credits_at
from spct.measure.figures import Line, accuracy_figure, save_figure
from spct.measure.intervals import Interval, difference, mean_interval, prompts_of, sign_of
from spct.measure.tables import interval, table
from spct.models.hf_scorer import load_scorer
from spct.protocols import Scorer
from spct.runs.judging import judge_into
from spct.runs.store import Store
from spct.settings import read_toml, validated
from spct.train.config import MetaConfig
from spct.train.meta_rm import MetaFunnel, meta_rows, train
from spct.train.outcome import correct, labelled
from spct.train.sampling import Draw, Sampler
from spct.types import Example, Prompt, Verdict
from spct.votes.ballot import Vote, best
from spct.votes.calibration import auc_within, calibrate
from spct.votes.guided import with_meta_scores
from spct.votes.vote import mean_scores, vote_named

KS = (8, 32)
VOTES = ("meta_top", "meta_weighted", "meta_log_odds", "meta_log_odds_wins")
AUCS = (0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0)
Verdicts = Mapping[str, Verdict]


@dataclass(frozen=True)
class Teaching:
    """The teacher as a `Judge`: k judgements of an example, scored by a meta RM if there is one."""

    examples: Mapping[str, Example]
    k: int
    meta: Scorer | None = None
    concurrency: int = 64
    fingerprint: str = "teacher"

    def reply(self, prompt: Prompt, seed: int) -> str:
        """What the teacher writes under one seed."""
        example = self.examples[prompt.example_id]
        return judgement_text(example, prompt.order, random.Random(seed), ERRING)

    async def judge(self, example: Example) -> Verdict:
        """Draw, then score what was drawn."""
        what = Draw(self.k, seed=SEED)
        verdict = await Sampler(ScriptedEngine(self.reply), study_formats(), what, 1).judge(example)
        if self.meta is None:
            return verdict
        scored = await with_meta_scores(self.meta, example, verdict.trajectories)
        return settle(example.id, scored, mean_scores, self.k)


def lists(name: str, count: int, split: Split, n: int = 2) -> list[Example]:
    """Examples of n responses; the same arguments give the same ones."""
    rng = random.Random(f"guided/{name}/{SEED}")
    return [draw_example(rng, f"{name}-{i}", split, n) for i in range(count)]


def judged(examples: Sequence[Example], k: int, folder: Path, meta: Scorer | None) -> Verdicts:
    """The teacher's verdicts, stored in `folder`: what is there is not judged again."""
    teacher = Teaching({e.id: e for e in examples}, k, meta)
    identity = {"k": k, "meta": None if meta is None else meta.fingerprint}
    with Store.open(folder, identity) as store:
        done = store.finished_ids()
        asyncio.run(judge_into(teacher, examples, put=store.put_verdict, finished=done))
        return {v.example_id: v for v in store.verdicts()}


def train_meta(work: Path, steps: int) -> Path:
    """The meta RM, from the shipped base, on 4 judgements of each of 1,500 pairs."""
    examples = lists("meta", 1500, "train")
    drawn = judged(examples, 4, work / "train", None)
    pairs = ((e, t) for e in examples for t in drawn[e.id].trajectories)
    rows = meta_rows(pairs, "teacher", MetaFunnel())
    settings = read_toml(HERE / "config.toml")["meta"] | {"max_steps": steps, "save_steps": 20}
    train(str(HERE / "weights"), rows, work / "meta", validated(MetaConfig, settings, "meta"))
    return work / "meta"


def labels(examples: Sequence[Example], verdicts: Verdicts) -> list[list[tuple[float, bool]]]:
    """By example, each judgement's meta score and whether it is right."""
    return [labelled(e, verdicts[e.id].trajectories) for e in examples]


def simulated(examples: Sequence[Example], verdicts: Verdicts, auc: float) -> Verdicts:
    """The verdicts under a meta RM of this AUC that errs independently: 1 is the oracle."""
    apart = 20.0 if auc == 1 else NormalDist().inv_cdf(auc) * math.sqrt(2)
    found = {}
    for e in examples:
        rng = random.Random(f"meta/{e.id}")
        found[e.id] = replace(
            verdicts[e.id],
            trajectories=tuple(
                replace(t, meta_score=rng.gauss(0, 1) + apart * right)
                for t in verdicts[e.id].trajectories
                if t.judgement
                for right in [correct(t.judgement.scores, e.gold or ())]
            ),
        )
    return found


@dataclass(frozen=True)
class Found:
    """What one meta RM comes to: its AUC, the calibrated votes, and each vote's differences."""

    auc: float
    names: Mapping[str, str]
    accuracy: Mapping[tuple[str, int], Interval]
    gain: Mapping[tuple[str, int], Interval]


def compared(
    test: Sequence[Example], verdicts: Verdicts, dev: list[list[tuple[float, bool]]]
) -> Found:
    """Guided votes, calibrated on dev, against plain ones on the same judgements."""
    prompts, calibration = prompts_of(test), calibrate(dev)
    plain = {k: credits_at(test, verdicts, k, by(mean_scores)) for k in KS}
    votes: dict[str, Vote] = {name: vote_named(name, None, calibration) for name in VOTES}
    earned = {(n, k): credits_at(test, verdicts, k, by(v)) for n, v in votes.items() for k in KS}
    return Found(
        auc_within(labels(test, verdicts)),
        {name: vote.name for name, vote in votes.items()},
        {
            **{("plain", k): mean_interval(plain[k], prompts) for k in KS},
            **{key: mean_interval(credits, prompts) for key, credits in earned.items()},
        },
        {key: difference(credits, plain[key[1]], prompts) for key, credits in earned.items()},
    )


def gain(found: Found, name: str, k: int) -> str:
    """A difference in points, and what it shows."""
    verdict = {1: "above", -1: "below", 0: "not shown"}[sign_of(found.gain[name, k])]
    return f"{interval(found.gain[name, k], signed=True)} {verdict}"


# --- orders --------------------------------------------------------------------------------------


def order_credits(examples: Sequence[Example], orders: Orders, k: int, contrast: float) -> float:
    """The accuracy of a simulated judge who sees each response beside the one before it.

    A score is 1 + 9 x gold, less `contrast` for each point that the response before is above the
    middle, with noise of 3 points, rounded to 1..10.
    """
    won = 0.0
    for e in examples:
        gold = e.gold or ()
        rng = random.Random(f"orders/{e.id}")
        totals = [0.0] * e.n
        for index in range(k):
            before, noise = 5.5, [rng.gauss(0, 3) for _ in gold]  # the same under all orders
            for original in order_of(e, index, orders, SEED):
                quality = 1 + 9 * gold[original]
                score = quality - contrast * (before - 5.5) + noise[original]
                totals[original] += min(10, max(1, round(score)))
                before = quality
        top = best(tuple(totals))
        won += (gold.index(max(gold)) in top) / len(top)
    return won / len(examples)


def orders_table(count: int) -> str:
    """Accuracy by orders at n = 4 and 5, without and with a contrast effect."""
    lines = []
    names: tuple[Orders, ...] = ("cyclic", "random", "balanced")
    for n in (4, 5):
        examples = lists(f"list{n}", count, "test", n)
        for k in KS:
            for contrast in (0.0, 0.6):
                shares = [order_credits(examples, name, k, contrast) for name in names]
                cells = [f"{100 * share:.1f}" for share in shares]
                lines.append([str(n), str(k), f"{contrast:g}", *cells])
    return table(["n", "k", "contrast", "cyclic", "random", "balanced (Williams)"], lines)


# --- the page ------------------------------------------------------------------------------------


def page(real: Found, made: Mapping[float, Found], n: int, steps: int, orders: str) -> str:
    """docs/guided.md; every figure and verdict in it is computed."""
    wins = [f"{name} at k = {k}" for name in VOTES for k in KS if sign_of(real.gain[name, k]) == 1]
    lines = [
        [real.names[name], *(interval(real.accuracy[name, k]) for k in KS)]
        + [gain(real, name, k) for k in KS]
        for name in VOTES
    ]
    plain = [interval(real.accuracy["plain", k]) for k in KS]
    head = ["vote", *(f"k = {k}" for k in KS), *(f"against plain at {k}, points" for k in KS)]
    needed = [
        [f"{auc:g}" + (" (oracle)" if auc == 1 else ""), f"{found.auc:.3f}"]
        + [gain(found, name, k) for name in VOTES[:3] for k in KS]
        for auc, found in made.items()
    ]
    columns = [f"{name} at {k}" for name in VOTES[:3] for k in KS]
    return "\n".join(
        [
            "# Guided votes",
            "",
            "For: whether a meta RM makes a vote better, and how good it must be.",
            "Written by `python -m recipes.synthetic.guided`; recipes/synthetic/README.md "
            "describes the world and the teacher.",
            "",
            f"{n} unseen pairs. The judge is the erring teacher of the "
            "study; accuracy in %, Voting@k over all disjoint groups, 95% intervals over prompts, "
            "differences paired by prompt.",
            "",
            "## With a trained meta RM",
            "",
            f"Trained for {steps} steps on 1,500 x 4 judgements of the teacher, calibrated on 200 "
            f"dev pairs. Its AUC within an example on the test judgements: {real.auc:.3f}.",
            "",
            table(head, [["plain (mean)", *plain, "", ""], *lines]),
            "",
            "Above plain voting outside the interval: " + (", ".join(wins) or "none") + ".",
            "",
            "## How good a meta RM must be",
            "",
            "The same judgements under simulated meta scores: Gaussian, apart by as much as the "
            "AUC says, each with an error of its own. A real meta RM errs where the judge errs, so "
            "it needs more than this table says. Differences against plain voting in points.",
            "",
            table(["AUC", "within an example", *columns], needed),
            "",
            "![accuracy against AUC](guided.svg)",
            "",
            "## Orders of lists",
            "",
            "Simulated scores of lists of four and five: 1 + 9 x gold with noise of 3 points, less "
            "`contrast` for each point that the response before is above 5.5. What contrast real "
            "judges have is not known; `spct bench` measures it (docs/evaluation.md). Accuracy in "
            "% of the mean of k.",
            "",
            orders,
            "",
        ]
    )


def figure(real: Found, made: Mapping[float, Found], out: Path) -> None:
    """Accuracy of each vote at k = 8 against the simulated AUC, and the trained meta RM."""
    k, lines = KS[0], {}
    for name, style in (("plain", ":o"), *zip(VOTES[:3], ("-s", "-o", "-^"), strict=True)):
        lines[name] = Line({auc: found.accuracy[name, k] for auc, found in made.items()}, style)
    for name, mark in zip(VOTES[:3], ("s", "o", "^"), strict=True):
        lines[f"{name}, trained"] = Line({real.auc: real.accuracy[name, k]}, f"k{mark}")
    title = f"Voting at k = {k}, guided by meta scores of an AUC"
    drawn = accuracy_figure(lines, title, x="AUC within an example", ticks=False)
    save_figure(drawn, out / "guided")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, judge, vote, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--work", type=Path, default=Path("runs/synthetic/guided"))
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=300)
    chosen = parser.parse_args(argv)
    test, dev = lists("test", chosen.examples, "test"), lists("dev", 200, "dev")
    scorer = load_scorer(str(train_meta(chosen.work, chosen.steps)), max_batch=128)
    on_dev = judged(dev, KS[0], chosen.work / "dev", scorer)
    on_test = judged(test, KS[-1], chosen.work / "test", scorer)
    real = compared(test, on_test, labels(dev, on_dev))
    made = {
        auc: compared(test, simulated(test, on_test, auc), labels(dev, simulated(dev, on_dev, auc)))
        for auc in AUCS
    }
    text = page(real, made, len(test), chosen.steps, orders_table(400))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "guided.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    figure(real, made, chosen.out)


if __name__ == "__main__":
    main()
