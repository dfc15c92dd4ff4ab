"""Loaders of benchmarks whose items are pairs: rows in the published fields to Examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from spct.data.layouts.words import FIRST, SECOND, TIE
from spct.data.published import readers
from spct.data.published.items import both_orders, item, preference, shuffled
from spct.data.published.sources import Row, Source
from spct.types import Example

REWARDBENCH = ("**/filtered*", "**/reward-bench*", "**/rewardbench*")


def rewardbench(source: Source) -> Iterator[Example]:
    """RewardBench v1: prompt, chosen, rejected, subset, id. Ids are unique within a subset only.

    The prior sets share the layout; rows of subsets that are not the benchmark's are left out by
    the check of counts, which names them.
    """
    for row in source.rows(*REWARDBENCH):
        subset = row.text("subset")
        id = f"{subset}/{row.get('id')}"
        yield preference(
            row, id, row.query("prompt"), row.text("chosen"), row.text("rejected"), subset
        )


PPE_PREFERENCE = ("**/test*", "**/*Preference*", "**/*preference*")


def ppe_preference(source: Source) -> Iterator[Example]:
    """PPE Preference: human verdicts of the arena; ties are kept in the file and never scored."""
    golds = {"model_a": FIRST, "model_b": SECOND, "tie": TIE, "tie (bothbad)": TIE}
    for row in source.rows(*PPE_PREFERENCE):
        gold = golds[row.one_of("winner", list(golds))]
        responses = (row.text("response_1"), row.text("response_2"))
        yield item(row, row.text("question_id"), row.query("prompt"), responses, gold, "Preference")


RMB = ("**/Pairwise_set/**/*", "**/BoN_set/**/*")


def rmb(source: Source) -> Iterator[Example]:
    """RMB: pairs, and best-of-n lists that are judged as one list; four parts by their path."""
    for row in source.rows(*RMB):
        goal = "Harmlessness" if "Harmlessness" in row.path else "Helpfulness"
        if "BoN_set" in row.path:
            read = readers.rmb(row.columns())
            best, *losers = read.responses
            id, subset = f"bon/{row.get('bon_uid')}", f"{goal} BoN"
            texts, gold, _ = shuffled(id, [best], losers)
            yield item(row, id, read.query, texts, gold, subset)
        else:
            id, subset = f"pair/{row.get('pair_uid')}", f"{goal} Pairwise"
            read = readers.rmb_pair(row.columns())
            chosen, rejected = read.responses
            yield preference(row, id, read.query, chosen, rejected, subset)


JUDGEBENCH = ("**/dataset=judgebench,*", "**/gpt-0*", "**/claude-0*")


def _judgebench_domain(row: Row) -> str:
    source = row.text("source")
    known = {
        "livebench-reasoning": "reasoning",
        "livebench-math": "math",
        "livecodebench": "coding",
    }
    if source.startswith("mmlu-pro"):
        return "knowledge"
    if source not in known:
        raise row.bad("source", source, f"mmlu-pro-... or one of {list(known)}")
    return known[source]


def judgebench(maker: str) -> Any:
    """JudgeBench's pairs of one response model ("gpt" or "claude"), both orders."""

    def load(source: Source) -> Iterator[Example]:
        for row in source.rows(*JUDGEBENCH):
            if row.text("response_model").startswith(maker):
                read, domain = readers.judgebench(row.columns()), _judgebench_domain(row)
                yield from both_orders(row, row.text("pair_id"), read, domain)

    return load


LLMBAR = ("**/Natural/dataset", "**/Adversarial/*/dataset")


def llmbar(subset_prefix: str = "") -> Any:
    """LLMBar: input, output_1, output_2, label; both orders; the subset is the file's folder."""

    def load(source: Source) -> Iterator[Example]:
        counts: Counter[str] = Counter()
        for row in source.rows(*LLMBAR):
            subset = row.path.split("/")[-2]
            if not subset.startswith(subset_prefix):
                continue
            number, counts[subset] = counts[subset], counts[subset] + 1
            read = readers.llmbar(row.columns())
            yield from both_orders(row, f"{subset}/{number}", read, subset)

    return load


AUTOJ = ("**/testdata_pairwise",)


def autoj(source: Source) -> Iterator[Example]:
    """Auto-J: label 0, 1 or 2 (tie), scenario; both orders."""
    for number, row in enumerate(source.rows(*AUTOJ)):
        read = readers.autoj(row.columns())
        yield from both_orders(row, f"{number}", read, str(read.subset))


PANDALM = ("**/testset-v1",)


def pandalm(source: Source) -> Iterator[Example]:
    """PandaLM: the majority of three annotators, ties included; no majority is an error."""
    for row in source.rows(*PANDALM):
        read = readers.pandalm(row.columns())
        if read.gold is None:
            votes = [row.get(f"annotator{i}") for i in (1, 2, 3)]
            raise row.bad("annotator1..3", votes, "a verdict that two annotators share")
        yield item(row, f"{row.get('idx')}", read.query, read.responses, read.gold, "PandaLM")
