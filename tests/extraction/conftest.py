"""What the tests of extraction share: calling the command line, and processes that can be killed."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

import tokenlens.cli
from tokenlens.extraction.jobs import Job

# run in a fresh process that has imported everything already; `before` may break something there
CHILD = """
import os, signal, sys, torch
errors = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(errors, 2)
os.dup2(os.open(stderr + ".out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
torch.set_num_threads(1)
import tokenlens.records.writer
tokenlens.records.writer.CHUNK = 8
exec(before)
sys.argv = ["tokenlens", *words]
import tokenlens.cli
tokenlens.cli.main()
"""


@dataclass
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    error: str

    @property
    def sentence(self) -> str:
        """The one line of a refusal, after `Error: `; anything else fails."""
        assert self.code == 2, self
        *above, last = [line for line in self.error.replace("\r", "\n").split("\n") if line.strip()]
        assert all("img/s" in line or "s/img" in line for line in above), self.error  # nothing but the progress bar
        assert last.startswith("Error: ") and "Traceback" not in self.error
        return last.removeprefix("Error: ")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models gain nothing from more, and lose much where the cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Call = Callable[..., Said]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Type `tokenlens <words>` in this process."""

    def typed(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["tokenlens", *map(str, words)])
        code = 0
        try:
            tokenlens.cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return typed


Start = Callable[..., Any]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start `tokenlens <words>` in a process of its own; its stderr goes to a file, `process.said`."""
    context: Any = multiprocessing.get_context("forkserver")  # it forks from a process that only imported
    context.set_forkserver_preload(["tokenlens.extraction.jobs", "tokenlens.data.embedded.open"])
    started: list[Any] = []
    folder = tmp_path_factory.mktemp("said")

    def begin(*words: object, before: str = "") -> Any:
        said = folder / f"stderr-{len(started)}"
        names = {"words": [str(word) for word in words], "before": before, "stderr": str(said)}
        process = context.Process(target=exec, args=(CHILD, names))
        process.start()
        process.said = said
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join(30)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every array of a run, decoded."""
    group = zarr.open_group(folder, mode="r", use_consolidated=False)
    return {name: np.asarray(array[...]) for name, array in group.arrays()}  # type: ignore[index]


def attributes(folder: Path) -> dict[str, Any]:
    """The attributes of a run, without the versions of what made it."""
    found = zarr.open_group(folder, mode="r", use_consolidated=False).attrs.asdict()
    return {name: value for name, value in found.items() if name not in ("versions", "digest")}


def assert_same(one: Path, other: Path) -> None:
    """Two runs are the same to the last bit."""
    assert attributes(one) == attributes(other)
    left, right = arrays(one), arrays(other)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype and left[name].shape == right[name].shape, name
        assert np.array_equal(left[name], right[name]), f"{name} differs"


SameRun = Callable[[Path, Path], None]


@pytest.fixture
def same_run() -> SameRun:
    """Asserts that two runs are the same to the last bit."""
    return assert_same


@pytest.fixture
def memory() -> Iterator[str]:
    """A place on a store in memory, which is empty."""
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    yield "memory://bucket"
    MemoryFileSystem.store.clear()


Photos = Callable[..., Path]


@pytest.fixture
def photos() -> Photos:
    """Makes a folder of small noisy images."""

    def made(folder: Path, count: int = 4, size: tuple[int, int] = (40, 30)) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(folder / f"{index}.png")
        return folder

    return made


RunJob = Callable[..., list[Path]]


@pytest.fixture
def run_job() -> RunJob:
    """Does a small job without a bar; returns the folders of its runs."""

    def done(out: Path, **settings: Any) -> list[Path]:
        settings = {"limit": 6, "batch_size": 4, "out": out, "progress": False, **settings}
        return [result.folder for _, result in Job(**settings).results()]

    return done
