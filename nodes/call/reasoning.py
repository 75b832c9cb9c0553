"""Telling a model's reasoning from its answer, where the server in front of it left both in one text.

Reasoning is taken away only where it certainly is one: in tags at the very beginning, or up to a closing tag that
stands where models write theirs. Tags in code, in quotes, in the middle of a sentence or in pairs inside of the text
are what the answer talks about, and stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nodes.call.endings import is_json
from nodes.call.maker_answers import REASONING_TAGS
from nodes.errors import InvalidOutput, Truncated

_PAIRS: Final = tuple((re.compile(o, re.IGNORECASE), re.compile(c, re.IGNORECASE)) for o, c in REASONING_TAGS)
_CODE: Final = re.compile(r"(```|~~~).*?\1|`[^`\n]+`", re.DOTALL)
_ANSWER: Final = re.compile(
    r"\s*(?:<answer>(.*)</answer>|<\|begin_of_solution\|>(.*)<\|end_of_solution\|>)\s*", re.DOTALL
)
_END_OF_SENTENCE: Final = re.compile(r"[.!?…。！？:)\]}\"”]\Z")

_FINAL: Final = re.compile(r"<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>(.*)", re.DOTALL)
_HARMONY_END: Final = re.compile(r"\s*<\|(?:end|return|call)\|>.*\Z", re.DOTALL)
_BARE_HARMONY: Final = re.compile(r"\s*analysis(.*?)assistantfinal(.*)\Z", re.DOTALL)
"""gpt-oss behind a server that drops its special tokens and keeps the words between them (TensorRT-LLM#9256)."""

LONGEST_TAG: Final = 22
"""Characters of the longest opening tag that is waited for at the beginning of a stream."""


@dataclass(frozen=True)
class Spoken:
    """A text in its two parts."""

    reasoning: str
    answer: str


def split_reasoning(text: str) -> Spoken:
    """Return what a model thought and what it answered.

    Raises `Truncated` for reasoning that never ends, and `InvalidOutput` where its end cannot be told for certain.
    """
    if is_json(text):
        # Tags in it are part of its values.
        return Spoken("", text)
    if "<|channel|>" in text or text.lstrip().startswith("analysis"):
        harmony = _harmony(text)
        if harmony is not None:
            return harmony
    thoughts: list[str] = []
    rest = text
    while (opened := _opened(rest)) is not None:
        begin, closing = opened
        end = closing.search(rest, begin)
        if end is None:
            raise Truncated("the answer ends while the model is still reasoning")
        thoughts.append(rest[begin : end.start()])
        rest = rest[end.end() :]
    late = _closings(rest)
    if late:
        first, last = late[0], late[-1]
        if rest[first[1] : last[0]].strip() or (thoughts and rest[: first[0]].strip()):
            raise InvalidOutput("the answer closes its reasoning several times: where it begins cannot be told")
        thoughts.append(rest[: first[0]])
        rest = rest[last[1] :]
    elif _hangs_open(rest):
        raise Truncated("the answer ends while the model is reasoning again")
    if thoughts and (wrapped := _ANSWER.fullmatch(rest)):
        rest = wrapped[1] if wrapped[1] is not None else wrapped[2]
    return Spoken("\n".join(part.strip() for part in thoughts if part.strip()), rest)


def _opened(text: str) -> tuple[int, re.Pattern[str]] | None:
    """Return where reasoning begins that opens the text, and what closes it."""
    begin = len(text) - len(text.lstrip())
    for opening, closing in _PAIRS:
        if found := opening.match(text, begin):
            return found.end(), closing
    return None


def _closings(text: str) -> list[tuple[int, int]]:
    """Return the closing tags without an opening one that stand where a model ends its reasoning."""
    found: list[tuple[int, int]] = []
    plain = _masked(text)
    for opening, closing in _PAIRS:
        depth = 0
        marks = [(m, True) for m in opening.finditer(plain)] + [(m, False) for m in closing.finditer(plain)]
        for mark, opens in sorted(marks, key=lambda item: item[0].start()):
            if opens:
                depth += 1
            elif depth:
                depth -= 1
            elif _ends_reasoning(text, mark.start(), mark.end()):
                found.append(mark.span())
    return sorted(found)


def closes_only(text: str) -> bool:
    """Tell whether a text begins inside of the reasoning: it closes what it never opened."""
    return not is_json(text) and _opened(text) is None and bool(_closings(text))


def _masked(text: str) -> str:
    """Blank out code, so that nothing is found inside of it."""
    return _CODE.sub(lambda match: " " * len(match[0]), text)


def _ends_reasoning(text: str, begin: int, end: int) -> bool:
    """Tell a tag that ends reasoning from one that a sentence talks about."""
    before, after = text[:begin], text[end:]
    line_before, line_after = before.rpartition("\n")[2], after.partition("\n")[0]
    if not line_before.strip() or not line_after.strip():
        return True
    if line_before[-1] in "\"'`“‘«(" or line_after[0] in "\"'`”’»),.;:":
        return False
    following = line_after.strip()[0]
    return bool(_END_OF_SENTENCE.search(line_before.rstrip())) or following.isupper() or following in "{[#*-"


def _hangs_open(text: str) -> bool:
    """Tell whether reasoning was opened at the beginning of a line and not closed until the end."""
    plain = _masked(text)
    for opening, closing in _PAIRS:
        for found in opening.finditer(plain):
            alone = not plain[: found.start()].rpartition("\n")[2].strip()
            if alone and closing.search(plain, found.end()) is None:
                return True
    return False


def _harmony(text: str) -> Spoken | None:
    """Read the channels of gpt-oss (github.com/openai/harmony): the final one is the answer."""
    if bare := _BARE_HARMONY.match(text):
        return Spoken(bare[1].strip(), bare[2])
    begin = text.find("<|channel|>")
    if begin < 0 or text[:begin].replace("<|start|>assistant", "").strip():
        return None
    if final := _FINAL.search(text):
        return Spoken(text[: final.start()], _HARMONY_END.sub("", final[1]))
    if re.match(r"\s*commentary", text[begin + len("<|channel|>") :]):
        raise InvalidOutput("the endpoint passed a tool call of the model on as text")
    raise Truncated("the answer ends while the model is still reasoning")


@dataclass
class ReasoningFilter:
    """Takes the reasoning out of a text that comes in pieces.

    `inside` begins in the reasoning, for an endpoint that is known to send its closing tag only. What may become a tag
    is held back until it is told; `rest` returns it at the end.
    """

    inside: bool = False
    hidden: str = ""
    """The reasoning, as far as it has come."""
    _held: str = ""
    _closing: re.Pattern[str] | None = None
    _begun: bool = False

    def add(self, piece: str) -> str:
        """Take the next piece and return what of the answer is certain."""
        self._held += piece
        if self.inside or self._closing is not None:
            return self._leave()
        if self._begun:
            held, self._held = self._held, ""
            return held
        if (opened := _opened(self._held)) is not None:
            begin, self._closing = opened
            self._held = self._held[begin:]
            return self._leave()
        if _may_open(self._held):
            return ""
        self._begun = True
        held, self._held = self._held, ""
        return held.lstrip() if self.hidden else held

    def _leave(self) -> str:
        closings = [self._closing] if self._closing is not None else [closing for _, closing in _PAIRS]
        ends = [found for closing in closings if (found := closing.search(self._held))]
        if not ends:
            return ""
        end = min(ends, key=lambda found: found.start())
        self.hidden += self._held[: end.start()]
        answer = self._held[end.end() :].lstrip()
        self.inside, self._closing, self._held = False, None, answer
        # Another block may follow at once.
        return self.add("") if answer else ""

    @property
    def unfinished(self) -> bool:
        """Whether the reasoning that was opened has not ended."""
        return self._closing is not None

    def rest(self) -> str:
        """Return what was held back and is part of the answer; reasoning that never ended is none."""
        held, self._held = self._held, ""
        if self._closing is not None:
            self.hidden += held
            return ""
        return held


def _may_open(text: str) -> bool:
    """Tell whether more of the text could make an opening tag of its beginning."""
    start = text.lstrip()
    if not start:
        return True
    if len(start) >= LONGEST_TAG or "\n" in start:
        return False
    return any(tag.startswith(start.lower()) for tag in _OPENINGS)


_OPENINGS: Final = tuple(opening.replace("\\", "").lower() for opening, _ in REASONING_TAGS)


_closing_only: set[tuple[str, str]] = set()


def note_closing_only(key_id: str, model: str) -> None:
    """Remember that an endpoint's answers begin inside of the reasoning, with a closing tag only.

    That is what the templates of many reasoning models do: they open it at the end of the prompt (vllm#13125).
    """
    _closing_only.add((key_id, model))


def begins_inside(key_id: str, model: str) -> bool:
    """Tell whether answers of an endpoint were seen to begin inside of the reasoning."""
    return (key_id, model) in _closing_only


def forget_closing_only() -> None:
    """Forget what was learned; for tests."""
    _closing_only.clear()
