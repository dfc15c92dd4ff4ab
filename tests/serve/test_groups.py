"""The group machine on a virtual clock: lost, late, duplicated members; sizes given and learnt."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spct.serve.groups import Closed, Groups, Late, MixedGroup, Replay, Waits


def machine(size: int | None = 3, **kwargs: float) -> Groups[str]:
    return Groups(size, wait_s=kwargs.get("wait_s", 5.0), keep_s=kwargs.get("keep_s", 60.0))


def settle(groups: Groups[str], closed: Closed, now: float) -> list[int]:
    return groups.settle(closed.group, {text: text.upper() for text in closed.responses}, now)


def judged(groups: Groups[str], texts: str, key: str = "p", now: float = 0.0) -> Closed:
    """Fill and settle a group; call ids are 0, 1, 2..."""
    for call, text in enumerate(texts):
        groups.join(key, key, text, call, now)
    (closed,) = groups.take_closed(now)
    settle(groups, closed, now)
    return closed


def test_a_group_closes_when_its_size_is_reached_and_not_before():
    groups = machine()
    assert groups.join("p", "p", "a", 0, 0.0) == Waits(0)
    assert groups.join("p", "p", "b", 1, 0.1) == Waits(0)
    assert groups.take_closed(0.2) == []
    groups.join("p", "p", "c", 2, 0.3)
    assert groups.take_closed(0.3) == [Closed(0, ("a", "b", "c"), "size", 3)]
    assert settle(groups, Closed(0, ("a", "b", "c"), "size", 3), 0.4) == [0, 1, 2]


def test_a_lost_member_delays_its_group_until_the_deadline_only():
    groups = machine(wait_s=5)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 1.0)
    assert groups.next_event() == 5.0
    assert groups.take_closed(4.99) == []
    (closed,) = groups.take_closed(5.0)
    assert closed == Closed(0, ("a", "b"), "deadline", 2)


def test_the_member_that_was_lost_is_judged_beside_the_kept_group():
    groups = machine()
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 0.0)
    (closed,) = groups.take_closed(5.0)
    settle(groups, closed, 6.0)
    assert groups.join("p", "p", "c", 2, 7.0) == Late(0, ("a", "b"), ("a", "b"), seated=True)
    groups.keep_late(0, "c", "C")
    assert groups.join("p", "p", "c", 3, 8.0) == Replay("C")


def test_a_member_beyond_a_given_size_opens_the_prompts_next_group():
    groups = machine(2)
    judged(groups, "ab")
    assert groups.join("p", "p", "c", 2, 1.0) == Waits(1)


def test_a_retry_after_the_answer_gets_the_stored_answer():
    groups = machine(2)
    judged(groups, "ab")
    assert groups.join("p", "p", "a", 9, 1.0) == Replay("A")
    assert groups.take_closed(1.0) == []


def test_an_equal_text_is_a_member_of_its_own_and_is_judged_once():
    groups = machine(3)
    closed = judged(groups, "aab")
    assert closed.responses == ("a", "b") and closed.seats == 3


def test_a_call_for_a_text_that_is_being_judged_waits_for_that_answer():
    groups = machine(2)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 0.0)
    (closed,) = groups.take_closed(0.0)
    assert groups.join("p", "p", "a", 2, 0.1) == Waits(closed.group)
    assert settle(groups, closed, 1.0) == [0, 2, 1]


def test_a_client_that_goes_away_frees_its_seat_for_its_retry():
    groups = machine(2)
    groups.join("p", "p", "a", 0, 0.0)
    assert groups.leave(0) is None
    groups.join("p", "p", "a", 1, 0.1)
    assert groups.take_closed(0.1) == []  # one seat, not two
    groups.join("p", "p", "b", 2, 0.2)
    assert groups.take_closed(0.2)[0].responses == ("a", "b")


def test_a_seat_that_was_freed_does_not_count_towards_the_size():
    groups = machine(3)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 0.0)
    groups.leave(0)
    groups.join("p", "p", "a", 2, 0.1)
    assert groups.take_closed(0.1) == []
    groups.join("p", "p", "c", 3, 0.2)
    assert [closed.seats for closed in groups.take_closed(0.2)] == [3]


def test_a_retry_takes_back_the_seat_that_it_freed_while_its_group_was_judged():
    groups = machine(2)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 0.0)
    (closed,) = groups.take_closed(0.0)
    groups.leave(0)
    settle(groups, closed, 1.0)
    assert groups.join("p", "p", "a", 2, 1.1) == Replay("A")
    assert groups.join("p", "p", "c", 3, 1.2) == Waits(1)  # all seats are taken again


def test_a_group_that_is_judged_after_its_prompts_next_one_opened_is_not_kept():
    groups = machine(2)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 0.0)
    (closed,) = groups.take_closed(0.0)
    assert groups.join("p", "p", "c", 2, 0.1) == Waits(1)
    assert settle(groups, closed, 0.2) == [0, 1]
    assert len(groups) == 1 and not groups.has(closed.group)


def test_no_judgement_is_larger_than_the_limit_for_a_late_member():
    groups: Groups[str] = Groups(None, wait_s=5, keep_s=60, max_members=2)
    judged(groups, "ab")
    assert groups.join("p", "p", "c", 5, 1.0) == Waits(1)


def test_a_group_that_everyone_left_is_forgotten():
    groups = machine(2)
    groups.join("p", "p", "a", 0, 0.0)
    groups.leave(0)
    assert len(groups) == 0 and groups.next_event() is None


def test_the_last_one_to_leave_names_the_judgement_to_cancel():
    groups = machine(2)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 0.0)
    groups.take_closed(0.0)
    assert groups.leave(0) is None
    assert groups.leave(1) == 0
    assert groups.settle(0, {"a": "A"}, 1.0) == []


def test_a_member_whose_judgement_failed_is_judged_again_beside_the_others():
    groups = machine(2)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("p", "p", "b", 1, 0.0)
    (closed,) = groups.take_closed(0.0)
    groups.settle(closed.group, {"b": "B"}, 1.0)
    assert groups.join("p", "p", "a", 2, 2.0) == Late(0, ("b",), ("a", "b"))
    assert groups.join("p", "p", "b", 3, 2.0) == Replay("B")


def test_groups_of_different_prompts_and_callers_never_mix():
    groups = machine(2)
    groups.join(("x", "p"), "p", "a", 0, 0.0)
    groups.join(("y", "p"), "p", "b", 1, 0.0)
    groups.join(("x", "q"), "q", "c", 2, 0.0)
    assert groups.take_closed(1.0) == []


def test_a_member_with_another_query_under_the_same_name_is_refused():
    groups = machine(2)
    groups.join("name", "query one", "a", 0, 0.0, 2)
    with pytest.raises(MixedGroup, match="another query"):
        groups.join("name", "query two", "b", 1, 0.0, 2)
    with pytest.raises(MixedGroup, match="size 2, this one 3"):
        groups.join("name", "query one", "b", 1, 0.0, 3)


def test_the_size_is_learnt_from_three_groups_that_agree():
    groups = machine(None, wait_s=1.0, keep_s=10.0)
    for i in range(3):
        assert groups.learnt_size() is None
        for call, text in enumerate("abcd"):
            groups.join(i, i, text, 10 * i + call, float(i))
        (closed,) = groups.take_closed(i + 1.0)
        assert closed.by == "deadline"
        settle(groups, closed, i + 1.0)
    assert groups.learnt_size() == 4
    for call, text in enumerate("abcd"):
        groups.join("new", "new", text, 100 + call, 5.0)
    assert [closed.by for closed in groups.take_closed(5.0)] == ["learnt"]


def test_late_members_correct_a_size_that_was_learnt_too_small():
    groups = machine(None, wait_s=1.0, keep_s=100.0)
    for i in range(3):  # groups of two
        for call, text in enumerate("ab"):
            groups.join(i, i, text, 10 * i + call, 0.0)
        groups.take_closed(1.0 + i)
    assert groups.learnt_size() == 2
    for i in range(10, 13):  # now groups of three: the third is late, and counted
        for call, text in enumerate("ab"):
            groups.join(i, i, text, 10 * i + call, 10.0)
        (closed,) = groups.take_closed(10.0)
        settle(groups, closed, 10.0)
        assert isinstance(groups.join(i, i, "c", 10 * i + 2, 10.1), Late)
    assert groups.learnt_size() == 3


def test_a_group_is_forgotten_when_its_time_is_over():
    groups = machine(2, keep_s=60)
    judged(groups, "ab")
    groups.take_closed(59.9)
    assert groups.join("p", "p", "a", 5, 59.9) == Replay("A")
    assert groups.join("p", "p", "a", 6, 60.0) == Waits(1)
    groups.leave(6)
    groups.take_closed(60.0)
    assert len(groups) == 0


def test_draining_closes_every_open_group():
    groups = machine(9)
    groups.join("p", "p", "a", 0, 0.0)
    groups.join("q", "q", "b", 1, 0.0)
    groups.close_all()
    assert [c.by for c in groups.take_closed(0.0)] == ["drain", "drain"]


def test_a_group_as_large_as_may_be_judged_closes():
    groups: Groups[str] = Groups(None, wait_s=5, keep_s=60, max_members=4)
    for call in range(4):
        groups.join("p", "p", str(call), call, 0.0)
    (closed,) = groups.take_closed(0.0)
    assert closed.by == "full" and len(closed.responses) == 4


def test_kept_groups_are_bounded_in_number():
    groups: Groups[str] = Groups(1, wait_s=5, keep_s=1e9, max_kept=10)
    for call in range(50):
        groups.join(call, call, "a", call, 0.0)
        (closed,) = groups.take_closed(0.0)
        settle(groups, closed, 0.0)
    assert len(groups) == 10


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["join", "leave", "tick", "settle"]),
            st.integers(0, 2),
            st.sampled_from("abcdef"),
        ),
        max_size=60,
    ),
    st.sampled_from([None, 1, 2, 3, 5]),
)
def test_every_call_is_answered_exactly_once_whatever_happens(steps, size):
    groups: Groups[str] = Groups(size, wait_s=2.0, keep_s=6.0, max_members=4, max_kept=3)
    now, next_call = 0.0, 0
    waiting: dict[int, str] = {}
    judging: dict[int, Closed] = {}

    def take() -> None:
        for closed in groups.take_closed(now):
            assert closed.group not in judging and 1 <= len(closed.responses) <= 4
            assert len(set(closed.responses)) == len(closed.responses)
            judging[closed.group] = closed

    def finish(group: int) -> None:
        for call in settle(groups, judging.pop(group), now):
            assert call in waiting, "answered twice"
            del waiting[call]

    for step, key, text in steps:
        if step == "join":
            decision = groups.join(key, key, text, next_call, now)
            if isinstance(decision, Waits):
                waiting[next_call] = text
            elif isinstance(decision, Replay):
                assert decision.answer == text.upper()
            else:
                assert text not in decision.kept and len(decision.kept) <= 4
            next_call += 1
        elif step == "leave" and waiting:
            call = next(iter(waiting))
            del waiting[call]
            cancelled = groups.leave(call)
            if cancelled is not None:
                judging.pop(cancelled)
        elif step == "tick":
            now += 1.0
        elif step == "settle" and judging:
            finish(next(iter(judging)))
        take()
    now += 1000.0
    take()
    for group in list(judging):
        finish(group)
    assert not waiting
    now += 1000.0
    take()
    assert len(groups) == 0
