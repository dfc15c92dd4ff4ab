"""Loaders of benchmarks whose items are lists or single responses, and of any JSONL of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from spct.data.criteria import Negative
from spct.data.dropped import Dropped
from spct.data.published import readers
from spct.data.published.items import item, shuffled, user
from spct.data.published.sources import Row, Source
from spct.data.rows import read_examples
from spct.errors import DataError
from spct.types import Example

REWARDBENCH2 = ("**/test*", "**/reward-bench-2*", "**/rewardbench2*")


def rewardbench2(source: Source) -> Iterator[Example]:
    """RewardBench 2: lists of one right and three wrong; Ties are tied and reference prompts.

    A Ties id is `tied:7` or `ref:7`; the two prompts of one number are one unit and one cluster.
    """
    for row in source.rows(*REWARDBENCH2):
        subset, id = row.text("subset"), f"{row.get('id')}"
        read = readers.rewardbench2(row.columns())
        n_right = sum(map(int, read.gold or ()))
        chosen, rejected = read.responses[:n_right], read.responses[n_right:]
        if len(chosen) != row.fields.get("num_correct", len(chosen)):
            raise row.bad("num_correct", row.fields["num_correct"], f"{len(chosen)}, as in chosen")
        extra: dict[str, Any] = {}
        if subset == "Ties":
            kind, _, number = id.partition(":")
            if kind not in ("ref", "tied") or not number:
                raise row.bad("id", id, "an id such as 'ref:7' or 'tied:7' in the subset Ties")
            if kind == "tied" and len(chosen) < 2:
                raise row.bad("chosen", chosen, "at least two right responses for a tied prompt")
            extra = {"kind": kind, "unit": f"Ties/{number}", "cluster": f"Ties/{number}"}
        elif len(chosen) != 1:
            raise row.bad("chosen", chosen, "exactly one right response outside of Ties")
        texts, gold, _ = shuffled(id, chosen, rejected)
        yield item(row, f"{subset}/{id}", read.query, texts, gold, subset, **extra)


PPE_DOMAINS = ("MMLU-Pro", "MATH", "GPQA", "MBPP-Plus", "IFEval")
PPE_CORRECTNESS = tuple(
    pattern
    for domain in PPE_DOMAINS
    for name in {domain, domain.lower(), domain.lower().replace("-", "_")}
    for pattern in (f"**/*{name}*", f"**/*{name}*/**/*")
)


def _domain(row: Row) -> str:
    """The domain that a path names: the longest name first, since MATH is in no other's."""
    flat = re.sub(r"[^a-z]", "", row.path.lower())
    found = [d for d in PPE_DOMAINS if re.sub(r"[^a-z]", "", d.lower()) in flat]
    if len(found) != 1:
        raise row.bad("path", row.path, f"a path that names one of {', '.join(PPE_DOMAINS)}")
    return found[0]


def ppe_correctness(source: Source) -> Iterator[Example]:
    """PPE Correctness: the sampled pairs of one right and one wrong response to a prompt.

    A pair with equal labels decides nothing and a repeated pair decides nothing new; both are
    skipped, as other readers of these files do.
    """
    for row in source.rows(*PPE_CORRECTNESS):
        domain = _domain(row)
        scores, pairs = row.get("scores"), row.get("sampled_conflict_pairs")
        if not isinstance(scores, list) or not all(s in (0, 1) for s in scores):
            raise row.bad("scores", scores, "a list of 0 and 1, one a response")
        name = f"{domain}/{row.get('question_id')}/{row.fields.get('model_name', '')}"
        query = row.query("prompt")
        seen: set[frozenset[int]] = set()
        if not isinstance(pairs, list):
            raise row.bad("sampled_conflict_pairs", pairs, "a list of index pairs")
        for pair in pairs:
            if not (
                isinstance(pair, list)
                and len(pair) == 2
                and all(type(i) is int and 0 <= i < len(scores) for i in pair)
            ):
                raise row.bad("sampled_conflict_pairs", pair, f"two indices below {len(scores)}")
            i, j = pair
            if scores[i] == scores[j] or frozenset(pair) in seen:
                continue
            seen.add(frozenset(pair))
            gold = (float(scores[i]), float(scores[j]))
            responses = (row.text(f"response_{i + 1}"), row.text(f"response_{j + 1}"))
            yield item(row, f"{name}/{i}-{j}", query, responses, gold, domain, source=name)


