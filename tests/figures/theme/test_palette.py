"""How methods look: told apart in colour, by the colour-blind, and in grey; in one order."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tokenlens.core.families import UNORDERED
from tokenlens.figures.theme.looks import FAMILIES, Look, looks
from tokenlens.figures.theme.palette import (
    among,
    by_size,
    color,
    few,
    in_order,
    label,
    linestyle,
    marker,
    metric_label,
    place,
    rate_color,
)
from tokenlens.methods import methods

# those that give a look: the study's, which are drawn together
FACTS = {name: one.facts() for name, one in methods().items() if one.facts()["color"]}
OURS = looks({"method": name, **facts} for name, facts in FACTS.items())
pytestmark = pytest.mark.usefixtures("among_methods")

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
    seen = {name: lab(np.array(BLIND[eye]) @ linear(color(name))) for name in OURS}
    for a, b in combinations(OURS, 2):
        other_line = linestyle(a) != linestyle(b)
        assert np.linalg.norm(seen[a] - seen[b]) > (5 if other_line else 7), (a, b)


def test_no_two_methods_share_a_marker_or_a_colour() -> None:
    assert len({marker(name) for name in OURS}) == len({color(name) for name in OURS}) == len(OURS)


def grey(colour: str) -> float:
    return float(lab(linear(colour))[0])


def test_methods_of_a_family_are_told_apart_in_grey() -> None:
    for family in FAMILIES:
        members = [look for name, look in OURS.items() if look.family == family and not name.startswith("atc")]
        assert members and min(np.diff([grey(look.color) for look in members]), default=9) > 8, family


def test_a_method_looks_as_its_facts_say() -> None:
    for name, facts in FACTS.items():
        assert OURS[name] == Look(**{key: facts[key] for key in ("label", "color", "marker", "family", "order")})
        assert (label(name), color(name), marker(name)) == (facts["label"], facts["color"], facts["marker"])
    assert list(OURS) == in_order(FACTS) == list(FACTS)


def test_every_metric_has_a_name_also_where_its_package_is_gone() -> None:
    assert (metric_label("iou"), metric_label("vmeasure"), metric_label("gone")) == ("IoU", "NMI", "gone")


def of_family(family: str, count: int, **given: object) -> list[dict[str, object]]:
    return [{"method": f"{family}-{i}", "family": family, **given} for i in range(count)]


@pytest.mark.parametrize("family", [*FAMILIES, "of another package"])
def test_what_is_not_given_is_drawn_from_the_family_and_apart_from_what_is(family: str) -> None:
    known = [{"method": name, **facts} for name, facts in FACTS.items()]
    drawn = looks([*known, *of_family(family, 4)])
    assert {name: drawn[name] for name in OURS} == OURS
    own = [look for name, look in drawn.items() if name not in OURS]
    assert len({look.marker for look in drawn.values()}) == len({look.color for look in drawn.values()}) == len(drawn)
    alone = sorted(grey(look.color) for look in looks(of_family(family, 4)).values())
    assert min(np.diff(alone)) > 4  # of all families, black to grey has the least room
    with among(drawn):
        lines = {str(linestyle(look.label)) for look in own}
        assert len(lines) == 1 and (family not in FAMILIES or lines == {str(FAMILIES[family].line)})
        assert list(in_order([*(look.label for look in own), "random"])) == ["random", *(look.label for look in own)]


def test_a_variant_has_a_name_a_shade_of_its_family_and_a_marker_of_its_own() -> None:
    known = [{"method": name, **facts} for name, facts in FACTS.items()]
    variants = [{"method": f"topk-{i}", **FACTS["topk"]} for i in range(3)]
    with among(looks([*variants, *known])):
        assert color("topk") == FACTS["topk"]["color"]
        assert len({color(name) for name in [*FACTS, *(f"topk-{i}" for i in range(3))]}) == len(FACTS) + 3
        assert {linestyle(f"topk-{i}") for i in range(3)} == {linestyle("topk")}
        assert label("topk-1") == "topk-1" and label("topk") == "Top-K" and marker("topk") == "o"
        assert len({str(marker(name)) for name in ("topk", "topk-0", "topk-1", "topk-2")}) == 4
        assert in_order(["evit", "topk-1", "topk"]) == ["topk", "topk-1", "evit"]


def test_looks_do_not_depend_on_the_order_of_rows_and_gaps_are_filled_from_other_rows() -> None:
    rows = [
        *of_family("soft", 6),
        {"method": "mine", "label": float("nan"), "color": "", "order": None},
        {"method": "mine", "label": "mine", "order": UNORDERED},
    ]
    assert looks(rows) == looks(reversed(rows))
    more = looks([*rows, {"method": "mine", "family": "soft", "label": "Mine", "color": "#123456", "order": 2.0}])
    assert (more["mine"].label, more["mine"].color, more["mine"].order) == ("Mine", "#123456", 2)
    assert next(iter(more)) == "mine"


@pytest.mark.parametrize(("name", "value"), [("color", "reddish"), ("marker", "circle")])
def test_what_cannot_be_drawn_is_told_and_not_taken(name: str, value: str) -> None:
    with pytest.warns(UserWarning, match=f"mine gives the {name} '{value}', which cannot be drawn"):
        found = looks([{"method": "mine", "family": "pruning", name: value}])
    assert found == looks(of_family("pruning", 1, method="mine"))


def test_methods_of_which_nothing_is_known_come_last_and_by_name() -> None:
    names = ["zzz", "random", "aaa", "atc", "tome", "evit", "topk", "none", "topk"]
    assert in_order(names) == ["none", "topk", "evit", "tome", "atc", "random", "aaa", "zzz"]
    assert by_size(["base", "tiny", "mine", "small", "nano"]) == ["nano", "tiny", "small", "base", "mine"]
    assert label("mine") == "mine"


def test_rates_go_from_dark_to_light() -> None:
    light = [float(np.dot(LUMA, linear(rate_color(rate)))) for rate in (0.25, 0.5, 0.7, 0.9)]
    assert light == sorted(light) and min(np.diff(light)) > 0.05


def test_data_sets_go_by_a_short_name() -> None:
    assert [place(name) for name in ("embedded:shapes", "folder:/a/b", "imagenet", "folder:/")] == [
        "shapes", "b", "imagenet", "folder:/",
    ]  # fmt: skip


def test_few_methods_are_the_first_of_each_family() -> None:
    names = ["topk", "evit", "dynamicvit", "tome", "kmedoids", "sit", "l1", "l2", "random", "none"]
    assert few(names) == ["topk", "evit", "tome", "sit", "l1", "random"]
    assert few(names[::-1], 3) == ["topk", "tome", "sit"] and few(names, None) == in_order(names)
    assert few(["none", "topk"], 1) == ["topk"]
