"""What the lines of a résumé are about."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from tasks.embedded.lexicon import folded

Section = Literal["work", "skills", "soft", "certificates", "education", "other"]

WORDS: Final = tomllib.loads(
    (Path(__file__).resolve().parent.parent / "data" / "resume_words.toml").read_text(encoding="utf-8")
)
_HEADINGS: Final[dict[str, Section]] = {
    " ".join(form.split()): section for section, forms in WORDS["headings"].items() for form in forms.split(",")
}
MONTHS: Final = {name.strip(): int(number) for number, names in WORDS["months"].items() for name in names.split(",")}
_LISTING: Final = re.compile(r"[,;|/\u2022\u00b7]")


def sections(text: str) -> Iterator[tuple[Section, str]]:
    """Yield each line that says something with the section that it stands in."""
    section: Section = "other"
    for line in filter(None, map(str.strip, text.splitlines())):
        before, colon, after = line.partition(":")
        named = (
            _HEADINGS.get(folded(before).strip(" -*#\u2022").replace("&", "and")) if colon and after.strip() else None
        )
        if found := heading_of(line):
            section = found
        elif named:
            # "Skills: Python, Go" says it in one line.
            yield named, after.strip()
        else:
            yield section, line


def heading_of(line: str) -> Section | None:
    """Return what a heading begins, None for a line that is no heading of the list."""
    plain = folded(line[:120]).strip(" :.-_=*#|\u2022").replace("&", "and")
    return _HEADINGS.get(" ".join(plain.split()))


def is_list(section: Section, line: str) -> bool:
    """Tell whether a line enumerates: there a single letter or an ordinary word may be a skill."""
    return section == "skills" or len(_LISTING.findall(line)) >= 2
