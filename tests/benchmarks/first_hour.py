"""From an empty environment to the contact sheet and the report of ten photographs, without what the network takes.

    python tests/benchmarks/first_hour.py [--out FOLDER]

installs tokenlens with the extra `photographs` into an environment of its own, once to have the packages here and once
more, offline, which counts; then `tokenlens demo --photographs` there, with the threads that torch takes. It prints
seconds of both; the last line is JSON with the share that they take of the five minutes that they may.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAY = 300.0  # seconds


def installed(place: Path, *options: str) -> Path:
    """Install into a new environment; its folder of programs."""
    shutil.rmtree(place, ignore_errors=True)
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run(["uv", "venv", "-q", str(place)], check=True)
    install = ["uv", "pip", "install", "-q", "--python", str(programs / "python"), *options]
    subprocess.run([*install, f"{ROOT}[photographs]"], check=True)
    return programs


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, help="where the demo writes; by default nowhere that stays")
    out = options.parse_args().out
    with tempfile.TemporaryDirectory() as work:
        place, out = Path(work) / "environment", out or Path(work) / "demo"
        installed(place)
        began = time.perf_counter()
        programs = installed(place, "--offline")
        between = time.perf_counter()
        subprocess.run([str(programs / "tokenlens"), "demo", "--photographs", "--out", str(out)], check=True)
        ended = time.perf_counter()
        (sheet,) = (out / "figures").glob("contact-sheet-*.png")
    took = {"install": between - began, "demo": ended - between}
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; the sheet is {sheet.name}")
    for step, seconds in took.items():
        print(f"{step:10}{seconds:8.1f} s")
    print(json.dumps({f"{step} of {MAY:g} s": round(seconds / MAY, 3) for step, seconds in took.items()}))


if __name__ == "__main__":
    main()
