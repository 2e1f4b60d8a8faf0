"""A whole study, from the file to the report: done at one go, and killed again and again. Minutes; `pytest -m long`."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tokenlens.records.tables import COLUMNS, exists, read

TINY = Path(__file__).with_name("tiny.yaml")
TABLES = ("comparison", "runs", "heatmap", "proxy", "findings", "truth")
PROGRAM = "from tokenlens.cli import main; main()"


def begin(out: Path) -> subprocess.Popen[bytes]:
    words = ["study", str(TINY), "--out", str(out), "--jobs", "2"]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stderr=subprocess.DEVNULL)


def tables(out: Path) -> dict[str, pd.DataFrame]:
    assert set(TABLES) <= set(COLUMNS)
    return {name: read(out / "results", name) for name in TABLES if exists(out / "results", name)}


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_killed_five_times_at_random_it_gives_the_same_tables(tmp_path: Path) -> None:
    with begin(tmp_path / "whole") as whole:
        assert whole.wait() == 0
    draw = random.Random(0)
    for _ in range(5):
        with begin(tmp_path / "killed") as process:
            try:
                process.wait(draw.uniform(10, 40))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        time.sleep(1)
    with begin(tmp_path / "killed") as process:
        assert process.wait() == 0
    one, other = tables(tmp_path / "whole"), tables(tmp_path / "killed")
    assert set(one) == set(other) == set(TABLES)
    for name, frame in one.items():
        pd.testing.assert_frame_equal(frame, other[name], check_exact=True)
    runs = one["runs"]
    assert len(runs) == 8 and runs["complete"].all()
    for out in ("whole", "killed"):
        assert (tmp_path / out / "report.html").stat().st_size > 100_000
        assert (tmp_path / out / "figures" / "accuracy.pdf").exists()
