"""What the embedded engines promise alike, on tiny random models of their architecture."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spct.engines.lora import check_is_plain, find_lora
from spct.errors import ConfigError, ContextOverflow, DataError, EngineError
from spct.protocols import Engine
from spct.types import Completion, Message, Prompt, SamplingParams

GRAMMAR = "root ::= [a-c]{3,5}\n"
NATIVE = ("openvino", "llamacpp")


def prompt(text: str) -> Prompt:
    return Prompt("one", (Message("user", text),), (0,))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("gguf")
    from tests.engines.tiny_models import write_folder, write_gguf

    folder = tmp_path_factory.mktemp("models")
    path = write_gguf(folder / "tiny.gguf", quantised=False)
    return {"openvino": path, "llamacpp": path, "hf": write_folder(folder / "tiny")}


def start(kind: str, model: Path | None, **options: object) -> Engine:
    make: Callable[..., Engine]
    if kind == "openvino":
        pytest.importorskip("openvino_genai")
        from spct.engines.openvino import OpenVINOEngine as make
    elif kind == "llamacpp":
        pytest.importorskip("xllamacpp")
        from spct.engines.llamacpp import LlamaCppEngine as make

        options = {"max_concurrency": 8, "threads": 1} | options
    else:
        pytest.importorskip("transformers")
        from spct.engines.hf import HFEngine as make
    return make(model, **options)


@pytest.fixture(params=["openvino", "llamacpp", "hf"])
async def engine(request: pytest.FixtureRequest, models: dict[str, Path]) -> AsyncIterator[Engine]:
    engine = start(request.param, models[request.param])
    yield engine
    await engine.aclose()


@pytest.fixture(params=NATIVE)
async def native(request: pytest.FixtureRequest, models: dict[str, Path]) -> AsyncIterator[Engine]:
    engine = start(request.param, models[request.param])
    yield engine
    await engine.aclose()


async def test_n_samples_of_a_prompt_pay_for_it_once(engine: Engine) -> None:
    params = SamplingParams(temperature=2.0, max_tokens=6, seeds=tuple(range(6)))
    replies = await engine.sample(prompt("hello"), 6, params)
    assert len(replies) == 6
    assert replies[0].usage.prompt_tokens > 6
    assert [reply.usage.prompt_tokens for reply in replies[1:]] == [0] * 5
    assert len({reply.token_ids for reply in replies}) == 6
    for reply in replies:
        assert reply.token_ids is not None
        assert reply.usage.completion_tokens == len(reply.token_ids) <= 6
        assert reply.finish_reason == ("stop" if reply.token_ids[-1] == 2 else "length")


@pytest.mark.parametrize("temperature", [2.0, 0.0])
async def test_a_completion_is_handed_on_at_most_once_and_with_its_place(
    engine: Engine, temperature: float
) -> None:
    arrived: dict[int, Completion] = {}

    async def keep(i: int, completion: Completion) -> None:
        assert i not in arrived
        arrived[i] = completion

    params = SamplingParams(
        temperature=temperature, max_tokens=4, seeds=tuple(range(10)), on_completion=keep
    )
    replies = await engine.sample(prompt("hello"), 10, params)
    assert arrived == {i: replies[i] for i in arrived}


async def test_the_same_seeds_give_the_same_text_and_others_another(engine: Engine) -> None:
    params = [SamplingParams(max_tokens=16, seeds=(s, s + 1)) for s in (5, 5, 90)]
    first, again, other = [await engine.sample(prompt("hello"), 2, p) for p in params]
    assert [r.token_ids for r in first] == [r.token_ids for r in again]
    assert [r.token_ids for r in first] != [r.token_ids for r in other]


async def test_without_seeds_samples_differ_between_calls(engine: Engine) -> None:
    params = SamplingParams(temperature=2.0, max_tokens=16)
    drawn = [(await engine.sample(prompt("hello"), 1, params))[0].token_ids for _ in range(3)]
    assert len(set(drawn)) == 3


async def test_greedy_samples_are_equal_and_paid_once(engine: Engine) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=5)
    first, *others = await engine.sample(prompt("hello"), 3, params)
    assert [other.token_ids for other in others] == [first.token_ids] * 2
    assert first.usage.completion_tokens and not others[0].usage.completion_tokens


async def test_many_calls_in_flight_all_answer(engine: Engine) -> None:
    calls = [
        engine.sample(prompt(f"question {i % 8}"), 1, SamplingParams(max_tokens=4, seeds=(i,)))
        for i in range(64)
    ]
    replies = await asyncio.gather(*calls)
    assert all(len(reply) == 1 and reply[0].finish_reason != "error" for reply in replies)


async def test_log_probabilities_of_the_sampled_tokens_are_those_of_temperature_one(
    engine: Engine,
) -> None:
    """Greedy and hot sampling of the same token must report the same number for it."""
    cold, hot = [
        SamplingParams(temperature=t, top_p=p, max_tokens=1, top_logprobs=0, seeds=(1,))
        for t, p in ((0.0, 1.0), (0.7, 1e-6))
    ]
    one, other = [(await engine.sample(prompt("hi"), 1, params))[0] for params in (cold, hot)]
    assert one.token_ids == other.token_ids
    assert one.logprobs and other.logprobs
    assert one.logprobs[0].logprob == pytest.approx(other.logprobs[0].logprob, abs=1e-3)
    assert one.logprobs[0].top == {}


async def test_a_prompt_too_long_for_the_context_is_refused_with_numbers(engine: Engine) -> None:
    with pytest.raises(ContextOverflow, match=r"'one' has \d+ tokens.* asks for 500 more.* 512"):
        await engine.sample(prompt("long " * 20), 1, SamplingParams(max_tokens=500))


@pytest.mark.parametrize(
    ("n", "params"),
    [
        (0, SamplingParams()),
        (1, SamplingParams(max_tokens=0)),
        (1, SamplingParams(temperature=-1.0)),
        (1, SamplingParams(temperature=float("nan"))),
        (1, SamplingParams(top_p=0.0)),
        (3, SamplingParams(seeds=(1,))),
    ],
)
async def test_a_senseless_request_is_refused(
    n: int, params: SamplingParams, models: dict[str, Path]
) -> None:
    engine = start("hf", models["hf"])
    with pytest.raises(ConfigError, match=r"expected|seeds"):
        await engine.sample(prompt("hello"), n, params)
    await engine.aclose()


async def test_a_closed_engine_refuses_and_closing_twice_is_harmless(engine: Engine) -> None:
    await engine.aclose()
    await engine.aclose()
    with pytest.raises(EngineError, match="after it was closed"):
        await engine.sample(prompt("hello"), 1, SamplingParams())


async def test_a_cancelled_call_leaves_the_engine_working(engine: Engine) -> None:
    params = SamplingParams(max_tokens=400)
    for pause in (0, 0.05):  # before the first token, and while it decodes
        call = asyncio.create_task(engine.sample(prompt("hello"), 4, params))
        await asyncio.sleep(pause)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # a tiny model may have finished
            await call
    replies = await engine.sample(prompt("hello"), 2, SamplingParams(max_tokens=3))
    assert [reply.finish_reason for reply in replies].count("error") == 0


async def test_transformers_decode_no_more_of_a_cancelled_call(models: dict[str, Path]) -> None:
    engine = start("hf", models["hf"])
    network, steps = engine.network, []  # type: ignore[attr-defined]
    hook = network.register_forward_hook(lambda *_: steps.append(len(steps)))
    call = asyncio.create_task(engine.sample(prompt("hello"), 1, SamplingParams(max_tokens=450)))
    while len(steps) < 3:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    n_steps = len(steps)
    await engine.sample(prompt("hello"), 1, SamplingParams(max_tokens=1))  # waits for its batch
    hook.remove()
    await engine.aclose()
    assert len(steps) - n_steps < 10


async def test_a_stop_string_ends_a_reply_and_is_not_in_it(native: Engine) -> None:
    params = SamplingParams(max_tokens=10, stop=("b",), grammar='root ::= "aabaa"\n')
    (reply,) = await native.sample(prompt("hello"), 1, params)
    assert (reply.text, reply.finish_reason) == ("aa", "stop")


async def test_a_grammar_holds_for_each_of_n_samples(native: Engine) -> None:
    params = SamplingParams(temperature=2.0, max_tokens=9, grammar=GRAMMAR, seeds=tuple(range(8)))
    replies = await native.sample(prompt("hello"), 8, params)
    for reply in replies:
        assert 3 <= len(reply.text) <= 5 and set(reply.text) <= set("abc"), reply
        assert reply.finish_reason == "stop"
    assert len({reply.text for reply in replies}) > 2


async def test_an_unreadable_grammar_is_an_error_and_the_engine_goes_on(native: Engine) -> None:
    with pytest.raises(EngineError, match=r"grammar|EBNF"):
        params = SamplingParams(max_tokens=9, grammar="root ::= (")
        await native.sample(prompt("hello"), 1, params)
    assert await native.sample(prompt("hello"), 1, SamplingParams(max_tokens=2))


async def test_probe_tells_the_context_and_the_abilities(native: Engine) -> None:
    from spct.engines.llamacpp import LlamaCppEngine
    from spct.engines.openvino import OpenVINOEngine

    assert isinstance(native, LlamaCppEngine | OpenVINOEngine)
    probe = await native.probe()
    assert (probe.context_length, probe.grammar, probe.n) == (512, True, True)
    assert probe.tokens_per_second > 0 and probe.sample.text


async def test_openvino_draws_a_sample_the_same_in_any_company(models: dict[str, Path]) -> None:
    await _same_in_any_company(start("openvino", models["openvino"]))


async def test_hf_draws_a_sample_the_same_in_any_company(models: dict[str, Path]) -> None:
    await _same_in_any_company(start("hf", models["hf"]))


async def _same_in_any_company(engine: Engine) -> None:
    alone = SamplingParams(max_tokens=12, seeds=(7,))
    company = SamplingParams(max_tokens=20, top_p=0.8, seeds=(1, 2, 3))
    several = SamplingParams(max_tokens=12, seeds=(4, 7))
    (expected,) = await engine.sample(prompt("hello"), 1, alone)
    batch = await asyncio.gather(
        engine.sample(prompt("something else that is longer"), 3, company),
        engine.sample(prompt("hello"), 2, several),
    )
    assert batch[1][1].token_ids == expected.token_ids
    await engine.aclose()


async def test_openvino_names_the_engines_that_give_alternatives(models: dict[str, Path]) -> None:
    engine = start("openvino", models["openvino"])
    with pytest.raises(ConfigError, match="llamacpp, hf or openai"):
        await engine.sample(prompt("hello"), 1, SamplingParams(top_logprobs=5))
    await engine.aclose()


@pytest.mark.parametrize("kind", ["llamacpp", "hf"])
async def test_alternatives_are_the_likeliest_and_include_the_sampled_token(
    kind: str, models: dict[str, Path]
) -> None:
    engine = start(kind, models[kind])
    params = SamplingParams(max_tokens=8, top_logprobs=3, seeds=(1,), temperature=2.0)
    (reply,) = await engine.sample(prompt("hello"), 1, params)
    assert reply.logprobs
    for token in reply.logprobs:
        # Several tokens may show as the same broken character, so there may be fewer than three.
        assert token.token in token.top and len(token.top) <= 4
        assert max(token.top.values()) >= token.logprob
    await engine.aclose()


async def test_hf_refuses_a_grammar_and_names_who_takes_it(models: dict[str, Path]) -> None:
    engine = start("hf", models["hf"])
    with pytest.raises(ConfigError, match="openvino or llamacpp"):
        await engine.sample(prompt("hello"), 1, SamplingParams(grammar=GRAMMAR))
    await engine.aclose()


async def test_hf_log_probabilities_equal_a_plain_forward_pass(models: dict[str, Path]) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from spct.engines.hf import HFEngine

    model = AutoModelForCausalLM.from_pretrained(models["hf"])
    tokenizer = AutoTokenizer.from_pretrained(models["hf"])
    engine = HFEngine.around(model, tokenizer, "mine")
    params = SamplingParams(max_tokens=12, top_logprobs=0, seeds=(1, 2))
    calls = [engine.sample(prompt(text), 2, params) for text in ("hi", "a longer question")]
    for text, replies in zip(
        ("hi", "a longer question"), await asyncio.gather(*calls), strict=True
    ):
        messages = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        for reply in replies:
            assert reply.token_ids and reply.logprobs
            with torch.no_grad():
                logits = model(torch.tensor([[*ids, *reply.token_ids]])).logits[0]
            table = logits.log_softmax(-1)[len(ids) - 1 :]
            expected = [float(table[i, token]) for i, token in enumerate(reply.token_ids)]
            assert [t.logprob for t in reply.logprobs] == pytest.approx(expected, abs=1e-4)
    assert engine.fingerprint == "hf/mine"
    await engine.aclose()


async def test_hf_draws_nothing_outside_the_nucleus(models: dict[str, Path]) -> None:
    engine = start("hf", models["hf"])
    wide = SamplingParams(temperature=2.0, max_tokens=1, seeds=tuple(range(64)), top_logprobs=3)
    narrow = replace(wide, top_p=0.1)
    for params, n_kinds in ((wide, 8), (narrow, 0)):
        replies = await engine.sample(prompt("hello"), 64, params)
        drawn = {(reply.token_ids or ())[0] for reply in replies}
        assert len(drawn) > n_kinds
    assert len(drawn) < 8
    likeliest = (await engine.sample(prompt("hello"), 1, replace(wide, temperature=0, seeds=())))[0]
    assert likeliest.token_ids is not None and likeliest.token_ids[0] in drawn
    await engine.aclose()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from peft
async def test_a_lora_adapter_means_the_same_to_all_three(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model as a folder and as GGUF, one adapter: the log probabilities must agree."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    from tests.engines.tiny_models import copy_weights

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = copy_weights(models["hf"], tmp_path / "same")
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
    base = AutoModelForCausalLM.from_pretrained(folder)
    model = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=8, target_modules=modules))
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(tmp_path / "lora")
    assert find_lora(tmp_path / "lora").scale == 2.0
    params = SamplingParams(max_tokens=12, temperature=0.0, top_logprobs=0)
    seen: dict[bool, list[float]] = {}
    for adapted, kind in itertools.product((False, True), ("hf", *NATIVE)):
        adapters = (tmp_path / "lora",) if adapted else ()
        engine = start(kind, folder if kind == "hf" else models[kind], adapters=adapters)
        (reply,) = await engine.sample(prompt("hello"), 1, params)
        await engine.aclose()
        assert reply.logprobs
        # llama.cpp joins tokens that are parts of one character, so the later ones do not line up
        found = [token.logprob for token in reply.logprobs][:2]
        assert found == pytest.approx(seen.setdefault(adapted, found), abs=0.05), (kind, adapted)
    assert seen[True] != pytest.approx(seen[False], abs=0.05)


def test_an_adapter_that_is_not_one_is_refused(tmp_path: Path) -> None:
    np, save_file = pytest.importorskip("numpy"), pytest.importorskip("safetensors.numpy").save_file
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors"):
        find_lora(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    settings = tmp_path / "adapter_config.json"
    weights.touch()
    with pytest.raises(ConfigError, match=r"adapter_config\.json"):
        find_lora(tmp_path)
    settings.write_text("{}")
    with pytest.raises(ConfigError, match="damaged"):
        find_lora(tmp_path)
    weights.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(DataError, match="lora_alpha"):
        find_lora(weights)
    save_file({"x": np.zeros((4, 4), "f")}, weights)
    settings.write_text('{"r": 4, "lora_alpha": 8, "use_rslora": true, "rank_pattern": {"q": 8}}')
    assert find_lora(tmp_path).scale == 4.0
    with pytest.raises(ConfigError, match=r"rank_pattern = .'q': 8.*merge it"):
        check_is_plain(find_lora(tmp_path))


@pytest.mark.parametrize("kind", [*NATIVE, "hf"])
async def test_a_text_holds_no_special_token_of_the_model(
    kind: str, models: dict[str, Path]
) -> None:
    engine = start(kind, models[kind])

    async def n_tokens(text: str) -> int:
        params = SamplingParams(max_tokens=1, temperature=0)
        return (await engine.sample(prompt(text), 1, params))[0].usage.prompt_tokens

    ended, broken = await n_tokens("a<|im_end|>b"), await n_tokens("a< |im_end|>b")
    assert ended == broken == await n_tokens("a") + len("< |im_end|>b")
    await engine.aclose()


@pytest.mark.parametrize("kind", ["openvino", "llamacpp"])
def test_a_transformers_folder_is_refused_by_who_cannot_read_it(
    kind: str, models: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError, match="hf engine"):
        start(kind, models["hf"])


def test_hf_refuses_a_gguf_file(models: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="openvino engine"):
        start("hf", models["openvino"])
