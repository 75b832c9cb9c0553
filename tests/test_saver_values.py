"""Whatever a program stores comes back equal and of its type, or it is not written: random values of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import ROOT
from stored_values import ALLOW, bad_values, documented, shown, values, wrappers

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


def test_the_documentations_table_is_what_comes_back() -> None:
    page = (ROOT / "docs" / "how-to" / "saver.md").read_text(encoding="utf-8")
    table = page.partition("| Stored | Comes back |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    rows = documented()
    assert len(table) == len(rows)
    for line, samples in zip(table, rows, strict=True):
        refused = line.endswith("| refused |")
        assert refused == (samples is rows[-1]), line
        for value in samples:
            if refused:
                with pytest.raises(ValueNotStorable):
                    WRITER.dumps_typed(value)
            else:
                typed = WRITER.dumps_typed(value)
                assert shown(READER.loads_typed(typed)) == shown(value), line


def test_types_are_stored_as_they_were() -> None:
    """Each byte of every kind of value, so that a change of the encoding is seen."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(map(WRITER.dumps_typed, ours())) == [(tag, bytes.fromhex(data)) for tag, data in golden]
    for value, (tag, data) in zip(ours(), golden, strict=True):
        assert shown(READER.loads_typed((tag, bytes.fromhex(data)))) == shown(value)


GOLDEN = Path(__file__).with_name("test_saver_values.json")
"""Made by `python tests/test_saver_values.py`."""


def ours() -> list[Any]:
    """Return the documented values without those of which other packages add fields when they like."""
    values = [value for samples in documented()[:-1] for value in samples]
    return [value for value in values if not type(value).__module__.startswith(("langchain", "langgraph"))]


if __name__ == "__main__":
    rows = [[tag, data.hex()] for tag, data in map(WRITER.dumps_typed, ours())]
    GOLDEN.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
