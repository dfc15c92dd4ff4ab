"""Does a list of criteria help, and must it be the right one? python -m recipes.synthetic.criteria

On the synthetic world a query's constraints are its true criteria. Two small models are tuned from
the shipped base: a judge that checks each response by the list in its prompt (and, for the row
without a list, judges all responses from the query alone), and a writer that writes the list from
the query. Both learn from texts without a fault. The judge then gets the true lists, the written
ones, those of another query (a control: accuracy must fall) and none. Every step is in the work
folder, so the same command goes on where it was stopped; it prints the table of docs/criteria.md.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.synthetic.rows import HERE, SEED, chat_row, study_formats
from recipes.synthetic.teacher import judgement_text
from recipes.synthetic.world import Constraint, Split, check, draw_example, parse_query
from spct.core.generative import GenerativeRM
from spct.core.orders import criteria_order
from spct.core.plan import order_of
from spct.data.criteria_files import CriteriaFile, Listed
from spct.engines.hf import HFEngine
from spct.measure.estimator import UNSCORED_POLICY, by, credits_at
from spct.measure.intervals import Interval, difference, mean_interval, prompts_of, sign_of
from spct.measure.tables import interval, percent, table
from spct.models.criteria import Lists
from spct.models.writer import CriteriaWriter
from spct.runs.engines import RecordingEngine
from spct.runs.folder import atomic_text
from spct.runs.judging import judge_into
from spct.runs.store import Store
from spct.settings import read_toml, validated
from spct.text.format import MET, Format
from spct.train import sft
from spct.train.config import SftConfig, native_bfloat16
from spct.train.fitting import Row
from spct.types import Criteria, Criterion, Example, SamplingParams, Verdict
from spct.votes.criteria import weighted
from spct.votes.vote import mean_scores

WRITER = "Specific Criteria:\n{{conversation}}"  # tiny models learn a format from its heading
CHECKER = replace(
    MET,
    name="tiny_met",
    template="{{conversation}}\nSpecific Criteria:\n{{criteria}}\n{{response}}",
)
RULES = {2: "[Hard Rule]", 1: "[Principle]"}  # must and should, as the readers of lists know them
WEIGHTS = {2: 3.0, 1: 1.0}
GREEDY = SamplingParams(temperature=0.0, max_tokens=170)
Verdicts = Mapping[str, Verdict]


def true_criteria(example: Example) -> Criteria:
    """A query's constraints as a list, in its order; must counts more than should."""
    asked = parse_query(example.query[-1].content)
    return Criteria(
        tuple(Criterion(f"c{i}", c.text, WEIGHTS[c.weight]) for i, c in enumerate(asked, 1))
    )


def examples_of(name: str, count: int, split: Split) -> list[Example]:
    """Examples of two to four responses, each with its true list."""
    rng = random.Random(f"criteria/{name}/{SEED}")
    drawn = (
        draw_example(rng, f"{name}-{i}", split, rng.choice((2, 2, 3, 4))) for i in range(count)
    )
    return [replace(e, criteria=true_criteria(e)) for e in drawn]


def checked_text(response: str, constraints: Sequence[Constraint]) -> str:
    """What the judge should write of a response: each criterion with its evidence, then 0 or 1."""
    found = [check(response, c) for c in constraints]
    lines = [
        f"{i}. {c.text} {one.evidence} {'yes' if one.met else 'no'}"
        for i, (c, one) in enumerate(zip(constraints, found, strict=True), 1)
    ]
    numbers = ", ".join(str(int(one.met)) for one in found)
    return "\n".join(["Analysis:", *lines, f"Scores: \\boxed{{{numbers}}}"])


def written_text(constraints: Sequence[Constraint]) -> str:
    """What the writer should write of a query."""
    return "\n".join(f"{i}. {c.text} {RULES[c.weight]}" for i, c in enumerate(constraints, 1))


def _row(prompt: str, said: str) -> Row:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": said}],
    }


def judge_rows(count: int) -> list[Row]:
    """Two checks by the true list in another order, and one judgement without it, per example."""
    rows, rng = [], random.Random("criteria/judge")
    for example in examples_of("judge", count, "train"):
        asked = parse_query(example.query[-1].content)
        for i in rng.sample(range(example.n), 2):
            order = criteria_order(example, CHECKER, i, "random", SEED)
            text = CHECKER.render(example, (i,), None, order).messages[0].content
            rows.append(_row(text, checked_text(example.responses[i], [asked[j] for j in order])))
        plain, shown = replace(example, criteria=None), order_of(example, 0, "random", SEED)
        rows.append(chat_row(plain, shown, judgement_text(plain, shown, rng), study_formats()))
    return rows


def writer_rows(count: int) -> list[Row]:
    """Queries with their true lists."""
    writer = CriteriaWriter(template=WRITER)
    return [
        _row(writer.prompt(e).messages[0].content, written_text(parse_query(e.query[-1].content)))
        for e in examples_of("writer", count, "train")
    ]


def base_with_rules(work: Path) -> Path:
    """The shipped base with tokens for the marks of a rule, which its vocabulary lacks."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = work / "base"
    if not (out / "config.json").is_file():
        model = AutoModelForCausalLM.from_pretrained(HERE / "weights")
        tokenizer = AutoTokenizer.from_pretrained(HERE / "weights")
        tokenizer.add_tokens(list(RULES.values()))
        model.resize_token_embeddings(len(tokenizer))
        tokenizer.save_pretrained(out)
        model.save_pretrained(out)
    return out


def tuned(work: Path, name: str, rows: Sequence[Row], steps: int) -> Path:
    """A model tuned on the rows, with the settings of the study's cold start but for the steps."""
    out = work / name
    if not (out / "model.safetensors").is_file():
        settings: dict[str, Any] = read_toml(HERE / "config.toml")["cold_start"]
        settings |= {"max_steps": steps, "save_steps": 100, "bf16": native_bfloat16()}
        sft.train(str(base_with_rules(work)), rows, out, validated(SftConfig, settings, name))
    return out


