"""Libraries that take a while to import."""

from __future__ import annotations

import importlib
import sys
from typing import Final

from nodes.loading import prepare_once

_LIBRARIES: Final = ("genai_prices.data", "json_repair", "langchain_openai")


async def load_libraries() -> None:
    """Import in a thread what reads many files when it is imported: that would block the event loop.

    No time limit runs meanwhile.
    """
    if any(name not in sys.modules for name in _LIBRARIES):
        await prepare_once(_import, "the libraries for calls")


def _import() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)
