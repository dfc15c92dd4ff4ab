"""The judge that comes with the package: when it judges, with which wording, and when it does not.

A tiny random model and a random adapter stand in for the real ones.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import spct.models.shipped
from spct.config import Config, EngineConfig
from spct.engines.scripted import ScriptedEngine
from spct.measure.runner import part_identity
from spct.models.engines import build_engine
from spct.models.judges import build_judge, with_defaults
from spct.models.load import load_reward_model
from spct.models.shipped import FOLDER, MAX_TOKENS, NAME, TRAINED_ON, shipped
from spct.settings import resolve
from spct.text.format import FORMATS, load_format

WORDING = "Our wording.\n{{conversation}}\n{{reference}}{{responses}}{{hint}}"
SINGLE = "Our single wording.\n{{conversation}}\n{{reference}}{{response}}"
ENGINES = ("openvino", "llamacpp")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A shipped folder with wording and weights of no meaning."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "adapter_model.safetensors").touch()
    (folder / "pointwise.txt").write_text(WORDING + "\n")
    (folder / "single.txt").write_text(SINGLE)
    monkeypatch.setattr(spct.models.shipped, "FOLDER", folder)
    monkeypatch.setattr("spct.models.engines.find_spec", lambda name: name == "openvino_genai")
    return folder


def settled(**flags):
    """Settings by section, as the command line would give them, with the defaults filled in."""
    return with_defaults(resolve(Config, flags=flags, env={})[0])


def ours(config):
    """What of the shipped judge these settings use."""
    return config.engine.adapter, config.judge.template, config.judge.max_tokens


# --- when it judges ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pointwise", "single"])
def test_without_a_model_the_shipped_adapter_judges_in_its_own_wording(folder, name):
    config = settled(judge={"format": name})
    assert ours(config) == (str(folder), str(folder / f"{name}.txt"), MAX_TOKENS)
    assert config.engine.kind == "openvino"
    assert with_defaults(config) == config


@pytest.mark.parametrize(
    "flags",
    [
        {"engine": {"model": "other.gguf"}},
        {"engine": {"adapter": "mine"}},
        {"engine": {"adapter": "none"}},
        {"engine": {"kind": "scripted"}},
        {"engine": {"kind": "openai"}},
        {"engine": {"kind": "hf"}},
        {"engine": {"base_url": "http://127.0.0.1:9/v1"}},
        {"judge": {"format": "pairwise"}},
        {"judge": {"format": "pointwise_no_principles"}},
    ],
)
@pytest.mark.usefixtures("folder")
def test_another_model_engine_or_format_gets_nothing_of_ours(flags):
    given = resolve(Config, flags=flags, env={})[0]
    config = with_defaults(given)
    assert ours(config) == (given.engine.adapter, None, 1024)
    assert config.engine.force_format == "auto"


@pytest.mark.usefixtures("folder")
def test_an_endpoint_in_the_environment_overrides_it(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert ours(settled()) == (None, None, 1024)


@pytest.mark.parametrize("installed", [("llamacpp", "xllamacpp"), (None, "")])
def test_it_judges_in_the_engine_that_is_installed(folder, monkeypatch, installed):
    kind, package = installed
    monkeypatch.setattr("spct.models.engines.find_spec", lambda name: name == package)
    config = settled()
    assert config.engine.kind == (kind or "auto")
    assert config.engine.adapter == (str(folder) if kind else None)


def test_what_a_person_sets_stays(folder):
    config = settled(
        judge={"template": "mine.txt", "max_tokens": 1024}, engine={"force_format": "always"}
    )
    assert ours(config) == (str(folder), "mine.txt", 1024)
    assert config.engine.force_format == "always"


def test_without_weights_nothing_is_shipped(folder):
    (folder / "adapter_model.safetensors").unlink()
    assert shipped() is None and ours(settled()) == (None, None, 1024)


@pytest.mark.usefixtures("folder")
def test_a_grammar_holds_it_only_to_numbers_of_responses_that_it_does_not_know():
    several = build_judge(settled(), ScriptedEngine()).grammar
    single = build_judge(settled(judge={"format": "single"}), ScriptedEngine()).grammar
    assert several and [n for n in range(1, 9) if several(n)] == [1, 6, 7, 8]
    assert '"Response 6 " text scores' not in several(7) and '"Response 7 "' in several(7)
    assert single and single(1) is None
    always = {"engine": {"force_format": "always"}, "judge": {"format": "single"}}
    forced = build_judge(settled(**always), ScriptedEngine()).grammar
    assert forced and '"The response "' in forced(1) and '"0" | "1"' in forced(1)
    assert build_judge(settled(engine={"force_format": "never"}), ScriptedEngine()).grammar is None


@pytest.mark.usefixtures("folder")
def test_a_benchmark_tells_apart_what_a_grammar_forces():
    loaded = SimpleNamespace(benchmark=SimpleNamespace(name="b", two_orders=False), sha256="")
    flags = ({}, {"force_format": "always"}, {"force_format": "never"}, {"adapter": "none"})
    judges = [build_judge(settled(engine=flag), ScriptedEngine()) for flag in flags]
    seen = [part_identity(judge, loaded, "voted")["grammar"] for judge in judges]
    assert len(set(seen)) == 4 and seen[2] is None


@pytest.mark.usefixtures("folder")
def test_an_engine_that_is_passed_in_is_asked_in_the_usual_wording_and_not_forced():
    judge = build_judge(Config(), ScriptedEngine())
    assert judge.fmt == FORMATS["pointwise"] and judge.grammar is None


# --- all ways in agree; on a tiny model ----------------------------------------------------


@pytest.fixture
def tiny(folder, tmp_path, monkeypatch):
    """A tiny default model, and a random adapter for it in the shipped folder."""
    pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    from safetensors.numpy import save_file

    from spct.engines import weights
    from tests.engines.tiny_models import LAYERS, WIDTH, write_gguf

    package = tmp_path / "tiny_package"
    package.mkdir()
    write_gguf(package / "tiny.gguf", quantised=False, context=8192)
    where = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(weights, "find_spec", lambda name: where)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = numpy.random.default_rng(0)
    stem = "base_model.model.model.layers"
    pair = {"lora_A": (2, WIDTH), "lora_B": (WIDTH, 2)}
    save_file(
        {
            f"{stem}.{i}.self_attn.q_proj.{part}.weight": rng.normal(0, 0.5, shape).astype(
                "float16"
            )
            for i in range(LAYERS)
            for part, shape in pair.items()
        },
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 4}')
    return folder


@pytest.fixture(params=ENGINES)
def kind(request, monkeypatch):
    package = {"openvino": "openvino_genai", "llamacpp": "xllamacpp"}[request.param]
    pytest.importorskip(package)
    monkeypatch.setattr("spct.models.engines.find_spec", lambda name: name == package)
    return request.param


ASK = ("--query", "q?", "--response", "a", "--response", "b", "-k", 1)


@pytest.mark.usefixtures("tiny")
def test_judging_uses_it_and_a_plain_base_is_one_flag_away(run, kind):
    seen = {}
    for name, flags in {"ours": (), "base": ("--adapter", "none", "--max-tokens", 200)}.items():
        code, out, err = run("judge", *ASK, "--json", *flags)
        assert code in (0, 3)  # random weights rarely score anything; what they wrote is shown
        verdict = json.loads(out)
        (trajectory,) = verdict["trajectories"]
        text = verdict["prompts"][0]["messages"][0]["content"]
        seen[name] = trajectory["fingerprint"]
        assert trajectory["fingerprint"].startswith(kind)
        assert text.startswith("Our wording.") == (name == "ours")
        assert trajectory["text"].startswith("Specific Criteria:") == (name == "base")  # forced
        assert ("plain default model" in err) == (name == "base")
        assert trajectory["usage"]["completion_tokens"] <= MAX_TOKENS
    assert seen["ours"].split("/")[1] != seen["base"].split("/")[1]  # the engines' own parts


async def test_the_python_call_the_benchmark_and_the_gateway_agree(tiny, kind):
    Path("judge.toml").write_text("[judge]\nk = 2\n")
    loaded = [load_reward_model("default"), load_reward_model("judge.toml")]
    judges = [
        build_judge(Config()),
        load_reward_model("default", k=4, seed=0),
        build_judge(settled()),
        *loaded,
    ]
    plain = build_engine(EngineConfig(kind=kind))
    names = [judge.fingerprint for judge in judges]
    limits = {judge.params.max_tokens for judge in judges}
    formats = {judge.fmt for judge in judges}
    for engine in (*(judge.engine for judge in judges), plain):
        await engine.aclose()
    assert len(set(names)) == 1 and limits == {MAX_TOKENS}
    assert formats == {load_format(tiny / "pointwise.txt")}
    assert not names[0].startswith(plain.fingerprint)  # what trainers build is the plain base


@pytest.mark.usefixtures("tiny", "kind")
def test_a_run_knows_who_judged_and_can_be_voted_again_anywhere(run, monkeypatch):
    Path("one.jsonl").write_text(json.dumps({"query": "q?", "responses": ["a", "b"]}))
    code, out, _ = run("sample", "one.jsonl", "-k", 2, "--progress", "none")
    assert code in (0, 3)
    stored = json.loads((Path(out.strip()) / "config.json").read_text())["settings"]
    assert stored["engine"]["adapter"] and stored["judge"]["max_tokens"] == MAX_TOKENS
    assert run("sample", "one.jsonl", "-k", 2, "--progress", "none")[1] == out
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    code, lines, err = run("rescore", out.strip(), "--vote", "mean", "--to", "-")
    assert code in (0, 3), err
    assert json.loads(lines)["trajectories"][0]["text"] and "failed" not in err


@pytest.mark.usefixtures("tiny", "kind")
def test_doctor_and_config_name_the_judge(run):
    code, out, err = run("doctor", "--json", "--max-tokens", 9, "--force-format", "always")
    assert "were all unscored" in err  # random weights judge nothing in nine tokens
    assert code == 4 and json.loads(out)["adapter"] == f"{NAME}, the shipped judge"
    code, out, _ = run("config")
    told = {line.split()[0]: line for line in out.splitlines()}
    assert "shipped" in told["engine.adapter"] and "settled here" in told["engine.adapter"]
    assert str(MAX_TOKENS) in told["judge.max_tokens"] and told["judge.k"].endswith("  default")
    assert "pointwise.txt" in told["judge.template"]


def test_a_dry_run_shows_the_wording_that_would_be_sent(folder, run):
    assert run("judge", *ASK, "--dry-run")[1].startswith("Our wording.")
    assert not run("judge", *ASK, "--dry-run", "--model", "m.gguf")[1].startswith("Our")
    one = ("--query", "q?", "--response", "a", "--format", "single")
    assert run("judge", *one, "--dry-run")[1].startswith("Our single wording.")


# --- what is really shipped -----------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINED_ON)
def test_the_shipped_wording_is_the_one_that_the_recipe_trains_on(name):
    recipe = Path(__file__).parents[2] / "recipes" / "smollm2_135m"
    wording = load_format(FOLDER / f"{name}.txt", FORMATS[name])
    assert wording == load_format(recipe / f"{name}.txt", FORMATS[name])


@pytest.fixture
def real():
    found = shipped()
    if found is None:
        pytest.skip("no weights are shipped yet")
    return found


def test_the_shipped_folder_is_small_complete_and_names_no_machine(real):
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 25 * 2**20
    settings = json.loads((FOLDER / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "SmolLM2-135M-Instruct"
    assert 0 < settings["r"] <= 16 and settings["lora_alpha"] > 0
    assert {file.suffix for file in FOLDER.rglob("*.*")} <= {".safetensors", ".json", ".txt", ".md"}
    assert "Licence" in (FOLDER / "README.md").read_text()
    for name, path in real.templates.items():
        assert load_format(path, FORMATS[name]).scale == FORMATS[name].scale
