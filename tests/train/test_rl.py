"""Which examples become prompts, in which order; what dev sets refuse."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, DataError
from spct.text.format import POINTWISE, SINGLE
from spct.train.config import RlConfig
from spct.train.dev import dev_set
from spct.train.rl import as_completion, check_server, hard_examples, make_rewards, rl_rows
from spct.train.sampling import Formats
from spct.train.sft import batch_arguments
from spct.types import Example, Message, Prompt

CONFIG = RlConfig()


def example(name: str, n: int = 2, gold: tuple[float, ...] | None = None) -> Example:
    gold = gold if gold is not None else (1.0,) + (0.0,) * (n - 1)
    responses = tuple(f"response {i}" for i in range(n))
    return Example(name, (Message("user", f"question {name}"),), responses, gold)


def test_gold_without_a_unique_best_is_skipped_by_reason() -> None:
    rows, funnel = rl_rows(
        [example("a"), example("b", gold=(1.0, 1.0)), example("c", n=1, gold=(0.5,))],
        Formats(),
        seed=0,
    )
    assert [row["example_id"] for row in rows] == ["a"]
    assert funnel.skipped == {
        "no unique best": 1,
        "gold of a single response is not 0 or 1": 1,
    }


def test_single_paired_and_many_are_mixed_and_each_has_its_format() -> None:
    rows, _ = rl_rows([example("a", 1), example("b", 2), example("c", 5)], Formats(), seed=0)
    asked = {len(row["gold"]): row["prompt"][0]["content"] for row in rows}
    assert "[The Begin of Response]" in asked[1]
    assert "[The Begin of Response 5]" in asked[5]
    assert sorted(len(row["gold"]) for row in rows) == [1, 2, 5]


def test_each_pass_shows_another_order_and_gold_stays_original() -> None:
    rows, funnel = rl_rows([example("a", 5)], Formats(), seed=0, passes=6)
    assert funnel.prompts == 6
    assert len({tuple(row["order"]) for row in rows}) > 1
    for row in rows:
        assert row["gold"] == [1.0, 0.0, 0.0, 0.0, 0.0]
        first = row["order"][0]
        assert f"[The Begin of Response 1]\nresponse {first}\n" in row["prompt"][0]["content"]


async def test_prompts_that_all_samples_get_right_are_filtered(tmp_path: Path) -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        right = "easy" in prompt.messages[0].content or seed % 2
        shown = [9 if (original == 0) == bool(right) else 1 for original in prompt.order]
        return f"Scores: \\boxed{{{shown[0]}, {shown[1]}}}"

    names = ("easy 1", "hard 1", "easy 2", "hard 2")
    blank = Example("no gold", (Message("user", "easy"),), ("a", "b"))
    examples = [*map(example, names), blank]
    out = tmp_path / "rl"
    kept, n_easy = await hard_examples(examples, ScriptedEngine(reply), Formats(), CONFIG, out)
    left = [e.id for e in kept]
    assert "easy 1" not in left and "easy 2" not in left
    # gold that cannot decide is not easiness: it is left for rl_rows to count
    assert "no gold" in left and n_easy == len(examples) - len(kept)
    assert rl_rows(kept, Formats(), seed=0)[1].skipped == {"no gold": 1}

    def never(prompt: Prompt, seed: int) -> str:
        raise AssertionError("what is stored is drawn again")

    again, _ = await hard_examples(examples, ScriptedEngine(never), Formats(), CONFIG, out)
    assert again == kept


@pytest.mark.parametrize(
    ("ids", "reason"), [([5, 1], "stop"), ([5, 6, 7], "length"), ([5, 6, 1], "stop")]
)
def test_a_rollout_at_the_limit_without_an_end_is_truncated(ids: list[int], reason: str) -> None:
    assert as_completion("x", ids, frozenset({1}), 3).finish_reason == reason


def test_a_dev_set_that_overlaps_training_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 queries are also training prompts"):
        dev_set([example("a"), example("b")], [example("a")])
    with pytest.raises(DataError, match="no unique best"):
        dev_set([example("a", gold=(1.0, 1.0))], [])
    assert len(dev_set([example("b")], [example("a")]).examples) == 1


def test_formats_are_told_apart_by_what_they_show_and_not_by_name() -> None:
    same = replace(SINGLE, name=POINTWISE.name)
    (reward,) = make_rewards(Formats(POINTWISE, same), frozenset({1}), RlConfig())
    paid = reward(
        completions=[[{"content": "Scores: \\boxed{9, 2}"}], [{"content": "Scores: \\boxed{1}"}]],
        completion_ids=[[5, 1]] * 2,
        order=[[0, 1], [0]],
        gold=[[1.0, 0.0], [1.0]],
        log_metric=lambda *_: None,
    )
    assert paid == [1.0, 1.0]


def test_a_vllm_server_that_is_not_there_is_named_before_any_work() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"does not answer .*trl vllm-serve"):
            check_server(CONFIG.model_copy(update={"vllm_server": url}))
    check_server(CONFIG)


def test_bfloat16_without_hardware_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    config = CONFIG.model_copy(update={"bf16": True, "use_cpu": False})
    monkeypatch.setattr(
        "transformers.utils.import_utils.is_torch_bf16_gpu_available", lambda: False
    )
    with pytest.raises(ConfigError, match="no accelerator here that computes in bfloat16"):
        batch_arguments(config, 1)
    monkeypatch.setattr("transformers.utils.import_utils.is_torch_bf16_gpu_available", lambda: True)
    assert batch_arguments(config, 1)["bf16"] is True
