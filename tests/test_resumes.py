"""The résumé pipeline: scores in batches, nobody rejected by accident, and no model sees who a candidate is."""

from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from PIL import Image

from graphs.resumes import graph
from nodes.errors import InputError
from state import RunContext
from surefoot.testing import OpenAIEndpoint, says, status
from surefoot.testing.simulated import RESPONDERS

CONFIG: Any = {"configurable": {"thread_id": "t"}}
OPENAI, EMBEDDED = RunContext(provider="openai"), RunContext(provider="embedded")
JOB = {"title": "Backend engineer", "required": ["Python", "Postgres", "Docker"], "desired": ["Kafka"], "min_years": 4}
STRONG = """Theodora Quistgaard
theodora.quistgaard@example.com, +1 555 010 4477
Female, married, born 4 May 1988

Experience
Senior developer, Nordlicht GmbH, 03/2016 - present
- Built the billing service in Python and PostgreSQL; she led a team of four
- Moved all jobs to Docker and Apache Kafka
Skills: Python, Go, Linux
Certified Kubernetes Administrator (CKA)
"""
WEAK = """Bartholomew Finkelroth
bart@example.org

Experience
Gardener, Parks of Kleinstadt, 04/2018 - 02/2021
- Planted trees and cut hedges in all weathers, and looked after two hundred beds of roses
- Drove the mowing machines and repaired them with simple tools
"""
FAIR = STRONG.replace("PostgreSQL", "files")


def given(text: str = STRONG, **fields: Any) -> dict[str, Any]:
    return {"text": text, "job": JOB} | fields


def saved() -> Any:
    return graph.copy(update={"checkpointer": InMemorySaver()})


def question(result: dict[str, Any]) -> Any:
    return result["__interrupt__"][0].value


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_strong_candidate_is_accepted_with_the_sum_told(asynchronous: bool) -> None:
    run = (lambda: asyncio.run(graph.ainvoke(given(), context=EMBEDDED))) if asynchronous else None
    ended = run() if run else graph.invoke(given(), context=EMBEDDED)
    assert (ended["outcome"], ended["recommendation"]) == ("accepted", "auto_accept")
    assert ended["score"] >= 85
    assert ended["score_reasons"][0].startswith("required skills:")
    assert ended["certifications"] == ["Certified Kubernetes Administrator"]
    assert not ended.get("degraded")


def test_rules_never_reject_by_themselves() -> None:
    app = saved()
    asked = question(app.invoke(given(WEAK), CONFIG, context=EMBEDDED))
    assert "rules_never_reject" in asked["reasons"]
    ended = app.invoke(Command(resume={"type": "reject", "by": "ida"}), CONFIG, context=EMBEDDED)
    assert ended["outcome"] == "rejected"


