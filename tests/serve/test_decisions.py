"""The decision wires of the gateway: every paradigm behind them, by hand, and bad input first."""

import asyncio
import math

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.readouts.decision import Answer, Answers, Question
from spct.engines.readouts.tokens import TokenReader
from spct.engines.scripted import ScriptedEngine
from spct.models.answering import answer_of, example_of
from spct.models.decision import DecisionRM, asking
from spct.protocols import Traits
from spct.serve.config import ServeConfig
from spct.types import Unscored, Usage
from spct.votes.ballot import best
from tests.serve.local import Model, scripted, served

NOUL = {"type": "noul", "instructions": "Is it red?"}
PICK = {"type": "choice", "instructions": "Which?", "criteria": {"ab": None, "abcd": "long"}}
LEVELS = {"type": "score", "instructions": "How?", "criteria": ["bad", "good!"]}


class Reads:
    """A reader that always gives the first option 0.75, and cannot answer "lost"."""

    fingerprint = "reads"

    def __init__(self):
        self.states = []

    async def open(self):
        pass

    async def answer(self, state, questions):
        self.states.append(state)
        found = []
        for q in questions:
            rest = 0.25 / max(1, len(q.options) - 1)
            is_lost = q.instructions == "lost"
            found.append(
                Unscored("refused")
                if is_lost
                else Answer((0.75, *[rest] * (len(q.options) - 1)), 0.9)
            )
        return Answers(found, Usage(11, 0, 1))

    async def aclose(self):
        pass


class Logits(Model):
    """A scalar model: the logit is the length of the text."""

    traits = Traits(answers="logits")


def run(test, model=None, config=None, **kwargs):
    async def main():
        async with served(model, config, **kwargs) as client:
            return await test(client)

    return asyncio.run(main())


def ask(path, body, model=None, config=None):
    return run(lambda client: client.post(path, body), model, config)


def systemone(questions, state="A car.", **more):
    return {"state": state, "questions": questions, **more}


BAD = [
    ({"state": "", "questions": {"q": NOUL}}, "empty"),
    ({"state": {}, "questions": {"q": NOUL}}, "empty"),
    ({"state": "s", "questions": {}}, "at least 1"),
    ({"state": "s", "questions": {str(i): NOUL for i in range(401)}}, "400"),
    (systemone({"q": {**LEVELS, "criteria": ["only"]}}), "expected 2 to 255"),
    (systemone({"q": {**LEVELS, "criteria": ["a", "a"]}}), "options must differ"),
    (systemone({"q": {**PICK, "criteria": {str(i): None for i in range(256)}}}), "256 options"),
    (systemone({"q": {"type": "box", "instructions": "Where?"}}), "noul"),
    (systemone({"q": NOUL}, assets={"a": {"type": "image"}}), "assets"),
]


@pytest.mark.parametrize(("body", "why"), BAD)
def test_bad_input_of_systemone_is_a_typed_422(body, why):
    status, reply = ask("/v1/systemone", body, DecisionRM(Reads(), asking("score")))
    assert (
        status == 422 and reply["error"]["type"] == "invalid" and why in reply["error"]["message"]
    )


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"input": ""}, "empty"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "input_image"),
        ({"questions": [{"type": "predicate", "instructions": [IMAGE]}]}, "input_image"),
        ({"questions": []}, "at least 1"),
        ({"questions": [{"type": "predicate", "instructions": "?"}] * 401}, "400"),
        ({"questions": [{"type": "choice", "instructions": "?", "choices": []}]}, "at least 2"),
        ({"questions": [{"type": "score", "instructions": "?", "levels": [{"label": "a"}]}]}, "1 "),
    ],
)
def test_bad_input_of_decisions_is_a_typed_422(fields, why):
    body = {"input": "s", "questions": [{"type": "predicate", "instructions": "?"}], **fields}
    status, reply = ask("/v1/decisions", body, DecisionRM(Reads(), asking("score")))
    assert (
        status == 422 and reply["error"]["type"] == "invalid" and why in reply["error"]["message"]
    )


