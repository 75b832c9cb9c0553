"""What a newcomer meets: the version, misspelt names, missing columns, values on the screen, drawings."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cli_tools import TICKETS, Cli, write_tickets
from pydantic import ValidationError

import surefoot
from graphs.support import graph as support
from nodes.events import AttemptEnded
from state import Attempt, RunContext
from state.resumes import Job
from surefoot.drawing import edges_of, mermaid, svg
from surefoot.inputs import BadLine, read_items
from surefoot.pipelines import names, pipeline
from surefoot.progress import Tally
from surefoot.readable import brief, lines_of
from surefoot.way import Way, _walked
from surefoot.words import escaped, json_text

SVG = "{http://www.w3.org/2000/svg}"


def test_the_version_is_printed(cli: Cli) -> None:
    found = cli("--version")
    assert found.status == 0
    assert re.fullmatch(r"surefoot \d+\.\d+\.\d+ \(langgraph .+, langchain-core .+, Python .+\)\n", found.out)


def test_a_misspelt_key_of_a_job_is_refused_with_the_nearest(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "applications"
    folder.mkdir()
    (folder / "ada.txt").write_text("Python for 8 years")
    (folder / "job.json").write_text(json.dumps({"title": "Engineer", "required": ["python"], "min_year": 5}))
    found = cli("run", "resumes", str(folder), "--provider", "embedded")
    assert found.status == 2
    assert "there is no 'min_year', did you mean 'min_years'?" in found.err
    assert "known: title, required" in found.err
    with pytest.raises(ValidationError, match="did you mean 'certifications'"):
        Job.model_validate({"title": "E", "required": ["x"], "Certification": ["y"]})
    with pytest.raises(ValidationError, match="did you mean 'provider'"):
        RunContext.model_validate({"provder": "embedded"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("SUREFOOT_PARALEL", "SUREFOOT_PARALLEL"), ("SUREFOOT_MAX_COST", "SUREFOOT_MAX_COST_USD"),
     ("SUREFOOT_REDIS_ULR", "SUREFOOT_REDIS_URL")],
)  # fmt: skip
def test_a_misspelt_setting_is_refused(cli: Cli, tmp_path: Path, name: str, meant: str) -> None:
    found = cli("threads", **{name: "3"})
    assert (found.status, found.err) == (2, f"surefoot: settings: there is no {name}, did you mean '{meant}'?\n")
    (tmp_path / ".env").write_text(f"{name}=3\n")
    assert name in cli("threads").err
    (tmp_path / ".env").write_text("SUREFOOT_TEAM=blue\n")
    assert cli("threads").status == 0


def test_a_missing_column_is_told_with_those_that_are_there(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,txt,subject\n1,hello,hi\n2,world,ho\n")
    found = cli("run", "support", "a.csv")
    assert found.status == 2
    assert found.err == (
        "surefoot: a.csv: the first row has no column \"text\", did you mean 'txt'?; there are: id, txt, subject\n"
    )
    (tmp_path / "b.csv").write_text("ticket_id,text\n1,hello\n")
    assert "it names: ticket_id, text; did you mean 'ticket_id'?" in cli("run", "support", "b.csv").err
    (tmp_path / "c.jsonl").write_text(
        '{"id": 1, "body": "x", "Text": "y"}\n{"ID": 2, "text": "x"}\n{"id": 3, "text": "z"}\n'
    )
    first, second, third = read_items(tmp_path / "c.jsonl", pipeline("support"), None)  # type: ignore[arg-type]
    assert isinstance(first, BadLine)
    assert first.reason == "field \"text\" is missing, did you mean 'Text'?; there are: id, body, Text"
    assert isinstance(second, BadLine)
    assert second.reason == "field \"id\" is missing, did you mean 'ID'?; there are: ID, text"
    assert not isinstance(third, BadLine)
    with pytest.raises(surefoot.InputError, match=r"did you mean 'txt'.*there are: txt"):
        surefoot.run("support", {"txt": "hello"})


NESTED: dict[str, Any] = {
    "technical": [{"name": "Python", "used": True}, {"name": "SQL", "used": False}], "soft": ["calm", "kind"],
    "years": None, "text": "Dear Ada,\nhello", "sure": True, "score": 0.8125,
}  # fmt: skip


def test_nested_values_are_readable() -> None:
    assert lines_of(NESTED) == [
        "technical:", "  - name Python, used true", "  - name SQL, used false", "soft: calm, kind", "years: none",
        "text:", "  Dear Ada,", "  hello", "sure: true", "score: 0.81",
    ]  # fmt: skip
    assert brief(NESTED["technical"]) == "(name Python, used true), (name SQL, used false)"
    assert brief({"a": {"b": [1, 2]}}) == "a (b [1, 2])"
    assert brief([]) == brief({}) == "nothing"
    assert brief(0.0004) == "0.0004"
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    assert "…" in brief(deep)


def test_control_and_bidirectional_characters_are_escaped_and_keep_their_value() -> None:
    odd = "".join(chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) in ("Cc", "Cf", "Zl", "Zp"))
    text = json_text({odd: [odd, "ä\u200dz"]})
    assert json.loads(text) == {odd: [odd, "ä\u200dz"]}
    left = Counter(unicodedata.category(char) for char in text)
    # What is left is seen or joins letters: joiners, Arabic and Kaithi number signs, Egyptian quadrats.
    assert not left["Cc"]
    assert not left["Zl"] + left["Zp"]
    for char in "\u202a\u202e\u2066\u2069\u200e\u200f\u061c\ufeff\u200b\xad\x9b\x85\U000e0041":
        assert char not in text
        assert char not in escaped(f"a{char}b")
    assert escaped("a\tb\nc") == "a\tb\nc"


def test_no_output_turns_text_around(cli: Cli, tmp_path: Path) -> None:
    text = "Nobody can log in, \u202eproduction\u2066 is\x9b31m down\u2028!"
    path = write_tickets(tmp_path / "t.jsonl", {"odd\u00e9": text})
    shown = [cli("run", "support", path, "--provider", "embedded", "--namespace", "bidi", "--out", "-")]
    key = "bidi/support:odd\u00e9"
    commands = (["inbox", "--json"], ["review", key], ["threads", "--json"], ["explain", key, "--json"],
                ["explain", key], ["review", key, "--json"], ["explain", "x\u202ey\x9b"])  # fmt: skip
    shown += [cli(*words) for words in commands]
    for done in shown:
        assert not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069\u2028]", done.out + done.err)
    (asked,) = shown[6].json
    assert text in asked["description"]
    assert "odd\u00e9" in shown[1].out


def test_a_review_prints_a_table(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "applications"
    folder.mkdir()
    (folder / "ada.txt").write_text(
        "Experience\n2015 - 2024 Senior engineer, Acme: built billing services in Python, tuned SQL reports and "
        "automated releases with Docker for a team of five. Led the move of all services to the new platform.\n"
        "2012 - 2015 Engineer, Initech: wrote data pipelines in Python and maintained a PostgreSQL cluster.\n\n"
        "Skills\nPython, SQL, Docker, Linux, Git, communication, teamwork\n\nEducation\nBSc Computer Science, 2012\n"
    )
    (folder / "job.json").write_text(json.dumps({"title": "Engineer", "required": ["python", "rust"]}))
    assert cli("run", "resumes", str(folder), "--provider", "embedded", "--namespace", "table").status in (0, 3)
    waiting = [q["key"] for q in cli("inbox", "--namespace", "table", "--json").json]
    assert waiting
    shown = cli("review", waiting[0]).out
    assert "{'" not in shown
    assert "[{" not in shown.replace("--edit", "").split("Answer with")[0]
    assert re.search(r"technical +- name \w+, used (true|false)", shown)


def test_failed_attempts_are_counted_by_provider_and_outcome() -> None:
    tally = Tally(pipeline("fraud"))
    for provider, outcome in (
        ("embedded", "timeout"),
        ("embedded", "timeout"),
        ("openai", "throttled"),
        ("rule", "ok"),
    ):
        tally.hear(AttemptEnded("t", Attempt(step="models", provider=provider, outcome=outcome)))  # type: ignore[arg-type]
    assert tally.failures == {("embedded", "timeout"): 2, ("openai", "throttled"): 1}


@pytest.mark.parametrize("name", [*names(), "support_handoff"])
def test_every_pipeline_is_drawn_without_overlaps(cli: Cli, name: str) -> None:
    assert cli("draw", name, "--svg", f"{name}.svg").status == 0
    drawn = ElementTree.fromstring(Path(f"{name}.svg").read_text())
    graph = pipeline(name).graph.get_graph()
    boxes = [tuple(float(box.get(part, 0)) for part in ("x", "y", "width", "height"))
             for box in drawn.iter(f"{SVG}rect") if "box" in (box.get("class") or "")]  # fmt: skip
    assert len(boxes) == len(graph.nodes)
    for number, (x, y, width, height) in enumerate(boxes):
        for x2, y2, width2, height2 in boxes[number + 1 :]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
    left, top, wide, high = map(float, drawn.attrib["viewBox"].split())
    assert all(left <= x and x + w <= left + wide and top <= y and y + h <= top + high for x, y, w, h in boxes)
    pairs = {frozenset(edge) for edge in edges_of(graph)}
    assert len([path for path in drawn.iter(f"{SVG}path") if "edge" in (path.get("class") or "")]) == len(pairs)
    assert cli("draw", name).out.startswith("---\nconfig:")
    assert cli("draw", name, "--svg", "-").out == Path(f"{name}.svg").read_text()


def test_the_way_of_a_thread_is_marked_with_order_and_counts(cli: Cli, tmp_path: Path) -> None:
    path = write_tickets(tmp_path / "t.jsonl", {"down": TICKETS["down"]})
    cli("run", "support", path, "--provider", "embedded", "--namespace", "way", "--rerun")
    waiting = cli("draw", "way/support:down").out
    assert '"human_review<br/><small>stands here</small>"]:::stands' in waiting
    assert '"assess<br/><small>5</small>"]:::visited' in waiting
    cli("review", "way/support:down", "--edit", '{"category": "billing", "urgency": "low"}')
    done = cli("draw", "way/support:down", "--svg", "way.svg")
    assert done.status == 0
    texts = [text.text for text in ElementTree.fromstring(Path("way.svg").read_text()).iter(f"{SVG}text")]
    assert "way/support:down" in texts
    for node, when in (("classify", "2"), ("route", "2×: 4, 7"), ("human_review", "6"), ("finish", "11")):
        assert texts[texts.index(node) + 1] == when
    assert cli("draw", "support:nobody").status == 2
    assert cli("draw", "support", "--svg", "no/where.svg").err.count("\n") == 1


def test_nodes_that_ran_together_and_unknown_names_are_drawn_safely() -> None:
    graph = support.get_graph()
    way = _walked([["validate"], ["classify", "urgency"], ["retry"], ["classify"]], edges_of(graph))
    assert way.order == {"validate": [1], "classify": [2, 4], "urgency": [2], "retry": [3]}
    assert way.edges["retry", "classify"] == 1
    assert "&lt;b&gt;" in svg(graph, title="<b>\u202e", way=way)
    assert "\u202e" not in svg(graph, title="<b>\u202e", way=way)
    assert mermaid(graph, Way()).count(":::visited") == 1
