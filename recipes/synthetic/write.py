"""Turn the study's reports into docs/study.md; every sentence about a result is computed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from recipes.synthetic.errors import FAULTS, fault_shares, first_judgements
from recipes.synthetic.fidelity import (
    ANY,
    REASONS,
    Pairs,
    fidelity,
    s_corr_change,
    s_corr_interval,
)
from spct.data.rows import read_examples
from spct.measure.estimator import UNSCORED_POLICY, by, credits_at
from spct.measure.intervals import Interval, difference, prompts_of, sign_of
from spct.measure.tables import interval, percent, table
from spct.runs.store import Store
from spct.types import Example, Verdict
from spct.votes.vote import mean_scores

Record = Mapping[str, Any]

CLAIMS = (
    ("RFT above cold start", "rft - cold_start, one sample"),
    ("RL above RFT", "rl - rft, one sample"),
    ("Voting@8 above one sample (RL)", "rl: Voting@8 - one sample"),
    ("Voting@8 above one sample (RFT)", "rft: Voting@8 - one sample"),
    ("Meta@8 above Voting@8 (RL)", "rl: Meta@8 - Voting@8"),
    ("Meta@8 above Voting@8 (RFT)", "rft: Meta@8 - Voting@8"),
    ("Calibrated weights above Voting@8 (RL)", "rl: Weighted@8 - Voting@8"),
    ("Calibrated weights above Voting@32 (RL)", "rl: Weighted@32 - Voting@32"),
    ("Calibrated weights above Voting@8 (RFT)", "rft: Weighted@8 - Voting@8"),
)


def verdict(found: Record) -> str:
    """Whether a difference is clear of its interval."""
    return {1: "holds", -1: "opposite", 0: "not shown"}[sign_of(Interval(**found))]


def model_table(evaluated: Record) -> list[str]:
    """One row per model and way of asking."""
    head = ["model", "greedy", "one sample", "Voting@8", "Voting@32", "Meta@8", "Meta@32"]
    lines = []
    for name, m in evaluated["models"].items():
        votes = {int(k): v for k, v in m["voting"].items()}
        guided = {int(k): v for k, v in m["guided"].items()}
        cells = [interval(m["greedy"])]
        cells += [interval(votes[k]) if k in votes else "" for k in (1, 8, 32)]
        cells += [interval(guided[k]) if k in guided else "" for k in (8, 32)]
        h = m["health"]
        lines.append(
            [name, *cells, f"{percent(h['unscored'])} / {percent(h['ties'])} / {h['tokens']:.0f}"]
        )
    return [table([*head, "unscored / ties / tokens per judgement"], lines)]


def guessing(examples: Sequence[Example]) -> float:
    """What a judge earns that picks a response at random, or a label at random for a single one."""
    return sum(1 / max(2, e.n) for e in examples) / len(examples)


def guessing_lines(evaluated: Record, chance: float) -> list[str]:
    """Each model against guessing."""
    lines = [f"A judge that guesses earns {100 * chance:.1f}. Above that, in points:", ""]
    for name, m in evaluated["models"].items():
        votes = {int(k): v for k, v in m["voting"].items()}
        k = max(votes)
        for label, found in (("one sample", votes[1]), (f"Voting@{k}", votes[k])):
            above = {end: None if x is None else x - chance for end, x in found.items()}
            lines.append(f"- {name}, {label}: {interval(above)} ({verdict(above)})")
    return lines


def claims_table(evaluated: Record) -> list[str]:
    """The study's claims, each with its paired difference."""
    found = [(claim, evaluated["comparisons"].get(key)) for claim, key in CLAIMS]
    lines = [
        [claim, "not measured", ""] if gap is None else [claim, interval(gap), verdict(gap)]
        for claim, gap in found
    ]
    return [table(["claim", "difference, points", "verdict"], lines)]


def sampled(pipeline: Path, model: str) -> dict[str, Verdict]:
    """The stored judgements of one of a pipeline's models, by example."""
    with Store.read(pipeline / "evaluate" / model / "sampled") as store:
        return {v.example_id: v for v in store.verdicts()}


def fault_table(root: Path, models: Sequence[str], examples: Sequence[Example]) -> list[str]:
    """What is wrong with the sampled judgements of each model."""
    lines = []
    for model in models:
        shares = fault_shares(examples, sampled(root / "run", model))
        lines.append([model, *(f"{100 * shares[f]:.0f}" for f in FAULTS)])
    return [table(["model", *FAULTS], lines)]


