"""What stops a training, in words: a full disk, a process that is gone, a refused setting."""

from pathlib import Path

import pytest

from spct.errors import ConfigError, TrainError
from spct.train.config import CloudConfig, SftConfig
from spct.train.resume import all_there, begin, room_for

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


def test_a_setting_that_this_machine_refuses_leaves_no_folder(tmp_path: Path) -> None:
    """Or the same command without it would be refused as another run's."""
    out, uneven = tmp_path / "out", SftConfig(batch_size=3, micro_batch_size=2)
    for config in (uneven, CloudConfig(critic=uneven)):
        with pytest.raises(ConfigError, match="multiple of 2"):
            begin(out, "tuning", "some/model", config, [])
        assert not out.exists()
