"""Distances between sets of pictures, held against clean-fid, and at their limits."""

import warnings

import numpy as np
import pytest

from tokenlens.errors import BadInput
from tokenlens.synthesis.quality import frechet_distance, precision_recall


@pytest.mark.parametrize(("n", "m", "channels"), [(300, 200, 8), (50, 80, 16), (20, 30, 40)])
def test_the_formula_is_clean_fids(n: int, m: int, channels: int) -> None:
    cleanfid = pytest.importorskip("cleanfid.fid", reason="clean-fid is not installed")
    rng = np.random.default_rng(0)
    turn = rng.normal(size=(channels, channels))
    real, drawn = rng.normal(size=(n, channels)), rng.normal(size=(m, channels)) @ turn + 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of an argument that it gives SciPy
        theirs = cleanfid.frechet_distance(
            real.mean(0), np.cov(real, rowvar=False), drawn.mean(0), np.cov(drawn, rowvar=False)
        )
    assert frechet_distance(real, drawn) == pytest.approx(theirs, rel=1e-4)


def test_a_set_is_no_distance_from_itself_and_a_shift_its_square() -> None:
    real = np.random.default_rng(1).normal(size=(100, 5))
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(real, real + np.eye(5)[0] * 2) == pytest.approx(4)
    assert frechet_distance(real, 3 * real) == pytest.approx(frechet_distance(3 * real, real))


def test_precision_and_recall_tell_what_is_missing_from_what_is_wrong() -> None:
    rng = np.random.default_rng(2)
    real = np.concatenate([rng.normal(size=(100, 4)), rng.normal(size=(100, 4)) + 50])
    assert precision_recall(real, real) == (1.0, 1.0)
    precision, recall = precision_recall(real, rng.normal(size=(200, 4)))  # one of two kinds is drawn
    assert precision > 0.8 and 0.3 < recall <= 0.5
    precision, recall = precision_recall(real, np.concatenate([real, rng.normal(size=(200, 4)) - 50]))
    assert precision == pytest.approx(0.5, abs=0.05) and recall == 1


@pytest.mark.parametrize(
    ("real", "drawn", "sentence"),
    [
        (np.ones((1, 3)), np.ones((5, 3)), "two pictures or more"),
        (np.ones((5, 3)), np.ones((5, 4)), "3 and 4 channels"),
        (np.ones((5, 3)), np.full((5, 3), np.nan), "NaN or infinite"),
    ],
)
def test_what_has_no_distance_is_refused(real: np.ndarray, drawn: np.ndarray, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        frechet_distance(real, drawn)
