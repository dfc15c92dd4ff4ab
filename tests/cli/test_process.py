"""The process around a command: full and closed streams, missing extras, addresses, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spct.cli.main import COMMANDS, load
from spct.cli.process import EXTRAS, STOPPED, Stopped, in_words

ROW = {"id": "1", "query": "Capital?", "responses": ["Canberra", "Sydney"], "gold": [1, 0]}
FAKE = ("--engine", "scripted", "-k", "2")
MAIN = "from spct.cli.main import main; main()"


@pytest.fixture(autouse=True)
def in_a_folder_with_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("one.jsonl").write_text(json.dumps(ROW) + "\n")


def process(*argv, code=MAIN, **streams):
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        **streams,
    )


def one_sentence(done, code, *words):
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "Traceback" not in done.stderr
    for word in words:
        assert word in last


# --- standard streams ----------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ("judge", "one.jsonl", *FAKE),
        ("judge", "one.jsonl", *FAKE, "--json"),
        ("sample", "one.jsonl", *FAKE),
        ("config",),
        ("data", "reference", "one.jsonl"),
    ],
    ids=lambda argv: " ".join(argv[:1]),
)
def test_a_full_standard_output_is_named_and_exits_with_5(argv):
    with open("/dev/full", "w") as full:
        done = process(*argv, stdout=full)
    one_sentence(done, 5, "standard output", "No space left on device")


def test_a_full_standard_output_at_the_export_of_a_run_exits_with_5(run):
    folder = run("sample", "one.jsonl", *FAKE)[1].strip()
    with open("/dev/full", "w") as full:
        for argv in (("export", folder), ("rescore", folder, "--vote", "majority")):
            one_sentence(process(*argv, stdout=full), 5, "standard output", "No space left")


def test_a_closed_standard_output_is_refused_before_anything_is_spent():
    argv = [sys.executable, "-c", MAIN, "sample", "one.jsonl", *FAKE]
    done = subprocess.run(
        argv, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(1), timeout=60
    )
    one_sentence(done, 5, "standard output is closed", "/dev/null")
    assert not Path("runs").exists()


def test_a_closed_standard_error_does_not_end_up_in_a_file():
    argv = [sys.executable, "-c", MAIN, "judge", "one.jsonl", *FAKE, "--json"]
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(2), timeout=60
    )
    assert done.returncode == 0 and json.loads(done.stdout)["id"] == "1"


def test_a_reader_that_goes_away_is_no_error():
    script = f"{sys.executable} -c '{MAIN}' config | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("engine.kind")


# --- what is not here ----------------------------------------------------------------

WITHOUT = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from spct.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("missing", "argv", "extra"),
    [
        (["numpy", "scipy"], ("bench", "length", "-b", "one.jsonl"), "spct[bench]"),
        (
            ["openvino", "openvino_genai"],
            ("judge", "one.jsonl", "--engine", "openvino"),
            "embedded",
        ),
        (["pyarrow"], ("validate", "one.parquet"), "spct[parquet]"),
    ],
)
def test_a_missing_package_is_answered_with_the_extra_that_brings_it(missing, argv, extra):
    Path("one.parquet").write_bytes(b"PAR1" + bytes(8) + b"PAR1")
    done = process(*argv, code=WITHOUT.format(missing=missing), stdout=subprocess.PIPE)
    one_sentence(done, 2, "pip install", extra)


def test_every_extra_that_is_advised_exists():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)
    for package, extra in EXTRAS.items():
        named = {
            item.partition(">")[0].partition("[")[0].replace("-", "_") for item in extras[extra]
        }
        assert package in named or package == "openvino"  # openvino_genai brings it


@pytest.mark.parametrize(
    "argv",
    [
        ("sample", "one.jsonl", "--output-dir", "gs://bucket/runs"),
        ("sample", "one.jsonl", "--out", "s3://bucket/run"),
        ("data", "mix", "one.jsonl", "s3://b/two.jsonl"),
        ("train", "rl", "one.jsonl", "--model", "m", "--out", "s3://bucket/rl"),
        ("bench", "length", "-b", "one.jsonl", "--out", "abfss://x@y/z"),
        ("view", "s3://bucket/runs/one"),
        ("rank", "gs://bucket/one", "gs://bucket/two"),
        ("merge", "s3://bucket/one", "--out", "o"),
        ("data", "convert", "one.jsonl", "-o", "s3://bucket/rows.jsonl"),
        ("judge", "one.jsonl", "--stop-file", "s3://bucket/stop.json"),
        ("serve", "scripted", "--keys-file", "s3://bucket/keys"),
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_an_address_is_not_taken_for_a_path(run, argv):
    code, out, err = run(*argv)
    assert code == 2 and out == "" and "://" in err and "copy it here" in err
    assert sorted(p.name for p in Path().iterdir()) == ["one.jsonl"]


@pytest.mark.parametrize(
    "argv", [("judge", "memory://no/x.jsonl"), ("data", "split", "memory://no/x.jsonl", "-o", "p")]
)
def test_an_object_that_is_not_there_is_named(run, argv):
    code, out, err = run(*argv)
    assert code == 2 and out == "" and "memory://no/x.jsonl" in err and err.count("\n") == 1


@pytest.mark.parametrize("stage", ["rft", "rl", "meta"])
def test_training_from_a_model_that_is_not_there_says_so_before_it_loads_anything(run, stage):
    code, _, err = run("train", stage, "one.jsonl", "--model", "/nowhere", "--out", "o")
    assert code == 2 and "'/nowhere': no such folder" in err
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("judge", "folder"), "is a folder"),
        (("judge", "one.jsonl", *FAKE, "--config", "wide"), "not UTF-8"),
        (("judge", "one.jsonl", *FAKE, "--template", "wide"), "not UTF-8"),
        (("judge", "one.jsonl", *FAKE, "--config", "folder"), "Is a directory"),
        (("judge", "wide.jsonl", *FAKE), "UTF-16"),
    ],
    ids=lambda argv: " ".join(argv[-2:]) if isinstance(argv, tuple) else "",
)
def test_a_file_of_another_kind_is_named_with_the_cure(run, argv, said):
    Path("folder").mkdir()
    for name in ("wide", "wide.jsonl"):
        Path(name).write_text("[judge]\nk = 2\n", encoding="utf-16")
    code, _, err = run(*argv)
    assert code == 2 and said in err and "Traceback" not in err and "Errno" not in err


def test_a_byte_order_mark_is_no_part_of_a_config_file(run):
    Path("c.toml").write_text("[judge]\nk = 3\n", encoding="utf-8-sig")
    code, out, _ = run("judge", "one.jsonl", "--engine", "scripted", "-c", "c.toml", "--json")
    assert code == 0 and json.loads(out)["k_drawn"] == 3


# --- signals and everything else -----------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["judge", "x"], "nothing is stored"),
        (["sample", "x"], "the same command continues"),
        (["--version"], "no file was written"),
        (["export", "x"], "no file was written"),
        (["train", "rl", "x"], "from the last checkpoint"),
        (["data", "rft", "x"], "the same command continues"),
        (["data", "split", "x"], "no file was written"),
    ],
)
def test_what_is_said_at_ctrl_c_is_true_of_the_command(capsys, argv, said):
    with pytest.raises(SystemExit) as done, in_words(argv):
        raise Stopped(130)
    assert done.value.code == 130 and said in capsys.readouterr().err


def test_every_message_of_a_stop_belongs_to_a_command():
    for name in STOPPED:
        first, *rest = name.split()
        assert first in COMMANDS and (not rest or rest[0] in load(first).commands)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (IsADirectoryError(21, "Is a directory", "runs"), 5, "'runs': Is a directory"),
        (MemoryError(), 1, "need less"),
        (ModuleNotFoundError("no scipy", name="scipy.stats"), 2, "spct[bench]'"),
        (OSError("odd\x1b[2J"), 5, "odd[2J"),
    ],
)
def test_an_error_of_the_system_is_a_sentence(capsys, error, code, said):
    with pytest.raises(SystemExit) as done, in_words(["judge"]):
        raise error
    assert done.value.code == code and capsys.readouterr().err.strip().endswith(said)


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError), in_words(["judge"]):
        raise KeyError("x")
    with pytest.raises(ModuleNotFoundError), in_words(["judge"]):
        raise ModuleNotFoundError("of ours", name="spct.gone")


def test_a_judge_that_is_stopped_says_that_nothing_is_stored():
    Path("many.jsonl").write_text(
        "".join(
            json.dumps(ROW | {"id": str(i), "query": "long " * 2000}) + "\n" for i in range(3000)
        )
    )
    job = subprocess.Popen(
        [sys.executable, "-c", MAIN, "judge", "many.jsonl", *FAKE, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert job.stdout is not None
    job.stdout.readline()
    job.send_signal(signal.SIGINT)
    time.sleep(0.2)
    err = job.communicate(timeout=60)[1]
    assert job.returncode == 130 and "nothing is stored" in err and "Traceback" not in err
