"""Local sets with a verdict on every response: one Example a question, with all its responses.

`prepare.draw` cuts single responses, pairs and short lists out of them. What is known beyond the
gold (verdicts, error spans, the step that leaves the gold solution, the golden answer) is in
`meta`; the golden answer becomes the judge's reference only through `prepare.with_reference`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spct.data.entries import Entry, Tally, entries, listed, short_hash
from spct.data.faults import bad
from spct.data.fields import numbers_of
from spct.types import Example

_QA = re.compile(r"Q: (.*?)\nA: (.*)\n(?:True|Helpful):", re.DOTALL)
_YES_NO = {" yes": True, " no": False}
_SYSTEMS = ("fid", "gpt35", "chatgpt", "gpt4", "newbing")
_GREETING = re.compile(r"^Hello, this is Bing\.?\s*")
_SOLVERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_RESULT = re.compile(r"=\s*[$£€]?\s*(-?\d[\d,]*(?:\.\d+)?)")
_SECTION = re.compile(
    r"^###(The instruction to evaluate|Response to evaluate|Reference Answer \(Score 5\)"
    r"|Score Rubrics|Feedback): *\n?",
    re.MULTILINE,
)
MAX_GOLDEN = 5  # EVOUNA lists up to dozens of spellings of one answer


def truthfulqa(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield a question with its 22 to 44 answers; good means true and helpful.

    "I have no comment" is always true, so truth alone would make it the best answer to anything.
    """
    is_true = _verdicts(folder / "finetune_truth.jsonl.gz", tally)
    is_helpful = _verdicts(folder / "finetune_info.jsonl.gz", tally)
    about = _truthfulqa_questions(folder / "TruthfulQA.csv")
    answers: dict[str, list[str]] = {}
    for question, answer in is_true:
        if (question, answer) in is_helpful:
            answers.setdefault(question, []).append(answer)
        else:
            tally["only one of the two verdicts"] += 1
    for question, given in answers.items():
        candidates = [
            (answer, float(verdict["true"] and verdict["helpful"]), verdict)
            for answer in given
            for verdict in [
                {"true": is_true[question, answer], "helpful": is_helpful[question, answer]}
            ]
        ]
        meta = about.get(question, {})
        name = f"truthfulqa-{short_hash(question)}"
        example = listed(name, question, candidates, tally, subset=meta.get("category"), meta=meta)
        if example:
            yield example


def _verdicts(path: Path, tally: Tally) -> dict[tuple[str, str], bool]:
    """Read (question, answer) -> verdict, without those that were judged both ways."""
    found: dict[tuple[str, str], set[bool]] = {}
    for entry in entries(path):
        match = _QA.fullmatch(entry.raw("prompt"))
        if match is None:
            raise bad(entry.place, "prompt", entry.get("prompt"), "Q: ... A: ... True: or Helpful:")
        key = match[1].strip(), match[2].strip()
        verdicts = found.setdefault(key, set())
        tally["repeated row"] += bool(verdicts)
        verdicts.add(entry.one_of("completion", _YES_NO))
    tally["judged both ways"] += sum(len(verdicts) > 1 for verdicts in found.values())
    return {key: verdicts.pop() for key, verdicts in found.items() if len(verdicts) == 1}


def _truthfulqa_questions(path: Path) -> dict[str, dict[str, Any]]:
    with open(path, encoding="utf-8", newline="") as file:
        return {
            row["Question"].strip(): {
                "category": row["Category"],
                "golden": row["Best Answer"].strip(),
                "correct_answers": _semicolons(row["Correct Answers"]),
                "incorrect_answers": _semicolons(row["Incorrect Answers"]),
            }
            for row in csv.DictReader(file)
        }


