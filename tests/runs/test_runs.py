from __future__ import annotations

import json
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

import pytest

from spct.errors import StoreError
from spct.runs.folder import atomic_text, claimed, write_run_files


def made(root: Path, name: str = "my judge", *, fresh: bool = False, **identity: Any) -> Path:
    with claimed(root, name, identity, {}, fresh=fresh) as claim:
        return claim.folder


def test_a_run_folder_is_named_by_time_name_and_id_and_is_private(tmp_path: Path) -> None:
    folder = made(tmp_path / "runs", k=1)
    assert re.fullmatch(r"\d{8}T\d{6}Z_my-judge_[0-9a-f]{6}", folder.name)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert made(tmp_path / "runs", k=1) == folder
    assert made(tmp_path / "runs", k=2) != folder


@pytest.mark.parametrize(
    "name", ["../../etc", "/etc/passwd", "..", ".", "", "a\x00b", "\ud800", "x" * 999, "a\nb", "~"]
)
def test_no_name_leaves_the_root(tmp_path: Path, name: str) -> None:
    assert made(tmp_path, name).parent == tmp_path


def test_a_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        made(tmp_path / "runs")


def test_fresh_begins_a_run_that_is_then_the_one_to_continue_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, runs = time.gmtime, []
    for hours in (0, -1, -2, 5):
        offset = 3600 * hours
        monkeypatch.setattr(time, "gmtime", lambda s=None, by=offset: real((s or time.time()) + by))
        runs.append(made(tmp_path, fresh=True, k=1))
        assert made(tmp_path, k=1) == runs[-1]
    assert len(set(runs)) == 4


def test_a_run_of_an_older_version_comes_before_those_with_a_number(tmp_path: Path) -> None:
    old = tmp_path / "99990101T000000Z_rows_ffffff"
    old.mkdir()
    (old / "config.json").write_text('{"identity": {"k": 1}, "settings": {}}')
    assert made(tmp_path, k=1) == old
    newer = made(tmp_path, fresh=True, k=1)
    assert made(tmp_path, k=1) == newer != old


@pytest.mark.parametrize("content", [b"", b"[]", b'{"identity"', b"\xff", b"[" * 100_000, None])
def test_a_folder_that_is_not_a_run_is_never_continued(
    tmp_path: Path, content: bytes | None
) -> None:
    odd = tmp_path / "99990101T000000Z_rows_ffffff"
    odd.mkdir()
    if content is None:
        (odd / "config.json").mkdir()
    else:
        (odd / "config.json").write_bytes(content)
    assert made(tmp_path, k=1) != odd


def test_a_set_up_that_fails_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spct.runs.folder.os.pwrite", full)
    with pytest.raises(StoreError, match=r"cannot lock the run in .*No space left"):
        made(tmp_path, k=1)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_kill_left_of_a_set_up_is_swept_by_the_next_one(tmp_path: Path) -> None:
    half = tmp_path / ".20260101T000000Z_rows_abcdef.part"
    half.mkdir()
    (half / "run.lock").write_text("1")
    folder = made(tmp_path, k=1)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_what_a_kill_left_of_a_named_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    named = tmp_path / "deep" / "run"
    (tmp_path / "deep" / ".run.part").mkdir(parents=True)
    (tmp_path / "deep" / ".run.part" / "run.lock").write_text("1")
    for _ in range(2):
        with claimed(tmp_path, "rows", {"k": 1}, {}, at=named) as claim:
            assert claim.folder == named
    assert list((tmp_path / "deep").iterdir()) == [named]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_lock_that_is_not_a_file_is_named(tmp_path: Path, kind: str) -> None:
    folder = made(tmp_path, k=1)
    lock = folder / "run.lock"
    lock.unlink()
    lock.mkdir() if kind == "folder" else os.mkfifo(lock)
    with pytest.raises(StoreError, match="cannot lock the run"):
        made(tmp_path, k=1)


def test_the_second_of_two_at_once_says_who_holds_the_run(tmp_path: Path) -> None:
    with claimed(tmp_path, "rows", {"k": 1}, {}) as first:
        with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
            made(tmp_path, k=1)
        assert made(tmp_path, k=2) != first.folder


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
