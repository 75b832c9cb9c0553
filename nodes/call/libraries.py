"""Libraries that take a while to import."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Final

_LIBRARIES: Final = ("genai_prices.data", "json_repair")


async def load_libraries() -> None:
    """Import in a thread what reads many files when it is imported: that would block the event loop."""
    for name in _LIBRARIES:
        if name not in sys.modules:
            await asyncio.to_thread(importlib.import_module, name)
