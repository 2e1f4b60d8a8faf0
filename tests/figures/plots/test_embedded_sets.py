"""The preview of the embedded sets: what is drawn is what the sets hold."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tokenlens.data.embedded.open import SETS, open_embedded
from tokenlens.figures.plots import embedded_sets
from tokenlens.figures.plots.embedded_sets import EACH, STEP, ZOOM


def strips(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes]


def test_each_set_is_a_row_of_its_pictures() -> None:
    figure = Figure()
    assert embedded_sets.draw(figure=figure, first=3) is figure
    assert [ax.get_ylabel() for ax in figure.axes] == list(SETS)
    for name, strip in zip(SETS, strips(figure), strict=True):
        wide = strip.shape[1] // (2 * EACH)
        for place in (0, 1):
            data = open_embedded(name)
            cell = strip[:, place * wide :][::ZOOM, : 112 * ZOOM : ZOOM]
            same = (cell == np.asarray(data.image(3 + STEP * place))).all(-1)
            assert same.mean() > 0.85, "all but the line around the object"


def test_the_line_surrounds_the_mask() -> None:
    figure = Figure()
    embedded_sets.draw(figure=figure, first=0)
    data = open_embedded("shapes")
    cell, mask = strips(figure)[0][:, : 112 * ZOOM], data.mask(0)
    assert mask is not None
    row = int(np.flatnonzero(mask.any(1))[0])
    top = cell[row * 8 * ZOOM, np.flatnonzero(mask[row])[0] * 8 * ZOOM]
    assert (top == 255).all()
    plain = np.asarray(data.image(0)).repeat(ZOOM, 0).repeat(ZOOM, 1)
    changed = (cell != plain).any(-1).reshape(14, 8 * ZOOM, 14, 8 * ZOOM).any((1, 3))
    assert not changed[~mask].any() and changed[mask].mean() > 0.3


def test_numbers_say_what_the_sets_are() -> None:
    table = embedded_sets.numbers().set_index("dataset")
    assert table["classes"].to_dict() == {
        "embedded:shapes": 10, "embedded:birds": 20, "embedded:scenes": 10, "embedded:tags": 16,
    }  # fmt: skip
    assert 0.05 < table.loc["embedded:birds", "on_object"] < 0.3 and np.isnan(table.loc["embedded:tags", "on_object"])