RM_BENCH = ("**/total_dataset*", "**/*_filtered*")


def rm_bench(source: Source) -> Iterator[Example]:
    """RM-Bench: three right and three wrong responses in three styles, judged as one list of six.

    `total_dataset` holds what the files of the domains hold; where both are there it alone counts.
    """
    rows = list(source.rows(*RM_BENCH))
    whole = [row for row in rows if "total_dataset" in row.path]
    for row in whole or rows:
        domain = row.fields.get("domain") or Path(row.path).name.partition("_filtered")[0]
        id = f"{domain}/{row.get('id')}"
        texts, gold, styles = shuffled(id, row.texts("chosen", 3), row.texts("rejected", 3))
        query = user(row.text("prompt"))
        yield item(row, id, query, texts, gold, str(domain), styles=styles)


IF_REWARDBENCH = ("**/if_rewardbench*",)


def if_rewardbench(source: Source) -> Iterator[Example]:
    """IF-RewardBench: several responses with a graph of preferences, which is no full order.

    `meta["preferred"]` holds its edges as (better, worse) places. Gold is how many a response is
    preferred to, less how many are preferred to it: our shared rule needs a number for each.
    """
    types = ("Single_Turn", "Multi_Turn", "System_Prompt")
    for row in source.rows(*IF_REWARDBENCH):
        responses, graph = row.get("responses"), row.get("preference_graph")
        try:
            place = {r["response_id"]: i for i, r in enumerate(responses)}
            texts = [str(r["response"]) for r in responses]
            edges = [
                (place[e["chosen"]["response_id"]], place[e["rejected"]["response_id"]])
                for e in graph
            ]
        except (KeyError, TypeError) as error:
            raise row.bad(
                "preference_graph", error, "response_id and response, and edges between known ids"
            ) from None
        gold = [0.0] * len(texts)
        for better, worse in edges:
            gold[better] += 1
            gold[worse] -= 1
        id, subset = f"{row.get('id')}", row.one_of("instruction_type", types)
        yield item(row, id, row.query("messages"), texts, gold, subset, preferred=edges)


REALMISTAKE = ("**/data/*/*", "**/*/gpt-4*", "**/*/Llama-2*")


def realmistake(source: Source) -> Iterator[Example]:
    """ReaLMistake: single responses, gold 1 for no error; the subset is task and source model."""
    golds = {"no_error": 1.0, "error": 0.0}
    for number, row in enumerate(source.rows(*REALMISTAKE)):
        gold = golds[row.one_of("error_label", list(golds))]
        task, file = Path(row.path).parts[-2:]
        subset = f"{task}/{'gpt-4' if 'gpt' in file.lower() else 'llama-2'}"
        query = user(row.text("input"))
        yield item(row, f"{subset}/{number}", query, [row.text("llm_response")], [gold], subset)


def ours(path: Path, drop_bad: bool = False, negative: Negative | None = None) -> Any:
    """A file of the user's in any layout that `spct` reads; every row needs gold."""

    def load(_: Source) -> Iterator[Example]:
        single, dropped = None, Dropped() if drop_bad else None
        found = read_examples(path, drop=dropped, negative=negative)
        for number, example in enumerate(found, 1):
            place = f"{path.name}, example {number}"
            if example.gold is None:
                raise DataError(
                    f"reading {place}: gold: got nothing for id {example.id!r}, expected one "
                    "number a response; a benchmark needs gold"
                )
            if single not in (None, example.n == 1):
                raise DataError(
                    f"reading {place}: got {example.n} responses, expected single responses only "
                    "or several everywhere; split the file"
                )
            single = example.n == 1
            row = Row(place, path.name, {})
            made = item(row, example.id, example.query, example.responses, example.gold, "")
            subset = example.subset or path.stem
            yield replace(example, subset=subset, meta={**example.meta, **made.meta})

    return load
