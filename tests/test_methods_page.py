"""The page of methods is written from the methods: it names all of ours, and says of each what it says of itself."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tokenlens.methods import methods

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_methods_page", DOCS / "methods.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_up_to_date(writer: ModuleType) -> None:
    """Else: python docs/methods.py."""
    assert (DOCS / "methods.md").read_text("utf-8") == writer.page()


def test_every_method_has_a_row_a_card_and_what_was_measured(writer: ModuleType) -> None:
    text = (DOCS / "methods.md").read_text("utf-8")
    for name, method in methods().items():
        if not method.reducer.__module__.startswith("tokenlens."):
            continue
        (row,) = re.findall(rf"^\| \[`{name}`\].*$", text, re.M)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == len(writer.COLUMNS)
        assert f'<a id="{name}"></a>' in text and method.card in text
        if "eld against" in writer.card(method) and "no code" not in writer.card(method):
            assert list(writer.codes(method)), "the card names the code that it was held against, and its licence"
