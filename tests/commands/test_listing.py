"""Registries are listed in one shape, which fits a terminal, and as JSON."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tokenlens.analysis.metrics.base import METRICS
from tokenlens.cli import tokenlens
from tokenlens.commands.metrics import page
from tokenlens.core.host import HOSTS
from tokenlens.data import DATA_SETS
from tokenlens.errors import UnknownName
from tokenlens.figures.catalogue import FIGURES
from tokenlens.methods.registry import METHODS
from tokenlens.synthesis.tome_sd import TOME_SD

LISTS: dict[str, Mapping[str, Any]] = {
    "methods": {**METHODS, TOME_SD.name: TOME_SD}, "metrics": METRICS, "data": DATA_SETS, "hosts": HOSTS,
    "figures --list": FIGURES,
}  # fmt: skip


def said(*words: str) -> str:
    return CliRunner().invoke(tokenlens, list(words), catch_exceptions=False).output


@pytest.mark.parametrize("command", LISTS)
def test_a_list_has_every_name_in_order_and_fits(command: str) -> None:
    lines = said(*command.split()).splitlines()
    assert max(map(len, lines), default=0) <= 80
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(LISTS[command])


@pytest.mark.parametrize("command", LISTS)
def test_json_and_names_say_more(command: str) -> None:
    rows = json.loads(said(*command.split(), "--json"))
    assert [row["name"] for row in rows] == list(LISTS[command])
    assert all(row["family"] and row["what it is"] for row in rows)
    if not rows:
        pytest.skip("nothing is registered")
    names = list(LISTS[command])[:2]
    told = said(*command.split(), ",".join(names))
    assert [line.split()[1] for line in told.splitlines() if line.startswith("name ")] == names
    assert max(map(len, told.splitlines()), default=0) <= 80
    with pytest.raises(UnknownName, match="nosuch"):
        said(*command.split(), "nosuch")


def test_a_method_says_what_it_needs_and_its_options() -> None:
    told = said("methods", "kmedoids")
    assert "equal_weight=False, iterations=3" in told and "arXiv:2110.03860" in told


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "tokenlens", "data", "--json"], capture_output=True, text=True)
    assert done.returncode == 0 and [row["name"] for row in json.loads(done.stdout)] == list(DATA_SETS)


def test_the_page_of_the_metrics_is_that_of_the_registry() -> None:
    written = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert written == page(), "python -m tokenlens.commands.metrics > docs/metrics.md"
