"""Surefoot: LangGraph pipelines that survive contact with the real world.

    import surefoot

    result = surefoot.run("support", {"text": "I was charged twice for March."}, id="48291")
    surefoot.resume("support:48291", "accept")
    print(surefoot.explain("support:48291"))

Names are imported at first use, so that `import surefoot` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surefoot.shadow import refuse_shadows

refuse_shadows()

if TYPE_CHECKING:
    from nodes.errors import InputError
    from surefoot.api import Pending, RunFailed, aexplain, apending, aresume, arun, explain, pending, resume, run
    from surefoot.drive import Result
    from surefoot.errors import ThreadBusy, UsageError
    from surefoot.streaming import Custom, Part, Token, astream, stream

__all__ = [
    "Custom",
    "InputError",
    "Part",
    "Pending",
    "Result",
    "RunFailed",
    "ThreadBusy",
    "Token",
    "UsageError",
    "aexplain",
    "apending",
    "aresume",
    "arun",
    "astream",
    "explain",
    "pending",
    "resume",
    "run",
    "stream",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'surefoot' has no attribute {name!r}")
    from surefoot import api, streaming

    return getattr(streaming if name in ("Custom", "Part", "Token", "astream", "stream") else api, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
