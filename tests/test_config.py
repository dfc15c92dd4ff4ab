import pytest

from spct.config import Config
from spct.errors import ConfigError
from spct.settings import Settings, resolve, validated


def made(**options):
    return resolve(Config, env={}, **options)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path):
    file = tmp_path / "judge.toml"
    file.write_text("[judge]\nk = 2\nseed = 2\ntop_p = 0.2\n")
    config, origins = resolve(
        Config,
        flags={"judge": {"k": 4, "seed": None}},
        file=file,
        env={"SPCT_JUDGE_K": "3", "SPCT_JUDGE_SEED": "3"},
    )
    judge = config.judge
    assert (judge.k, judge.seed, judge.top_p, judge.temperature) == (4, 3, 0.2, 0.5)
    assert [origins[f"judge.{key}"].split()[0] for key in ("k", "seed", "top_p", "vote")] == [
        "flag",
        "environment",
        "file",
        "default",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[judge]\nkk = 1", "unknown key 'judge.kk'; did you mean 'k'"),
        ("[jugde]\nk = 1", "unknown key 'jugde'; did you mean 'judge'"),
        ("[judge]\nk = 0", "judge.k = 0"),
        ("[judge]\nk = 'many'", "judge.k = 'many'"),
        ("[judge]\nvote = 'median'", "judge.vote = 'median'"),
        ("[engine]\nkind = 'vllm'", "engine.kind = 'vllm'"),
        ("[judge]\nk = 1\nk = 2", "not valid TOML"),
        ("judge = 3", "judge = 3"),
        ("[judge\n", "not valid TOML"),
        ("\x00", "not valid TOML"),
        ("[judge]\nstop_error = nan", "judge.stop_error"),
        ("[judge]\ntemperature = -1", "judge.temperature"),
    ],
)
def test_a_bad_config_file_is_an_error_with_file_and_key(tmp_path, text, message):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        made(file=file)
    assert message in str(error.value) and "bad.toml" in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        made(file=tmp_path / "none.toml")


def test_a_misspelt_variable_is_an_error():
    with pytest.raises(ConfigError, match="did you mean SPCT_ENGINE_MODEL"):
        resolve(Config, env={"SPCT_ENGINE_MODLE": "x"})


def test_a_stored_vote_by_sums_is_answered_with_means():
    with pytest.raises(ConfigError, match="rewards are means"):
        resolve(Config, env={"SPCT_JUDGE_VOTE": "sum"})


def test_a_stored_lenient_is_the_parse_of_that_name():
    assert validated(Config, {"judge": {"lenient": True}}, "x").judge.parse == "lenient"
    assert validated(Config, {"judge": {"lenient": False}}, "x").judge.parse == "strict"


def test_settings_are_frozen():
    config, _ = made()
    with pytest.raises(ValueError, match="frozen"):
        config.judge.k = 3


def test_a_setting_of_several_values_is_split_at_commas_in_the_environment():
    from spct.serve.config import ServeConfig

    class Serving(Settings):
        serve: ServeConfig = ServeConfig()

    env = {"SPCT_SERVE_ALLOWED_HOSTS": "judge.example, other.example", "SPCT_SERVE_PORT": "9"}
    config, origins = resolve(Serving, env=env)
    assert config.serve.allowed_hosts == ("judge.example", "other.example")
    assert origins["serve.allowed_hosts"] == "environment"


@pytest.mark.parametrize("line", ["temperature = inf", "temperature = nan", "k = 99999999999999"])
def test_a_number_without_bounds_is_refused(line, tmp_path):
    (tmp_path / "c.toml").write_text(f"[judge]\n{line}\n")
    with pytest.raises(ConfigError, match=line.split()[0]):
        resolve(Config, file=tmp_path / "c.toml")
