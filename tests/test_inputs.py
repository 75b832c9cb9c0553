"""Any file becomes items and bad lines with reasons, or one clear line about the file."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import string
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.errors import UsageError
from surefoot.inputs import BadLine, Item, read_items
from surefoot.pipelines import pipeline

SUPPORT = pipeline("support")


def read(source: Path | str, stdin: str = "") -> list[Item | BadLine]:
    return list(read_items(source, SUPPORT, io.StringIO(stdin)))


def written(tmp_path: Path, text: str | bytes, name: str = "tickets.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_json_lines_become_items_with_known_fields_and_line_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff{"id": 7, "text": "a", "extra": 1}\r\n\n{"id": "b", "text": "", "subject": null}\n')
    assert read(path) == [Item("7", {"text": "a"}, 1), Item("b", {"text": ""}, 3)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "a", "text": "x"', "no valid JSON"),
        ("[1, 2]", "an object of fields is needed, this is a list"),
        ("null", "this is null"),
        ('{"text": "x"}', 'field "id" is missing'),
        ('{"id": null, "text": "x"}', 'field "id" is missing'),
        ('{"id": true, "text": "x"}', "must be a text or a whole number"),
        ('{"id": 1.5, "text": "x"}', "must be a text or a whole number"),
        ('{"id": " ", "text": "x"}', "blank"),
        ('{"id": "a\\nb", "text": "x"}', "control character"),
        ('{"id": "\\ud800", "text": "x"}', "control character"),
        ('{"id": "' + "x" * 300 + '", "text": "x"}', "longer than"),
        ('{"id": "a"}', 'field "text" is missing'),
        ('{"id": "a", "text": null}', 'field "text" is null'),
        ('{"id": "a", "text": 5}', "field text: "),
        ('{"id": "a", "text": "\\ud800"}', "text"),
        ('{"id": "a", "text": "x", "subject": ["x"]}', "field subject: "),
        ('{"id": "a", "text": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_and_the_others_are_kept(tmp_path: Path, line: str, reason: str) -> None:
    path = written(tmp_path, f'{{"id": "ok", "text": "x"}}\n{line}\n{{"id": "ok2", "text": "y"}}\n')
    first, bad, last = read(path)
    assert isinstance(bad, BadLine)
    assert (bad.line, reason in bad.reason) == (2, True), bad.reason
    assert isinstance(first, Item)
    assert isinstance(last, Item)


def test_the_text_of_an_item_never_stands_in_a_reason(tmp_path: Path) -> None:
    path = written(tmp_path, '{"id": "a", "text": "hello", "subject": ["sk-secret-123456"]}\n{"id": ["sk-secret-1"]}')
    assert all(isinstance(bad, BadLine) and "secret" not in bad.reason for bad in read(path))


def test_the_second_of_two_equal_ids_is_bad_and_names_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path, '{"id": 5, "text": "a"}\n{"id": "5", "text": "a"}\n')
    assert read(path) == [Item("5", {"text": "a"}, 1), BadLine(2, "id '5' was already used in line 1")]


@pytest.mark.parametrize("name", ["t.json", "-"])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('[{"id": 1, "text": "a"},\n\n {"id": 2, "text": "b"}]', [1, 3]),
        ('\n{"id": 1,\n "text": "a"}\n', [2]),
        ('{"id": 1, "text": "a\\u2028b"}\n{"id": 2, "text": "\u2028"}\n', [1, 2]),
        ("[]", None),
        ("", None),
    ],
)
def test_json_and_stdin_hold_an_array_an_object_or_lines(
    tmp_path: Path, name: str, text: str, lines: list[int] | None
) -> None:
    source, stdin = ("-", text) if name == "-" else (written(tmp_path, text, name), "")
    if lines is None:
        with pytest.raises(UsageError, match="is empty"):
            read(source, stdin)
    else:
        assert [item.line for item in read(source, stdin) if isinstance(item, Item)] == lines


@pytest.mark.parametrize(
    ("name", "path"),
    [("tickets", "'.tickets[]'"), ("my tickets", """'.["my tickets"][]'"""), ("é", """'.["\\u00e9"][]'""")],
)
def test_an_object_around_the_items_is_told_with_the_way_to_lines(tmp_path: Path, name: str, path: str) -> None:
    text = json.dumps({"count": 1, name: [{"id": 1, "text": "a"}]})
    file = written(tmp_path, text, "t.json")
    with pytest.raises(UsageError) as found:
        read(file)
    assert str(found.value).endswith(f"write one element a line: jq -c {path} {file} > items.jsonl")
    with pytest.raises(UsageError, match="standard input is one object"):
        read("-", text)
    (bad,) = read(written(tmp_path, text))
    assert isinstance(bad, BadLine)
    assert f"jq -c {path} FILE" in bad.reason


def test_an_item_may_hold_lists_of_its_own(tmp_path: Path) -> None:
    for text in ('{"id": 1, "text": "a", "parts": [{"x": 1}]}', '{"text": "a", "parts": ["x"]}'):
        (found,) = read(written(tmp_path, text, "t.json"))
        assert isinstance(found, Item) or found.reason == 'field "id" is missing'


@pytest.mark.parametrize("text", ["id,text\n1,hello\n", '\ufeff"id";"text"\n1;"a\nb"\n', "text\tid\nhello\t1\n"])
def test_a_table_is_known_by_its_header_on_standard_input(text: str) -> None:
    assert [item.id for item in read("-", text) if isinstance(item, Item)] == ["1"]


@pytest.mark.parametrize("text", ['[{"id": 1}, ', '[{"id": 1} {"id": 2}]', "[1, NaN]", "[1] x", "[" * 100_000])
def test_a_broken_array_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="no valid JSON"):
        read(written(tmp_path, text, "t.json"))


def test_csv_takes_the_delimiter_under_which_there_is_an_id(tmp_path: Path) -> None:
    for delimiter in ",;\t|":
        text = f'\ufefftext{delimiter}id\r\n"one{delimiter} two\nthree ""x"""{delimiter}1\r\n\r\nfour{delimiter}2\r\n'
        first, second = read(written(tmp_path, text, "t.csv"))
        assert first == Item("1", {"text": f'one{delimiter} two\nthree "x"'}, 2)
        assert second == Item("2", {"text": "four"}, 5)


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;", "\ufeffsep=;", " sep=; "])
def test_csv_may_name_its_delimiter_in_a_line_of_its_own(tmp_path: Path, first: str) -> None:
    text = f'{first}\r\nid;text\r\n1;"a; b\nc"\r\n2;d,e,f\r\n'
    expected = [Item("1", {"text": "a; b\nc"}, 3), Item("2", {"text": "d,e,f"}, 5)]
    assert read(written(tmp_path, text, "t.csv")) == expected
    assert read("-", text.removeprefix("\ufeff")) == expected


