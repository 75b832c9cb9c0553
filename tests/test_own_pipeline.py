"""A pipeline of one's own at the front door: run over a file, asked about, answered and resumed by its spec."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
from cli_tools import Cli, read_rows, run_python, spawn
from langgraph.graph import START, StateGraph
from pydantic import BaseModel
from servers import embedded_directory

import surefoot
from nodes import compile_graph
from state import Checked, RunContext, RunState
from state.handoff import HandoffState
from surefoot.errors import UsageError
from surefoot.own import BOOKKEEPING, load
from surefoot.pipelines import names, pipeline, stored_types

NOTES = """
from pydantic import BaseModel, Field

from graphs.pattern import build_pattern


class Note(BaseModel):
    text: str = Field(min_length=5)
    priority: int = 0


def title(text: str) -> str:
    if "?" in text:
        raise ValueError("a question has no title")
    return " ".join(text.split()[:2])


def entry(title: str, priority: int = 0) -> str:
    return f"{title} ({priority})"


graph = build_pattern("notes", input=Note, works=[title], aggregate=entry, review=True)
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    package = tmp_path / "office"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "notes.py").write_text(NOTES)
    lines = [
        {"id": 1, "text": "Call the bank", "priority": 2},
        {"id": 2, "text": "Who called yesterday?"},
        {"id": 3, "text": "Water the plants", "unknown": "left out"},
    ]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_pipeline_of_ones_own_is_run_reviewed_and_resumed_by_its_spec(
    here: Path, cli: Cli, cli_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "office.notes:graph", "notes.jsonl", "--out", "rows.jsonl")
    process = spawn(*command, cwd=here, env={"SUREFOOT_REDIS_URL": cli_url})
    _, told = process.communicate(timeout=100)
    assert process.returncode == 3, told
    rows = read_rows(here / "rows.jsonl")
    assert {key: row["status"] for key, row in rows.items()} == {"1": "done", "2": "waiting", "3": "done"}
    assert rows["1"]["entry"] == "Call the (2)"
    assert rows["1"].keys() >= {"title", "entry", "degraded", "cost_microusd"}
    assert not rows["1"].keys() & {"attempts", "spend", "text", "outcome"}
    monkeypatch.syspath_prepend(str(here))
    assert "notes:2" in cli("inbox").out
    assert "--edit" in cli("review", "notes:2").out
    answered = cli("review", "notes:2", "--edit", json.dumps({"title": "A caller"}))
    assert answered.status == 0, answered.err
    assert "A caller (0)" in answered.out
    assert "a person" in cli("explain", "notes:2").out
    assert "notes:2" in cli("threads", "--pipeline", "notes").out
    assert "validate" in cli("draw", "office.notes:graph").out


def test_a_thread_that_was_cut_off_goes_on_in_another_process(here: Path) -> None:
    begin = """
    import asyncio, surefoot
    from nodes.events import AttemptEnded
    async def main():
        parts = surefoot.astream("office.notes:graph", {"text": "Call the bank"}, id="cut")
        async for part in parts:
            if isinstance(part, AttemptEnded):
                break
        await parts.aclose()
    asyncio.run(main())
    """
    go_on = """
    import surefoot
    result = surefoot.resume("notes:cut")
    print(result.status, result.row["entry"], len(result.values["attempts"]))
    """
    with embedded_directory() as directory:
        for code in (begin, go_on):
            done = run_python(code, f"embedded:{directory}", PYTHONPATH=f"{Path(surefoot.__file__).parents[1]}:{here}")
            assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done", "Call", "the", "(0)", "2"]


def test_two_graphs_of_one_name_are_not_taken_for_one_another(
    here: Path, shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "office_one.py").write_text(NOTES)
    (here / "office_two.py").write_text(NOTES)
    monkeypatch.syspath_prepend(str(here))
    note = {"text": "Call the bank"}
    assert surefoot.run("office_one:graph", note, id="same", url=shared_embedded_url).status == "done"
    with pytest.raises(UsageError, match="office_one:graph, another pipeline of this name"):
        surefoot.run("office_two:graph", note, id="same", url=shared_embedded_url)


