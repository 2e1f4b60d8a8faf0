"""The photographer's bias: it moves objects to the centre, is part of the set's name, and changes nothing else."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tokenlens.data import open_data
from tokenlens.data.embedded.open import SETS
from tokenlens.errors import BadInput

PLACED = [name for name, source in SETS.items() if source.objects]
MIDDLE = (14 - 1) / 2


def off_centre(mask: Any) -> float:
    """Distance of an object's middle to the picture's, in patches."""
    rows, columns = np.nonzero(mask)
    return float(np.hypot(rows.mean() - MIDDLE, columns.mean() - MIDDLE))


def spread(mask: Any) -> float:
    """Mean distance of the mask's patches to the centre, in patches."""
    return float(np.hypot(*(place - MIDDLE for place in np.nonzero(mask))).mean())


@pytest.mark.parametrize("name", PLACED)
def test_bias_brings_objects_to_the_centre(name: str) -> None:
    sets = [open_data(f"embedded:{name}@bias={bias}", limit=60) for bias in (0, 0.25, 0.5, 0.75, 1)]
    away = [np.mean([spread(data.mask(index)) for index in range(60)]) for data in sets]
    assert all(nearer < before - 0.05 for before, nearer in pairwise(away)), away
    assert away[-1] < 2.4, "patches"
    assert max(off_centre(sets[-1].mask(index)) for index in range(60)) < 2


@pytest.mark.parametrize("name", PLACED)
def test_bias_changes_nothing_but_places(name: str) -> None:
    one, other = open_data(f"embedded:{name}", limit=20), open_data(f"embedded:{name}@bias=1", limit=20)
    for index in range(20):
        assert np.array_equal(one.label(index), other.label(index))
        away = ~(np.asarray(one.mask(index)) | np.asarray(other.mask(index)))
        before, after = (np.asarray(data.image(index)).reshape(14, 8, 14, 8, 3) for data in (one, other))
        same = (before == after).all((1, 3, 4))
        assert same[away].mean() > 0.6, "the background is another"
    assert any((np.asarray(one.image(i)) != np.asarray(other.image(i))).any() for i in range(20))


def test_bias_is_part_of_the_name_and_of_the_ids() -> None:
    data = open_data("embedded:birds@bias=.50", "test", 3)
    assert data.name == "embedded:birds@bias=0.5" and data.ids[2] == "birds@bias=0.5/test/000002"
    assert open_data(data.name, "test", 3).ids == data.ids


def test_no_bias_is_the_set_itself() -> None:
    none, zero = open_data("embedded:scenes", limit=2), open_data("embedded:scenes@bias=0.0", limit=2)
    assert zero.name == none.name == "embedded:scenes" and list(zero.ids) == list(none.ids)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("embedded:shapes@bias=1.5", "goes from 0 .* to 1 .*, and '1.5' is not such a number; give, for instance"),
        ("embedded:birds@bias=-0.1", "embedded:birds goes from 0 .* '-0.1'"),
        ("embedded:scenes@bias=nan", "'nan' is not such a number"),
        ("embedded:scenes@bias=much", "'much' is not such a number"),
        ("embedded:scenes@bias", "'' is not such a number"),
        ("embedded:scenes@", "no setting of embedded sets called ''; known: bias"),
        ("embedded:shapes@bais=0.5", "no setting of embedded sets called 'bais'; did you mean bias"),
        ("embedded:tags@bias=0.5", "embedded:tags has no objects that a bias could move; leave out @bias=0.5"),
        ("embedded:nothing", "no embedded set called 'nothing'; known: birds, scenes, shapes, tags"),
        ("embedded:bird", "did you mean birds"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(spec: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        open_data(spec)


@pytest.mark.parametrize("name", SETS)
def test_an_unknown_split_names_the_nearest(name: str) -> None:
    with pytest.raises(BadInput, match=f"no split of {name} called 'vall'; did you mean val"):
        open_data(f"embedded:{name}", "vall")
