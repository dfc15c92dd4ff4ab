"""Flags made from settings, and what a person meets who types something else."""

import json
import re
from pathlib import Path

import pytest

from spct.cli.main import COMMANDS, load
from spct.cli.options import FLAGS, SECTIONS, takes_settings
from spct.cli.usage import OLD_COMMANDS, OLD_FLAGS
from spct.config import Config, EngineConfig, JudgeConfig
from spct.errors import ConfigError
from spct.settings import Settings, resolve
from spct.train.config import CloudConfig, RlConfig, ScalarConfig


class Rl(Settings):
    rl: RlConfig = RlConfig()


class Heads(Settings):
    bradley_terry: ScalarConfig = ScalarConfig()
    cloud: CloudConfig = CloudConfig()


def leaves(command, path=()):
    """Every command that can be called, with its path."""
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
    for name, child in (children or {}).items():
        yield from leaves(child, (*path, name))


EVERY = [leaf for name in COMMANDS for leaf in leaves(load(name), (name,))]
NAMES = [" ".join(path) for path, _ in EVERY]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(cls, *sets, file=None, env=None, own=None):
    return resolve(cls, sets=sets, file=file, env=env or {}, own=own)[0]


# --- sources of a value --------------------------------------------------------------


def test_set_reaches_any_section_and_table_and_wins_over_the_file(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[cloud]\nn_critiques = 3\n[cloud.head]\nmax_steps = 5\nlora_rank = 8\n")
    heads = made(Heads, "cloud.head.max_steps=7", "cloud.head.schedule=linear", file=file)
    assert (heads.cloud.n_critiques, heads.cloud.head.max_steps) == (3, 7)
    assert (heads.cloud.head.lora_rank, heads.cloud.head.schedule) == (8, "linear")


def test_a_file_of_one_stage_holds_its_keys_at_the_top(tmp_path):
    file = tmp_path / "rl.toml"
    file.write_text("beta = 0.08\nbatch_size = 64\n")
    rl = made(Rl, "beta=0.01", "schedule=linear", "rl.drop_easy=false", file=file, own="rl").rl
    assert (rl.beta, rl.batch_size, rl.schedule, rl.drop_easy) == (0.01, 64, "linear", False)


def test_set_keeps_tables_of_one_value_whole():
    config = made(Config, 'engine.extra_body={top_k = 5, stop = ["x"]}')
    assert config.engine.extra_body == {"top_k": 5, "stop": ["x"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rl.bta=0.01", "flag --set: unknown key 'rl.bta'; did you mean 'beta'"),
        ("bta=0.01", "unknown key 'bta'"),
        ("beta", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("rl.beta=-1", "flag --set: rl.beta = -1"),
        ("rl.beta.x=1", "rl.beta"),
    ],
)
def test_a_wrong_assignment_is_named_with_the_cure(text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        made(Rl, text, own="rl")


def test_a_value_and_a_table_of_one_name_are_refused(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("rl = 3\n")
    with pytest.raises(ConfigError, match="'rl' is a value, expected a table"):
        made(Rl, "rl.beta=1", file=file)


def test_a_variable_of_a_section_with_a_longer_name_is_not_taken_for_a_misspelt_one():
    config, _ = resolve(Rl, env={"SPCT_RL_EXTRA_SEED": "1"}, elsewhere=["rl_extra"])
    assert config.rl.seed == 0
    with pytest.raises(ConfigError, match="unknown environment variable SPCT_RL_EXTRA_SEED"):
        resolve(Rl, env={"SPCT_RL_EXTRA_SEED": "1"})


def test_one_file_serves_every_command(run, tmp_path):
    file = tmp_path / "spct.toml"
    file.write_text("[judge]\nk = 3\n[serve]\nport = 9\n[rl]\nbeta = 0.1\n")
    code, out, _ = run("config", "--config", file, "--set", "judge.seed=5")
    assert code == 0
    origins = {line.split()[0]: line.split()[1:3] for line in out.splitlines()}
    assert origins["judge.k"] == ["3", "file"] and origins["judge.seed"] == ["5", "flag"]
    assert origins["serve.port"] == ["9", "file"] and origins["judge.stop"][1] == "default"
    assert origins["rl.beta"] == ["0.1", "file"] and origins["cloud.head.frozen"][1] == "default"
    assert {dotted.partition(".")[0] for dotted in origins} == set(SECTIONS)
    code, out, _ = run("config", "serve", "--json", "--config", file)
    assert code == 0 and json.loads(out)["serve"]["port"] == 9
    file.write_text("[rl]\nbta = 0.1\n")
    code, _, err = run("config", "--config", file)
    assert code == 2 and "unknown key 'rl.bta'; did you mean 'beta'" in err
    assert "did you mean 'judge'" in run("config", "jugde")[2]


def test_a_command_is_called_with_the_sections_that_it_names():
    seen = {}

    def command(engine: EngineConfig, rl: RlConfig, name: str = "x") -> None:
        seen.update(engine=engine, rl=rl, name=name)

    wrapped = takes_settings(command)
    given = dict.fromkeys(wrapped.__annotations__)
    wrapped(**given | {"rl__beta": "0.5", "engine__kind": "scripted", "name": "y"})
    assert seen["rl"].beta == 0.5 and seen["engine"].kind == "scripted" and seen["name"] == "y"


# --- flags and help ------------------------------------------------------------------


@pytest.mark.parametrize(("path", "command"), EVERY, ids=NAMES)
def test_no_two_options_of_a_command_share_a_flag_and_each_is_described(path, command):
    flags = [flag for p in command.params for flag in (*p.opts, *p.secondary_opts)]
    assert len(flags) == len(set(flags))
    for param in command.params:
        assert getattr(param, "help", None), f"{path}: {param.name} has no description"


@pytest.mark.parametrize(("path", "command"), EVERY, ids=NAMES)
def test_a_short_flag_means_one_thing_everywhere(path, command):
    meant = {
        "-k": {"samples", "ks", "k"}, "-j": {"max_concurrency"}, "-c": {"config"}, "-m": {"model"},
        "-o": {"out", "export"}, "-h": {"help"}, "-b": {"benchmark"}, "-n": {"n"},
    }  # fmt: skip
    for param in command.params:
        for short in (flag for flag in param.opts if re.fullmatch("-[a-z]", flag)):
            long = {flag.strip("-").replace("-", "_") for flag in param.opts}
            assert long & meant[short], f"{path}: {short} means {param.opts}"


def test_every_section_and_renamed_flag_names_what_exists():
    for section, place in SECTIONS.items():
        module, _, name = place.partition(":")
        cls = getattr(__import__(module, fromlist=[name]), name)
        assert issubclass(cls, Settings)
        for dotted in FLAGS:
            if dotted.startswith(f"{section}."):
                assert dotted.removeprefix(f"{section}.") in cls.model_fields
    assert EngineConfig.model_fields and JudgeConfig.model_fields


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_option_value_is_cut_in_the_middle_of_a_word(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = run("judge", "--help-all")
    words = set(re.findall(r"[\w-]+", out))
    assert code == 0 and {"pointwise_no_principles", "meta_weighted", "structured_outputs"} <= words


def test_help_shows_first_what_people_use_and_help_all_the_rest(run):
    first, everything = run("judge", "--help")[1], run("judge", "--help-all")[1]
    assert "--vote" in first and "--help-all" in first
    assert "--retry-budget" not in first and "--retry-budget" in everything


def test_brackets_in_help_are_text(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert "[default: 1024]" in run("judge", "--help-all")[1]


def test_the_commands_are_grouped(run):
    out = run("--help")[1]
    titles = ["Judge and runs", "Measure", "Train", "Serve", "Data and settings"]
    assert [out.index(title) for title in titles] == sorted(out.index(title) for title in titles)


# --- near misses and old spellings ---------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["jugde", "x"], "did you mean 'judge'"),
        (["judge", "x", "--k", "3"], "did you mean -k"),
        (["bench", "x", "--resample", "3"], "did you mean --resamples"),
        (["judge", "x", "--concurency", "3"], "did you mean --concurrency"),
        (["judge", "x", "--concurrency", "3"], "is now: --examples-in-flight"),
        (["judge", "x", "--lenient"], "is now: --parse lenient"),
        (["config", "-k", "3"], "--set judge.k=4"),
        (["judge", "x", "--modle", "3"], "did you mean --model"),
        (["train", "rlf"], "'rl'"),
        (["data", "splt"], "'split'"),
        (["judge", "x", "--vote", "medain"], "judge.vote = 'medain'"),
        (["judge", "x", "-k", "many"], "judge.k = 'many'"),
    ],
)
def test_a_near_miss_is_answered_in_one_line_with_the_right_word(run, argv, meant):
    code, out, err = run(*argv)
    assert code == 2 and out == "" and meant in err
    assert len(err.strip().splitlines()) == 1 and err.startswith("error: ")


@pytest.mark.parametrize("words", OLD_COMMANDS, ids=" ".join)
def test_an_old_command_names_the_new_one(run, words):
    code, out, err = run(*words, "x.jsonl", "--out", "y")
    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert OLD_COMMANDS[words] in err
    for name in re.findall(r"spct (\w+) ([\w-]+)", OLD_COMMANDS[words]):
        assert name[1] in load(name[0]).commands


@pytest.mark.parametrize(("command", "flag"), OLD_FLAGS)
def test_an_old_flag_names_the_new_one(command, flag):
    (found,) = [leaf for path, leaf in EVERY if " ".join(path) == command]
    known = {name for param in found.params for name in param.opts}
    assert flag in known or OLD_FLAGS[command, flag].split()[0] in known


def test_a_config_file_that_is_not_there_is_one_line(run):
    code, _, err = run("judge", "x", "--config", str(Path("none.toml")))
    assert code == 2 and "none.toml" in err and "Traceback" not in err
