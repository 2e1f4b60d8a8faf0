"""A folder with runs and tables, and a way to type a command in it."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tokenlens.cli import main


class Ended(NamedTuple):
    """What became of a command: its exit code and what it said, on both outputs."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line that a refused command says; bars and warnings come before it."""
        assert self.code == 2, (self.code, self.out, self.err)
        (line,) = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        return line.removeprefix("Error: ")


Call = Callable[..., Ended]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Type a command, in this process; any exception but an exit goes through, as a traceback would."""

    def typed(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tokenlens", *map(str, words)])
        code = 0
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # said, as to a user
            try:
                main()
            except SystemExit as end:
                assert isinstance(end.code, int)
                code = end.code
        return Ended(code, *capsys.readouterr())

    return typed


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs in `runs` and tables of them in `results`; nobody may change it."""
    from tokenlens.analysis.compare_folder import compare_folder
    from tokenlens.extraction.jobs import Job

    folder = tmp_path_factory.mktemp("made")
    list(Job(methods=["topk", "tome"], limit=4, features="float32", out=folder / "runs", progress=False).run())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few images have no significant anything
        list(compare_folder(folder / "runs", folder / "results", metrics=["iou", "emd"], resamples=5))
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, but for links to `runs` and `results`."""
    for name in ("runs", "results"):
        (tmp_path / name).symlink_to(made / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
