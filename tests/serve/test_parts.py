"""Small parts: keys, rates, slots, stored answers, settings."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest
from pydantic import ValidationError
from starlette.responses import Response

from spct.errors import ConfigError
from spct.runs.identity import content_id
from spct.serve.admission import TokenBucket
from spct.serve.config import ServeConfig, is_loopback
from spct.serve.errors import HttpError
from spct.serve.keys import Keyring, parse_keys
from spct.serve.replay import UNSCORED, Replays
from spct.serve.samples import Outcome
from spct.serve.server import check, take_port
from spct.serve.slots import Slots
from spct.types import Message

KEY = "0123456789abcdef"


# ---- keys


def parsed(text: str):
    return parse_keys(text.split("\n"), "keys")


def test_key_lines_have_a_name_a_key_and_scopes():
    keys = parsed(f"# team\na {KEY}\nb {KEY}x judge # trainer\n\n")
    assert [(key.name, sorted(key.scopes)) for key in keys] == [
        ("a", ["judge", "read"]),
        ("b", ["judge"]),
    ]


@pytest.mark.parametrize(
    "secret", [f"{KEY}#more", f"{KEY},more", f"#{KEY}"[1:] + "##", f"{KEY}=/+~"]
)
def test_a_key_is_read_whole_with_every_sign_in_it(secret, tmp_path):
    (tmp_path / "keys").write_text(f"a {secret} judge # a comment\n", "utf-8-sig")
    ring = Keyring({}, tmp_path / "keys")
    assert ring.find(secret.encode()) is not None
    assert ring.find(KEY.encode()) is None


@pytest.mark.parametrize(
    "text",
    ["a short", f"a {KEY}\na {KEY}x", f"a {KEY} admin", "a sha256:12", "a sha256:zz",
     f"a {KEY} with spaces", f"a {KEY}é", f"a {KEY}\x07", f"{KEY}\n{KEY}x"],
)  # fmt: skip
def test_bad_key_lines_are_named_and_never_shown(text):
    with pytest.raises(ConfigError, match="entry") as caught:
        parsed(text)
    assert KEY not in str(caught.value)


def test_a_key_with_a_comma_is_not_cut_in_two_by_the_environment():
    for value in (f"{KEY},{KEY}x", f"a {KEY},{KEY}x"):
        with pytest.raises(ConfigError, match="--keys-file"):
            Keyring({"SPCT_GATEWAY_KEYS": value})
    assert Keyring({"SPCT_GATEWAY_KEYS": KEY}).find(KEY.encode()) is not None


def test_a_key_may_be_stored_as_its_digest():
    from hashlib import sha256

    ring = Keyring({"SPCT_GATEWAY_KEYS": f"a sha256:{sha256(KEY.encode()).hexdigest()}"})
    found = ring.find((KEY).encode())
    assert found is not None and found.name == "a"
    assert ring.find((KEY + "x").encode()) is None and ring.find(b"") is None


def test_keys_are_rotated_without_a_restart_and_a_broken_file_changes_nothing(tmp_path):
    now = [0.0]
    path = tmp_path / "keys"
    path.write_text(f"a {KEY}\n")
    ring = Keyring({}, path, clock=lambda: now[0])
    path.write_text(f"b {KEY}-other\n")
    assert ring.find((KEY).encode()) is not None  # looked at once a second
    now[0] = 2.0
    assert ring.find((KEY).encode()) is None and ring.find((f"{KEY}-other").encode()) is not None
    path.write_text("b short\n")
    now[0] = 4.0
    assert ring.find((f"{KEY}-other").encode()) is not None


def test_a_key_file_without_keys_or_without_a_file_is_an_error(tmp_path):
    (tmp_path / "empty").write_text("# nothing\n")
    for name in ("empty", "absent"):
        with pytest.raises(ConfigError):
            Keyring({}, tmp_path / name)


# ---- what is refused before the port is taken


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "my-host"])
def test_other_addresses_need_a_key(host):
    with pytest.raises(ConfigError, match="no key is set"):
        check(ServeConfig(host=host), {})
    check(ServeConfig(host=host), {"SPCT_GATEWAY_KEYS": KEY})
    check(ServeConfig(host=host, unsafe_no_auth=True), {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_none(host):
    assert is_loopback(host)
    check(ServeConfig(host=host), {})


def test_an_unknown_template_is_refused_at_the_start():
    with pytest.raises(ConfigError, match="chatml"):
        check(ServeConfig(template="chatlm"), {})


def test_a_taken_port_is_a_config_error():
    listener = take_port(ServeConfig(port=0))
    try:
        with pytest.raises(ConfigError, match="choose another --port"):
            take_port(ServeConfig(port=listener.getsockname()[1]))
    finally:
        listener.close()


def test_settings_have_bounds_and_no_number_for_failures_by_default():
    assert ServeConfig().on_unscored is None and ServeConfig().host == "127.0.0.1"
    assert ServeConfig.model_validate({"on_unscored": "0", "group_size": "8"}).on_unscored == 0.0
    with pytest.raises(ValidationError):
        ServeConfig.model_validate({"on_unscored": "zero"})


# ---- rates and slots


def test_a_bucket_gives_its_burst_then_its_rate():
    bucket = TokenBucket(rate=2, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(0.0) == 0.5
    assert bucket.take(0.5) == 0
    assert [bucket.take(100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(100.0) > 0


async def test_slots_bound_what_runs_and_a_cancelled_wait_leaves_no_trace():
    slots = Slots(1, queue=1)
    release = asyncio.Event()

    async def hold() -> None:
        async with slots.slot():
            await release.wait()

    held, waiting = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    assert (slots.busy, slots.waiting, slots.is_full) == (1, 1, True)
    assert 1 <= slots.retry_after_s <= 60
    waiting.cancel()
    await asyncio.sleep(0.01)
    assert (slots.waiting, slots.is_full) == (0, False)
    release.set()
    await held
    assert slots.busy == 0


# ---- stored answers


class Work:
    def __init__(self, response: Response | Exception, delay_s: float = 0.0) -> None:
        self.response, self.delay_s = response, delay_s
        self.n = 0

    async def __call__(self) -> Response:
        self.n += 1
        await asyncio.sleep(self.delay_s)
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


async def test_only_successes_are_stored():
    replays = Replays(60)
    for response in (Response("no", 503), HttpError(422, "invalid", "no")):
        work = Work(response)
        for _ in range(2):
            with contextlib.suppress(HttpError):
                await replays.answer("k", b"d", work, keep_unscored=True)
        assert work.n == 2 and len(replays) == 0


async def test_a_reply_with_failed_judgements_is_kept_for_its_key_only():
    unscored = Response("null", headers={UNSCORED: "1"})
    for keep, runs in ((True, 1), (False, 2)):
        replays, work = Replays(60), Work(unscored)
        for _ in range(2):
            await replays.answer("k", b"d", work, keep_unscored=keep)
        assert work.n == runs


async def test_stored_answers_are_bounded_in_bytes_number_and_age():
    for replays in (
        Replays(60, max_bytes=5000),
        Replays(60, max_entries=3),
        Replays(0.0),
    ):
        for i in range(20):
            await replays.answer(i, b"", Work(Response("x" * 700)), keep_unscored=True)
        assert len(replays) <= 5
    assert replays.n_bytes <= 5000


async def test_work_that_nobody_waits_for_is_cancelled_and_its_key_is_free():
    replays, work = Replays(60), Work(Response("x"), delay_s=30)
    task = asyncio.create_task(replays.answer("k", b"d", work, keep_unscored=True))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(replays) == 0
    quick = Work(Response("y"))
    assert (await replays.answer("k", b"other", quick, keep_unscored=True)).body == b"y"


# ---- the rest


def test_the_id_of_an_example_depends_on_all_of_its_content_and_on_nothing_else():
    turn = (Message("user", "q"),)
    ids = {
        content_id(turn, ["a", "b"]),
        content_id(turn, ["b", "a"]),
        content_id(turn, ["a", "b"], "ref"),
        content_id((Message("user", "p"),), ["a", "b"]),
        content_id((Message("system", "q"),), ["a", "b"]),
    }
    assert len(ids) == 5 and content_id(turn, ["a", "b"]) in ids


def test_an_outcome_without_a_verdict_has_no_reward():
    assert Outcome(None, "why").reward(0) is None


def test_the_environment_of_the_tests_holds_no_keys():
    assert "SPCT_GATEWAY_KEYS" not in os.environ


@pytest.mark.parametrize(
    "wrong", [{"on_unscored": "nan"}, {"on_unscored": "inf"}, {"group_size": 0}, {"group_size": -3}]
)
def test_settings_that_would_break_a_wire_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ServeConfig.model_validate(wrong)
