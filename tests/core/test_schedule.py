"""When to reduce and to how many tokens, and what makes no schedule."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tokenlens
from tokenlens.core.schedule import schedule
from tokenlens.errors import BadInput


@pytest.mark.parametrize(
    ("settings", "patches", "expected"),
    [
        ({"keep_rate": 0.5}, 196, (98, 49, 24)),
        ({"keep_rate": 0.7}, 196, (137, 96, 67)),
        ({"keep_rate": np.float32(0.5)}, 196, (98, 49, 24)),
        ({"keep_rate": torch.tensor(0.5)}, 196, (98, 49, 24)),
        ({"keep_rate": np.array([0.5, 0.75, 0.25])}, 196, (98, 147, 49)),
        ({"keep": np.array([98, 49, 24])}, 196, (98, 49, 24)),
        ({"keep_rate": 1}, 196, (196, 196, 196)),
        ({"keep_rate": 0.01}, 196, (1, 1, 1)),
        ({"keep_rate": [0.5, 0.75, 0.25]}, 196, (98, 147, 49)),
        ({"keep": [100, 300, 1]}, 196, (100, 196, 1)),
        ({"keep_rate": 0.5}, 256, (128, 64, 32)),
    ],
)
def test_tokens_asked_to_remain(settings: dict[str, Any], patches: int, expected: tuple[int, ...]) -> None:
    assert schedule((3, 6, 9), **settings).keep(patches) == expected


def test_off_the_shelf_constant() -> None:
    made = schedule(remove=8, depth=12)
    assert made.blocks == tuple(range(12))
    assert made.keep(196) == tuple(196 - 8 * (block + 1) for block in range(12))
    assert made.keep(20) == (12, 4, *[1] * 10)


def test_off_the_shelf_decreasing() -> None:
    made = schedule(remove=8, decreasing=True, depth=12)
    assert made.fewer is not None
    assert (made.fewer[0], made.fewer[-1]) == (16, 0)
    assert list(made.fewer) == sorted(made.fewer, reverse=True)
    assert made.fewer == tuple(math.floor(16 - 16 * block / 11) for block in range(12))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"keep_rate": 0}, r"keep rate 0 is outside \(0, 1\]; for example 0.5"),
        ({"keep_rate": 1.5}, r"keep rate 1.5 is outside \(0, 1\]"),
        ({"keep_rate": -0.1}, r"outside \(0, 1\]"),
        ({"keep_rate": math.nan}, r"keep rate nan is outside \(0, 1\]"),
        ({"keep_rate": [0.5, 2, 0.5]}, r"keep rate 0.5, 2, 0.5 is outside"),
        ({"keep_rate": [0.5, 0.5]}, r"2 keep rates for 3 blocks \[3, 6, 9\]; give one, or one for each"),
        ({"keep": [5, 5]}, r"counts to keep \[5, 5\] must be one positive whole number for each block"),
        ({"keep": [5.5, 4, 3]}, r"counts to keep \[5.5, 4, 3\] must be one positive whole number"),
        ({"keep": [5, 0, 5]}, r"counts to keep \[5, 0, 5\] must be one positive whole number"),
        ({"remove": -1}, r"cannot remove -1 tokens at every block; give 0 or more"),
        ({"remove": 2.5}, r"cannot remove 2.5 tokens at every block; give 0 or more, and a whole number"),
        ({"remove": [2, 3]}, r"cannot remove \[2, 3\] tokens"),
        ({"keep_rate": "0.5"}, r"keep rate '0.5' is not made of numbers; for example 0.5"),
        ({"keep_rate": ["0.5", 0.5, 0.5]}, r"keep rate \['0.5', 0.5, 0.5\] is not made of numbers"),
        ({"keep_rate": []}, r"keep rate \[\] is outside"),
        ({"keep": 5}, r"counts to keep \[5\] must be one positive whole number for each block \[3, 6, 9\]"),
        ({"keep": None, "keep_rate": 0.5, "blocks": None}, r"blocks None are not whole numbers; for example 3,6,9"),
        ({"keep_rate": 0.5, "blocks": (1.0, 2.0)}, r"blocks \(1.0, 2.0\) are not whole numbers"),
        ({"keep_rate": 0.5, "blocks": "3,6"}, r"blocks '3,6' are not whole numbers"),
        ({"keep_rate": 0.5, "keep": [1, 1, 1]}, "in one way"),
        ({"keep_rate": 0.5, "remove": 3}, "in one way"),
        ({}, "in one way"),
        ({"keep_rate": 0.5, "blocks": (3, 12)}, r"blocks \[3, 12\] are not all in this model: it has blocks 0 to 11"),
        ({"keep_rate": 0.5, "blocks": (-1, 3)}, r"blocks \[-1, 3\] are not all in this model"),
        ({"keep_rate": 0.5, "blocks": (6, 3)}, r"blocks must be ascending, and \[6, 3\] are not"),
        ({"keep_rate": 0.5, "blocks": (3, 3)}, r"blocks must be ascending"),
        ({"keep_rate": 0.5, "blocks": ()}, r"blocks must be ascending"),
    ],
)
def test_what_makes_no_schedule_is_told_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence) as found:
        schedule(**settings)
    assert "\n" not in str(found.value)


def test_a_schedule_is_checked_against_the_model(tiny_vit: nn.Module) -> None:
    with pytest.raises(BadInput, match=r"blocks \[3, 6, 9\] are not all in this model: it has blocks 0 to 5"):
        tokenlens.reduce(tiny_vit, "topk")
    assert tokenlens.reduce(tiny_vit, "topk", blocks=(1, 3)).schedule.keep(64) == (32, 16)
    assert tokenlens.reduce(tiny_vit, "tome", remove=4).blocks == (0, 1, 2, 3, 4, 5)


def test_one_block_needs_no_list() -> None:
    for one in (6, np.int64(6), torch.tensor(6)):
        assert schedule(one, keep_rate=0.5) == schedule([6], keep_rate=0.5)
    assert schedule(6, keep=5).keep(196) == (5,)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1.5, 2**63, None, "1"])
def test_a_seed_is_a_whole_number_that_torch_can_hold(seed: Any, tiny_vit: nn.Module) -> None:
    with pytest.raises(BadInput, match="give 0 or more, a whole number below"):
        tokenlens.reduce(tiny_vit, "random", blocks=3, seed=seed)
    images = torch.zeros(1, 3, 64, 64)
    tokenlens.reduce(tiny_vit, "random", blocks=3, seed=2**63 - 1)(images)


def test_a_method_is_named(tiny_vit: nn.Module) -> None:
    for name in (None, ["topk"]):
        with pytest.raises(BadInput, match="there is no method called"):
            tokenlens.reduce(tiny_vit, name)  # type: ignore[arg-type]
