"""Hooks: groups found, deadlines kept, failures None, runs stopped when the judge is down."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, DataError, EndpointError, EngineError, TrainError
from spct.integrations import verl
from spct.integrations.groups import query_of, runs_of, text_of
from spct.integrations.hook import Hook
from spct.integrations.trl import make_reward_func, reward_func
from spct.text.format import MET
from spct.types import Example, Message, Prompt
from spct.votes.criteria import weighted
from tests.serve.local import Client, Model, served


def chat(*turns: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]


# ---- groups (pure)


def test_runs_of_equal_prompts_are_groups_and_equal_texts_are_judged_once():
    runs = runs_of(["p", "p", "p", "q"], ["a", "b", "a", "c"]).runs
    assert [(run.example.responses, run.rows, run.index) for run in runs] == [
        (("a", "b"), (0, 1, 2), (0, 1, 0)),
        (("c",), (3,), (0,)),
    ]


def test_a_prompt_drawn_twice_in_a_row_is_two_groups_when_the_size_is_known():
    runs = runs_of(["p"] * 4, list("abcd"), group_size=2).runs
    assert [run.rows for run in runs] == [(0, 1), (2, 3)]


def test_messages_are_read_as_turns_and_completions_as_their_assistants_text():
    assert query_of(chat("hi")) == (Message("user", "hi"),)
    tool = [*chat("hi", "call"), {"role": "tool", "content": "42"}]
    assert query_of(tool)[-1] == Message("user", "Result of a tool:\n42")
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]
    assert text_of(parts) == "a" and text_of("plain") == "plain" and text_of([]) == ""
    image = [{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]
    with pytest.raises(DataError, match="image"):
        text_of(image)
    with pytest.raises(DataError, match="role"):
        query_of([{"role": "narrator", "content": "x"}])


def test_the_name_of_an_example_depends_on_its_content():
    def name(text: str) -> str:
        return runs_of(["p"], [text]).runs[0].example.id

    assert name("a") == name("a") != name("b")


IMAGE = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]


def test_a_sample_that_cannot_be_shown_is_left_out_of_its_group_and_named():
    calls = [{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]}]
    seen = [{"role": "assistant", "content": [{"type": "image"}]}]
    grouped = runs_of(["p", "p", "p", IMAGE, IMAGE], [calls, seen, "b", "c", "d"], group_size=3)
    (run,) = grouped.runs
    assert (run.rows, run.n_rows) == ((0, 2), 3) and "f" in run.example.responses[0]
    assert sorted(grouped.refused) == [1, 3, 4] and "image" in grouped.refused[3]


@pytest.mark.parametrize(
    "prompt", ["", " \n", [], [{"role": "user", "content": ""}], chat("Hi", "Hello")]
)
def test_a_prompt_that_asks_nothing_is_refused_as_it_is_by_a_gateway(
    prompt: str | list[dict[str, str]],
) -> None:
    grouped = runs_of(["p", prompt], ["a", "b"])
    assert [run.rows for run in grouped.runs] == [(0,)] and list(grouped.refused) == [1]


# ---- TRL's contract


async def test_rewards_come_in_the_order_of_the_rows_for_texts_and_for_messages():
    model = Model()
    reward = make_reward_func(model)
    columns = {"completion_ids": [[1]] * 3, "trainer_state": None, "other": [1, 2, 3]}
    rows = await reward(prompts=["p", "p", "q"], completions=["a", "bbb", "cc"], **columns)
    assert rows == [1.0, 3.0, 2.0] and len(model.judged) == 2
    rows = await reward(
        prompts=[chat("p")] * 2,
        completions=[[{"role": "assistant", "content": "aa"}], []],
        **columns,
    )
    assert rows == [2.0, 0.0]


def test_trl_and_verl_recognise_the_functions_as_async():
    assert inspect.iscoroutinefunction(make_reward_func(Model()))
    assert inspect.iscoroutinefunction(reward_func)
    assert inspect.iscoroutinefunction(verl.compute_score)


async def test_a_failed_judgement_is_none_for_its_group_only():
    model = Model(lambda example: None if example.query[0].content == "p" else [1.0])
    rows = await make_reward_func(model)(prompts=["p", "p", "q"], completions=["a", "b", "c"])
    assert rows == [None, None, 1.0]


@pytest.mark.parametrize("error", [EngineError("down"), DataError("bad row"), OSError("reset")])
async def test_a_judge_that_is_down_is_none_and_does_not_raise_into_the_trainer(error):
    assert await make_reward_func(Model(error=error))(prompts=["p"], completions=["a"]) == [None]


async def test_the_deadline_holds_and_the_late_judgement_is_cancelled():
    model = Model(delay_s=60)
    started = time.monotonic()
    reward = make_reward_func(model, deadline_s=0.05)
    assert await reward(prompts=["p"], completions=["a"]) == [None]
    assert time.monotonic() - started < 30 and model.n_cancelled == 1


async def test_a_run_whose_judge_stays_down_is_stopped_where_a_limit_is_set():
    reward = make_reward_func(Model(lambda example: None), max_unscored=0.5)
    with pytest.raises(TrainError, match="no reward"):
        for _ in range(100):
            assert await reward(prompts=["p"] * 4, completions=list("abcd")) == [None] * 4
    steady = make_reward_func(Model(), max_unscored=0.5)
    for _ in range(20):
        await steady(prompts=["p"] * 4, completions=list("abcd"))


async def test_metrics_go_to_the_trainers_log():
    logged: dict[str, float] = {}
    model = Model(lambda e: None if e.query[0].content == "p" else [1.0] * e.n)
    await make_reward_func(model)(
        prompts=["p", "p", "q", "q"],
        completions=list("abcd"),
        log_metric=lambda name, value: logged.update({name: value}),
    )
    assert logged == {"spct/unscored": 0.5, "spct/groups_without_spread": 1.0}


async def test_the_best_and_the_worst_of_a_group_say_why_in_the_trainers_table():
    def reply(prompt: Prompt, seed: int) -> str:
        shown = prompt.messages[0].content.split("[The Begin of Response ")[1:]
        scores = [9 if "good" in text else 2 if "bad" in text else 5 for text in shown]
        return f"Analysis: seed {seed}\nScores: \\boxed{{{', '.join(map(str, scores))}}}"

    table: dict[str, list[str]] = {}
    rewards = await make_reward_func(GenerativeRM(ScriptedEngine(reply), k=2))(
        prompts=["p"] * 3 + ["q"] * 2,
        completions=["so so", "good", "bad", "so so", "fair"],
        log_extra=lambda name, values: table.update({name: values}),
    )
    assert rewards == [5, 9, 2, 5, 5]
    judged = table["judged"]
    assert judged[0] == "" and judged[1].startswith("best, 9") and judged[2].startswith("worst, 2")
    assert "seed" in table["critique"][1] and table["critique"][0] == ""
    assert judged[3].startswith("tied, 5") and judged[4] == ""
    assert {len(values) for values in table.values()} == {5}


async def test_references_come_from_the_named_column_and_a_wrong_name_is_an_error():
    model = Model()
    reward = make_reward_func(model, reference_column="answer")
    await reward(prompts=["p"], completions=["a"], answer=["42"])
    assert model.judged[0].reference == "42"
    with pytest.raises(ConfigError, match="no column 'answer'; there are solution"):
        await reward(prompts=["p"], completions=["a"], solution=["42"])


async def test_a_split_group_is_refused_in_process_and_put_together_by_a_gateway():
    with pytest.raises(ConfigError, match="spct serve"):
        await make_reward_func(Model(), group_size=4)(prompts=["p"] * 2, completions=["a", "b"])
    model = Model()

    class State:
        global_step = 3

    async with served(model) as client:
        hooks = [Hook.of(client.url), Hook.of(client.url)]
        processes = [make_reward_func(hook, group_size=4) for hook in hooks]
        rows = await asyncio.gather(
            processes[0](prompts=["p"] * 2, completions=["a", "bb"], trainer_state=State()),
            processes[1](prompts=["p"] * 2, completions=["ccc", "a"], trainer_state=State()),
        )
        await asyncio.gather(*(hook.aclose() for hook in hooks))
    assert rows == [[1.0, 2.0], [3.0, 1.0]]
    assert [sorted(example.responses) for example in model.judged] == [["a", "bb", "ccc"]]


async def test_samples_with_images_are_none_with_one_warning(caplog):
    model = Model()
    completions = [[{"role": "assistant", "content": text}] for text in ("a", "b", "cc")]
    prompts = [IMAGE, IMAGE, chat("p")]
    rows = await make_reward_func(model)(prompts=prompts, completions=completions)
    assert rows == [None, None, 2.0]
    (said,) = [r.message for r in caplog.records if "image" in r.message]
    assert "2 of 3 samples" in said


async def test_a_gateway_that_is_not_there_is_named_at_once_with_the_cause():
    reward = make_reward_func("http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(EndpointError, match=r"cannot reach the gateway at .*:9.*spct serve"):
        await reward(prompts=["p"], completions=["a"])
    assert time.monotonic() - started < 9


async def test_an_address_that_accepts_and_says_nothing_is_named_within_ten_seconds(monkeypatch):
    monkeypatch.setattr("spct.models.remote._REACH_S", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client has gone
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hook = Hook.of(f"http://127.0.0.1:{port}")
    with pytest.raises(EndpointError, match="cannot reach the gateway"):
        await make_reward_func(hook)(prompts=["p"], completions=["a"])
    await hook.aclose()
    server.close()
    await server.wait_closed()


async def test_a_gateway_that_goes_away_later_is_waited_for_and_the_cause_is_said(caplog):
    async with served(Model()) as client:
        hook = Hook.of(client.url, deadline_s=1.0)
        reward = make_reward_func(hook)
        assert await reward(prompts=["p"], completions=["a"]) == [1.0]
    assert await reward(prompts=["p"], completions=["b"]) == [None]
    await hook.aclose()
    said = " ".join(record.message for record in caplog.records)
    assert "does not answer" in said and "not within 1 s: Client" in said


async def test_what_the_gateway_says_of_a_failure_is_in_the_log(caplog):
    nonsense = GenerativeRM(ScriptedEngine(lambda prompt, seed: "no verdict"), k=3)
    async with served(nonsense) as client:
        hook = Hook.of(client.url)
        assert await make_reward_func(hook)(prompts=["p"], completions=["a"]) == [None]
        part = make_reward_func(hook, group_size=2)
        assert await part(prompts=["p"], completions=["a"]) == [None]
        await hook.aclose()
    said = [record.message for record in caplog.records if "the gateway says" in record.message]
    assert len(said) == 2 and all("no_verdict 3" in one for one in said)


async def test_the_environment_names_the_model_of_the_plain_function(monkeypatch):
    monkeypatch.delenv("SPCT_REWARD_MODEL", raising=False)
    with pytest.raises(ConfigError, match="SPCT_REWARD_MODEL is not set"):
        await reward_func(prompts=["p"], completions=["a"])
    monkeypatch.setenv("SPCT_REWARD_MODEL", "scripted")
    rows = await reward_func(prompts=["p", "p"], completions=["a", "b"])
    assert all(isinstance(row, float) for row in rows)
    for size, message in (("x", "num_generations"), ("4", "2 of a prompt's 4")):
        monkeypatch.setenv("SPCT_REWARD_GROUP_SIZE", size)
        with pytest.raises(ConfigError, match=message):
            await reward_func(prompts=["p", "p"], completions=["a", "b"])


async def test_a_hook_may_be_called_from_loops_that_come_and_go():
    model = Model()
    hook = Hook(lambda: model)
    example = Example("e", (Message("user", "q"),), ("aa",))

    def in_a_loop_of_its_own() -> float | None:
        return asyncio.run(hook.judge_all([example]))[0].reward()

    rewards = await asyncio.gather(*(asyncio.to_thread(in_a_loop_of_its_own) for _ in range(4)))
    assert rewards == [2.0] * 4


# ---- verl's recorded contract: per sample, no prompt, constant keys


@asynccontextmanager
async def judged_by(model: object, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """The model behind a gateway that verl's functions find in the environment."""
    async with served(model) as client:
        monkeypatch.setenv("SPCT_REWARD_MODEL", client.url)
        yield client


