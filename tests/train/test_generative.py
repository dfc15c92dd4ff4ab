"""The two generative paradigms, trained on a toy set and sampled with a real engine."""

from pathlib import Path
from typing import Any

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.hf import HFEngine
from spct.text.format import Format
from spct.train import sft
from spct.train.config import SftConfig
from spct.train.fitting import Row
from spct.types import Example, SamplingParams
from spct.votes.vote import expected_scores, majority
from tests.models.tiny import toy_example, write_model

POINTWISE = Format("toy_pointwise", "{{conversation}}\n{{responses}}")
PAIRWISE = Format("toy_pairwise", "{{conversation}}\n{{responses}}", "pairwise")
QUICK = SftConfig(
    learning_rate=1e-2,
    schedule="constant",
    batch_size=16,
    micro_batch_size=16,
    max_steps=40,
    max_length=200,
    save_steps=100,
    use_cpu=True,
)
EXAMPLES = [toy_example(i) for i in range(16)]
GREEDY = SamplingParams(temperature=0.0, max_tokens=12)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.gradient_checkpointing.:FutureWarning"),
]


def rows(fmt: Format) -> list[Row]:
    made = []
    for e in EXAMPLES:
        for order in ((0, 1), (1, 0)):
            best = [(e.gold or ())[i] for i in order].index(1.0)
            verdict = str(best + 1) if fmt.pattern == "pairwise" else ("8 , 3", "3 , 8")[best]
            made.append(
                {
                    "prompt": [
                        {"role": "user", "content": fmt.render(e, order).messages[0].content}
                    ],
                    "completion": [
                        {"role": "assistant", "content": f"Scores: \\boxed{{ {verdict} }}"}
                    ],
                }
            )
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("generative")
    base = write_model(root / "lm", head=False)
    for fmt in (POINTWISE, PAIRWISE):
        sft.train(str(base), rows(fmt), root / fmt.name, QUICK)
    return {fmt.name: root / fmt.name for fmt in (POINTWISE, PAIRWISE)}


async def right(model: GenerativeRM) -> float:
    verdicts = {v.example_id: v async for v in model.judge_many(EXAMPLES)}
    return sum(verdicts[e.id].winner == (e.gold or ()).index(1.0) for e in EXAMPLES) / len(EXAMPLES)


@pytest.mark.slow
async def test_a_pointwise_and_a_pairwise_judge_overfit_a_toy_set(trained: dict[str, Path]) -> None:
    grm = GenerativeRM(HFEngine(trained["toy_pointwise"]), POINTWISE, k=2, params=GREEDY)
    assert await right(grm) == 1.0
    engine = HFEngine(trained["toy_pairwise"])
    judge = GenerativeRM(engine, PAIRWISE, k=2, vote=majority, params=GREEDY)
    assert await right(judge) == 1.0


@pytest.mark.slow
async def test_token_prob_is_the_models_own_probability_of_the_verdict_token(
    trained: dict[str, Path],
) -> None:
    engine = HFEngine(trained["toy_pairwise"])
    params = SamplingParams(temperature=0.0, max_tokens=12, top_logprobs=20)
    model = GenerativeRM(engine, PAIRWISE, k=2, vote=expected_scores, params=params)
    for example in EXAMPLES[:4]:
        verdict = await model.judge(example)
        by_hand = [first_wins(engine, example, order) for order in ((0, 1), (1, 0))]
        wanted = (by_hand[0] + 1 - by_hand[1]) / 2
        assert verdict.rewards == pytest.approx((wanted, 1 - wanted), abs=1e-4)
        assert verdict.winner == (example.gold or ()).index(1.0)


def first_wins(engine: Any, example: Example, order: tuple[int, int]) -> float:
    """P("1") against P("2") after `Scores: \\boxed{`, straight from the logits."""
    import torch

    tokenizer = engine.tokenizer
    prompt = [{"role": "user", "content": PAIRWISE.render(example, order).messages[0].content}]
    ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    ids = [*ids, *tokenizer.convert_tokens_to_ids(["Scores:", "\\boxed{"])]
    with torch.inference_mode():
        logits = engine.network(input_ids=torch.tensor([ids])).logits[0, -1]
    one, two = logits[tokenizer.convert_tokens_to_ids(["1", "2"])].softmax(-1).tolist()
    return float(one / (one + two))
