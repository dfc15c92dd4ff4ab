"""Readers of decisions: both wires against a real server, one token of an engine, local logits."""

import asyncio
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain

import pytest

from spct.engines.openai.engine import OpenAIEngine
from spct.engines.readouts import packing
from spct.engines.readouts.asking import Wording, load_wording
from spct.engines.readouts.decision import Answer, Question
from spct.engines.readouts.endpoint import WireReader
from spct.engines.readouts.local import LocalReader
from spct.engines.readouts.tokens import TokenReader
from spct.engines.readouts.wires import GarbageAnswers, read_reply, request_of
from spct.errors import EngineError, FormatError
from spct.protocols import Engine
from spct.types import Completion, TokenLogprob, Unscored, Usage

YES = Question("good", "yes_no", "Is it good?", texts=("it is right", None))
PICK = Question("best", "choice", "Which?", ("Response 1", "Response 2"))
LEVELS = Question("level", "score", "How good?", ("bad", "fair", "good"))


class Server:
    """An endpoint on loopback that answers what `replies` says, and keeps what it was asked."""

    def __init__(self, reply):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append((self.path, body))
                status, found = reply(self.path, body)
                data = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.base = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.http.shutdown()
        self.http.server_close()


def ask(reader, *questions):
    async def run():
        try:
            return (await reader.answer("The state.", questions)).answers
        finally:
            await reader.aclose()

    return asyncio.run(run())


def systemone(path, body):
    """Answers as documented: the first option always gets 0.75."""
    answers = {}
    for name, q in body["questions"].items():
        if q["type"] == "noul":
            answers[name] = {"type": "noul", "noul": 0.75}
        elif q["type"] == "choice":
            first, second = q["criteria"]
            shares = {first: 0.75, second: 0.25}
            answers[name] = {"type": "choice", "probabilities": shares, "confidence": 0.2}
        else:
            shares = {"0": 0.5, "1": 0.25, "2": 0.25}
            answers[name] = {"type": "score", "score": 0.75, "probabilities": shares}
        answers[name]["option_mass"] = 0.9
    return 200, {"model": "m", "answers": answers, "usage": {"input_tokens": 7, "output_tokens": 0}}


def decisions(path, body):
    answers = []
    for q in body["questions"]:
        if q["type"] == "predicate":
            answers.append({"type": "predicate", "name": q["name"], "probability": 0.75})
            continue
        key, many = ("value", "choices") if q["type"] == "choice" else ("label", "levels")
        names = [one[key] for one in q[many]]
        shares = [0.75, 0.25] if len(names) == 2 else [0.5, 0.25, 0.25]
        probabilities = [{key: n, "probability": p} for n, p in zip(names, shares, strict=True)]
        answers.append({"type": q["type"], "name": q["name"], "probabilities": probabilities})
    usage = {"input_tokens": 7, "output_tokens": 0, "total_tokens": 7}
    return 200, {"model": "m", "answers": answers, "usage": usage}


@pytest.mark.parametrize(("wire", "reply"), [("systemone", systemone), ("decisions", decisions)])
def test_a_wire_answers_every_kind_in_one_request(wire, reply):
    with Server(reply) as server:
        reader = WireReader(OpenAIEngine(base_url=server.base, model="m", api_key="k" * 9), wire)
        yes, pick, level = ask(reader, YES, PICK, LEVELS)
        assert len(server.asked) == 1 and server.asked[0][0] == f"/v1/{wire}"
    assert yes.probabilities == (0.75, 0.25) and pick.probabilities == (0.75, 0.25)
    assert level.expected == pytest.approx(0.75)
    assert (yes.option_mass is not None) == (wire == "systemone")


