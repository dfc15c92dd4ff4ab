from pathlib import Path

import pytest

from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError
from spct.models.critique import CritiqueScalarRM
from spct.models.formats import PAIR
from spct.models.http_scorer import HTTPScorer
from spct.models.load import load_reward_model
from spct.models.model_card import ModelCard, Template, read_card
from spct.models.pairwise import PairwiseScalarRM
from spct.models.scalar import PointwiseScalarRM
from tests.models.tiny import toy_example, write_model

CARD = ModelCard(paradigm="bradley-terry", base="b", steps=3, n_pairs=2, max_length=200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", head=True)


def test_scripted_is_a_judge_with_the_k_that_was_asked() -> None:
    model = load_reward_model("scripted", k=3)
    assert isinstance(model, GenerativeRM) and model.k == 3


async def test_a_plain_classifier_is_a_pointwise_model(folder: Path) -> None:
    model = load_reward_model(folder)
    assert isinstance(model, PointwiseScalarRM)
    assert (await model.judge(toy_example(0, n=3))).rewards


async def test_the_card_decides_the_paradigm_and_the_context(folder: Path) -> None:
    CARD.write(folder)
    model = load_reward_model(str(folder))
    assert isinstance(model, PointwiseScalarRM)
    assert model.scorer.encoder.max_length == 200  # type: ignore[attr-defined]


async def test_a_pairwise_model_keeps_its_own_wording(folder: Path) -> None:
    own = Template(name="own", text="{{conversation}} {{responses}}")
    CARD.model_copy(update={"paradigm": "pairwise", "template": own}).write(folder)
    model = load_reward_model(folder)
    assert isinstance(model, PairwiseScalarRM)
    assert (model.fmt.template, model.fmt.pattern) == (own.text, PAIR.pattern)
    assert (await model.judge(toy_example(0))).rewards


async def test_a_cloud_model_takes_the_engine_that_is_passed(folder: Path) -> None:
    update = {"paradigm": "cloud", "temperature": 0.9, "max_critique_tokens": 7}
    CARD.model_copy(update=update).write(folder)
    engine = ScriptedEngine(lambda prompt, seed: "good")
    model = load_reward_model(folder, k=2, engine=engine)
    assert isinstance(model, CritiqueScalarRM)
    assert (model.k, model.params.temperature, model.params.max_tokens) == (2, 0.9, 7)
    assert (await model.judge(toy_example(0))).k_counted == 2


def test_a_cloud_model_without_a_critic_says_what_to_pass(folder: Path) -> None:
    CARD.model_copy(update={"paradigm": "cloud"}).write(folder)
    with pytest.raises(ConfigError, match="names no critic"):
        load_reward_model(folder)


def test_a_toml_file_names_a_judge(tmp_path: Path) -> None:
    file = tmp_path / "rm.toml"
    file.write_text(
        '[engine]\nkind = "scripted"\n[judge]\nformat = "pairwise"\nvote = "majority"\n'
    )
    model = load_reward_model(file, k=5)
    assert isinstance(model, GenerativeRM)
    assert (model.fmt.name, model.vote.name, model.k) == ("pairwise", "majority", 5)


def test_a_toml_file_names_a_local_or_a_served_scorer(tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "rm.toml"
    file.write_text(f'[scorer]\nparadigm = "pairwise"\nfolder = "{folder}"\n')
    assert isinstance(load_reward_model(file), PairwiseScalarRM)
    file.write_text(
        '[engine]\nkind = "scripted"\n[judge]\nk = 4\n[scorer]\nparadigm = "cloud"\n'
        f'base_url = "http://127.0.0.1:9"\nmodel = "m"\ntokenizer = "{folder}"\n'
        'shape = "sglang-classify"\n'
    )
    model = load_reward_model(file)
    assert isinstance(model, CritiqueScalarRM) and isinstance(model.scorer, HTTPScorer)
    assert model.k == 4 and model.scorer.encoder is not None
    assert model.scorer.encoder.max_length == 512  # of the tokenizer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scorer]\n", "either folder"),
        ('[scorer]\nfolder = "a"\nbase_url = "http://b"\n', "either folder"),
        ('[scorer]\nbase_url = "http://b"\n', "needs model"),
        ('[scorer]\nparadim = "cloud"\n', "did you mean 'paradigm'"),
        ('[score]\nfolder = "a"\n', "did you mean 'scorer'"),
    ],
)
def test_a_wrong_config_names_the_key_and_the_cure(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "rm.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_reward_model(file)


def test_what_is_no_model_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder; expected"):
        load_reward_model(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"no spct\.json and no config\.json"):
        load_reward_model(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"paradigm": "x"}', '{"paradim": "cloud"}'])
def test_a_damaged_card_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "spct.json").write_text(text)
    with pytest.raises(ConfigError, match=r"spct\.json"):
        read_card(tmp_path)


def test_a_card_round_trips(tmp_path: Path) -> None:
    CARD.write(tmp_path)
    assert read_card(tmp_path) == CARD


async def test_a_local_scorers_max_length_is_kept_and_a_servers_keys_are_refused(
    tmp_path: Path, folder: Path
) -> None:
    file = tmp_path / "rm.toml"
    file.write_text(f'[scorer]\nfolder = "{folder}"\nmax_length = 4\n')
    verdict = await load_reward_model(file).judge(toy_example(0))
    assert verdict.rewards is None
    file.write_text(f'[scorer]\nfolder = "{folder}"\nmodel = "m"\n')
    with pytest.raises(ConfigError, match="model goes with base_url"):
        load_reward_model(file)
