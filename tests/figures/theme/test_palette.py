"""How methods look: told apart in colour, by the colour-blind, and in grey; in one order."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tokenlens.figures.theme.palette import (
    LOOKS,
    METRICS,
    ORDER,
    among,
    by_size,
    color,
    in_order,
    label,
    linestyle,
    marker,
    place,
    rate_color,
)

# Machado, Oliveira and Fernandes, 2009, severity 1.0, on linear RGB
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "none": np.eye(3),
}
LUMA = np.array([0.2126, 0.7152, 0.0722])


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB under D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    f = np.cbrt((xyz / [0.9505, 1.0, 1.089]).clip(0.0089))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", BLIND)
def test_methods_are_told_apart_by_every_eye(eye: str) -> None:
    seen = {name: lab(np.array(BLIND[eye]) @ linear(color(name))) for name in ORDER}
    for a, b in combinations(ORDER, 2):
        other_line = linestyle(a) != linestyle(b)
        assert np.linalg.norm(seen[a] - seen[b]) > (5 if other_line else 7), (a, b)


def test_no_two_methods_share_a_marker_or_a_colour() -> None:
    assert len({marker(name) for name in ORDER}) == len({color(name) for name in ORDER}) == len(ORDER)


def test_methods_of_a_family_are_told_apart_in_grey() -> None:
    for family in {look.family for look in LOOKS.values()}:
        members = [name for name in ORDER if LOOKS[name].family == family and not name.startswith("atc")]
        grey = [float(lab(linear(color(name)))[0]) for name in members]
        assert min(np.diff(grey), default=9) > 8, family


def test_methods_that_come_with_the_package_are_known() -> None:
    methods = pytest.importorskip("tokenlens.methods").methods()
    ours = {name for name, method in methods.items() if method.reducer.__module__.startswith("tokenlens.")}
    assert ours == set(ORDER)
    assert {name: LOOKS[name].family for name in ours} == {name: methods[name].reducer.family for name in ours}


def test_every_metric_has_a_name() -> None:
    metrics = pytest.importorskip("tokenlens.analysis.compare").METRICS
    assert set(METRICS) == set(metrics)


def test_the_order_is_that_of_the_studies_with_strangers_last() -> None:
    names = ["zzz", "random", "aaa", "atc-ward", "atc", "tome", "evit", "topk", "none", "topk"]
    assert in_order(names) == ["none", "topk", "evit", "tome", "atc", "atc-ward", "random", "aaa", "zzz"]
    assert by_size(["base", "tiny", "mine", "small", "nano"]) == ["nano", "tiny", "small", "base", "mine"]


def test_a_stranger_keeps_its_look_and_a_variant_has_its_methods() -> None:
    assert color("mine") == color("mine") and color("mine") not in {color(name) for name in ORDER}
    assert marker("mine") not in {marker(name) for name in ORDER} and label("mine") == "mine"
    assert (color("topk-mean"), marker("topk-mean")) == (color("topk"), marker("topk"))


def test_rates_go_from_dark_to_light() -> None:
    light = [float(np.dot(LUMA, linear(rate_color(rate)))) for rate in (0.25, 0.5, 0.7, 0.9)]
    assert light == sorted(light) and min(np.diff(light)) > 0.05


def test_data_sets_go_by_a_short_name() -> None:
    assert [place(name) for name in ("embedded:shapes", "folder:/a/b", "imagenet", "folder:/")] == [
        "shapes", "b", "imagenet", "folder:/",
    ]  # fmt: skip


def test_among_others_no_two_methods_look_the_same() -> None:
    names = ["topk", "topk-mean", "topk-noise", "tome", *(f"mine-{i}" for i in range(8))]
    with among(names):
        looks = {(color(name), str(marker(name))) for name in names}
        assert len(looks) == len(names) and color("topk-mean") == color("topk") != color("mine-0")
        assert linestyle("topk-mean") == linestyle("topk") and marker("tome") == LOOKS["tome"].marker
        assert not {str(marker(name)) for name in names if name not in LOOKS} & {marker(name) for name in ORDER}
        before = marker("mine-3")
    with among(reversed(names)):
        assert marker("mine-3") == before
    assert marker("topk-mean") == marker("topk")