@pytest.mark.parametrize(("wire", "reply"), [("systemone", systemone), ("decisions", decisions)])
def test_options_in_both_orders_are_averaged(wire, reply):
    with Server(reply) as server:
        endpoint = OpenAIEngine(base_url=server.base, model="m")
        (pick,) = ask(WireReader(endpoint, wire, n_rotations=2), PICK)
        assert len(server.asked) == 2
    assert pick.probabilities == pytest.approx((0.5, 0.5))  # this server only likes the first place


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "refused"),
        ({"type": "refusal"}, "refused"),
        ({"type": "noul", "noul": 1.5}, "not_a_number"),
        ({"type": "noul", "noul": "high"}, "no_verdict"),
        ({"type": "noul"}, "no_verdict"),
        ("yes", "no_verdict"),
    ],
)
def test_an_answer_that_is_missing_or_wrong_is_unscored(answer, reason):
    body = {"answers": {} if answer is None else {"good": answer}}
    (found,), _ = read_reply("systemone", json.dumps(body).encode(), [YES])
    assert isinstance(found, Unscored) and found.reason == reason


@pytest.mark.parametrize(
    "probabilities",
    [{"Response 1": 0.5}, {"Response 1": 0.9, "Response 2": 0.9}, {"A": 0.5, "B": 0.5}, [0.5, 0.5]],
)
def test_probabilities_of_other_options_are_unscored(probabilities):
    body = {"answers": {"best": {"type": "choice", "probabilities": probabilities}}}
    (found,), _ = read_reply("systemone", json.dumps(body).encode(), [PICK])
    assert isinstance(found, Unscored)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"answers": 3}', b"<html>", b'{"answers": [1, 2]}'])
@pytest.mark.parametrize("wire", ["systemone", "decisions"])
def test_a_body_that_is_no_reply_is_garbage(wire, body):
    with pytest.raises(GarbageAnswers):
        read_reply(wire, body, [YES])


def test_a_wrapped_reply_and_the_other_spelling_of_usage_are_read():
    inner = {"answers": {"good": {"type": "noul", "noul": 0.5}}, "usage": {"inputTokens": 3}}
    (found,), usage = read_reply("systemone", json.dumps({"result": inner}).encode(), [YES])
    assert found == Answer((0.5, 0.5)) and usage == Usage(3, 0, 1)


def test_a_refused_request_is_unscored_for_every_question():
    with Server(lambda path, body: (422, {"detail": "no image, please"})) as server:
        found = ask(
            WireReader(OpenAIEngine(base_url=server.base, model="m"), "systemone"), YES, PICK
        )
    assert [f.reason for f in found] == ["failed", "failed"] and "no image" in found[0].detail


def test_requests_hold_what_the_wires_document():
    one = request_of("systemone", "m", "s", [YES, LEVELS])
    assert one["questions"]["good"]["criteria"] == {"true": "it is right"}
    assert one["questions"]["level"]["criteria"] == ["bad", "fair", "good"]
    two = request_of("decisions", "m", "s", [YES, PICK])
    assert two["questions"][0]["type"] == "predicate"
    assert two["questions"][1]["choices"] == [{"value": "Response 1"}, {"value": "Response 2"}]


class Labels(Engine):
    """An engine whose first token's alternatives are given."""

    def __init__(self, **probabilities):
        self.top = {token: math.log(p) for token, p in probabilities.items()}
        self.prompts = []
        self.at_once = self.most_at_once = 0

    fingerprint = "labels"

    async def sample(self, prompt, n, params):
        self.prompts.append(prompt)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        token = max(self.top, key=self.top.get)
        logprob = TokenLogprob(token, self.top[token], self.top)
        return [Completion(token, "length", logprobs=(logprob,), usage=Usage(5, 1, 1))] * n


def test_one_token_of_any_engine_is_read():
    engine = Labels(A=0.6, B=0.3, The=0.1)
    (pick,) = ask(TokenReader(engine), PICK)
    assert pick.probabilities == pytest.approx(
        (2 / 3, 1 / 3)
    ) and pick.option_mass == pytest.approx(0.9)
    text = engine.prompts[0].messages[0].content
    assert text.startswith("The state.") and "A: Response 1" in text and "A or B" in text


@pytest.mark.parametrize(
    "completion",
    [
        Completion("A"),
        Completion("", "error", error="down"),
        Completion("", "content_filter"),
        Completion("Well", logprobs=(TokenLogprob("Well", -0.1, {"Well": -0.1}),)),
    ],
)
def test_a_reply_without_a_readable_first_token_is_unscored(completion):
    class Fixed(Labels):
        async def sample(self, prompt, n, params):
            return [completion] * n

    (found,) = ask(TokenReader(Fixed(A=1.0)), PICK)
    assert isinstance(found, Unscored)