FIDELITY = (
    "A right judgement may have its reasons wrong. C counts right judgements (strictly: a tie is "
    "wrong) whose critique is as a careful teacher writes it, I the other right ones; "
    "S-Corr = I / (C + I), L-Acc is the share of right ones among the scored, "
    "F-Score = L-Acc (1 - S-Corr) (recipes/synthetic/fidelity.py; the first four judgements of "
    "each example). `checks` counts faults of the checks alone: what is left out, blind or "
    "misread, not a wrong sum, a wrong copy or a favour after true checks. In the last column "
    "every unscored judgement counts as right, once with a sound critique and once without."
)


def fidelity_lines(stages: Mapping[str, Pairs]) -> list[str]:
    """S-Corr and F-Score of each stage's judgements, and whether a stage moved S-Corr."""
    lines = []
    for name, pairs in stages.items():
        found, checks = fidelity(pairs), fidelity(pairs, REASONS)
        low, high = found.bounds or (None, None)
        lines.append(
            [
                name,
                percent(found.l_acc),
                interval(s_corr_interval(pairs)),
                percent(found.f_score),
                interval(s_corr_interval(pairs, REASONS)),
                percent(checks.f_score),
                f"{found.unscored} of {len(pairs)}",
                f"{percent(low)} to {percent(high)}",
            ]
        )
    head = ["model", "L-Acc", "S-Corr", "F-Score", "S-Corr, checks", "F-Score, checks"]
    changes = []
    for before, after in pairwise(stages):
        for label, among in (("", ANY), (", checks", REASONS)):
            moved = s_corr_change(stages[before], stages[after], among)
            if moved is not None:
                word = {1: "more", -1: "fewer", 0: "no change shown"}[sign_of(moved)]
                changes.append(
                    f"- S-Corr{label}, {after} - {before}: {interval(moved)} points ({word})"
                )
    return [
        FIDELITY,
        "",
        table([*head, "unscored", "S-Corr, unscored either way"], lines),
        "More or fewer right verdicts for wrong reasons, paired by prompt:",
        "",
        *(changes or ["- one stage alone: nothing to compare"]),
    ]


def ablation_folder(root: Path, name: str) -> Path:
    """Where the pipeline of an ablation lies."""
    return root / name.replace(" ", "-")


def sampled_credits(pipeline: Path, model: str, examples: Sequence[Example]) -> list[float]:
    """What one sample of a pipeline's model earns, for each example."""
    return credits_at(examples, sampled(pipeline, model), 1, by(mean_scores))


def ablation_lines(
    root: Path, main: Record, extra: Mapping[str, Record], examples: Sequence[Example]
) -> list[str]:
    """The last model of each ablation beside the full pipeline's, and the paired difference."""

    def row(name: str, model: str, m: Record, against: str = "") -> list[str]:
        votes = {int(k): v for k, v in m["voting"].items()}
        four = interval(votes[4]) if 4 in votes else ""
        return [name, model, interval(m["greedy"]), interval(votes[1]), four, against]

    lines = [row("full", model, main["models"][model]) for model in ("cold_start", "rft", "rl")]
    for name, reports in extra.items():
        models = reports["evaluate"]["models"]
        last = list(models)[-1]
        ours = sampled_credits(ablation_folder(root, name), last, examples)
        theirs = sampled_credits(root / "run", last, examples)
        against = interval(difference(ours, theirs, prompts_of(examples)))
        lines.append(row(name, last, models[last], against))
    head = ["pipeline", "last model", "greedy", "one sample", "Voting@4", "against full"]
    return [
        "The last column is paired by example: one sample of this pipeline's last model, minus one "
        "of the full pipeline's model of that name.",
        "",
        table(head, lines),
    ]


def meta_lines(evaluated: Record, data: Record | None) -> list[str]:
    """The meta RM's data and quality."""
    lines = []
    if data is not None:
        right, wrong = sum(data["right"].values()), sum(data["wrong"].values())
        lines.append(f"Trained on {right} right and {wrong} wrong trajectories.")
    for name, m in evaluated["meta"].items():
        auc, within = (
            "none (one class)" if m[key] is None else f"{m[key]:.3f}"
            for key in ("auc", "auc_within")
        )
        lines.append(
            f"On {m['calibration']['n']} test trajectories of `{name}` "
            f"({100 * m['right']:.1f}% right): AUC {auc}, within an example {within}, "
            f"expected calibration error {m['calibration']['ece']:.3f}."
        )
    return lines