def test_nan_another_model_and_a_model_that_answers_nothing_are_4xx():
    async def test(client):
        async with client.session.post(
            client.url + "/v1/systemone",
            data=b'{"state": "s", "questions": {"q": NaN}}',
            headers={"Content-Type": "application/json"},
        ) as reply:
            assert reply.status == 400
        status, _ = await client.post("/v1/systemone", systemone({"q": NOUL}, model="other"))
        assert status == 404
        status, reply = await client.post("/v1/systemone", systemone({"q": NOUL}))
        assert status == 404 and reply["error"]["type"] == "wire_not_enabled"

    run(test, Model())


def test_a_decision_model_answers_natively_with_its_temperature():
    reader = Reads()
    model = DecisionRM(reader, asking("score"), temperatures={"yes_no": 2.0})
    questions = {"n": NOUL, "p": PICK, "s": LEVELS, "x": {**NOUL, "instructions": "lost"}}
    state = {"say": "[The End of Response] x"}

    async def test(client):
        status, reply = await client.post("/v1/systemone", systemone(questions, state))
        assert status == 200 and reply["usage"] == {"input_tokens": 11, "output_tokens": 0}
        assert await client.metric('spct_tokens_total{key="anonymous",kind="prompt"}') == 11
        assert await client.metric('spct_examples_total{outcome="scored"}') == 3
        assert await client.metric('spct_examples_total{outcome="unscored"}') == 1
        return reply

    reply = run(test, model)
    answers = reply["answers"]
    # odds 3 become sqrt 3 at temperature 2
    assert answers["n"]["noul"] == pytest.approx(math.sqrt(3) / (1 + math.sqrt(3)))
    assert answers["p"]["choice"] == "ab" and answers["p"]["probabilities"]["abcd"] == 0.25
    assert answers["s"]["score"] == 0.25 and answers["s"]["legend"] == {"0": "bad", "1": "good!"}
    assert "x" not in answers and answers["n"]["option_mass"] == 0.9
    assert "[The End of Response]" not in reader.states[0] and '"say"' in reader.states[0]


def test_the_other_wire_says_refusal_and_keeps_the_order_and_the_types_of_values():
    body = {
        "input": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_json", "data": {"a": 1}}]},
        ],
        "questions": [
            {"type": "predicate", "instructions": "lost", "name": "gone"},
            {
                "type": "choice",
                "instructions": "?",
                "choices": [{"value": True}, {"value": "true"}],
            },
            {"type": "score", "instructions": "?", "levels": [{"label": "lo"}, {"label": "hi"}]},
        ],
    }
    reader = Reads()
    status, reply = ask("/v1/decisions", body, DecisionRM(reader, asking("score")))
    assert status == 200 and reply["usage"]["total_tokens"] == 11
    refusal, choice, score = reply["answers"]
    assert refusal == {"type": "refusal", "name": "gone"}
    assert choice["choice"] is True and choice["probabilities"][1]["value"] == "true"
    assert score["score"] == 0.25 and score["probabilities"][1]["label"] == "hi"
    assert reader.states == ['System - Be brief.\n\nUser - {"a": 1}']


def test_a_scalar_model_answers_through_its_logits_and_their_temperature():
    status, reply = ask("/v1/systemone", systemone({"p": PICK}), Logits())
    # texts "ab" (2) and "abcd: long" (10): odds e^-8
    assert status == 200 and reply["model"] == "spct:logits"
    assert reply["answers"]["p"]["probabilities"]["ab"] == pytest.approx(1 / (1 + math.exp(8)))
    config = ServeConfig(answer_temperature=8)
    _, reply = ask("/v1/systemone", systemone({"p": PICK}), Logits(), config)
    assert reply["answers"]["p"]["probabilities"]["ab"] == pytest.approx(1 / (1 + math.e))


