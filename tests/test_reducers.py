"""Reducers are pure and idempotent, whatever they are given."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from state import Attempt, Spend
from state.reducers import append, identity, merge, replace, sticky

attempts = st.builds(
    Attempt,
    step=st.sampled_from(["classify", "urgency", "draft"]),
    visit=st.integers(0, 2),
    n=st.integers(1, 4),
    outcome=st.sampled_from(["ok", "timeout", "throttled"]),
).map(lambda a: a.model_dump(mode="json"))
attempt_lists = st.lists(attempts, max_size=8)
dicts = st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), st.integers()), max_size=4)


@given(attempt_lists, attempt_lists)
def test_append_keeps_what_was_there_in_its_order(old: list[Any], new: list[Any]) -> None:
    before = append(None, old)
    after = append(before, new)
    assert after[: len(before)] == before


@given(attempt_lists, attempt_lists)
def test_append_is_idempotent(old: list[Any], new: list[Any]) -> None:
    once = append(old, new)
    assert append(once, new) == once
    assert append(once, once) == once


@given(attempt_lists)
def test_append_has_each_attempt_once(items: list[Any]) -> None:
    marks = [identity(item) for item in append(None, items)]
    assert len(marks) == len(set(marks))


@given(attempt_lists, attempt_lists, attempt_lists)
def test_append_is_associative(a: list[Any], b: list[Any], c: list[Any]) -> None:
    assert append(append(append(None, a), b), c) == append(append(None, a), append(append(None, b), c))


@given(dicts, dicts)
def test_merge_removes_by_none_and_is_idempotent(old: dict[str, Any], new: dict[str, Any]) -> None:
    merged = merge(old, new)
    assert None not in merged.values()
    assert all(merged.get(key) == value for key, value in new.items())
    assert merge(merged, new) == merged


@given(st.booleans(), st.lists(st.booleans()))
def test_sticky_stays_true(start: bool, updates: list[bool]) -> None:
    value: Any = start
    for update in updates:
        value = sticky(value, update)
    assert value is (start or any(updates))


def test_attempts_differ_by_step_member_visit_and_number_only() -> None:
    one = Attempt(step="draft", n=1, outcome="ok").model_dump()
    same = Attempt(step="draft", n=1, outcome="timeout", latency_ms=5).model_dump()
    others = [
        Attempt(step="draft", n=2),
        Attempt(step="draft", visit=1),
        Attempt(step="x"),
        Attempt(step="draft", member="m"),
    ]
    assert identity(one) == identity(same)
    assert all(identity(one) != identity(other.model_dump()) for other in others)


def test_equal_reasons_are_kept_once_and_different_ones_all() -> None:
    assert append(["a", "b"], ["b", "c"]) == ["a", "b", "c"]


def test_replace_takes_the_new_value() -> None:
    assert replace({"a": 1}, Spend().model_dump()) == Spend().model_dump()
