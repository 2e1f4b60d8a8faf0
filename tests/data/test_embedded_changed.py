"""Pictures of an embedded set, changed: the same pictures, by the same ids, with grain, in a mirror, or cropped."""

import numpy as np
import pytest

from tokenlens.analysis.pairing import shown
from tokenlens.data import open_data
from tokenlens.errors import BadInput, UnknownName


def test_grain_is_as_strong_as_it_says_and_the_same_each_time() -> None:
    plain, noisy = (open_data(f"embedded:shapes{setting}", limit=4) for setting in ("", "@noise=0.05"))
    assert noisy.name == "embedded:shapes@noise=0.05" and list(noisy.ids) == list(plain.ids)
    pixels = [np.asarray(data.image(2), dtype=float) for data in (plain, noisy, noisy)]
    inside = (pixels[0] > 60) & (pixels[0] < 195)  # where nothing is cut off
    assert (pixels[1] - pixels[0])[inside].std() == pytest.approx(255 * 0.05, rel=0.05)
    assert (pixels[1] == pixels[2]).all() and noisy.label(2) == plain.label(2)
    assert (noisy.mask(2) == plain.mask(2)).all()


def test_a_mirror_turns_pictures_and_masks() -> None:
    plain, turned = (open_data(f"embedded:scenes{setting}", limit=3) for setting in ("", "@mirror=1"))
    assert list(turned.ids) == list(plain.ids)
    assert (np.asarray(turned.image(1)) == np.asarray(plain.image(1))[:, ::-1]).all()
    assert (turned.mask(1) == plain.mask(1)[:, ::-1]).all()
    assert (turned.instances(1)[1] == plain.instances(1)[1][..., ::-1]).all()


def test_a_crop_enlarges_the_middle_of_pictures_and_masks() -> None:
    plain, middle = (open_data(f"embedded:scenes{setting}", limit=3) for setting in ("", "@crop=0.5"))
    assert middle.name == "embedded:scenes@crop=0.5" and list(middle.ids) == list(plain.ids)
    cut = plain.image(1).crop((28, 28, 84, 84)).resize((112, 112), 3)
    apart = np.abs(np.asarray(cut, dtype=int) - np.asarray(middle.image(1), dtype=int))[6:-6, 6:-6]  # beyond the rim
    assert apart.max() == 0 and middle.image(1).size == (112, 112)
    places = shown(middle.name, 14, 14)
    assert (middle.mask(1).ravel() == plain.mask(1).ravel()[places]).all()
    (classes, masks), (all_classes, whole) = middle.instances(1), plain.instances(1)
    assert masks.shape[1:] == (112, 112) and masks.any((1, 2)).all() and len(classes) == len(masks)
    assert classes == [c for c, mask in zip(all_classes, whole, strict=True) if mask[28:84, 28:84].any()]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match=r"crop of embedded:shapes goes from 0 .* to 0.75"):
        open_data("embedded:shapes@crop=0.8")
    with pytest.raises(BadInput, match="from 0 \\(as drawn\\) to 1 \\(in a mirror\\)"):
        open_data("embedded:shapes@mirror=0.5")
    with pytest.raises(UnknownName, match="noise"):
        open_data("embedded:shapes@noize=0.5")
