"""Numbers and texts of a stream that may be told again with every chunk: how much of them is new.

OpenAI's protocol tells the usage once, for the whole request (platform.openai.com/docs/api-reference/chat-streaming).
vLLM (`continuous_usage_stats`), LMDeploy, Gemini's compatible endpoint and others repeat it, as far as it has come,
with every chunk; some send the whole text again with every chunk. Whoever adds up chunks, as LangChain does, counts it
several times (langchain#30429, open-webui#29064, lmdeploy#3832).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SHORTEST_REPEAT: Final = 12
"""Characters from which a piece that says all again is no coincidence: a token has four on average."""

FEWEST_REPORTS: Final = 4
"""Reports of usage from which their numbers tell whether they grow or are those of each chunk alone."""


@dataclass
class UsageMeter:
    """What the reports of one stream come to: `input`, `output`, `total` and any other counts by name.

    Reports that repeat the input tokens are totals so far: of each count the highest holds, also when a later one is
    lower or zero. Reports of which one alone has input tokens are parts of the whole, as Anthropic tells them (input
    first, output last), and are added up, unless the protocol says that all are totals.
    """

    totals: bool
    """Whether the protocol tells totals."""
    _reports: list[dict[str, int]] = field(default_factory=list)
    _spoke: list[bool] = field(default_factory=list)
    _given: dict[str, int] = field(default_factory=dict)

    def add(self, counts: Mapping[str, object], *, spoke: bool = True) -> dict[str, int]:
        """Take a report and return what it adds; `spoke` tells whether its chunk held any of the answer."""
        known = {name: value for name, value in counts.items() if isinstance(value, int) and value >= 0}
        if known:
            self._reports.append(known)
            self._spoke.append(spoke)
        return self.rest()

    def rest(self) -> dict[str, int]:
        """Return what is missing of the whole in what was returned so far."""
        now = self.whole()
        added = {name: value - self._given.get(name, 0) for name, value in now.items()}
        added = {name: max(0, value) for name, value in added.items()}
        for name, value in added.items():
            self._given[name] = self._given.get(name, 0) + value
        return added

    def whole(self) -> dict[str, int]:
        """Return the usage of the request as far as it is known."""
        names = {name for report in self._reports for name in report}
        grows = self.totals or sum(report.get("input", 0) > 0 for report in self._reports) > 1
        how = max if grows else sum
        found = {name: how(report.get(name, 0) for report in self._reports) for name in names}
        if grows and self._each_alone():
            found["output"] = sum(report.get("output", 0) for report in self._reports)
        if found:
            found["total"] = max(found.get("total", 0), found.get("input", 0) + found.get("output", 0))
        return found

    def _each_alone(self) -> bool:
        """Tell whether the output tokens are those of each chunk: so many chunks cannot have had so few in all."""
        outputs = [
            report["output"] for report, spoke in zip(self._reports, self._spoke, strict=True)
            if spoke and report.get("output")
        ]  # fmt: skip
        return len(outputs) >= FEWEST_REPORTS and max(outputs) < len(outputs) / 2


@dataclass
class TextDeltas:
    """A text that comes in pieces, of which each may be new or all of it so far."""

    text: str = ""
    """The text as far as it is certain."""
    repeats: bool = False
    """Whether each piece holds the whole text so far."""
    _pieces: int = 0
    _doubtful: str = ""
    _certain: bool = False

    def add(self, piece: str) -> str:
        """Take the next piece and return what it adds; nothing while that is in doubt."""
        if not piece:
            return ""
        self._pieces += 1
        if self.repeats:
            new = "" if self.text.startswith(piece) else piece.removeprefix(self.text)
            self.text += new
            return new
        if self._doubtful:
            return self._resolve(piece)
        if self._pieces == 2 and self.text.strip() and len(piece) > len(self.text) and piece.startswith(self.text):
            self._doubtful = piece
            return ""
        if self._pieces > 2 and piece == self.text and len(piece) >= SHORTEST_REPEAT:
            # The whole message once more at the end.
            return ""
        self.text += piece
        return piece

    def _resolve(self, piece: str) -> str:
        """Decide with the third piece: that it begins with the second, which began with the first, is no chance."""
        held, self._doubtful = self._doubtful, ""
        if piece.startswith(held):
            self.repeats = True
            new = piece[len(self.text) :]
        else:
            new = held + piece
        self.text += new
        return new

    def rest(self) -> str:
        """Return what was in doubt at the end: of two pieces only a long first one tells."""
        held, self._doubtful = self._doubtful, ""
        new = held[len(self.text) :] if len(self.text) >= SHORTEST_REPEAT else held
        self.text += new
        return new
