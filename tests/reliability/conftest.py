"""Commands in processes that are forked, killed at a chosen write, and looked at; all draws come from one seed."""

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
SEED = int(os.environ.get("TOKENLENS_CHAOS_SEED", random.SystemRandom().randrange(2**32)))
TRIALS = int(os.environ.get("TOKENLENS_CHAOS_TRIALS", 1))  # kills a command; damages are ten times as many
Spawn = Callable[..., tuple[int, str, int]]


def pytest_report_header() -> str:
    return f"chaos: TOKENLENS_CHAOS_SEED={SEED} TOKENLENS_CHAOS_TRIALS={TRIALS}"


@pytest.fixture(scope="session")
def trials() -> int:
    return TRIALS


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Draws of a test's own."""
    print(f"TOKENLENS_CHAOS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def spawn(tmp_path_factory: pytest.TempPathFactory) -> Spawn:
    """Type `tokenlens <words>` in a forked process, in a folder, and send it a signal.

    It comes at the n-th change that the process makes in the folder, or after some seconds (0: never). Gives the exit
    code (minus the signal that ended it), what it printed, and how many changes it made.
    """
    import tokenlens.analysis.compare_folder
    import tokenlens.detection.detect
    import tokenlens.extraction.jobs
    import tokenlens.figures.output.write
    import tokenlens.figures.report.write
    import tokenlens.synthesis.jobs
    import tokenlens.synthesis.nano
    import tokenlens.training.finetune
    import tokenlens.workflows.study.execute  # noqa: F401  what a fork need not import again
    from tokenlens.figures.catalogue import entries

    assert entries()  # imports every figure

    said, numbers = tmp_path_factory.mktemp("said"), itertools.count()

    def begun(words: tuple[object, ...], cwd: Path, at: int, number: int, log: Path) -> int:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.chdir(cwd)
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
                os.dup2(2, 1)
                sys.stdout = sys.stderr = open(2, "w", closefd=False, buffering=1)
                count_changes(cwd, at, number, log.with_suffix(".count"))
                sys.argv = ["tokenlens", *map(str, words)]
                code = run_main()
            finally:
                sys.stderr.flush()
                os._exit(code)
        return child

    def ended(
        *words: object, cwd: Path, at: int = 0, after: float = 0, number: int = signal.SIGKILL
    ) -> tuple[int, str, int]:
        log = said / f"{next(numbers)}.txt"
        child = begun(words, cwd, at, number, log)
        if after:
            time.sleep(after)
            os.kill(child, number)  # it has not been waited for, so its number is no other's
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        counted = log.with_suffix(".count")
        return code, log.read_text(errors="replace"), counted.stat().st_size if counted.exists() else 0

    return ended


def run_main() -> int:
    import warnings

    import tokenlens.cli

    try:
        with warnings.catch_warnings():  # as in a process of its own, and not as pytest has set them
            warnings.simplefilter("default")
            warnings.showwarning = lambda *told, **_: print(warnings.formatwarning(*told[:4]), file=sys.stderr)
            tokenlens.cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    return 0


def count_changes(folder: Path, at: int, number: int, counter: Path) -> None:
    """Watch this process change files below a folder: a byte for each goes to `counter`; a signal comes at the n-th."""
    mine, base, counted = os.getpid(), str(folder), os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    changed = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal changed
        if event == "open":
            mode, flags = args[1], args[2]
            changes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & 3)
        else:
            changes = event in CHANGES
        if not changes or os.getpid() != mine or not isinstance(args[0], str | bytes | os.PathLike):
            return
        if os.path.abspath(os.fsdecode(args[0])).startswith(base):  # noqa: PTH100
            changed += 1
            os.write(counted, b".")
            if changed == at:
                os.kill(mine, number)

    sys.addaudithook(hook)
