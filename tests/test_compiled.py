"""Where compiled code is kept."""

import os
from pathlib import Path

import pytest

from tokenlens import compiled


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A read-only package; returns the names of places that cannot be written."""
    locked = [str(Path(compiled.__file__).parent)]
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in locked)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return locked


def test_a_home_is_place_enough(places: list[str]) -> None:
    compiled.find_place()
    assert os.environ["NUMBA_CACHE_DIR"] == ""


@pytest.mark.parametrize("way", ["no home", "locked"])
def test_without_any_it_is_a_private_folder(
    places: list[str], way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    places.append(str(tmp_path / "numba"))
    if way == "no home":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compiled.find_place()
    place = Path(os.environ["NUMBA_CACHE_DIR"])
    assert place.is_dir() and place.stat().st_mode & 0o077 == 0
    place.rmdir()
