"""Asking once more: an answer that came whole and did not fit is asked for again, with what was wrong with it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from nodes.call import prompts
from nodes.call.wish import Wish
from nodes.errors import CallError, InvalidOutput

TIME_SHARE: Final = 0.5
"""Part of the time of an attempt after which nothing is asked again: the second answer takes as long as the first."""


def wish_again(wish: Wish, why: InvalidOutput) -> Wish:
    """Return the wish with the last complaint at its end.

    Only the complaint, not the answer: what grows with each round (instructor's history of answers does) costs most
    where answers are worst.
    """
    told = f"Your answer was not accepted: {why}\nAnswer again and avoid this."
    return replace(wish, messages=tuple(prompts.append(wish.messages, told)), again=True)


class Unfit(InvalidOutput):
    """An answer that came whole and did not fit."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said
        """The answer; never part of a message."""


def worth_asking(unfit: Unfit, began: float, limit_s: float) -> bool:
    """Tell whether an answer that did not fit is worth a second request: it said something, and there is time left."""
    return bool(unfit.said.strip()) and time.monotonic() - began < TIME_SHARE * limit_s


def both(first: InvalidOutput, second: CallError) -> InvalidOutput:
    """Return one error that tells what was wrong both times; of a second request that failed otherwise, the first."""
    if isinstance(second, InvalidOutput):
        return InvalidOutput(f"{first}; asked again: {second}")
    return first
