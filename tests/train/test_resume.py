"""What stops a training from outside, in words: a full disk, and a process that is gone."""

from pathlib import Path

import pytest

from spct.errors import TrainError
from spct.train.resume import all_there, room_for

GLOO = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:33165: "
    "Connection reset by peer."
)


@pytest.mark.parametrize(
    "said",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",  # safetensors
        "[enforce fail at inline_container.cc:672] . unexpected pos 96064 vs 95952",  # torch.save
        "basic_ios::clear: iostream error",
        "PytorchStreamWriter failed writing file data/4: file write failed",
    ],
)
def test_a_full_disk_is_said_whoever_wrote(tmp_path: Path, said: str) -> None:
    told = r"GiB free\); make room .*the same command goes on from the last whole checkpoint"
    with pytest.raises(TrainError, match=told), room_for(tmp_path / "not" / "there"):
        raise RuntimeError(said)


def test_a_process_that_is_gone_is_named_where_there_are_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RuntimeError, match=r"pair\.cc"), all_there():
        raise RuntimeError(GLOO)
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = r"2 processes: another one .*reset by peer.*the same command, or one with fewer"
    with pytest.raises(TrainError, match=told), all_there():
        raise RuntimeError(GLOO)


def test_other_errors_pass_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for error in (RuntimeError("shapes differ"), TrainError("No space left: said already")):
        with pytest.raises(type(error)) as raised, room_for(tmp_path), all_there():
            raise error
        assert raised.value is error
