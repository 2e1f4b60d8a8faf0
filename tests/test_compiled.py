"""Where compiled code is kept, and for how long."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from tokenlens import compiled
from tokenlens.clustering import machine_code


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


def test_it_is_kept_until_what_it_calls_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pull that changes one of two modules must not leave the machine code of the other as it was."""
    package = tmp_path / "two_modules"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "caller.py").write_text(
        "from tokenlens.clustering.machine_code import compiled\n"
        "from .called import answer\n"
        "@compiled()\ndef ask():\n    return answer()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for says in (1, 22):  # of two lengths: Python sees changes of a module by its size and its second
        (package / "called.py").write_text(
            f"from tokenlens.clustering.machine_code import compiled\n@compiled()\ndef answer():\n    return {says}\n"
        )
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("two_modules")]:
            del sys.modules[name]
        machine_code._sources.cache_clear()  # as in a process of its own
        assert importlib.import_module("two_modules.caller").ask() == says
