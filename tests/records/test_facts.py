"""What runs say of their methods, and what is read off those that do not say it."""

import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tokenlens.core.families import UNORDERED
from tokenlens.errors import BadInput
from tokenlens.records.facts import Facts, facts_of, say_which_are_gone


def run(family: str, kept: Any = None, left: Any = None, **attrs: Any) -> xr.Dataset:
    """A run of one stage, of kept patches (image, patch) and tokens left (image)."""
    held = {} if kept is None else {
        "kept": (("image", "stage", "patch"), np.array(kept, bool)[:, None]),
        "tokens_left": (("image", "stage"), np.array(left, np.int16)[:, None]),
    }  # fmt: skip
    return xr.Dataset(held, attrs={"run": "one", "family": family, "keep_rate": 0.5, **attrs})


def test_facts_are_what_the_run_says() -> None:
    said = {"keeps": True, "merges": False, "adaptive": True, "label": "Mine", "color": "#123456", "marker": "o",
            "order": 3, "follows_rate": False}  # fmt: skip
    assert facts_of(run("merging", **said)) == Facts(family="merging", **said)


@pytest.mark.parametrize(("family", "keeps", "merges"), [
    ("pruning", True, False), ("radial", True, False), ("random", True, False), ("merging", False, True),
    ("soft", False, True), ("none", False, False), ("of another package", False, False),
])  # fmt: skip
def test_a_family_says_what_its_patterns_are(family: str, keeps: bool, merges: bool) -> None:
    assert facts_of(run(family)) == Facts(
        family, keeps, merges, adaptive=False, order=UNORDERED, follows_rate=family != "none"
    )


def test_a_merger_keeps_its_centres_where_every_token_is_a_kept_patch() -> None:
    assert facts_of(run("merging", [[1, 0, 1, 0], [0, 1, 0, 1]], [2, 2])).keeps
    assert not facts_of(run("merging", [[1, 0, 1, 0], [0, 1, 0, 0]], [2, 2])).keeps
    assert not facts_of(run("merging", [[1, 1, 1, 1]] * 2, [4, 4])).keeps  # nothing has merged
    assert not facts_of(run("merging", np.zeros((0, 4)), [])).keeps
    growing = run("merging", [[1, 0, 1, 0], [0, 0, 0, 0]], [2, 0], written=1)
    assert facts_of(growing).keeps and not facts_of(growing).adaptive


def test_a_method_that_leaves_other_numbers_of_tokens_is_adaptive() -> None:
    kept = [[1, 0, 1, 0], [0, 1, 0, 0]]
    assert facts_of(run("pruning", kept, [2, 1])).adaptive
    assert not facts_of(run("pruning", kept, [2, 1])).follows_rate
    assert not facts_of(run("radial", options={"contiguous": True})).follows_rate
    assert not facts_of(run("radial", keep_rate=None)).follows_rate
    assert not facts_of(run("pruning", kept, [2, 2])).adaptive
    assert not facts_of(run("pruning", np.zeros((0, 4)), [])).adaptive


def test_a_run_without_a_family_is_refused() -> None:
    with pytest.raises(BadInput, match="run 'mine' does not say its family; write runs with `tokenlens extract`"):
        facts_of(xr.Dataset(attrs={"run": "mine"}))


def test_methods_of_packages_that_are_gone_are_said_once_and_nothing_is_imported(
    recwarn: pytest.WarningsRecorder,
) -> None:
    mine = {"method": "topk", "defined_in": "tokenlens.methods.topk.TopK"}
    unused = {"method": "cats", "defined_in": "this.Cats"}  # of the standard library; says so when imported
    say_which_are_gone([run("pruning", **mine), run("pruning", **unused), run("pruning")])
    assert not recwarn.list and "this" not in sys.modules
    others = [run("pruning", method=name, defined_in=f"vitcats.methods.{name}") for name in ("paw", "tail", "paw")]
    with pytest.warns(UserWarning, match="runs of paw, tail come from the package vitcats, which is not installed"):
        say_which_are_gone(others)
    assert facts_of(others[0]).keeps
