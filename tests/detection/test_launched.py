"""A detector under torch's launcher, as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tokenlens.detection.detect import Detection
from tokenlens.records.store import open_run
from tokenlens.records.writer import AHEAD

pytest.importorskip("pycocotools", reason="the extra detection is not installed")

# tokenlens, whose second rank is gone as soon as it has written something, for which the first waits after one chunk
KILLED = """
import os, pathlib, signal, sys, time
from tokenlens.cli import main
from tokenlens.records.shared_writer import SharedWriter
put, written = SharedWriter.put, pathlib.Path(__file__).with_name("written")
def gone(self, *given):
    put(self, *given)
    written.touch()
    os.kill(os.getpid(), signal.SIGKILL)
def waiting(self, *given):
    put(self, *given)
    while not written.exists():
        time.sleep(0.05)
SharedWriter.put = gone if os.environ["RANK"] == "1" else waiting
sys.exit(main())
"""


@pytest.mark.long
def test_two_ranks_of_which_one_was_killed_leave_what_one_process_ends(tmp_path: Path) -> None:
    """As `torchrun --nproc-per-node 2 $(which tokenlens) detect ...`; what was made before the end stays."""
    (tmp_path / "killed.py").write_text(KILLED)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += [str(tmp_path / "killed.py"), "detect", "--method", "tome", "--limit", "6", "--device", "cpu"]
    done = subprocess.run([*words, "--out", str(tmp_path / "two")], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "SIGKILL" in done.stderr, done.stderr
    begun = open_run(next((tmp_path / "two").glob("scenes*")), check=None).attrs
    # a slow first rank may have nothing yet, and the chunk of the second then lies ahead of it
    there = begun["written"] or begun.get(AHEAD)
    for out in ("two", "one"):
        list(Detection(("tome",), limit=6, device="cpu", out=tmp_path / out, progress=False).run())
    one, two = (open_run(next((tmp_path / out).glob("scenes*"))).load() for out in ("one", "two"))
    assert there and two.equals(one) and two.attrs["metrics"] == one.attrs["metrics"]