def introduction(budget: str, n: int) -> list[str]:
    """What the page is and how its rows are made."""
    return [
        "# The synthetic study",
        "",
        "For: whether each stage of SPCT earns its place, on a task where right is checkable.",
        f"Written by `python -m recipes.synthetic.study --budget {budget}`; the world and the "
        "model are described in recipes/synthetic/README.md.",
        "",
        f"All rows: {n} unseen examples (no query is in training), n = 1 to 5 "
        "responses. Accuracy in %, with 95% intervals over prompts. One sample and votes are at "
        "T = 0.5 with a fresh order of responses for each sample, averaged over all disjoint "
        f"groups of k; ties are broken at random in expectation; {UNSCORED_POLICY}.",
    ]


def claims_lines(evaluated: Record) -> list[str]:
    """The claims, and every comparison that was made."""
    return [
        "Paired by example; a claim holds when the whole interval is above zero.",
        "",
        *claims_table(evaluated),
        "",
        "All comparisons:",
        "",
        *(f"- {name}: {interval(e)}" for name, e in evaluated["comparisons"].items()),
    ]


def data_lines(reports: Mapping[str, Record], extra: Mapping[str, Any]) -> list[str]:
    """What was sampled and kept, and how long each stage took."""
    funnel, rl = reports["rft_data"]["totals"], reports["rl"]
    return [
        "RFT funnel: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in funnel.items()) + ".",
        "",
        f"RL prompts: {rl['n_examples']} examples, {rl['n_too_easy']} of them too easy and left "
        f"out; {rl['steps']} steps.",
        "",
        "Seconds of wall clock, two processes side by side:",
        "",
        f"- full: {stage_seconds(reports)}",
        *(f"- {name}: {stage_seconds(report)}" for name, report in extra.items()),
    ]


def stage_seconds(reports: Mapping[str, Record]) -> str:
    """The stages of one pipeline with their seconds."""
    return ", ".join(f"{k.replace('_', ' ')} {r['seconds']:.0f}" for k, r in reports.items())


def write_study(
    out: Path, root: Path, budget: str, reports: Mapping[str, Mapping[str, Record]]
) -> None:
    """Write study.md from the reports of the study ("full") and its ablations; copy the figure."""
    full = reports["full"]
    extra = {name: report for name, report in reports.items() if name != "full"}
    evaluated = full["evaluate"]
    examples = list(read_examples(root / "test.jsonl"))
    for suffix in (".png", ".svg"):
        shutil.copy(root / "run" / "evaluate" / f"accuracy-vs-k{suffix}", out / f"study{suffix}")
    faults = [
        "Share of sampled judgements with each fault, in %; one may have several, and a fault need "
        "not change the verdict (recipes/synthetic/errors.py).",
        "",
        *fault_table(root, [m for m in evaluated["models"] if m != "base"], examples),
    ]
    stages = {
        m: list(first_judgements(examples, sampled(root / "run", m))) for m in evaluated["models"]
    }
    accuracy = [
        *model_table(evaluated),
        "",
        *guessing_lines(evaluated, guessing(examples)),
        "",
        "![accuracy against k](study.svg)",
    ]
    sections = {
        "Accuracy": accuracy,
        "What holds": claims_lines(evaluated),
        "What is wrong with the judgements": faults,
        "Right for the right reasons": fidelity_lines(stages),
    }
    if budget == "full":
        notes = (Path(__file__).parent / "notes.md").read_text(encoding="utf-8")
        sections["Reading these numbers"] = notes.splitlines()
    sections |= {
        "Ablations": (
            ablation_lines(root, evaluated, extra, examples) if extra else ["None has been run."]
        ),
        "The meta RM": meta_lines(evaluated, full.get("meta_data")),
        "Data and time": data_lines(full, extra),
    }
    lines = introduction(budget, evaluated["n"])
    for title, body in sections.items():
        lines += ["", f"## {title}", "", *body]
    (out / "study.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