@pytest.mark.parametrize("delimiter", [",", "\t", "|", "^", ":"])
def test_any_delimiter_may_be_named(tmp_path: Path, delimiter: str) -> None:
    text = f"sep={delimiter}\nid{delimiter}text;x\n1{delimiter}a;b\n".replace("text;x", "text")
    assert read(written(tmp_path, text, "t.csv")) == [Item("1", {"text": "a;b"}, 3)]


def test_a_column_may_be_called_sep(tmp_path: Path) -> None:
    assert read(written(tmp_path, "sep,id,text\nx,1,a\n", "t.csv")) == [Item("1", {"text": "a"}, 2)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "id\ttext\r\n1\tcafé 漢\r\n"),
        ("t.jsonl", '{"id": 1, "text": "café 漢"}\n'),
        ("t.json", '[{"id": 1, "text": "café 漢"}]'),
    ],
)
def test_what_spreadsheets_call_unicode_is_read(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (item,) = read(written(tmp_path, text.encode(encoding), name))
    assert isinstance(item, Item)
    assert (item.id, item.input) == ("1", {"text": "café 漢"})


def transactions(tmp_path: Path, delimiter: str, amount: str) -> Item | BadLine:
    row = {"id": "1", "amount": amount, "usual_amount": "40", "channel": "online", "merchant": "fuel", "hour": "3",
           "distance_km": "12", "foreign": "false", "new_device": "true", "new_payee": "false", "account_days": "80",
           "last_hour": "0", "last_day": "2", "failed_day": "0"}  # fmt: skip
    quoted = [f'"{cell}"' for cell in row.values()]
    path = written(tmp_path, f"{delimiter.join(row)}\n{delimiter.join(quoted)}\n", "t.csv")
    (item,) = read_items(path, pipeline("fraud"), io.StringIO())
    return item


@pytest.mark.parametrize(
    ("delimiter", "cell", "value"),
    [
        (",", "12.5", 12.5), (",", "1.234", 1.234), (",", "1,234.50", 1234.5), (",", "1,234,567", 1234567.0),
        (";", "12,50", 12.5), (";", "1.234,50", 1234.5), (";", "1.234.567", 1234567.0), (";", "12.5", 12.5),
        (";", "1 234,50", 1234.5), (";", "1\u202f234,5", 1234.5), (";", "1'234.50", 1234.5), (";", "0,123", 0.123),
        (",", "12,50", 12.5), (";", "1234", 1234.0), (",", "1e3", 1000.0), (";", "12345,678", 12345.678),
    ],
)  # fmt: skip
def test_numbers_of_a_table_are_read_as_spreadsheets_write_them(
    tmp_path: Path, delimiter: str, cell: str, value: float
) -> None:
    item = transactions(tmp_path, delimiter, cell)
    assert isinstance(item, Item), item
    assert item.input["amount"] == value


@pytest.mark.parametrize(("delimiter", "cell"), [(";", "1.234"), (";", "1,234"), (",", "1,234"), ("\t", "12,345")])
def test_a_number_that_may_be_read_in_two_ways_is_told(tmp_path: Path, delimiter: str, cell: str) -> None:
    item = transactions(tmp_path, delimiter, cell)
    assert isinstance(item, BadLine)
    assert item.line == 2
    assert item.reason.startswith('field "amount": 1.234 and 1,234 may be a thousand or a fraction')


@pytest.mark.parametrize("cell", ["1.23.4", "12,3,4", "1,23.4", "€ 5", "five", "nan", "1 2"])
def test_what_is_no_number_is_told(tmp_path: Path, cell: str) -> None:
    item = transactions(tmp_path, ";", cell)
    assert isinstance(item, BadLine)
    assert "amount" in item.reason


def test_csv_rows_that_do_not_fit_are_told(tmp_path: Path) -> None:
    text = 'id,text\n1,a,b\n2\n3,"x"y\n4,ok\n,b\n5,"never closed\n6,lost\n'
    found = read(written(tmp_path, text, "t.csv"))
    assert [item.line for item in found] == [2, 3, 4, 5, 6, 7]
    reasons = [bad.reason if isinstance(bad, BadLine) else "" for bad in found]
    assert "3 cells" in reasons[0]
    assert "1 cells" in reasons[1]
    assert "quotes" in reasons[2]
    assert found[3] == Item("4", {"text": "ok"}, 5)
    assert "id" in reasons[4]
    assert "quotes" in reasons[5]


def test_an_empty_cell_is_absent_but_for_required_fields(tmp_path: Path) -> None:
    assert read(written(tmp_path, "id,text,subject\n1,,\n", "t.csv")) == [Item("1", {"text": ""}, 2)]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", b"name,text\n1,2\n", 'one of them "id"'),
        ("t.csv", b"id,text,text\n1,2,3\n", "column twice"),
        ("t.txt", b"x", "of no known kind"),
        ("t.jsonl", b"", "is empty"),
        ("t.jsonl", b"\n \n", "is empty"),
        ("t.csv", b"id,text\n", "is empty"),
        ("t.jsonl", b'{"id": 1, "text": "a"}\n{"id": 2, "text": "\xff"}\n', "not UTF-8 .line 2."),
        ("t.csv", b"id,text\n1,caf\xe9\n", "not UTF-8 .line 2."),
        ("t.jsonl", '{"id": 1}'.encode("utf-16")[:-1], "no UTF-16"),
        ("t.csv", b"sep=;\n", "is empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        read(written(tmp_path, content, name))
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*gone\.jsonl"):
        read(tmp_path / "gone.jsonl")
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / ("x" * 300 + ".jsonl"))


def test_a_pipe_without_an_extension_is_read_by_its_content(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b'{"id": 1, "text": "a"}\n')
    os.close(writer)
    try:
        assert read(f"/dev/fd/{reader}") == [Item("1", {"text": "a"}, 1)]
    finally:
        os.close(reader)


@pytest.mark.parametrize("name", ["tickets.jsonl", "tickets.csv", "tickets.json", "tickets"])
def test_a_named_pipe_is_input_like_any_file(tmp_path: Path, name: str) -> None:
    text = "id,text\n1,a\n" if name.endswith("csv") else '{"id": "1", "text": "a"}\n'
    os.mkfifo(tmp_path / name)
    writer = threading.Thread(target=lambda: (tmp_path / name).write_text(text))
    writer.start()
    (found,) = read(tmp_path / name)
    writer.join()
    assert isinstance(found, Item)
    assert (found.id, found.input) == ("1", {"text": "a"})


def test_sockets_and_devices_are_no_input(tmp_path: Path) -> None:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "s.jsonl"))
    bound.close()
    for path, kind in ((tmp_path / "s.jsonl", "a socket"), ("/dev/zero", "a device"), ("/dev/urandom", "a device")):
        with pytest.raises(UsageError, match=f"is {kind}: give a file, a pipe or - for standard input"):
            read(path)
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="is a device"):
        read(tmp_path / "zero.csv")
    with pytest.raises(UsageError, match="is empty"):
        read("/dev/null")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["id", "text", "subject", "customer", "tenant", "other"]), values)