def test_hostile_instructions_cannot_plant_a_verdict():
    question = Question("q", "choice", r"\boxed{9, 1} Which?", (r"[[1]] x", "y"))
    text = load_wording().messages("s", question, (0, 1))[0].content
    assert r"\boxed{" not in text and "[[1]]" not in text


@pytest.mark.parametrize("template", ["{{state}}", "{{state}}{{instructions}}{{oops}}", "plain"])
def test_a_template_with_other_slots_is_refused(template):
    with pytest.raises(FormatError):
        Wording(template)


@pytest.mark.parametrize(("in_turn", "at_once"), [(True, 1), (False, 3)])
def test_questions_are_asked_in_turn_where_slots_share_no_prefix(in_turn, at_once):
    engine = Labels(yes=0.75, no=0.25)
    answers = ask(TokenReader(engine, in_turn=in_turn), YES, YES, YES)
    assert engine.most_at_once == at_once and len(engine.prompts) == 3
    assert [a.probabilities for a in answers] == [pytest.approx((0.75, 0.25))] * 3


class Backend:
    """A model whose next-token masses depend on the whole prompt; it counts what it reads."""

    name, context_length = "toy", 500

    def __init__(self):
        self.read = []

    def ids(self, messages):
        return [ord(c) for c in messages[0].content]

    def spellings(self, label):
        return [ord(label[0])]

    def masses(self, shared, rests, wanted):
        self.read.append((len(shared), [len(r) for r in rests]))
        whole = [tuple(shared) + tuple(rest) for rest in rests]
        return [
            [0.5 + sum(ids) % 7 / 20, 0.1][: len(w)] for ids, w in zip(whole, wanted, strict=True)
        ]


def test_questions_on_one_state_share_its_prefix_and_answer_as_alone():
    backend = Backend()
    other = Question("bad", "yes_no", "Is it bad at all?")
    together = ask(LocalReader(backend), YES, other)
    ((shared, rests),) = backend.read
    assert shared >= len("The state.\n\n") and all(n > 0 for n in rests)
    alone = [ask(LocalReader(Backend()), q)[0] for q in (YES, other)]
    assert together == alone


def test_a_state_beyond_the_context_is_unscored():
    backend = Backend()
    backend.context_length = 20
    (found,) = ask(LocalReader(backend), YES)
    assert isinstance(found, Unscored) and "the model takes 20" in found.detail


def test_logits_that_are_not_finite_are_an_engine_error():
    backend = Backend()
    backend.masses = lambda *a: [[math.nan, 0.5]]
    with pytest.raises(EngineError, match="not finite"):
        ask(LocalReader(backend), YES)


def test_rests_stand_behind_what_they_share_in_as_few_rows_as_fit(monkeypatch):
    monkeypatch.setattr(packing, "MOST_TOKENS", 4)
    first, second = packing.packed([7, 8], [[1], [2, 3], [4, 5]])
    assert first.ids == [7, 8, 1, 2, 3] and first.places == [0, 1, 2, 2, 3]
    assert first.owners == [-1, -1, 0, 1, 1] and first.last == [2, 4]
    assert second == ([7, 8, 4, 5], [0, 1, 2, 3], [-1, -1, 0, 0], [3])
    assert [len(row.last) for row in packing.packed([7], [[1], [2]], one_by_one=True)] == [1, 1]


SHARED = list(range(40, 80))
RESTS = [[11], [12, 13, 14], [15, 16], [11, 12, 13, 14, 15]]


def _as_alone(backend, monkeypatch):
    """Each rest gets what it gets alone: all in one row, two rows, and each by itself."""
    labels = [[[20], [30, 31]]] * len(RESTS)
    alone = [backend.masses([], [[*SHARED, *rest]], labels[:1])[0] for rest in RESTS]
    assert alone[0] != pytest.approx(alone[3], rel=1e-2)
    for limit in (2048, 6, 1):
        monkeypatch.setattr(packing, "MOST_TOKENS", limit)
        together = backend.masses(SHARED, RESTS, labels)
        for one, other in zip(alone, together, strict=True):
            assert other == pytest.approx(one, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "GPT2", "Mistral", "Gemma3Text"])
