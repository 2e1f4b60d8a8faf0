"""Radial patterns are the same for all images, centred, nested, and defined on any grid."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.methods.radial import line, radii

NORMS = pytest.mark.parametrize("norm", ["l1", "l2", "linf"])


@NORMS
@pytest.mark.parametrize("grid", [(8, 8), (7, 7), (5, 9), (4, 10), (1, 6)])
def test_distances_are_from_the_published_centre(norm: str, grid: tuple[int, int]) -> None:
    distance = radii(grid, norm).reshape(grid)
    for mirrored, side in ((distance[::-1], grid[0]), (distance[:, ::-1], grid[1])):
        assert (distance == pytest.approx(mirrored, abs=1e-5)) == (side % 2 == 0 or side == 1)
    rows, columns = (np.linspace(-s // 2, s // 2, s) for s in grid)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    expected = [[np.linalg.norm([y, x], order) for x in columns] for y in rows]
    assert distance == pytest.approx(np.array(expected), abs=1e-5)


@NORMS
@pytest.mark.parametrize("size", [(64, 64), (40, 80), (56, 56)])
@torch.no_grad()
def test_one_pattern_for_all_images(norm: str, size: tuple[int, int], make_vit: Callable[..., nn.Module]) -> None:
    images = torch.randn(3, 3, *size)
    model = tokenlens.reduce(make_vit(img_size=size), norm, 0.6, blocks=(1, 3, 5))
    _, trace = model.trace(images)
    assert torch.equal(trace.kept, trace.kept[:1].expand(3, -1, -1))
    distance = torch.from_numpy(radii((size[0] // 8, size[1] // 8), norm))
    for stage, asked in enumerate(model.schedule.keep(distance.numel())):
        kept = trace.kept[0, stage]
        assert distance[kept].max() < distance[~kept].min(), "a disc of its norm"
        sizes = torch.stack([(distance <= ring).sum() for ring in distance.unique()])
        assert (kept.sum() - asked).abs() == (sizes - asked).abs().min(), "the nearest ring"


@NORMS
@pytest.mark.parametrize("size", [(64, 64), (40, 80)])
@torch.no_grad()
def test_contiguous_shrinks_at_every_block(
    norm: str, size: tuple[int, int], make_vit: Callable[..., nn.Module]
) -> None:
    images, vit = torch.randn(1, 3, *size), make_vit(img_size=size)
    model = tokenlens.reduce(vit, norm, 0.5, blocks=(1, 5), contiguous=True)
    assert model.blocks == (1, 2, 3, 4, 5)
    _, trace = model.trace(images)
    left = trace.tokens_left[0].tolist()
    assert left == sorted(left, reverse=True) and left[0] < trace.kept.shape[-1] and left[-1] < left[0]
    other = tokenlens.reduce(vit, norm, 0.9, blocks=(1, 5), contiguous=True)
    assert torch.equal(other.trace(images)[1].kept, trace.kept), "the keep rate does not matter"
    wide = tokenlens.reduce(vit, norm, 0.5, blocks=(1, 5), contiguous=True, min_radius=3.0)
    assert wide.trace(images)[1].tokens_left[0, -1] > left[-1]


def test_contiguous_from_block_0_keeps_all_there(tiny_vit: nn.Module) -> None:
    early, late = (tokenlens.reduce(tiny_vit, "l2", 0.5, blocks=(at, at + 4), contiguous=True) for at in (0, 1))
    assert early.schedule.keep(64) == (64, *late.schedule.keep(64)[:-1])


def test_contiguous_patterns_end_at_the_middle_patch_or_further_out(tiny_vit: nn.Module) -> None:
    """The published words for that are a radius of 0."""
    middle = float(radii((8, 8), "l2").reshape(8, 8)[4, 4])
    ways = {radius: tokenlens.reduce(tiny_vit, "l2", 0.5, blocks=(1, 5), contiguous=True, min_radius=radius).schedule
            for radius in (0.0, middle, 2.0)}  # fmt: skip
    assert ways[0.0] == ways[middle] != ways[2.0]


@pytest.mark.parametrize("side", [2, 3, 7, 14, 24, 37])
def test_a_line_is_torchs_and_no_processor_rounds_it_otherwise(side: int) -> None:
    start, end = -side // 2, side // 2
    step = Fraction(float(np.float32(end - start) / np.float32(side - 1)))
    found = line(start, end, side)
    exact = [start + step * i if i < side // 2 else end - step * (side - 1 - i) for i in range(side)]
    assert found.tolist() == [float(np.float32(float(one))) for one in exact]
    assert np.abs(found - torch.linspace(start, end, side).numpy()).max() <= 2e-6 * side
    assert line(2, 3, 1).tolist() == [2.0]


@torch.no_grad()
def test_rings_of_the_study(images: Tensor) -> None:
    """Of 14 x 14 patches: l1 at 0.5 leaves 92, 40, 24, linf at 0.9 196, 144, 144, and l2 at 0.45 88, 44, 16."""
    for norm, rate, expected in (("l1", 0.5, [92, 40, 24]), ("linf", 0.9, [196, 144, 144]), ("l2", 0.45, [88, 44, 16])):
        distance = radii((14, 14), norm)
        rings = np.unique(distance)
        sizes = (distance[:, None] <= rings).sum(0)
        asked = [int(196 * rate ** (stage + 1)) for stage in range(3)]
        assert [int(sizes[np.abs(sizes - count).argmin()]) for count in asked] == expected
