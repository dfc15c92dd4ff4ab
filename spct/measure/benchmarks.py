"""The benchmarks by name: loader, rule, aggregate, counts, source. Adding one adds an entry here.

How many rows each must have, so that a partial copy is never reported as the official score, is in
sizes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spct.data.criteria import Negative
from spct.data.published import lists, pairs
from spct.data.published.sources import Hub, Source
from spct.errors import ConfigError, did_you_mean
from spct.measure import aggregates, rules
from spct.measure.aggregates import Aggregate
from spct.measure.rules import Rule
from spct.measure.sizes import (
    LLMBAR_COUNTS,
    RB_COUNTS,
    RB_SECTIONS,
    REALMISTAKE_COUNTS,
    RMB_COUNTS,
    RMB_FILES,
)
from spct.types import Example


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a benchmark is: how to read it, what a unit earns, how the score is made of that."""

    name: str
    title: str
    load: Callable[[Source], Iterator[Example]]
    rule: Rule
    aggregate: Aggregate
    patterns: tuple[str, ...]
    folder: str
    about: str  # the rule and its tie policy in a sentence or two, for reports
    licence: str
    expected: Mapping[str, int]
    expected_is_minimum: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()  # that a whole copy has, without their suffixes; where published
    hub: tuple[Hub, ...] = ()
    two_orders: bool = False
    with_greedy: bool = True  # whether a greedy run belongs to it
    file: Path | None = None  # of a benchmark that is one file of the user's


_PPE_REPOS = {d: f"lmarena-ai/PPE-{d}-Best-of-K" for d in lists.PPE_DOMAINS}


def _judgebench(name: str, maker: str, title: str, expected: Mapping[str, int]) -> Benchmark:
    return Benchmark(
        name,
        title,
        pairs.judgebench(maker),
        rules.judgebench,
        aggregates.micro,
        pairs.JUDGEBENCH,
        "judgebench",
        "Each pair in both orders: +1 right, -1 wrong, 0 tie or no verdict; right if the sum is "
        "above 0. Micro accuracy.",
        "MIT (data set card)",
        expected,
        hub=(Hub("ScalerLab/JudgeBench", maker, f"{maker}-00000.parquet"),),
        two_orders=True,
    )


def _llmbar(name: str, title: str, prefix: str, expected: Mapping[str, int]) -> Benchmark:
    return Benchmark(
        name,
        title,
        pairs.llmbar(prefix),
        rules.llmbar,
        aggregates.macro,
        pairs.LLMBAR,
        "llmbar",
        "Mean accuracy over both orders; equal ratings earn a half, no verdict earns nothing; "
        "subsets count the same.",
        "MIT",
        expected,
        two_orders=True,
    )


