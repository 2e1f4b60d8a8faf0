"""A changed method makes other runs; a comment does not."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tokenlens.core.reducer import Reducer
from tokenlens.methods import methods
from tokenlens.methods.digest import digest_of

SOURCE = '''"""Every: keep the first.

No paper.
"""

import torch

from tokenlens import Plan, Reducer, View, select

FIRST = 0


class Every(Reducer):
    """Keep the first."""

    def forward(self, view: View) -> Plan:
        # from the first on
        index = torch.arange(FIRST, FIRST + view.keep)  # as asked
        return select(view, index.expand(len(view.x), -1))
'''


def load(folder: Path, name: str, source: str) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("# from the first on", "# from the very first on: ü", True),
        ('"""Keep the first."""', '"""Keep those\n\n    that come first.\n    """', True),
        ("  # as asked", "", True),
        ("FIRST = 0\n", "\n\nFIRST = 0\n", True),
        ("FIRST = 0", "FIRST = 1", False),
        ("view.keep)", "view.keep )", False),  # told by its letters, which are the same under every Python
        ("len(view.x)", "view.x.shape[0]", False),
    ],
)
def test_only_code_counts(before: str, after: str, same: bool, tmp_path: Path) -> None:
    assert before in SOURCE
    one = digest_of(load(tmp_path, "every_one", SOURCE).Every)
    other = digest_of(load(tmp_path, "every_other", SOURCE.replace(before, after)).Every)
    assert (one == other) == same and len(one) == 16


def test_what_a_class_inherits_counts(tmp_path: Path) -> None:
    digests = set()
    for i in range(2):
        base: type[Reducer] = load(tmp_path, f"base_{i}", SOURCE.replace("FIRST = 0", f"FIRST = {i}")).Every
        digests.add(digest_of(type("Heir", (base,), {"__module__": "nowhere"})))
    assert len(digests) == 2


def test_without_source_what_was_compiled_counts() -> None:
    made = []
    for value in (1, 2, 1):
        names: dict[str, object] = {"__name__": "nowhere", "Reducer": Reducer}
        exec(f"class Typed(Reducer):\n    def forward(self, view):\n        return {value}\n", names)
        made.append(digest_of(names["Typed"]))  # type: ignore[arg-type]
    assert made[0] == made[2] != made[1]


def test_every_method_has_one_of_its_own_file() -> None:
    by_file = {m.reducer.__module__: m.digest for m in methods().values()}
    assert len(set(by_file.values())) == len(by_file)
