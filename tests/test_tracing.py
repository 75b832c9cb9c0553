"""LangSmith, with its real client against an endpoint of our own: what is sent, and what never is."""

from __future__ import annotations

import json
import socket

import pytest
from cli_tools import run_python
from langsmith_server import langsmith_endpoint
from servers import embedded_directory

from nodes.checks.personal import masked
from nodes.tracing import HIDDEN, hide_in_traces, mask
from surefoot.testing import MODEL, PRICES, OpenAIEndpoint, support_responder

RUN = """
from langchain_core.tracers.langchain import wait_for_all_tracers
import surefoot
text = (
    "My card 4111 1111 1111 1111 was charged twice, mail jane.roe@example.org, "
    "I live at 12 Baker Street. key=sk-abcdef123456"
)
result = surefoot.run("support", {"text": text, "customer": "Jane Roe"}, id="traced", rerun=True)
print(result.status, result.row["category"])
waiting = surefoot.run("support", {"text": "Production is down for all users of our clinics."}, id="asked", rerun=True)
print(waiting.status)
answer = {"type": "edit", "args": {"category": "general"}, "comment": "mail jane.roe@example.org"}
print(surefoot.resume("support:asked", answer).status)
wait_for_all_tracers()
"""


def traced(endpoint: str) -> dict[str, str]:
    return {
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": endpoint,
        "LANGSMITH_API_KEY": "not-a-key",
        "LANGSMITH_PROJECT": "tests",
    }


def test_runs_are_traced_with_what_finds_them_and_nothing_personal_leaves(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = support_responder
    openai_endpoint.token_probability = 0.99
    model = {"OPENAI_BASE_URL": openai_endpoint.url, "SUREFOOT_MODEL": MODEL, "SUREFOOT_PRICES": json.dumps(PRICES)}
    with embedded_directory() as directory, langsmith_endpoint() as (url, sent):
        done = run_python(RUN, f"embedded:{directory}", **traced(url), **model)
    assert done.stdout.split()[0] == "done", done.stderr[-2000:]
    whole = b"".join(sent.raw)
    assert len(sent.runs) > 10
    for secret in (b"jane.roe", b"4111 1111", b"12 Baker Street", b"sk-abcdef", b"Jane Roe"):
        assert secret not in whole, secret
    assert b"was charged twice" in whole, "what is not personal is there to be read"
    assert {"support"} <= set(sent.metadata("pipeline"))
    assert len(set(sent.metadata("thread_id"))) == 2
    assert "support:traced" in sent.metadata("surefoot_key")
    assert {"classify", "urgency", "route", "draft"} <= set(sent.metadata("surefoot_step"))
    assert 1 in sent.metadata("surefoot_attempt")
    assert sum(sent.metadata("surefoot_cost_microusd")) > 0
    keys = {one["key"]: one for one in sent.feedback}
    assert keys["gate.length"]["score"] == 1
    assert keys["review"]["value"] == "edit"
    assert {one["run_id"] for one in sent.feedback} <= set(sent.runs)


def test_without_the_variables_nothing_is_sent_and_nothing_begins() -> None:
    with embedded_directory() as directory, langsmith_endpoint() as (url, sent):
        code = RUN.replace("wait_for_all_tracers()", "print(surefoot.explain('support:traced').headline)")
        code += "\nfrom nodes import tracing\nprint(tracing._begin.cache_info().currsize)"
        done = run_python(code, f"embedded:{directory}", LANGSMITH_ENDPOINT=url, LANGSMITH_API_KEY="not-a-key")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == "0"
    assert sent.raw == []


@pytest.mark.parametrize("how", ["refuses", "is not there", "never answers"])
def test_an_endpoint_that_is_down_hurts_no_run(how: str) -> None:
    with (
        embedded_directory() as directory,
        langsmith_endpoint(status=500) as (url, _sent),
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        endpoint = {"refuses": url, "is not there": "http://127.0.0.1:9", "never answers": silent_url}[how]
        done = run_python(RUN.replace("wait_for_all_tracers()", ""), f"embedded:{directory}", **traced(endpoint))
    assert done.stdout.split()[0] in ("done", "waiting"), done.stderr[-2000:]
    assert done.stdout.split()[-1] == "done"


def test_a_client_that_masks_already_is_left_as_it_is() -> None:
    code = """
    import langsmith
    from langsmith.run_trees import get_cached_client
    own = langsmith.Client(anonymizer=lambda value: {"all": "gone"})
    langsmith.configure(client=own)
    from graphs.support import graph
    graph.invoke({"text": "Where do I change my password?"})
    print(get_cached_client() is own)
    own.flush()
    """
    with embedded_directory() as directory, langsmith_endpoint() as (url, sent):
        done = run_python(code, f"embedded:{directory}", **traced(url))
    assert done.stdout.strip() == "True", done.stderr[-2000:]
    assert sent.runs
    assert b"change my password" not in b"".join(sent.raw)


def test_masking_keeps_what_is_not_personal() -> None:
    text = "Ann said: order 48291 costs 12.50, call +49 170 1234567 or 123-45-6789; 12345678Z"
    assert masked(text) == "Ann said: order 48291 costs 12.50, call [number] or [number]; [number]"
    long = ("word " * 2000) + "mail me at jane@example.org"
    assert len(masked(long)) > 9000
    assert "jane@" not in masked(long)
    assert mask({"a": [1, None, {"b": "jane@example.org"}]}) == {"a": [1, None, {"b": "[e-mail]"}]}


def test_fields_can_be_hidden_as_a_whole() -> None:
    import graphs.resumes  # noqa: F401 - it hides the document

    assert mask({"job": {"title": "x"}, "text": "Jane Roe, Berlin"})["text"] == HIDDEN
    assert mask({"text": "a ticket"})["text"] == "a ticket"
    hide_in_traces(lambda fields: {"secret_field"} if "secret_field" in fields else ())
    assert mask({"secret_field": "x", "other": "y"}) == {"secret_field": HIDDEN, "other": "y"}


def test_a_run_that_is_traced_by_a_context_alone_is_masked_too() -> None:
    code = """
    from langsmith import tracing_context
    from langsmith.run_trees import get_cached_client
    from graphs.support import graph
    with tracing_context(enabled=True):
        graph.invoke({"text": "Mail jane.roe@example.org the invoice of March, please."})
    get_cached_client().flush()
    """
    with embedded_directory() as directory, langsmith_endpoint() as (url, sent):
        variables = {name: value for name, value in traced(url).items() if name != "LANGSMITH_TRACING"}
        done = run_python(code, f"embedded:{directory}", **variables)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sent.runs
    whole = b"".join(sent.raw)
    assert b"invoice of March" in whole
    assert b"jane.roe" not in whole
