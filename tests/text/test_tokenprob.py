import math

import pytest

from spct.text.format import PAIRWISE, POINTWISE
from spct.text.parse import TEN, Scale
from spct.text.tokenprob import distributions, expectation
from spct.types import Completion, Judgement, TokenLogprob


def tokens(*pieces):
    """Each piece is a token, or (token, {alternative: probability}) with the token's own in it."""
    out = []
    for piece in pieces:
        token, top = (piece, {piece: 1.0}) if isinstance(piece, str) else piece
        logs = {t: math.log(p) for t, p in top.items()}
        out.append(TokenLogprob(token, logs[token], logs))
    return tuple(out)


def completion(*pieces):
    logprobs = tokens(*pieces)
    return Completion("".join(t.token for t in logprobs), logprobs=logprobs)


def one(reply, digits, scale=TEN):
    at = reply.text.index(digits)
    found = distributions(reply, ((at, at + len(digits)),), scale)
    return None if found is None else found[0]


def test_a_single_token_score_by_hand():
    reply = completion("\\boxed{", ("8", {"8": 0.6, "7": 0.3, "9": 0.1}), "}")
    assert one(reply, "8") == pytest.approx({8: 0.6, 7: 0.3, 9: 0.1})
    assert expectation(one(reply, "8")) == pytest.approx(0.6 * 8 + 0.3 * 7 + 0.1 * 9)


def test_ten_in_two_tokens_is_the_joint_probability():
    reply = completion("{", ("1", {"1": 0.5, "9": 0.5}), ("0", {"0": 0.8, ",": 0.2}), "}")
    assert one(reply, "10") == pytest.approx({10: 0.4, 1: 0.1, 9: 0.5})


def test_a_sampled_one_leaves_room_for_ten():
    reply = completion("{", ("1", {"1": 0.5, "9": 0.5}), (",", {",": 0.8, "0": 0.2}), "7}")
    assert one(reply, "1") == pytest.approx({1: 0.4, 10: 0.1, 9: 0.5})


def test_an_unsampled_one_is_left_out_where_ten_is_two_tokens():
    reply = completion("{", ("8", {"8": 0.6, "1": 0.2, "9": 0.2}), "}")
    assert one(reply, "8") == pytest.approx({8: 0.75, 9: 0.25})


def test_ten_as_one_token_settles_what_one_means():
    reply = completion("{", ("8", {"8": 0.5, "1": 0.2, "10": 0.3}), "}")
    assert one(reply, "8") == pytest.approx({8: 0.5, 1: 0.2, 10: 0.3})


def test_tokens_that_hold_more_than_the_number():
    reply = completion(
        "\\boxed", ("{8", {"{8": 0.7, "{6": 0.3}), (", 3", {", 3": 0.9, ", 4": 0.1}), "}"
    )
    first, second = distributions(reply, ((7, 8), (10, 11)), TEN)
    assert first == pytest.approx({8: 0.7, 6: 0.3})
    assert second == pytest.approx({3: 0.9, 4: 0.1})


def test_what_is_no_score_is_left_out_and_the_rest_normalised():
    reply = completion("{", ("8", {"8": 0.6, "x": 0.2, "11": 0.1, "0": 0.1}), "}")
    assert one(reply, "8") == pytest.approx({8: 1.0})


@pytest.mark.parametrize(
    "reply",
    [
        Completion("{8}"),
        Completion("{8}", logprobs=(TokenLogprob("{8}", 0.0),)),
        Completion("{8}", logprobs=tokens("other")),
        completion("{", ("8", {"8": 0.2, "x": 0.8}), "}"),
    ],
)
def test_without_usable_probabilities_there_is_no_distribution(reply):
    assert one(reply, "8") is None


def test_pointwise_expectations_come_back_in_the_original_order():
    reply = completion(
        "\\boxed{", ("8", {"8": 0.5, "6": 0.5}), ", ", ("2", {"2": 0.9, "3": 0.1}), "}"
    )
    judgement = POINTWISE.read(reply, (1, 0))
    assert isinstance(judgement, Judgement)
    assert judgement.scores == (2, 8)
    assert judgement.expected == pytest.approx((2.1, 7.0))


def test_token_prob_of_a_pairwise_verdict_by_hand():
    reply = completion("\\boxed{", ("2", {"2": 0.6, "1": 0.3, "3": 0.1}), "}")
    judgement = PAIRWISE.read(reply, (1, 0))
    assert isinstance(judgement, Judgement)
    assert judgement.scores == (1, 0)
    assert judgement.expected == pytest.approx((0.6 / 0.9, 0.3 / 0.9))