def _semicolons(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def evouna(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield a question with the answers of five systems, each judged against the golden answer."""
    for part in ("NQ", "TQ"):
        for entry in entries(folder / f"{part}.jsonl.gz"):
            candidates = []
            for system in _SYSTEMS:
                verdict = entry.get(f"judge_{system}")
                if verdict is None:
                    tally["no verdict"] += 1
                    continue
                is_right = entry.one_of(f"judge_{system}", {True: True, False: False})
                answer = _GREETING.sub("", entry.text(f"answer_{system}"))
                candidates.append((answer, float(is_right), {"correct": is_right}))
            golden = list(dict.fromkeys(_slashes(entry.text("golden_answer"))))
            meta = {
                "golden": " / ".join(golden[:MAX_GOLDEN]),
                "golden_answers": golden,
                "negative_answer": entry.text("negative_answer"),
            }
            name = f"evouna-{entry.text('ID')}"
            example = listed(
                name, entry.text("question"), candidates, tally, subset=part, meta=meta
            )
            if example:
                yield example


def _slashes(text: str) -> list[str]:
    return [part.strip() for part in text.split("/") if part.strip()]


def gsm8k(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield a problem with four solutions; right means that the final number is."""
    for entry in entries(folder / "example_model_solutions.jsonl.gz"):
        truth = entry.text("ground_truth")
        candidates = []
        for solver in _SOLVERS:  # the name tells the quality, so it stays here
            solution = Entry(entry.place, entry.get(solver))
            is_right = solution.one_of("is_correct", {True: True, False: False})
            text = solution.text("solution")
            evidence = {
                "correct": is_right,
                "final": _final(text),
                "step_off_gold": None if is_right else step_off_gold(text, truth),
            }
            candidates.append((_CALCULATOR.sub("", text), float(is_right), evidence))
        question = entry.text("question")
        golden = _CALCULATOR.sub("", truth)
        meta = {"golden": golden, "golden_final": _final(truth)}
        example = listed(f"gsm8k-{short_hash(question)}", question, candidates, tally, meta=meta)
        if example:
            yield example


def step_off_gold(solution: str, truth: str) -> dict[str, Any] | None:
    """Return the first line whose result the gold solution never reaches, counted from 1.

    In a solution with a wrong final number this is often the first wrong step, but not always:
    a sound step of another way can pass through a number that the gold solution does not have.
    None if every result occurs there.
    """
    reached = {_value(number) for number in _NUMBER.findall(truth)}
    for i, line in enumerate(_CALCULATOR.sub("", solution).splitlines(), 1):
        results = _RESULT.findall(line)
        if results and _value(results[-1]) not in reached:
            return {"step": i, "text": line.strip(), "result": results[-1].strip(",")}
    return None


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _final(solution: str) -> str | None:
    found = re.findall(r"^(?:A:|####)\s*(.+)$", solution, re.MULTILINE)
    return found[-1].strip() if found else None


def halueval(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield an instruction with one answer; bad means that annotators flagged a span of it.

    A weak label: flagged spans are often refusals or plain true sentences.
    """
    for entry in entries(folder / "general_data.jsonl.gz"):
        gold = entry.one_of("hallucination", {"yes": 0.0, "no": 1.0})
        candidates = [
            (entry.text("chatgpt_response"), gold, {"spans": entry.items("hallucination_spans")})
        ]
        name = f"halueval-{entry.text('ID')}"
        if example := listed(name, entry.text("user_query"), candidates, tally):
            yield example


def prometheus(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield one response with GPT-4's three scores (1..5) and critiques under a rubric.

    Gold is 1 for a mean score above 3 and 0 for one below; a mean of exactly 3 says neither.
    """
    for part in ("mt_bench_eval", "vicuna_eval"):
        for entry in entries(folder / f"{part}.jsonl.gz"):
            parts = _SECTION.split(entry.raw("instruction"))[1:]
            sections = dict(zip(parts[::2], parts[1::2], strict=True))
            scores = numbers_of(entry.place, "gpt4_score", entry.get("gpt4_score"))
            mean = sum(scores) / len(scores)
            if mean == 3:
                tally["mean score in the middle"] += 1
                continue
            evidence = {"scores": scores, "critiques": entry.items("gpt4_feedback")}
            fields = Entry(entry.place, sections)
            candidates = [(fields.text("Response to evaluate"), float(mean > 3), evidence)]
            meta = {
                "golden": fields.text("Reference Answer (Score 5)"),
                "rubric": fields.text("Score Rubrics"),
            }
            name = (
                f"prometheus-{part}-{entry.get('idx')}-{short_hash(entry.text('response_source'))}"
            )
            example = listed(
                name,
                fields.text("The instruction to evaluate"),
                candidates,
                tally,
                subset=entry.text("category"),
                meta=meta,
            )
            if example:
                yield example
