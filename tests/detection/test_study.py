"""What is written of the study of detection says the numbers of its tables."""

from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_is_lost() -> None:
    lines = (ROOT / "docs/detection.md").read_text().splitlines()
    for row in pd.read_csv(ROOT / "analysis/embedded/detection/losses.csv").to_dict("records"):
        if row["method"] == "none":
            continue
        (line,) = (line for line in lines if line.startswith(f"| {row['method']} at {row['keep_rate']:g} |"))
        parts = [f"{row['tokens left']:.0f}"]
        for name in ("lost all", "lost small", "lost large", "lost small - large"):
            parts.append(f"{row[name]:.1f} [{row[f'{name} low']:.1f}, {row[f'{name} high']:.1f}]")
        assert line.split(" | ", 1)[1] == " | ".join(parts) + " |"