def test_the_whole_scale_can_need_two_digits():
    reply = completion("{", ("1", {"1": 0.9, "2": 0.1}), ("2", {"2": 0.5, "}": 0.5}), "}")
    assert one(reply, "12", Scale(1, 12, whole=True)) == pytest.approx({12: 0.45, 1: 0.45, 2: 0.1})


def test_tokens_that_lost_their_leading_space_still_spell_the_reply():
    """SentencePiece and word tokens, decoded one by one: "Scores:" "8" "," "3" "}"."""
    logprobs = tokens("Scores:", ("8", {"8": 0.7, "6": 0.3}), ",", ("3", {"3": 0.9, "4": 0.1}), "}")
    reply = Completion("Scores: 8, 3 }", logprobs=logprobs)
    first, second = distributions(reply, ((8, 9), (11, 12)), TEN)
    assert first == pytest.approx({8: 0.7, 6: 0.3})
    assert second == pytest.approx({3: 0.9, 4: 0.1})


def test_a_first_token_whose_space_the_reply_lost_still_spells_it():
    logprobs = tokens((" 8", {" 8": 0.7, " 6": 0.3}), "}")
    assert distributions(Completion("8}", logprobs=logprobs), ((0, 1),), TEN) == (
        pytest.approx({8: 0.7, 6: 0.3}),
    )


def test_tokens_of_another_text_are_still_refused():
    logprobs = tokens("Scores:", ("9", {"9": 1.0}), "}")
    assert distributions(Completion("Scores: 8 }", logprobs=logprobs), ((8, 9),), TEN) is None


def test_token_prob_of_a_verdict_in_two_tokens_by_hand():
    """Twelve responses: P(12) = 0.9 x 0.5, P(1) = 0.9 x 0.5, P(2) = 0.1; shown backwards."""
    reply = completion("\\boxed{", ("1", {"1": 0.9, "2": 0.1}), ("2", {"2": 0.5, "}": 0.5}), "}")
    judgement = PAIRWISE.read(reply, tuple(range(11, -1, -1)))
    assert isinstance(judgement, Judgement)
    assert judgement.scores == (1,) + (0,) * 11
    wanted = {0: 0.45, 11: 0.45, 10: 0.1}
    assert judgement.expected == pytest.approx(tuple(wanted.get(i, 0.0) for i in range(12)))


async def test_the_token_prob_vote_is_the_mean_probability_over_both_orders():
    """Shown (0, 1): P(first) = 0.9, so response 0 gets 0.9; shown (1, 0): 0.4, so it gets 0.6."""
    from spct.core.generative import GenerativeRM
    from spct.engines.scripted import ScriptedEngine
    from spct.types import Example, Message, SamplingParams
    from spct.votes.vote import expected_scores

    def reply(prompt, seed):
        p = 0.9 if prompt.order == (0, 1) else 0.4
        sampled = "1" if p > 0.5 else "2"
        return completion("\\boxed{", (sampled, {"1": p, "2": 1 - p}), "}")

    model = GenerativeRM(
        ScriptedEngine(reply),
        PAIRWISE,
        k=2,
        vote=expected_scores,
        params=SamplingParams(top_logprobs=5),
    )
    verdict = await model.judge(Example("e", (Message("user", "q"),), ("a", "b")))
    assert verdict.rewards == pytest.approx(((0.9 + 0.6) / 2, (0.1 + 0.4) / 2))
    assert verdict.winner == 0


async def test_the_token_prob_vote_refuses_an_engine_without_log_probabilities():
    from spct.core.generative import GenerativeRM
    from spct.engines.scripted import ScriptedEngine
    from spct.errors import ConfigError, EngineError
    from spct.types import Example, Message, SamplingParams
    from spct.votes.vote import expected_scores

    engine = ScriptedEngine(lambda prompt, seed: "Scores: \\boxed{1}")
    example = Example("e", (Message("user", "q"),), ("a", "b"))
    with pytest.raises(ConfigError, match="top_logprobs"):
        GenerativeRM(engine, PAIRWISE, vote=expected_scores)
    model = GenerativeRM(
        engine, PAIRWISE, vote=expected_scores, params=SamplingParams(top_logprobs=5)
    )
    with pytest.raises(EngineError, match=r"token probabilities, and scripted:fake gave none"):
        await model.judge(example)


def test_a_character_spelt_by_several_tokens_costs_no_verdict():
    logprobs = tokens(
        "Good ", "\ufffd", "\ufffd", "\ufffd!", " Scores: {", ("8", {"8": 0.6, "7": 0.4}), "}"
    )
    reply = Completion("Good \U0001f3c6! Scores: {8}", logprobs=logprobs)
    assert one(reply, "8") == pytest.approx({8: 0.6, 7: 0.4})
    lost = Completion("Good \U0001f3c6! " + "x" * 90 + " Scores: {8}", logprobs=logprobs)
    assert one(lost, "8") is None
