from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

import pytest

from spct.errors import StoreError
from spct.runs.folder import atomic_text, new_run_folder, write_run_files


def test_a_run_folder_is_named_by_time_name_and_id_and_is_private(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path / "runs", "my judge")
    assert re.fullmatch(r"\d{8}T\d{6}Z_my-judge_[0-9a-f]{6}", folder.name)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert new_run_folder(tmp_path / "runs", "my judge") != folder


@pytest.mark.parametrize(
    "name", ["../../etc", "/etc/passwd", "..", ".", "", "a\x00b", "\ud800", "x" * 999, "a\nb", "~"]
)
def test_no_name_leaves_the_root(tmp_path: Path, name: str) -> None:
    assert new_run_folder(tmp_path, name).parent == tmp_path


def test_a_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="cannot make the run folder"):
        new_run_folder(tmp_path / "runs", "x")


def test_the_run_files_hold_versions_and_config_and_nothing_of_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    write_run_files(tmp_path, {"model": "m", "k": 8})
    assert json.loads((tmp_path / "config.json").read_text()) == {"k": 8, "model": "m"}
    text = (tmp_path / "env.json").read_text()
    environment = json.loads(text)
    assert environment["python"] == platform.python_version()
    assert "pytest" in environment["packages"]
    for private in ("sk-secret", os.getcwd(), str(Path.home()) + "/"):
        assert private not in text
    assert not {"node", "host", "user"} & environment.keys()


def test_a_text_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_text(tmp_path / "out") as file:
        file.write("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
