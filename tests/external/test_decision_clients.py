"""Clients of the decision wires: OpenAI's SDK, TypeSafe's, two libraries' decision judges."""

import json

import pytest

from tests.external.environments import environment, gateway, run

pytestmark = pytest.mark.external

OPENAI = """
import json, sys
from openai import OpenAI, UnprocessableEntityError
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="x", max_retries=0)
questions = [
    {"type": "predicate", "name": "red", "instructions": "Is it red?"},
    {"type": "choice", "instructions": "Which?", "choices": [{"value": True}, {"value": "b"}]},
    {"type": "score", "instructions": "How?", "levels": [{"label": "bad"}, {"label": "good"}]},
]
text = [{"role": "user", "content": "A car."}]
reply = client.decisions.create(model="scripted", input=text, questions=questions)
try:
    client.decisions.create(model="scripted", input="", questions=questions)
except UnprocessableEntityError as error:
    said = str(error)
print(json.dumps({"reply": reply.model_dump(), "said": said}))
"""


def test_openai_sdk_reads_every_kind_of_answer():
    python = environment("openai-decisions", "openai>=3.57")
    with gateway() as url:
        found = json.loads(run(python, OPENAI, url))
    predicate, choice, score = found["reply"]["answers"]
    assert predicate["name"] == "red" and 0 <= predicate["probability"] <= 1
    assert choice["choice"] in (True, "b") and len(choice["probabilities"]) == 2
    assert 0 <= score["score"] <= 1 and "votes@" in found["reply"]["model"]
    assert "empty" in found["said"]


TYPESAFE = """
import asyncio, json, sys
from typesafe_sdk import AsyncTypeSafeClient, Choice, Noul, Score
async def main():
    async with AsyncTypeSafeClient(api_key="x", base_url=sys.argv[1], model="scripted") as client:
        found = await client.system_one(
            state={"document": "I was charged twice."},
            questions={
                "billing": Noul(instructions="Is it about billing?"),
                "tone": Choice(instructions="Tone?", criteria={"calm": None, "angry": "shouts"}),
                "urgency": Score(instructions="How urgent?", criteria=["can wait", "today"]),
            },
        )
        told = {"noul": found.nouls["billing"].noul, "choice": found.choices["tone"].choice}
        told |= {"score": found.scores["urgency"].score, "read": found.usage.input_tokens}
        print(json.dumps(told))
asyncio.run(main())
"""


def test_typesafe_sdk_reads_every_kind_of_answer():
    python = environment("typesafe", "typesafe-sdk>=0.7.1")
    with gateway() as url:
        found = json.loads(run(python, TYPESAFE, url))
    assert 0 <= found["noul"] <= 1 and found["choice"] in ("calm", "angry")
    assert 0 <= found["score"] <= 1 and found["read"] > 0


VERIFIERS = """
import asyncio, json, sys
from verifiers.v1.judges.decision import DecisionJudge, DecisionJudgeConfig
config = DecisionJudgeConfig(model="scripted", base_url=sys.argv[1] + "/v1/systemone",
                             levels=["Incorrect", "Partly", "Correct"])
found = asyncio.run(DecisionJudge(config).evaluate(question="2 + 2?", response="4"))
print(json.dumps({"parsed": found.parsed, "read": found.usage.prompt_tokens}))
"""


def test_verifiers_decision_judge_grades():
    python = environment("verifiers", "verifiers==0.4.0")
    with gateway() as url:
        found = json.loads(run(python, VERIFIERS, url, PRIME_API_KEY="x"))
    assert 0 <= found["parsed"] <= 1 and found["read"] > 0


AUTORUBRIC = """
import asyncio, json, sys
from autorubric import Rubric
from autorubric.decision import DecisionModelConfig
from autorubric.graders import CriterionGrader
rubric = Rubric.from_dict([
    {"name": "right", "requirement": "The answer is 4.", "weight": 1.0},
    {"name": "short", "requirement": "It is short.", "weight": 1.0},
])
config = DecisionModelConfig(model="scripted", api_key="x", api_base=sys.argv[1])
grader = CriterionGrader(judge_model_config=config)
found = asyncio.run(rubric.grade(to_grade="4", query="2 + 2?", grader=grader))
print(json.dumps({"score": found.score, "error": str(found.error), "n": len(found.report)}))
"""


def test_autorubric_grades_a_rubric_in_one_request():
    python = environment("autorubric", "autorubric[typesafe]==1.6.1")
    with gateway() as url:
        found = json.loads(run(python, AUTORUBRIC, url))
    assert found["n"] == 2 and 0 <= found["score"] <= 1, found