def test_rules_that_stand_in_for_a_model_never_reject_either(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(status(400, "bad"))
    asked = question(saved().invoke(given(WEAK), CONFIG, context=OPENAI))
    assert "rules_never_reject" in asked["reasons"]


def test_a_model_rejects_what_is_far_below(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = RESPONDERS["resumes"]
    ended = graph.invoke(given(WEAK), context=OPENAI)
    assert (ended["outcome"], ended["recommendation"]) == ("rejected", "reject")


def test_thresholds_are_named_in_the_context(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = RESPONDERS["resumes"]
    asked = question(saved().invoke(given(FAIR), CONFIG, context=OPENAI))
    assert list(asked["reasons"]) == ["borderline"]
    score = float(re.search(r"([\d.]+) points", asked["reasons"]["borderline"])[1])  # type: ignore[index] # it has one
    for limits, outcome in (({"auto_accept": score}, "accepted"), ({"human_review": score + 1}, "rejected")):
        context = OPENAI.model_copy(update={"thresholds": limits})
        assert graph.invoke(given(FAIR), context=context)["outcome"] == outcome


def test_nobody_is_decided_about_where_nobody_can_be_asked() -> None:
    assert graph.invoke(given(WEAK), context=EMBEDDED)["outcome"] == "undecided"


def test_a_model_far_from_the_rules_is_looked_at_by_a_person(openai_endpoint: OpenAIEndpoint) -> None:
    def enthusiastic(body: dict[str, Any]) -> str:
        text = RESPONDERS["resumes"](body)
        return re.sub(r'"score": \d+', '"score": 99', text)

    openai_endpoint.responder = enthusiastic
    asked = question(saved().invoke(given(WEAK), CONFIG, context=OPENAI))
    assert asked["reasons"]["disagreement"].startswith("the model gives 99 points")


def test_no_model_and_no_reviewer_sees_who_the_candidate_is(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = RESPONDERS["resumes"]
    asked = question(saved().invoke(given(FAIR), CONFIG, context=OPENAI))
    seen = asked["description"] + "".join(request.text for request in openai_endpoint.requests)
    assert "billing service" in seen
    for mark in ("Theodora", "Quistgaard", "quistgaard", "555 010", "Female", "married", "1988", " she "):
        assert mark not in seen


def test_the_text_of_a_document_is_not_stored_with_its_person(tmp_path: Path) -> None:
    path, app = tmp_path / "cv.txt", saved()
    path.write_text(STRONG)
    app.invoke({"path": str(path), "job": JOB}, CONFIG, context=EMBEDDED)
    for snapshot in app.get_state_history(CONFIG):
        assert "Quistgaard" not in str(snapshot)


def test_a_model_that_is_not_set_up_leaves_its_facts_missing_and_a_person_is_told(
    openai_endpoint: OpenAIEndpoint,
) -> None:
    openai_endpoint.responder = RESPONDERS["resumes"]
    context = RunContext(provider="openai", providers={"technical": "openai:no-price-for-this"})
    app = saved()
    asked = question(app.invoke(given(), CONFIG, context=context))
    assert "technical" in asked["reasons"]["missing"]
    values = app.get_state(CONFIG).values
    assert values.get("technical") is None
    assert values["soft"] is not None
    assert values["confidence"] == pytest.approx(0.25)
    edit = {"technical": [{"name": name, "used": True} for name in ("Python", "PostgreSQL", "Docker", "Apache Kafka")]}
    ended = app.invoke(Command(resume={"type": "edit", "args": {"args": edit}, "by": "ida"}), CONFIG, context=context)
    assert (ended["outcome"], ended["score"]) == ("accepted", 100.0)


def test_one_extractor_that_fails_does_not_stop_the_others(openai_endpoint: OpenAIEndpoint) -> None:
    behave = RESPONDERS["resumes"]
    openai_endpoint.chaos = lambda body: status(400, "bad") if "soft skills does" in str(body["messages"]) else None
    openai_endpoint.responder = behave
    ended = graph.invoke(given(), context=OPENAI)
    assert ended["outcome"] == "accepted"
    assert ended["degraded"] is True
    assert any("embedded answered instead" in reason for reason in ended["reasons"])


def test_candidates_of_concurrent_runs_share_requests(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = RESPONDERS["resumes"]
    texts = [STRONG.replace("four", f"{number} people") for number in range(20)]

    async def all_of_them() -> list[dict[str, Any]]:
        return await asyncio.gather(*(graph.ainvoke(given(text), context=OPENAI) for text in texts))

    ended = asyncio.run(all_of_them())
    assert {values["outcome"] for values in ended} == {"accepted"}
    scoring = [request for request in openai_endpoint.requests if "<candidate " in request.text]
    assert len(scoring) <= 4
    assert sum(request.text.count("<candidate ") for request in scoring) == 20


def test_a_candidate_who_spoils_a_batch_costs_the_others_nothing(openai_endpoint: OpenAIEndpoint) -> None:
    def forgetful(body: dict[str, Any]) -> Any:
        text = RESPONDERS["resumes"](body)
        results = json.loads(text).get("results", [])
        kept = [r for r in results if "gardening" not in str(body) or len(results) == 1 or r["id"] != "1"]
        return says(json.dumps({"results": kept})) if results else None

    openai_endpoint.chaos, openai_endpoint.responder = forgetful, RESPONDERS["resumes"]
    texts = [STRONG, STRONG.replace("billing", "gardening"), STRONG.replace("billing", "ordering")]

    async def all_of_them() -> list[dict[str, Any]]:
        return await asyncio.gather(*(graph.ainvoke(given(text), context=OPENAI) for text in texts))

    assert [values["outcome"] for values in asyncio.run(all_of_them())] == ["accepted"] * 3


def test_a_document_that_cannot_be_read_is_put_before_a_person_who_sends_the_text(tmp_path: Path) -> None:
    path, app = tmp_path / "cv.pdf", saved()
    path.write_bytes(b"%PDF-1.7\nthis is no document")
    asked = question(app.invoke({"path": str(path), "job": JOB}, CONFIG, context=EMBEDDED))
    assert "the document cannot be read" in asked["reasons"]["read"]
    assert asked["config"]["allow_accept"] is asked["config"]["allow_edit"] is False
    ended = app.invoke(Command(resume={"type": "response", "args": STRONG, "by": "ida"}), CONFIG, context=EMBEDDED)
    assert ended["outcome"] == "accepted"
    assert "Quistgaard" not in ended["resume"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"job": None}, 'field "job" is missing'),
        ({"text": None}, 'fields "path" and "text" are missing'),
        ({"job": {"title": "x", "required": []}}, "required"),
        ({"job": {"title": "x", "required": ["Python"], "min_years": -1}}, "min_years"),
    ],
)
def test_a_wrong_input_is_refused_by_the_name_of_its_field(fields: dict[str, Any], told: str) -> None:
    with pytest.raises((InputError, ValueError), match=re.escape(told)):
        graph.invoke(given(**fields), context=EMBEDDED)


def test_a_text_that_holds_no_resume_goes_to_a_person() -> None:
    asked = question(saved().invoke(given("Hello!"), CONFIG, context=EMBEDDED))
    assert "which is no résumé" in asked["reasons"]["read"]


def scanned(*pages: str) -> bytes:
    """A PDF whose first pages have text and whose last one is a picture."""
    made = FPDF()
    for text in pages:
        made.add_page()
        made.set_font("Helvetica", size=11)
        made.multi_cell(0, 6, text)
    made.add_page()
    raw = io.BytesIO()
    Image.effect_noise((60, 80), 90).save(raw, "PNG")
    made.image(raw, x=0, y=0, w=210, h=297)
    return bytes(made.output())


@pytest.mark.parametrize(("text", "recommended"), [(WEAK, "reject"), (STRONG, "auto_accept")])
def test_a_document_of_which_some_was_not_read_is_decided_by_a_person(
    text: str, recommended: str, tmp_path: Path, openai_endpoint: OpenAIEndpoint
) -> None:
    openai_endpoint.responder = RESPONDERS["resumes"]
    (path := tmp_path / "cv.pdf").write_bytes(scanned(text))
    (tmp_path / "whole.txt").write_text(text)
    app = saved()
    whole = app.invoke({"path": str(tmp_path / "whole.txt"), "job": JOB}, CONFIG, context=OPENAI)
    assert (whole["recommendation"], whole["degraded"], whole["unread"]) == (recommended, False, [])

    part: Any = {"configurable": {"thread_id": "part"}}
    waits = app.invoke({"path": str(path), "job": JOB}, part, context=OPENAI)
    told = "page 2 is mostly a picture, whose text was not read"
    assert question(waits)["reasons"] == {"unread": f"of the document, {told}"}
    assert told in question(waits)["description"]
    assert (waits["recommendation"], waits["degraded"], waits["reasons"]) == ("human_review", True, [f"read: {told}"])

    ended = app.invoke(Command(resume={"type": "reject", "by": "ida"}), part, context=OPENAI)
    assert (ended["outcome"], ended["degraded"], ended["reasons"]) == ("rejected", True, [f"read: {told}"])


def test_the_whole_text_can_be_sent_for_a_document_of_which_some_was_not_read(tmp_path: Path) -> None:
    (path := tmp_path / "cv.pdf").write_bytes(scanned(WEAK))
    app = saved()
    asked = question(app.invoke({"path": str(path), "job": JOB}, CONFIG, context=EMBEDDED))
    assert asked["config"]["allow_respond"] is True
    ended = app.invoke(Command(resume={"type": "response", "args": STRONG, "by": "ida"}), CONFIG, context=EMBEDDED)
    assert (ended["outcome"], ended["unread"]) == ("accepted", [])
    assert "Quistgaard" not in ended["resume"]


def test_an_edit_after_the_question_is_scored_and_does_not_ask_about_the_document_again(tmp_path: Path) -> None:
    (path := tmp_path / "cv.pdf").write_bytes(scanned(WEAK))
    app = saved()
    app.invoke({"path": str(path), "job": JOB}, CONFIG, context=EMBEDDED)
    edit = {"technical": [{"name": name, "used": True} for name in ("Python", "PostgreSQL", "Docker", "Apache Kafka")]}
    edit |= {"years": 9}
    ended = app.invoke(Command(resume={"type": "edit", "args": {"args": edit}, "by": "ida"}), CONFIG, context=EMBEDDED)
    assert (ended["outcome"], ended["score"]) == ("accepted", 100.0)
    assert ended["degraded"] is True


def test_a_fault_of_ours_is_tried_again_and_blames_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.documents import kinds

    (path := tmp_path / "cv.pdf").write_bytes(scanned(*[STRONG] * 20))
    monkeypatch.setattr(
        kinds.Limits.__init__, "__defaults__", (*kinds.Limits.__init__.__defaults__[:3], 0.001, 200_000)
    )
    app = saved()
    asked = question(app.invoke({"path": str(path), "job": JOB}, CONFIG, context=EMBEDDED))
    assert "took longer than 0.001 s" in asked["reasons"]["read"]
    assert "damaged" not in asked["reasons"]["read"]
    outcomes = [attempt["outcome"] for attempt in app.get_state(CONFIG).values["attempts"]]
    assert outcomes == ["transient", "transient"]


def test_what_the_job_asks_for_and_nobody_found_is_asked_about() -> None:
    job = JOB | {"certifications": ["AZ-500"], "soft": ["Patience"]}
    text = STRONG.replace("03/2016 - present", "in Leipzig").replace("; she led a team of four", " and ran it")
    app = saved()
    asked = question(
        app.invoke(
            given(text.replace("Certified Kubernetes Administrator (CKA)", ""), job=job), CONFIG, context=EMBEDDED
        )
    )
    assert asked["reasons"]["not_found"] == (
        "not found, which does not mean that there are none: soft skills, certifications, years of work"
    )
    values = app.get_state(CONFIG).values
    assert [values[name] for name in ("soft", "certifications", "years", "years_stated")] == [None] * 4
    assert "years of work: not found, left out of the points" in values["score_reasons"]
    ended = app.invoke(Command(resume={"type": "accept", "by": "ida"}), CONFIG, context=EMBEDDED)
    assert ended["outcome"] == "accepted"


def test_years_in_words_count_where_there_are_no_dates_and_are_asked_about_where_dates_contradict() -> None:
    undated = STRONG.replace("03/2016 - present", "for 12 years")
    assert graph.invoke(given(undated), context=EMBEDDED)["years"] == 12.0
    dated = STRONG.replace("03/2016 - present", "03/2016 - 02/2018").replace(
        "Skills:", "10 years of experience.\nSkills:"
    )
    app = saved()
    asked = question(app.invoke(given(dated), CONFIG, context=EMBEDDED))
    assert asked["reasons"]["years"] == "its dates tell 2 years of work, its text says 10"
