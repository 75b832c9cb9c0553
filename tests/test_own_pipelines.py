"""Pipelines of yours: registered by a module, with types of their own in the state, run and resumed anywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
from cli_tools import ROOT, Cli, run_python
from pydantic import BaseModel

from state.channels import Checked
from surefoot import pipelines
from surefoot.errors import UsageError
from surefoot.pipelines import Pipeline, names, pipeline, register, stored_types

MODULE = """
from __future__ import annotations

from enum import Enum
from typing import Annotated

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from nodes import compile_graph
from state import Checked, ReviewRequest, RunContext, RunState
from surefoot.pipelines import Pipeline, register


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


builder = StateGraph(ParcelState, context_schema=RunContext)
builder.add_node("pack", pack)
builder.add_node("ask", ask)
builder.add_edge(START, "pack")
builder.add_edge("pack", "ask")
builder.add_edge("ask", END)
graph = compile_graph(builder, name="parcels", version="7")
register(Pipeline("parcels", "my_parcels:graph", ParcelInput, ("text",), ("told",), lambda *_: 0))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_parcels.py").write_text(MODULE)
    return tmp_path


def test_models_and_enums_of_yours_go_from_run_to_resume_in_other_processes(
    folder: Path, shared_embedded_url: str
) -> None:
    here = {"PYTHONPATH": f"{ROOT}:{folder}", "SUREFOOT_PIPELINES": "my_parcels", "SUREFOOT_PROVIDER": "embedded"}
    began = run_python(
        """
        import surefoot
        from surefoot.cli import main

        result = surefoot.run("parcels", {"text": "Main Road"}, id="1")
        assert (result.status, result.waits_for) == ("waiting", "person"), result
        open("items.jsonl", "w").write('{"id": "2", "text": "Side Road"}')
        raise SystemExit(main(["run", "parcels", "items.jsonl"]))
        """.replace("items.jsonl", str(folder / "items.jsonl")),
        shared_embedded_url,
        **here,
    )
    assert began.returncode == 3, began.stderr
    went_on = run_python(
        """
        import json, surefoot
        from surefoot.cli import main

        assert main(["review", "parcels:2", "--accept"]) == 0
        print(json.dumps(surefoot.resume("parcels:1", "accept").row))
        """,
        shared_embedded_url,
        **here,
    )
    assert went_on.returncode == 0, went_on.stderr
    row = json.loads(went_on.stdout.splitlines()[-1])
    assert (row["status"], row["told"]) == ("done", "Main Road")


def test_the_commands_know_what_the_settings_name(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(pipelines, "_REGISTERED", {})
    try:
        drawn = cli("draw", "parcels", SUREFOOT_PIPELINES="my_parcels")
        assert "pack --> ask" in drawn.out
        assert {found.__name__ for found in stored_types()} >= {"ParcelState"}
        with pytest.raises(UsageError, match="there is a pipeline 'support' already"):
            register(Pipeline("support", "my_parcels:graph", BaseModel, (), (), lambda *_: 0))
        assert pipeline("parcels").version == "7"
    finally:
        sys.modules.pop("my_parcels", None)
    missing = cli("threads", SUREFOOT_PIPELINES="nowhere_to_be_found")
    assert missing.status == 2
    assert "there is no module 'nowhere_to_be_found'" in missing.err


def test_the_types_of_inner_graphs_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from langgraph.graph import START, StateGraph

    class Inner(BaseModel):
        text: str = ""

    class Outer(BaseModel):
        text: Annotated[str, "plain"] = ""

    inner = StateGraph(Inner).add_node("one", lambda _s: {}).add_edge(START, "one").compile()
    module = ModuleType("with_inner")
    module.graph = StateGraph(Outer).add_node("in", inner).add_edge(START, "in").compile()  # type: ignore[attr-defined] # a module made here
    monkeypatch.setitem(sys.modules, "with_inner", module)
    monkeypatch.setattr(pipelines, "_REGISTERED", {})
    register(Pipeline("with-inner", "with_inner:graph", Inner, (), (), lambda *_: 0))
    assert {Inner, Outer} <= set(stored_types())


@pytest.mark.parametrize("name", names())
def test_our_own_pipelines_store_plain_data_alone(name: str) -> None:
    """So their graphs need not be loaded to know which types may be stored."""
    graph = pipeline(name).graph
    fields = {field for schema in graph.builder.schemas.values() for field in schema}
    assert fields
    assert all(isinstance(graph.channels[field], Checked) for field in fields)
