"""How well the gates of the content pipeline tell bad summaries from good ones: `python benchmarks/content_gates.py`.

On the corpora of the tests, and on bad summaries that are planted anew: the same kinds with other numbers, names, words
and orders. Articles, summaries and gates are by one author, so read the figures as those of a regression test.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from graphs.content import CHECKS  # noqa: E402 - the path comes first

PEOPLE = ("Gordon Whitlock", "Sylvia Marchetti", "Anders Holmqvist", "the Rosewood Trust", "Isabel Quintana")
FRESH = 10
"""Bad summaries of each kind that are planted anew in each article."""


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROOT / path).read_text().splitlines()]


def violations(text: str, article: dict[str, Any]) -> list[str]:
    source = f"{article['title']}\n{article['text']}"
    return [check.name for check in CHECKS if check.run(text, source) is not None]


def plants(good: str, dice: random.Random) -> dict[str, str]:
    """Return a good summary spoiled in several ways."""
    words = good.split()
    spoiled = {
        "invented name": f"{good.rstrip('.')}, as {dice.choice(PEOPLE)} announced.",
        "loop": " ".join([" ".join(words[: dice.randint(5, 9)])] * dice.randint(6, 12)) + ".",
        "keyboard mash": " ".join("".join(dice.choices("qwzxjvkplmrt", k=dice.randint(4, 9))) for _ in words) + ".",
        "empty": dice.choice(["", " ", "\n"]),
        "cut off": " ".join(words[: dice.randint(6, max(7, len(words) * 2 // 3))]).rstrip(".,;") + ",",
    }
    if numbers := re.findall(r"\b\d[\d.,]*\d\b", good):
        number = dice.choice(numbers)
        spoiled["invented number"] = good.replace(
            number, str(int(re.sub(r"\D", "", number)) * 3 + dice.randint(5, 90)), 1
        )
    return spoiled


def main() -> None:
    articles = {row["id"]: row for row in rows("examples/articles.jsonl")}
    good, bad = rows("tests/data/good_summaries.jsonl"), rows("tests/data/bad_summaries.jsonl")
    missed = Counter(row["kind"] for row in bad if not violations(row["text"], articles[row["article"]]))
    stopped = Counter(row["kind"] for row in good if violations(row["text"], articles[row["article"]]))
    dice, tried, caught = random.Random(20261123), Counter[str](), Counter[str]()
    for row in good:
        for _ in range(FRESH):
            for kind, text in plants(row["text"], dice).items():
                tried[kind] += 1
                caught[kind] += bool(violations(text, articles[row["article"]]))
    report = {
        "bad": len(bad), "missed": dict(missed), "good": len(good), "stopped": dict(stopped),
        "planted anew, share caught": {kind: round(caught[kind] / tried[kind], 4) for kind in sorted(tried)},
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    (ROOT / "benchmarks" / "results" / "content_gates.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