INFO = {"question": "What is 2+2?", "index": 3, "split": "train"}
CALL = {"data_source": "d", "solution_str": "four", "ground_truth": "4", "extra_info": INFO}


async def test_verl_gets_the_same_keys_for_a_reward_and_for_a_failure(monkeypatch):
    async with judged_by(Model(), monkeypatch):
        scored = await verl.compute_score(**CALL, on_unscored=-1.0, reward_router_address="h:1")
        picture = {**CALL, "extra_info": {"question": IMAGE}}
        refused = await verl.compute_score(**picture, on_unscored=-1.0)
    async with judged_by(Model(lambda example: None), monkeypatch):
        failed = await verl.compute_score(**CALL, on_unscored=-1.0)
    assert scored == {"score": 4.0, "unscored": 0.0}
    assert failed == refused == {"score": -1.0, "unscored": 1.0}
    assert tuple(scored) == tuple(failed) == verl.KEYS


async def test_what_verl_would_pay_zero_for_is_an_error_in_the_log(monkeypatch, caplog):
    monkeypatch.setenv("SPCT_REWARD_MODEL", "scripted")
    wrong = [
        (ConfigError, "on_unscored", CALL, {}),
        (DataError, "no 'prompt'", CALL, {"on_unscored": 0.0, "question_key": "prompt"}),
        (DataError, "nothing", {**CALL, "extra_info": None}, {"on_unscored": 0.0}),
        (ConfigError, "gateway", CALL, {"on_unscored": 0.0, "group_size": 2}),
    ]
    for error, message, call, settings in wrong:
        caplog.clear()
        with pytest.raises(error, match=message):
            await verl.compute_score(**call, **settings)
        (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
        assert "pays 0.0" in record.message and message in record.message


async def test_verls_own_timeout_does_not_pass_in_silence(monkeypatch, caplog):
    async with judged_by(Model(delay_s=60), monkeypatch):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(verl.compute_score(**CALL, on_unscored=0.0), 0.3)
        assert "pays 0.0" in caplog.text and "deadline_s" in caplog.text
        ours = await verl.compute_score(**CALL, on_unscored=-1.0, deadline_s=0.1)
        assert ours == {"score": -1.0, "unscored": 1.0}
    assert verl.DEADLINE_S < 300


async def test_verl_questions_may_be_messages_as_parquet_gives_them(monkeypatch):
    import numpy as np

    model = Model()
    info = {"prompt": np.array(chat("hi"), dtype=object)}
    async with judged_by(model, monkeypatch):
        await verl.compute_score(
            **{**CALL, "extra_info": info}, on_unscored=0.0, question_key="prompt",
            use_ground_truth=True,
        )  # fmt: skip
    assert model.judged[0].query == (Message("user", "hi"),) and model.judged[0].reference == "4"


async def test_verl_groups_meet_at_the_gateway(monkeypatch):
    model = Model()
    async with judged_by(model, monkeypatch):
        scores = await asyncio.gather(
            *(
                verl.compute_score(**{**CALL, "solution_str": text}, on_unscored=0.0, group_size=2)
                for text in ("a", "bb")
            )
        )
    assert [one["score"] for one in scores] == [1.0, 2.0] and len(model.judged) == 1


async def test_verls_batch_manager_calls_a_plain_function_that_sees_groups_whole(monkeypatch):
    model = Model(
        lambda example: None if example.n == 1 else [float(len(r)) for r in example.responses]
    )
    batch = (
        ["d"] * 3, ["a", "bb", "c"], [None] * 3,
        [{"question": "p"}, {"question": "p"}, {"question": "q"}],
    )  # fmt: skip
    async with judged_by(model, monkeypatch):
        scores = await asyncio.to_thread(verl.compute_score_batch, *batch, on_unscored=-1.0)
    assert not inspect.iscoroutinefunction(verl.compute_score_batch)
    assert scores == [
        {"score": 1.0, "unscored": 0.0},
        {"score": 2.0, "unscored": 0.0},
        {"score": -1.0, "unscored": 1.0},
    ]


# ---- criteria

BY_WORD = [{"name": "word", "text": "Speaks of the harbour"}]


def by_criteria(k: int = 1) -> GenerativeRM:
    return GenerativeRM(ScriptedEngine(), MET, k=k, vote=weighted)


async def test_a_column_of_criteria_and_general_ones_reach_the_judge():
    general = [{"name": "polite", "text": "Thanks the reader", "weight": 0.5}]
    reward = make_reward_func(by_criteria(), criteria_column="rubric", general_criteria=general)
    rows = await reward(
        prompts=["p"] * 3,
        completions=["harbour of thanks", "the harbour", "nothing"],
        rubric=[BY_WORD] * 3,
    )
    assert rows == pytest.approx([1.0, 1 / 1.5, 0.0])
    # another list is another group, though the prompt is the same
    other = [{"name": "word", "text": "Speaks of nothing"}]
    lists = [BY_WORD, other]
    alone = make_reward_func(by_criteria(), criteria_column="rubric")
    assert await alone(prompts=["p"] * 2, completions=["nothing"] * 2, rubric=lists) == [0.0, 1.0]


async def test_criteria_for_a_model_that_reads_none_and_bad_lists_end_the_run_at_once():
    reward = make_reward_func(Model(), general_criteria=BY_WORD)
    with pytest.raises(ConfigError, match=r"which .* does not read"):
        await reward(prompts=["p"], completions=["a"])
    reward = make_reward_func(by_criteria(), criteria_column="rubric")
    with pytest.raises(DataError, match=r"rubric.*--negative"):
        await reward(prompts=["p"], completions=["a"], rubric=[[{"text": "x", "weight": -1}]])
    with pytest.raises(DataError, match="this name too"):
        both = make_reward_func(by_criteria(), criteria_column="r", general_criteria=BY_WORD)
        await both(prompts=["p"], completions=["a"], r=[BY_WORD])


async def test_parts_of_a_group_with_criteria_are_put_together_by_the_gateway():
    async with served(by_criteria()) as client:
        hooks = [
            make_reward_func(client.url, group_size=2, criteria_column="rubric") for _ in range(2)
        ]
        found = await asyncio.gather(
            *(
                hook(prompts=["p"], completions=[text], rubric=[BY_WORD])
                for hook, text in zip(hooks, ("the harbour", "nothing"), strict=True)
            )
        )
    assert found == [[1.0], [0.0]]
