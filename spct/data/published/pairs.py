"""Loaders of benchmarks whose items are pairs: rows in the published fields to Examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from spct.data.published.items import (
    FIRST,
    SECOND,
    TIE,
    both_orders,
    item,
    preference,
    shuffled,
    user,
)
from spct.data.published.sources import Row, Source
from spct.types import Example, Message

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


def _conversation(row: Row) -> tuple[Message, ...]:
    """RMB's turns carry a language beside role and content; a few turns are empty."""
    value = row.get("conversation_input")
    if not isinstance(value, list) or not value:
        raise row.bad("conversation_input", value, "a list of messages")
    turns = []
    for i, turn in enumerate(value):
        if not isinstance(turn, dict) or turn.get("role") not in ("system", "user", "assistant"):
            raise row.bad(f"conversation_input[{i}]", turn, "a message {role, content}")
        if not isinstance(turn.get("content"), str):
            raise row.bad(f"conversation_input[{i}].content", turn.get("content"), "a text")
        turns.append(Message(turn["role"], turn["content"]))
    if turns[-1].role != "user":
        raise row.bad("conversation_input", turns[-1].role, "a last message from the user")
    return tuple(turns)


def _answer(row: Row, field: str, value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("answer"), str):
        raise row.bad(field, value, "an object with the text 'answer'")
    return str(value["answer"])


RMB = ("**/Pairwise_set/**/*", "**/BoN_set/**/*")


def rmb(source: Source) -> Iterator[Example]:
    """RMB: pairs, and best-of-n lists that are judged as one list; four parts by their path."""
    for row in source.rows(*RMB):
        goal = "Harmlessness" if "Harmlessness" in row.path else "Helpfulness"
        query = _conversation(row)
        if "BoN_set" in row.path:
            best = _answer(row, "bon_best", row.get("bon_best"))
            value = row.get("loser_list")
            if not isinstance(value, list) or not value:
                raise row.bad("loser_list", value, "a list of at least one answer")
            losers = [_answer(row, f"loser_list[{i}]", loser) for i, loser in enumerate(value)]
            id, subset = f"bon/{row.get('bon_uid')}", f"{goal} BoN"
            yield _list(row, id, query, best, losers, subset)
        else:
            id, subset = f"pair/{row.get('pair_uid')}", f"{goal} Pairwise"
            chosen = _answer(row, "chosen", row.get("chosen"))
            yield preference(
                row, id, query, chosen, _answer(row, "reject", row.get("reject")), subset
            )


def _list(
    row: Row, id: str, query: tuple[Message, ...], best: str, losers: list[str], subset: str
) -> Example:
    texts, gold, _ = shuffled(id, [best], losers)
    return item(row, id, query, texts, gold, subset)


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
        golds = {"A>B": FIRST, "B>A": SECOND}
        for row in source.rows(*JUDGEBENCH):
            if not row.text("response_model").startswith(maker):
                continue
            gold = golds[row.one_of("label", list(golds))]
            responses = (row.text("response_A"), row.text("response_B"))
            query, domain = user(row.text("question")), _judgebench_domain(row)
            yield from both_orders(row, row.text("pair_id"), query, responses, gold, domain)

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
            gold = {1: FIRST, 2: SECOND}[row.one_of("label", [1, 2])]
            responses = (row.text("output_1"), row.text("output_2"))
            query = user(row.text("input"))
            yield from both_orders(row, f"{subset}/{number}", query, responses, gold, subset)

    return load


AUTOJ = ("**/testdata_pairwise",)


def autoj(source: Source) -> Iterator[Example]:
    """Auto-J: label 0, 1 or 2 (tie), scenario; both orders."""
    golds = {0: FIRST, 1: SECOND, 2: TIE}
    for number, row in enumerate(source.rows(*AUTOJ)):
        gold = golds[row.one_of("label", list(golds))]
        responses = (row.text("response 1"), row.text("response 2"))
        query, scenario = user(row.text("prompt")), row.text("scenario")
        yield from both_orders(row, f"{number}", query, responses, gold, scenario)


PANDALM = ("**/testset-v1",)


def pandalm(source: Source) -> Iterator[Example]:
    """PandaLM: the majority of three annotators, ties included; no majority is an error.

    Six published responses are JSON booleans: texts True and False that somebody parsed.
    """
    golds = {1: FIRST, 2: SECOND, 0: TIE}
    for row in source.rows(*PANDALM):
        votes = [golds[row.one_of(f"annotator{i}", list(golds))] for i in (1, 2, 3)]
        gold, count = Counter(votes).most_common(1)[0]
        if count < 2:
            raise row.bad("annotator1..3", votes, "a verdict that two annotators share")
        responses = []
        for field in ("response1", "response2"):
            value = row.get(field)
            responses.append(str(value) if isinstance(value, bool) else row.text(field))
        instruction, given = row.text("instruction"), row.text("input")
        query = user(f"{instruction}\n\n{given}" if given else instruction)
        yield item(row, f"{row.get('idx')}", query, responses, gold, "PandaLM")
