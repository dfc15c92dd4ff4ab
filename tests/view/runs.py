"""Run folders for the page's tests: written by the store itself, read as anybody's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from spct.core.cells import joined
from spct.core.settle import settle
from spct.runs.store import Store
from spct.types import (
    Checked,
    Completion,
    Criteria,
    Criterion,
    Example,
    Judgement,
    Message,
    Part,
    Principle,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
)
from spct.votes.criteria import weighted
from spct.votes.vote import mean_scores

HOSTILE = (
    '<script>window.pwned = 1</script><img src=x onerror="window.pwned = 1">'
    "</script><svg onload=window.pwned=1>\x1b[31mred\x1b[0m \u202eevil\u2066 \ud800 "
)
CONFIG = {
    "engine": "openai:judge@http://127.0.0.1",
    "judge.vote": "mean",
    "judge.format": "pointwise",
}

BY_CRITERIA = {**CONFIG, "judge.vote": "weighted", "judge.format": "met"}
BURN = Criteria(
    (
        Criterion("cooling", "Tells to cool the burn", 5, required=True),
        Criterion("doctor", "Names a sign to see a doctor at", 3, "graded"),
        Criterion("butter", "Recommends butter", 4, "pitfall"),
    )
)


def checked(id, tables, *, criteria=BURN, text="", **fields):
    """An example judged by criteria: one table per sample, [response][criterion], None unread."""
    n = len(tables[0])
    responses = tuple(f"answer {i + 1} {text}" for i in range(n))
    example = Example(
        id, (Message("user", f"A burn? {text}"),), responses, criteria=criteria, **fields
    )
    drawn = []
    for index, table in enumerate(tables):
        parts = []
        for i, row in enumerate(table):
            shown = tuple(reversed(range(len(criteria.items))))
            prompt = Prompt(id, (Message("user", f"Check {responses[i]}"),), (i,), criteria=shown)
            outcome = (
                Unscored("no_verdict", text)
                if row is None
                else Checked(tuple(row[j] for j in shown), 7.0, f"it says {text}")
            )
            reply = Completion(f"raw reply {index} on {i + 1} {text}", usage=Usage(100, 10, 1))
            parts.append(Part(prompt, reply, index, outcome))
        drawn.append(joined(index, parts, n, criteria, weighted, "openai/judge"))
    return example, settle(id, drawn, weighted, len(drawn))


def judged(id, scores, *, gold=None, responses=None, query="Why?", subset=None, meta=None, text=""):
    """An example and its verdict: `scores` holds one tuple (or a reason) per sample."""
    n = next((len(s) for s in scores if isinstance(s, tuple)), 2)
    responses = responses or tuple(f"answer {i + 1} to {query}" for i in range(n))
    example = Example(
        id, (Message("user", query),), tuple(responses), gold=gold, subset=subset, meta=meta or {}
    )
    trajectories = []
    for i, score in enumerate(scores):
        order = tuple(range(n)) if i % 2 == 0 else tuple(reversed(range(n)))
        shown = "\n".join(f"[{j + 1}] {responses[o]}" for j, o in enumerate(order))
        prompt = Prompt(id, (Message("user", f"Judge {query}\n{shown}\nNow write."),), order)
        critique = f'Response 1 says "{responses[order[0]][:20]}" and "never said this". {text}'
        outcome = (
            Unscored(score, f"because {text}")
            if isinstance(score, str)
            else Judgement((Principle("Fit", "60%", f"fits {text}"),), critique, score)
        )
        usage = Usage(10 * (i < 2), 7, int(i < 2))
        reply = Completion(f"{critique} \\boxed{{}} {text}", usage=usage)
        trajectories.append(Trajectory(id, i, i, prompt, reply, outcome, "openai/judge"))
    return example, settle(id, trajectories, mean_scores, len(trajectories))


def write_run(folder, pairs, config=None, start=0):
    """Store verdicts with their examples as `spct sample` does."""

    async def put(store):
        for position, (example, verdict) in enumerate(pairs, start):
            await store.put_verdict(verdict, example, position=position)

    # a thread of its own: Playwright's sync API keeps a loop running in ours
    with Store.open(folder, config or CONFIG) as store, ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(put(store))).result()
    return folder


def a_run(folder):
    """Right, wrong, tied, unscored, flipping, and without gold."""
    return write_run(
        folder,
        [
            judged("right", [(9.0, 3.0)] * 4, gold=(1.0, 0.0), query="Which sea?", subset="facts"),
            judged("wrong", [(2.0, 7.0)] * 4, gold=(1.0, 0.0), query="Which lake?", subset="facts"),
            judged("tied", [(5.0, 5.0)] * 2, gold=(1.0, 0.0), query="Which hill?"),
            judged("lost", ["truncated", "no_verdict", "truncated"], gold=(1.0, 0.0)),
            judged("flips", [(8.0, 2.0), (3.0, 6.0)] * 2, gold=(0.0, 1.0), subset="odd"),
            judged("three", [(1.0, 2.0, 9.0)] * 2, query="Name three."),
        ],
    )


def renamed(pair, id):
    """The same judgements under another id."""
    example, verdict = pair
    trajectories = tuple(
        replace(t, example_id=id, prompt=replace(t.prompt, example_id=id))
        for t in verdict.trajectories
    )
    return replace(example, id=id), replace(verdict, example_id=id, trajectories=trajectories)
