"""Old names of modules lead to the new ones for one release."""

import importlib
import subprocess
import sys
import warnings
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import pytest

import tokenlens
from tokenlens._moved import LEFT, MOVED


@pytest.fixture(autouse=True)
def as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has used an old name yet."""
    for old in MOVED:
        monkeypatch.delitem(sys.modules, f"tokenlens.{old}", raising=False)
        package, _, name = f"tokenlens.{old}".rpartition(".")
        if isinstance(vars(sys.modules.get(package, object)).get(name), ModuleType):
            monkeypatch.delattr(sys.modules[package], name)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_new_module_and_warns_once(old: str) -> None:
    if "." in old:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package may have moved as well
            importlib.import_module(f"tokenlens.{old}".rpartition(".")[0])
    with pytest.warns(DeprecationWarning) as told:
        found = importlib.import_module(f"tokenlens.{old}")
        again = importlib.import_module(f"tokenlens.{old}")
    new = f"tokenlens.{MOVED[old]}"
    assert [str(one.message) for one in told] == [
        f"tokenlens.{old} is {new} now; the old name goes with the next release"
    ]
    assert found is again is importlib.import_module(new)
    assert found.__name__ == new and found.__spec__ is not None and found.__spec__.name == new


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("from tokenlens.analysis import overlap, ranks", 2),
        ("from tokenlens.store import open_runs", 1),
        ("from tokenlens.figures import accuracy", 1),
        ("from tokenlens.methods.base import Reducer, register", 1),
        ("from tokenlens.vit import ReducedViT, reduce", 1),
        ("import tokenlens.extract; assert not hasattr(tokenlens.extract, '__path__'); tokenlens.extract.__call__", 1),
    ],
)
def test_old_lines_work_and_the_warning_points_at_them(line: str, count: int) -> None:
    with pytest.warns(DeprecationWarning) as told:
        exec(compile(line, "a script", "exec"), {})
    assert [one.filename for one in told] == ["a script"] * count


@pytest.mark.parametrize(("package", "name"), [(package, name) for package in LEFT for name in LEFT[package]])
def test_a_name_that_left_its_package_is_where_it_went(package: str, name: str) -> None:
    old, new = (importlib.import_module(f"tokenlens.{module}") for module in (package, LEFT[package][name]))
    with pytest.warns(DeprecationWarning, match=rf"tokenlens\.{package}\.{name} is {new.__name__}\.{name} now"):
        assert getattr(old, name) is getattr(new, name)
    assert not hasattr(old, "no_such_name")


def test_no_old_name_stands_for_a_file_that_there_is() -> None:
    for old in MOVED:
        package = Path(tokenlens.__file__).parent.joinpath(*old.split(".")[:-1])
        assert PathFinder.find_spec(f"tokenlens.{old}", [str(package)]) is None, old


def test_what_never_was_is_not_found_and_nothing_heavy_is_imported() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'tokenlens\.nowhere'"):
        importlib.import_module("tokenlens.nowhere")
    code = "import sys, tokenlens; assert not {'torch', 'numpy', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
