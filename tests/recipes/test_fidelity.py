"""S-Corr on the synthetic world, held against a count by hand."""

import random

import pytest

from recipes.synthetic.fidelity import Fidelity, fidelity
from recipes.synthetic.rows import study_formats
from recipes.synthetic.teacher import CAREFUL, ERRING, judgement_text
from recipes.synthetic.world import draw_examples
from spct.types import Completion, Trajectory


def test_s_corr_is_the_count_by_hand_on_fifty_judgements():
    formats, pairs = study_formats(), []
    sound = unsound = wrong = 0
    for i, example in enumerate(draw_examples(3, 50, "fidelity")):
        order = tuple(range(example.n))
        text = judgement_text(example, order, random.Random(i), ERRING)
        prompt = formats.of(example).render(example, order)
        read = formats.of(example).read(Completion(text), order)
        pairs.append((example, Trajectory(example.id, 0, 0, prompt, Completion(text), read, "t")))
        # by hand: the best strictly above all others (0 or 1 for one), and a careful teacher's text
        top = max(range(example.n), key=lambda j: example.gold[j])
        others = [s for j, s in enumerate(read.scores) if j != top]
        if example.n == 1:
            is_right = read.scores[0] == example.gold[0]
        else:
            is_right = all(read.scores[top] > s for s in others)
        careful = judgement_text(example, order, random.Random(0), CAREFUL)
        sound += is_right and text == careful
        unsound += is_right and text != careful
        wrong += not is_right
    found = fidelity(pairs)
    assert found == Fidelity(sound, unsound, wrong, 0) and sound and unsound and wrong
    assert found.s_corr == pytest.approx(unsound / (sound + unsound))
    assert found.f_score == pytest.approx((sound + unsound) / 50 * sound / (sound + unsound))
    assert Fidelity(0, 0, 3, 1).s_corr is None