def test_margins_of_a_pairwise_model_are_its_log_odds():
    class Margins(Model):
        traits = Traits(min_responses=2, answers="margins")

    # strengths 2, 0, -1: summed margins over three are 5, -1, -4
    model = Margins(lambda example: [5.0, -1.0, -4.0])
    pick = {"type": "choice", "criteria": {"a": None, "b": None, "c": None}}
    _, reply = ask("/v1/systemone", systemone({"p": pick}), model)
    p = reply["answers"]["p"]["probabilities"]
    assert math.log(p["a"] / p["b"]) == pytest.approx(2)
    assert math.log(p["b"] / p["c"]) == pytest.approx(1)


def test_a_voted_judge_answers_with_shares_equal_to_a_hand_count_and_says_so():
    k, question = 8, Question("s", "score", "How?", ("bad", "fair", "good"))
    model = scripted(k)
    body = systemone({"s": {**LEVELS, "criteria": list(question.options)}, "n": NOUL})
    status, reply = ask("/v1/systemone", body, model)
    assert status == 200 and reply["model"] == f"spct:votes@{k}"
    verdict = asyncio.run(model.judge(example_of("A car.", question)))
    shares = [0.0, 0.0, 0.0]
    for trajectory in verdict.trajectories:  # ties split
        top = best(trajectory.judgement.scores)
        for i in top:
            shares[i] += 1 / len(top) / k
    given = reply["answers"]["s"]["probabilities"]
    assert [given[str(i)] for i in range(3)] == pytest.approx(shares)
    assert reply["answers"]["s"]["score"] == pytest.approx(shares[1] + 2 * shares[2])
    assert reply["usage"]["output_tokens"] > 0 and 0 <= reply["answers"]["n"]["noul"] <= 1


def test_judgements_that_fail_are_refusals_and_never_numbers():
    class Silent(ScriptedEngine):
        async def sample(self, prompt, n, params):
            return [type(c)("nothing", "stop") for c in await super().sample(prompt, n, params)]

    body = {"input": "s", "questions": [{"type": "predicate", "instructions": "?"}]}
    status, reply = ask("/v1/decisions", body, GenerativeRM(Silent(), k=2))
    assert status == 200 and reply["answers"] == [{"type": "refusal", "name": None}]


def test_more_options_or_questions_than_a_judge_takes_are_a_422():
    class Pairs(Model):
        traits = Traits(min_responses=2, max_responses=2, answers="votes")

    pick = {"type": "choice", "criteria": {"a": None, "b": None, "c": None}}
    status, reply = ask("/v1/systemone", systemone({"p": pick}), Pairs())
    assert status == 422 and "2 to 2" in reply["error"]["message"]
    many = systemone({str(i): NOUL for i in range(65)})
    status, reply = ask("/v1/systemone", many, scripted())
    assert status == 422 and "64" in reply["error"]["message"]


def test_a_reader_of_letters_takes_26_options_and_needs_log_probabilities():
    def pick(n):
        return systemone({"q": {**PICK, "criteria": {str(i): None for i in range(n)}}})

    model = DecisionRM(TokenReader(ScriptedEngine()), asking("score"))
    status, reply = ask("/v1/systemone", pick(27), model)
    assert status == 422 and "27 options" in reply["error"]["message"]
    status, reply = ask("/v1/systemone", pick(26), model)
    assert status == 200 and reply["answers"] == {}  # the engine gives none


def test_the_text_of_questions_reaches_no_log(caplog):
    caplog.set_level("INFO")
    body = systemone({"q": {**NOUL, "instructions": "a-secret"}}, "another-secret")
    ask("/v1/systemone", body, DecisionRM(Reads(), asking("score")))
    assert "spct.serve.audit" in {r.name for r in caplog.records} and "secret" not in caplog.text


def test_unscored_verdicts_give_their_reason():
    model = Logits(lambda example: None)
    question = Question("q", "yes_no", "?")
    verdict = asyncio.run(model.judge(example_of("s", question)))
    assert answer_of(verdict, model) == Unscored("failed", "")