def written_lists(
    examples: Sequence[Example], engine: HFEngine, folder: Path
) -> tuple[tuple[Listed, ...], int]:
    """The writer's list of each query, its replies stored, and how many held no list."""
    writer = CriteriaWriter(max_tokens=60, template=WRITER)
    with Store.open(
        folder, {"engine": engine.fingerprint, "criteria": writer.fingerprint}
    ) as store:

        async def write() -> list[Listed | None]:
            recording = RecordingEngine(engine, store)
            found = await asyncio.gather(*(writer.write(e, recording) for e in examples))
            return [
                Listed(e.query, None, one) if isinstance(one, Criteria) else None
                for e, (one, _) in zip(examples, found, strict=True)
            ]

        lists = asyncio.run(write())
    kept = tuple({one.key: one for one in lists if one is not None}.values())
    return kept, lists.count(None)


def judged(
    examples: Sequence[Example], engine: HFEngine, folder: Path, fmt: Format, source: Lists | None
) -> Verdicts:
    """Greedy verdicts of one way to judge, stored: what is there is not judged again."""
    vote = weighted if fmt.pattern == "met" else mean_scores
    judge = GenerativeRM(engine, fmt, k=1, vote=vote, params=GREEDY, source=source, concurrency=128)
    with Store.open(folder, judge.identity()) as store:
        stored = judge.with_(engine=RecordingEngine(engine, store))
        done = store.finished_ids()
        asyncio.run(judge_into(stored, examples, put=store.put_verdict, finished=done))
        return {v.example_id: v for v in store.verdicts()}


def recall_line(examples: Sequence[Example], lists: Sequence[Listed], n_failed: int) -> str:
    """How much of the true lists the writer wrote, and how much of what it wrote is true."""
    written = {one.query: {(c.text, c.weight) for c in one.criteria.items} for one in lists}
    n_true = n_text = n_both = n_written = 0
    for example in examples:
        asked = {(c.text, c.weight) for c in true_criteria(example).items}
        found = written.get(example.query, set())
        texts = {text for text, _ in asked}
        n_true, n_written = n_true + len(asked), n_written + len(found)
        n_text += len(texts & {text for text, _ in found})
        n_both += len(asked & found)
    right = n_text / n_written if n_written else None
    return (
        f"The writer's recall of constraints is {percent(n_text / n_true)} ({n_text} of {n_true}; "
        f"with the right weight {percent(n_both / n_true)}), its precision {percent(right)}; "
        f"{n_failed} of {len(examples)} replies held no list."
    )


def report(examples: Sequence[Example], arms: Mapping[str, Verdicts], recall: str) -> list[str]:
    """The table: accuracy of each way, and what it is against the true lists, paired."""
    prompts = prompts_of(examples)
    earned = {
        name: credits_at(examples, found, 1, by(mean_scores if name == "none" else weighted))
        for name, found in arms.items()
    }
    lines = []
    for name, credits in earned.items():
        against = difference(credits, earned["given"], prompts)
        unscored = sum(v.rewards is None for v in arms[name].values())
        accuracy = interval(mean_interval(credits, prompts))
        lines.append([name, accuracy, *_against(name, against), f"{unscored} of {len(examples)}"])
    head = ["criteria", "accuracy, %", "against given, points", "", "unscored"]
    chance = sum(1 / e.n for e in examples) / len(examples)
    return [
        table(head, lines),
        recall,
        f"{len(examples)} unseen queries with 2 to 4 responses, greedy, 95% intervals over prompts;"
        f" {UNSCORED_POLICY}. A judge that guesses earns {100 * chance:.1f}.",
    ]


def _against(name: str, found: Interval) -> tuple[str, str]:
    if name == "given":
        return "", ""
    return interval(found), {1: "above", -1: "below", 0: "no difference shown"}[sign_of(found)]


def main(argv: Sequence[str] | None = None) -> None:
    """Tune both models, write the lists, judge in the four ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/synthetic/criteria"))
    parser.add_argument("--examples", type=int, default=400, help="of the test")
    parser.add_argument("--steps", type=int, default=600, help="of the judge; half for the writer")
    chosen = parser.parse_args(argv)
    work: Path = chosen.work / str(chosen.steps)
    test = examples_of("test", chosen.examples, "test")
    writer = HFEngine(tuned(work, "writer", writer_rows(4000), chosen.steps // 2))
    lists, n_failed = written_lists(test, writer, work / f"lists-{chosen.examples}")
    judge = HFEngine(tuned(work, "judge", judge_rows(4000), chosen.steps))
    bare = [replace(e, criteria=None) for e in test]
    given = tuple(
        {one.key: one for one in (Listed(e.query, None, true_criteria(e)) for e in test)}.values()
    )
    true_file = CriteriaFile("the true lists", None, given)
    arms: dict[str, Verdicts] = {}
    for name, fmt, source in (
        ("given", CHECKER, Lists(file=true_file)),
        ("written", CHECKER, Lists(file=CriteriaFile("the written lists", None, lists))),
        ("swapped", CHECKER, Lists(file=true_file, swapped=True)),
        ("none", study_formats().several, None),
    ):
        folder = work / f"{name}-{chosen.examples}"
        arms[name] = judged(bare, judge, folder, fmt, source)
    lines = report(test, arms, recall_line(test, lists, n_failed))
    with atomic_text(work / "table.md") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
