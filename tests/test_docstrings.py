"""Every public name has an example in its docstring, and it runs as it stands."""

import doctest
import warnings
from typing import Any

import pytest

import tokenlens
import tokenlens.data
from tokenlens.analysis.compare import Comparison
from tokenlens.analysis.metrics.base import METRICS, metric
from tokenlens.core.host import HOSTS, host
from tokenlens.data import DATA_SETS
from tokenlens.figures.catalogue import FIGURES, figure
from tokenlens.methods.registry import METHODS
from tokenlens.records.patterns import Patterns

PUBLIC = {name: getattr(tokenlens, name) for name in tokenlens.__all__ if name != "__version__"} | {
    "Comparison": Comparison, "Patterns": Patterns, "data.register": tokenlens.data.register, "figure": figure,
    "host": host, "metric": metric,
}  # fmt: skip


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is gone after it."""
    for one in (METHODS, METRICS, FIGURES, DATA_SETS, HOSTS):
        assert len(one)  # complete, before it is copied
        for part in ("_things", "_origin"):
            monkeypatch.setattr(one, part, dict(getattr(one, part)))


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example_that_runs(name: str) -> None:
    thing: Any = PUBLIC[name]
    globs = dict(vars(__import__(thing.__module__, fromlist=["_"])))
    (found,) = doctest.DocTestFinder(recurse=False).find(thing, name, globs=globs)
    assert found.examples, f"{name} has no example"
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few images have no significant anything
        ended = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found, out=said.append)
    assert not ended.failed, "".join(said)
