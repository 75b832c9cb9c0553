"""Draws the rows of `benchmarks/chaos.py`: requests per step, and what became of the items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {"correct": "#2a9d8f", "told": "#e9c46a", "lost": "#9aa0a6", "wrong": "#d1495b"}
WAY_COLOURS = ("#9aa0a6", "#6d8ea0", "#b08968", "#2a9d8f")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG with two panels."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    ways = list(dict.fromkeys(row["way"] for row in rows))
    found = {(row["scenario"], row["way"]): row for row in rows}
    figure, (calls, ends) = plt.subplots(2, 1, figsize=(11, 8), constrained_layout=True)
    width = 0.8 / len(ways)
    for place, (way, colour) in enumerate(zip(ways, WAY_COLOURS, strict=False)):
        xs = [number + (place - (len(ways) - 1) / 2) * width for number in range(len(scenarios))]
        heights = [found[scenario, way]["per_step"] for scenario in scenarios]
        calls.bar(xs, heights, width, label=way, color=colour)
        for x, scenario in zip(xs, scenarios, strict=True):
            row, base = found[scenario, way], 0.0
            for name, shade in COLOURS.items():
                share = row[name] / row["items"]
                ends.bar(x, share, width * 0.92, bottom=base, color=shade, label=name)
                base += share
    calls.axhline(1.2, color="#444", linewidth=0.8, linestyle=":")
    calls.set_ylabel("requests per model step")
    calls.set_yscale("log")
    calls.set_yticks([0.1, 0.5, 1, 1.2, 2, 5, 9], ["0.1", "0.5", "1", "1.2", "2", "5", "9"])
    calls.legend(ncols=len(ways), fontsize=8, frameon=False)
    ends.set_ylabel("share of the items")
    handles, labels = ends.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    ends.legend(once.values(), once.keys(), ncols=4, fontsize=8, frameon=False, loc="lower left")
    ends.set_title("bars in the order of the upper legend", fontsize=8, loc="right")
    for axis in (calls, ends):
        axis.set_xticks(range(len(scenarios)), scenarios)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