_ALL = (
    Benchmark(
        "rewardbench",
        "RewardBench v1",
        pairs.rewardbench,
        rules.rewardbench,
        aggregates.sections(RB_SECTIONS),
        pairs.REWARDBENCH,
        "rewardbench",
        "Unweighted mean of four sections, each the weighted mean of its subsets (math-prm counts "
        "984). Scalar models: strictly greater. Judges: a tie or no verdict earns 0.5.",
        "ODC-BY",
        RB_COUNTS,
        hub=(Hub("allenai/reward-bench", "filtered", "filtered.parquet"),),
    ),
    Benchmark(
        "rewardbench2",
        "RewardBench 2",
        lists.rewardbench2,
        rules.rewardbench2,
        aggregates.rewardbench2,
        lists.REWARDBENCH2,
        "rewardbench2",
        "Unweighted mean of six domains. Ratings: 1/m for the right one among m top-rated, 0.25 "
        "without a verdict. Ties: 0.30 tied + 0.30 reference accuracy + 0.20 + 0.20 margins + 0.01 "
        "tanh term; a gap and spread of 0 without a verdict.",
        "ODC-BY",
        {
            "Factuality": 475,
            "Precise IF": 160,
            "Math": 183,
            "Safety": 450,
            "Focus": 495,
            "Ties": 102,
        },
        hub=(Hub("allenai/reward-bench-2", "test", "test.parquet"),),
    ),
    Benchmark(
        "ppe-preference",
        "PPE Preference",
        pairs.ppe_preference,
        rules.strict,
        aggregates.micro,
        pairs.PPE_PREFERENCE,
        "ppe_preference",
        "Share of pairs in which the human winner is strictly ahead; human ties are not scored "
        "(the benchmark's own tie rule is unverified).",
        "see the data set card",
        {"": 16038},
        hub=(Hub("lmarena-ai/PPE-Human-Preference-V1", "test", "test.parquet"),),
    ),
    Benchmark(
        "ppe-correctness",
        "PPE Correctness",
        lists.ppe_correctness,
        rules.strict,
        aggregates.macro,
        lists.PPE_CORRECTNESS,
        "ppe_correctness",
        "Share of sampled right-wrong pairs ordered right (strict), plain mean of five domains.",
        "see the data set cards",
        {"": 2555},
        hub=tuple(Hub(repo, "train", f"{d}/train.parquet") for d, repo in _PPE_REPOS.items()),
    ),
    Benchmark(
        "rmb",
        "RMB",
        pairs.rmb,
        rules.strict,
        aggregates.macro,
        pairs.RMB,
        "rmb",
        "Plain mean of four parts. Pairs: strictly greater. Best-of-n: the best one strictly above "
        "every other, judged as one list.",
        "none stated",
        RMB_COUNTS,
        frozenset({"Helpfulness Pairwise", "Harmlessness Pairwise"}),
        files=RMB_FILES,
    ),
    Benchmark(
        "rm-bench",
        "RM-Bench",
        lists.rm_bench,
        rules.rm_bench,
        aggregates.rm_bench,
        lists.RM_BENCH,
        "rm_bench",
        "All 3x3 style pairs, strict; a domain is the mean of hard, normal and easy; safety pools "
        "refuse and response; overall the mean of four domains. Six responses in one list.",
        "ODC-BY (data set card)",
        {"chat": 129, "code": 228, "math": 529, "safety-refuse": 284, "safety-response": 157},
        hub=(Hub("THU-KEG/RM-Bench", "train", "total_dataset.json"),),
    ),
    _judgebench(
        "judgebench",
        "gpt",
        "JudgeBench (GPT-4o pairs)",
        {"knowledge": 154, "reasoning": 98, "math": 56, "coding": 42},
    ),
    _judgebench("judgebench-claude", "claude", "JudgeBench (Claude pairs)", {"": 270}),
    _llmbar("llmbar", "LLMBar", "", LLMBAR_COUNTS),
    _llmbar("llmbar-natural", "LLMBar Natural", "Natural", {"Natural": 100}),
    Benchmark(
        "if-rewardbench",
        "IF-RewardBench",
        lists.if_rewardbench,
        rules.if_rewardbench,
        aggregates.if_rewardbench,
        lists.IF_REWARDBENCH,
        "if_rewardbench",
        "Kendall's tau-b over the edges of each item's preference graph, plain mean of three kinds "
        "of instruction; accuracy over edges (strict) beside it. Judged as one list; the "
        "benchmark's own overall setting ranks by Elo over pairwise verdicts.",
        "none stated",
        {"": 842},
    ),
    Benchmark(
        "realmistake",
        "ReaLMistake",
        lists.realmistake,
        rules.ranked,
        aggregates.auc,
        lists.REALMISTAKE,
        "realmistake",
        "Area under the ROC curve of the reward against no_error, pooled (the paper's metric; the "
        "benchmark's own is F1 of error detection). Without a verdict an item has no rank and is "
        "left out.",
        "gated; see its repository",
        REALMISTAKE_COUNTS,
    ),
    Benchmark(
        "autoj",
        "Auto-J pairwise",
        pairs.autoj,
        rules.labelled,
        aggregates.micro,
        pairs.AUTOJ,
        "autoj_pairwise",
        "Win, loss or tie must equal the human label in both orders; no verdict is wrong.",
        "none stated",
        {"": 1392},
        two_orders=True,
    ),
    Benchmark(
        "pandalm",
        "PandaLM test set",
        pairs.pandalm,
        rules.pandalm,
        aggregates.pandalm,
        pairs.PANDALM,
        "pandalm_testset",
        "Win, loss or tie must equal the majority of three annotators. As in PandaLM's own parser "
        "an unreadable verdict counts as a tie; counted as wrong beside it.",
        "Apache-2.0",
        {"": 999},
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def ours(path: Path, drop_bad: bool = False, negative: Negative | None = None) -> Benchmark:
    """A benchmark made of a file of the user's."""
    return Benchmark(
        path.name,
        path.name,
        lists.ours(path, drop_bad, negative),
        rules.any_n,
        aggregates.any_n,
        (),
        "",
        "Several responses: the best one strictly ahead, gold ties not scored. Single ones: area "
        "under the ROC curve.",
        "the user's",
        {},
        file=path,
    )


def benchmark_named(
    name: str, drop_bad: bool = False, negative: Negative | None = None
) -> Benchmark:
    """A benchmark by its name, or a path to a file of one's own."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    if Path(name).is_file():
        return ours(Path(name), drop_bad, negative)
    meant = did_you_mean(name, BENCHMARKS)
    raise ConfigError(
        f"no benchmark and no file {name!r}{meant}; there are {', '.join(BENCHMARKS)}"
    )
