"""The README's first command, which costs nothing whatever the shell holds."""

from __future__ import annotations

import re

from pages import ROOT, empty_home, run_shell

from surefoot.testing import OpenAIEndpoint


def test_make_run_makes_no_paid_call_whatever_the_shell_holds(openai_endpoint: OpenAIEndpoint) -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nrun:", 1)[1].split("\n\n", 1)[0]
    command = re.search(r"surefoot run support \S+ --provider embedded", recipe)
    assert command, "`make run` names the embedded provider"
    with empty_home() as home:
        rich = {**home, "OPENAI_API_KEY": "sk-paid-0123456789", "OPENAI_BASE_URL": openai_endpoint.url}
        done = run_shell(f".venv/bin/{command[0]} --limit 5 --namespace paid", rich)
    assert done.returncode in (0, 3), done.stderr
    assert openai_endpoint.calls == 0
