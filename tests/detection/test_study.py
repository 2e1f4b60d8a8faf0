"""What is written of the study of detection says the numbers of its tables."""

from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_is_lost() -> None:
    """All of it: six methods at three rates."""
    lines = (ROOT / "docs/detection.md").read_text().splitlines()
    table = pd.read_csv(ROOT / "analysis/embedded/detection/losses.csv").query("method != 'none'")
    assert len(table) == 18 == sum(" at 0." in line for line in lines if line.startswith("| "))
    for row in table.to_dict("records"):
        (line,) = (line for line in lines if line.startswith(f"| {row['method']} at {row['keep_rate']:g} |"))
        parts = [f"{row['tokens left']:.0f}"]
        for name in ("lost all", "lost small", "lost large", "lost small - large"):
            value, low, high = (f"{round(row[f'{name}{end}'], 1) + 0:.1f}" for end in ("", " low", " high"))
            parts.append(f"{value} [{low}, {high}]")
        assert line.split(" | ", 1)[1] == " | ".join(parts) + " |"
