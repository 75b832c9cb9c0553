"""Whatever a program stores comes back equal and of its type, or it is not written: random values of every kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_values import ALLOW, bad_values, shown, values, wrappers

from checkpointers import ValueNotStorable
from checkpointers._pack import pack, unpack
from checkpointers._serial import SafeSerializer

WRITER, READER = SafeSerializer(ALLOW), SafeSerializer(ALLOW)


@given(values())
def test_a_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    typed = WRITER.dumps_typed(value)
    got = READER.loads_typed(unpack(pack(typed)))
    assert shown(got) == shown(value)
    # What was read and is written again is the same bytes: unchanged values stay what they are on the server.
    assert READER.dumps_typed(got) == typed


@given(st.integers(0, len(bad_values()) - 1), st.lists(st.sampled_from(wrappers), max_size=4), values())
def test_what_could_not_be_read_back_is_not_written_however_deep_it_is(which: int, wrap: list[Any], other: Any) -> None:
    value = bad_values()[which]
    for around in wrap:
        value = around(value)
    with pytest.raises(ValueNotStorable):
        WRITER.dumps_typed(value)
    with pytest.raises(ValueNotStorable):
        WRITER.dumps_typed({"good": other, "bad": value})