def test_the_handoff_style_of_support_is_a_pipeline_too(shared_embedded_url: str) -> None:
    text = {"text": "Where do I change my password?"}
    result = surefoot.run("support_handoff", text, id="styles", url=shared_embedded_url)
    assert result.status == "done"
    assert result.key == "support_handoff:styles"
    assert result.row["team"] == surefoot.run("support", text, id="styles", url=shared_embedded_url).row["team"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("no.such:graph", "'no.such:graph' cannot be imported"),
        ("notes.py:graph", "'notes.py:graph' cannot be imported"),
        ("./notes.py:graph", "write package.module:graph"),
        ("json:dumps", "is no pipeline"),
        ("json:nothing", "has no 'nothing'"),
        ("graphs.support:graph", "has the name of a shipped pipeline"),
        ("nothing", "or package.module:graph for one of your own"),
    ],
)
def test_a_spec_that_leads_nowhere_is_refused_by_its_name(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        surefoot.run(spec, {"text": "Call the bank"})


def test_what_every_run_has_is_no_field_of_a_row() -> None:
    found = load("graphs.support_handoff:graph")
    assert {"category", "team", "draft"} <= set(found.row_fields)
    assert not set(found.row_fields) & (BOOKKEEPING | {"text"})
    assert HandoffState.model_fields.keys() <= BOOKKEEPING


FOREIGN = """
import asyncio
from typing import Annotated
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from nodes import compile_graph
from state import Checked, RunState
from surefoot.studio import checkpointer

class Order(RunState):
    item: Annotated[str, Checked] = ""
    stock: Annotated[str | None, Checked] = None

def ask(state: Order):
    return {"stock": interrupt("is it in stock?"), "outcome": "done"}

builder = StateGraph(Order)
builder.add_node("ask", ask)
builder.add_edge(START, "ask")
builder.add_edge("ask", END)
graph = compile_graph(builder, name="orders", version="1")

async def main():
    async with checkpointer() as saver:
        await graph.copy(update={"checkpointer": saver}).ainvoke({"item": "x"}, {"configurable": {"thread_id": "o-1"}})
"""


def test_a_question_in_a_form_of_its_own_is_listed_and_takes_a_text(here: Path) -> None:
    (here / "orders.py").write_text(FOREIGN)
    code = """
    import asyncio, orders, surefoot
    from surefoot.errors import UsageError
    asyncio.run(orders.main())
    surefoot.run("orders:graph", {"item": "y"}, id="ours")
    asked = {one.record.key: one for one in surefoot.pending()}
    print(sorted(asked), {one.request.description for one in asked.values()})
    print(surefoot.resume("orders:ours", {"type": "response", "args": "two left"}).row["stock"])
    try:
        surefoot.resume("o-1", {"type": "response", "args": "two left"})
    except UsageError as error:
        print(error)
    """
    with embedded_directory() as directory:
        url, path = f"embedded:{directory}", f"{Path(surefoot.__file__).parents[1]}:{here}"
        done = run_python(code, url, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        listed, answered, refused = done.stdout.splitlines()
        assert listed == "['o-1', 'orders:ours'] {'is it in stock?'}"
        assert answered == "two left"
        assert "answer it where it was begun" in refused
        shown = spawn("review", "o-1", env={"SUREFOOT_REDIS_URL": url, "COLUMNS": "200"})
        out, error = shown.communicate(timeout=60)
    assert "is it in stock?" in out, error
    assert "surefoot review" not in out
    assert "Command(resume=" in out


def test_the_questions_of_one_thread(shared_embedded_url: str) -> None:
    async def ask() -> list[str]:
        for number in (1, 2):
            await surefoot.arun(
                "support", {"text": "Production is down for all users of our clinics."}, id=number, namespace="asked",
                url=shared_embedded_url,
            )  # fmt: skip
        return [one.record.key for one in await surefoot.apending("asked/support:2", url=shared_embedded_url)]

    assert asyncio.run(ask()) == ["asked/support:2"]


PARCELS = """
from __future__ import annotations

from enum import Enum
from typing import Annotated

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from nodes import compile_graph
from state import Checked, ReviewRequest, RunContext, RunState


class Size(Enum):
    SMALL = "small"


class Street(BaseModel):
    name: str


class Parcel(BaseModel):
    size: Size
    streets: dict[str, Street]


class ParcelState(RunState):
    text: Annotated[str, Checked] = ""
    parcel: Parcel | None = None
    told: Annotated[str | None, Checked] = None


class ParcelInput(BaseModel):
    text: str


def pack(state: ParcelState):
    return {"parcel": Parcel(size=Size.SMALL, streets={"to": Street(name=state.text)})}


def ask(state: ParcelState):
    interrupt(ReviewRequest(description="send it?").payload())
    assert isinstance(state.parcel.size, Size)
    assert isinstance(state.parcel.streets["to"], Street)
    return {"told": state.parcel.streets["to"].name, "outcome": "done"}


builder = StateGraph(ParcelState, input_schema=ParcelInput, context_schema=RunContext)
builder.add_node("pack", pack)
builder.add_node("ask", ask)
builder.add_edge(START, "pack")
builder.add_edge("pack", "ask")
builder.add_edge("ask", END)
graph = compile_graph(builder, name="parcels", version="7")
"""


def test_models_and_enums_of_ones_own_go_from_run_to_resume_in_other_processes(
    tmp_path: Path, shared_embedded_url: str
) -> None:
    (tmp_path / "my_parcels.py").write_text(PARCELS)
    began = """
    import surefoot
    for item in ("1", "2"):
        result = surefoot.run("my_parcels:graph", {"text": "Main Road"}, id=item)
        assert (result.status, result.waits_for) == ("waiting", "person"), result
    """
    went_on = """
    import surefoot
    from surefoot.cli import main

    assert main(["inbox"]) == 0
    assert len(surefoot.pending("parcels:2")) == 1
    assert main(["review", "parcels:2", "--accept"]) == 0
    assert main(["explain", "parcels:2"]) == 0
    print(surefoot.resume("parcels:1", "accept").row["told"])
    """
    here = {"PYTHONPATH": f"{Path(surefoot.__file__).parents[1]}:{tmp_path}"}
    for code in (began, went_on):
        done = run_python(code, shared_embedded_url, **here)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Main Road"


def test_a_thread_whose_module_is_not_here_hides_no_other(
    here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose types only the module knows, and one of plain data."""
    monkeypatch.syspath_prepend(str(here))
    for name, code, given in (("gone_parcels", PARCELS, "Main Road"), ("gone_notes", NOTES, "Who called?")):
        (here / f"{name}.py").write_text(code)
        assert surefoot.run(f"{name}:graph", {"text": given}, id=1, namespace="gone").status == "waiting"
        (here / f"{name}.py").unlink()
        del sys.modules[name]
    asked = {one["key"]: one["reasons"] for one in cli("inbox", "--namespace", "gone", "--json").json}
    assert asked.keys() == {"gone/parcels:1", "gone/notes:1"}
    assert "cannot be imported" in asked["gone/parcels:1"]["unreadable"]
    assert "unreadable" not in asked["gone/notes:1"]
    found = cli("doctor", "--json")
    told = {finding["name"]: finding["told"] for finding in found.json}
    assert "gone/parcels:1" in told["types of others"]
    assert "gone/notes:1" in told["types of others"]
    assert told["broken"].startswith("none")


def test_a_spec_is_looked_into_once_and_anew_after_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("graphs.support:graph") is load("graphs.support:graph")
    found = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "moving_notes.py").write_text(NOTES.replace('"notes"', f'"{folder}"'))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / folder))
            found.append(load("moving_notes:graph").name)
        del sys.modules["moving_notes"]
    assert found == ["one", "two"]


def test_the_types_of_inner_graphs_are_found_too() -> None:
    class Inner(BaseModel):
        text: str = ""

    class Outer(RunState):
        text: Annotated[str, Checked] = ""

    inner = StateGraph(Inner).add_node("one", lambda _s: {}).add_edge(START, "one").compile()
    builder = StateGraph(Outer, context_schema=RunContext).add_node("in", inner).add_edge(START, "in")
    own = replace(load("graphs.support:graph"), own=compile_graph(builder, name="outer", version="1"))
    assert {Inner, Outer} <= set(stored_types(own))


@pytest.mark.parametrize("name", names())
def test_shipped_pipelines_store_plain_data_alone(name: str) -> None:
    """So their graphs need not be loaded to know which types may be stored."""
    graph = pipeline(name).graph
    fields = {field for schema in graph.builder.schemas.values() for field in schema}
    assert fields
    assert all(isinstance(graph.channels[field], Checked) for field in fields)