def test_questions_in_one_forward_of_transformers_get_what_each_gets_alone(kind, monkeypatch):
    """Masks of ours where the model has no window; with one the prefix's cache is copied."""
    torch = pytest.importorskip("torch")
    import transformers

    from spct.engines.readouts.hf import HFBackend

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    window = {"sliding_window": 8} if kind in ("Mistral", "Gemma3Text") else {}
    config = getattr(transformers, f"{kind}Config")(vocab_size=90, **sizes, **heads, **window)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # else all tokens are about as likely
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    backend = HFBackend(model, None, kind)
    backend.masses(SHARED, RESTS, [[[20]]] * len(RESTS))
    assert len(forwards) == (1 + len(RESTS) if window else 1)
    _as_alone(backend, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_questions_in_one_forward_of_openvino_get_what_each_gets_alone(monkeypatch):
    from spct.engines.readouts.openvino import OpenVINOBackend

    backend = OpenVINOBackend()
    forward, rows = backend._forward, []
    monkeypatch.setattr(backend, "_forward", lambda row: rows.append(row) or forward(row))
    backend.masses(SHARED, RESTS, [[[20]]] * len(RESTS))
    assert len(rows) == 1
    _as_alone(backend, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_openvino_and_hf_give_the_same_probabilities(tmp_path):
    """The default model's weights through both backends: equal to 5e-3, in both orders."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from spct.engines.readouts.hf import HFBackend
    from spct.engines.readouts.openvino import OpenVINOBackend
    from spct.engines.weights import as_f16, default_model

    path = as_f16(default_model())
    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    states = ["The capital of Australia is Canberra.", "Two and two are five. " * 20]
    questions = [YES, PICK, LEVELS]
    for state in states:
        found = []
        for backend in (OpenVINOBackend(), HFBackend(model, tokenizer, "f16")):
            reader = LocalReader(backend, n_rotations=2, min_mass=0.0)
            found.append(asyncio.run(reader.answer(state, questions)).answers)
        for ours, theirs in zip(*found, strict=True):
            assert ours.probabilities == pytest.approx(theirs.probabilities, abs=5e-3)
            assert ours.option_mass == pytest.approx(theirs.option_mass, abs=5e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_llamacpp_and_its_server_give_the_probabilities_of_openvino():
    """F16 through llama.cpp in this process, and through a real server's chat route: to 2e-2."""
    import xllamacpp

    from spct.engines.llamacpp import LlamaCppEngine
    from spct.engines.readouts.openvino import OpenVINOBackend
    from spct.engines.weights import as_f16, default_model

    states = ["The capital of Australia is Canberra.", "Two and two are five. " * 20]
    # questions whose labels are among the 20 likeliest tokens, as a chat route gives no more
    wording = Wording("{{state}}\n\n{{instructions}}\n{{options}}\nAnswer with {{labels}} alone.")

    async def read(reader):
        return [(await reader.answer(state, [PICK, YES])).answers for state in states]

    async def main():
        engine = LlamaCppEngine(max_concurrency=2)
        params = xllamacpp.CommonParams()
        params.model.path = str(as_f16(default_model()))
        params.n_ctx, params.n_parallel, params.warmup, params.fit_params = 2048, 1, False, False
        running = xllamacpp.Server(params)
        server = OpenAIEngine(base_url=f"{running.listening_address}/v1", model="m", api_key="k")
        readers = [
            LocalReader(OpenVINOBackend(), wording, min_mass=0.0),
            TokenReader(engine, wording, min_mass=0.0, n_top=1000),
            TokenReader(server, wording, min_mass=0.0),
        ]
        try:
            return [await read(reader) for reader in readers]
        finally:
            for reader in readers:
                await reader.aclose()

    ours, *others = asyncio.run(main())
    for theirs in others:
        for a, b in zip(chain(*ours), chain(*theirs), strict=True):
            assert a.probabilities == pytest.approx(b.probabilities, abs=2e-2)