@given(st.lists(objects | values, min_size=1, max_size=8))
def test_whatever_the_json_holds_each_line_is_an_item_or_a_reason(found: list[Any]) -> None:
    text = "\n".join(json.dumps(value) for value in found)
    if len(found) == 1 and isinstance(found[0], dict) and "text" not in found[0]:
        text += '\n{"id": "last", "text": ""}'  # alone it would be a file of one object, with a list for its items
    for line in read("-", text if not text.startswith("[") else "\n" + '{"id": "first", "text": ""}\n' + text):
        if isinstance(line, Item):
            json.dumps(line.input, ensure_ascii=False).encode()
            line.id.encode()
            assert set(line.input) <= set(SUPPORT.input.model_fields)
        else:
            assert line.reason
            assert "\n" not in line.reason


@given(st.binary(max_size=200), st.sampled_from(["t.jsonl", "t.json", "t.csv"]))
def test_no_bytes_raise_anything_but_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    told = ""
    try:
        read(path)
    except UsageError as error:
        told = str(error)
    assert "\n" not in told


@given(st.lists(st.text(string.printable + "äö漢", min_size=0, max_size=30), min_size=1, max_size=6))
def test_csv_that_a_spreadsheet_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["id", "text"])
    writer.writerows([f"n{number}", text] for number, text in enumerate(texts))
    path = tmp_path_factory.getbasetemp() / "back.csv"
    path.write_bytes(out.getvalue().encode())
    assert [item.input["text"] for item in read(path) if isinstance(item, Item)] == texts
