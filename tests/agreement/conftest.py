"""Where the published code's numbers are: TOKENLENS_GOLDEN, or ../shared/golden beside the project, or tests/golden."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def golden_folder() -> Path:
    """The folder in use; a named one must exist."""
    named = os.environ.get("TOKENLENS_GOLDEN")
    if named:
        folder = Path(named)
        if not folder.is_dir():
            raise FileNotFoundError(f"TOKENLENS_GOLDEN names {named}, which is no folder")
        return folder
    beside = ROOT.parent / "shared" / "golden"
    return beside if beside.is_dir() else ROOT / "tests" / "golden"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = golden_folder()
    if "golden_file" in metafunc.fixturenames:
        files = sorted(folder.glob("golden-*-r*.npz"))
        metafunc.parametrize("golden_file", files, ids=[file.stem.removeprefix("golden-") for file in files])
    if "checkpoint_folder" in metafunc.fixturenames:
        folders = sorted((folder / "checkpoints").glob("*-r*"))
        metafunc.parametrize("checkpoint_folder", folders, ids=[f.name for f in folders])


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden data in use."""
    return golden_folder()
