"""Newer methods against slow second versions of their rules, one image and one token at a time.

Odd counts and even ones, one token left, all but one, no class token and two prefix tokens, sizes, one image.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tokenlens.core.plan import Plan
from tokenlens.core.view import View
from tokenlens.methods import Stage, method

# (tokens, kept, prefix, whether tokens have sizes)
SETTINGS = [
    (30, 17, 1, False),
    (29, 15, 1, True),
    (13, 7, 0, True),
    (12, 11, 2, False),
    (9, 1, 1, True),
    (2, 1, 0, False),
]
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)


@pytest.fixture
def look(make_view: Callable[..., View]) -> Callable[[tuple[int, int, int, bool]], View]:
    def make(setting: tuple[int, int, int, bool]) -> View:
        count, keep, prefix, sized = setting
        mass = torch.rand(3, count, generator=torch.Generator().manual_seed(1)) * 3 + 0.5 if sized else None
        return make_view(keep, count, prefix, 4, mass)

    return make


class Image:
    """One image of a view, as arrays of float64."""

    def __init__(self, view: View, i: int) -> None:
        self.count, self.keep, self.prefix = view.x.shape[1], view.keep, view.prefix
        self.x = view.x[i].double().numpy()
        self.keys = view.mean_keys[i].double().numpy()
        self.paid = view.attended.rows(slice(None))[i].double().numpy()  # type: ignore[union-attr]
        self.size = np.ones(self.count) if view.mass is None else view.mass[i].double().numpy()

    @property
    def received(self) -> np.ndarray:
        return self.paid.sum((0, 1))[self.prefix :]

    def sides(self) -> tuple[list[int], list[int]]:
        """The patches at even and at odd places of the sequence."""
        even = [t for t in range(self.count) if (t + self.prefix) % 2 == 0]
        return even, [t for t in range(self.count) if (t + self.prefix) % 2]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def tokens_of(groups: list[list[int]], weight: np.ndarray, image: Image) -> np.ndarray:
    """The means of the groups' members, by their weights."""
    return np.array([(weight[g, None] * image.x[g]).sum(0) / weight[g].sum() for g in groups])


def images_of(view: View) -> Iterator[tuple[int, Image]]:
    return ((i, Image(view, i)) for i in range(view.x.shape[0]))


def decided(name: str, view: View, **options: Any) -> Plan:
    stage = Stage(0, options.pop("block", 1), view.keep, view.x.shape[1], view.x.shape[2], None, 12)
    reducer = method(name).reducer(stage, **options)
    alone = reducer(one(view))
    plan: Plan = reducer(view)
    assert torch.equal(alone.group, plan.group[:1]), "one image is decided on as in a batch"
    return plan


def one(view: View) -> View:
    """The view of the first image alone."""
    seen, mass = view.attended, None if view.mass is None else view.mass[:1]
    assert seen is not None
    first = {part: getattr(seen, part)[:1] for part in ("keys", "mean_keys", "values", "received")}
    attended: Any = SimpleNamespace(**first, rows=lambda which: seen.rows(which)[:1])
    return replace(view, x=view.x[:1], patch=view.patch[:1], mass=mass, attended=attended)


def same(plan: Plan, i: int, groups: list[list[int]], tokens: np.ndarray, view: View) -> None:
    """The groups, in their order, and what the tokens become; there may be padding behind."""
    labels = np.full(view.x.shape[1], -1)
    for place, members in enumerate(groups):
        labels[members] = place
    assert plan.group[i].tolist() == labels.tolist()
    np.testing.assert_allclose(plan.carry(view.x)[i, : len(groups)].double().numpy(), tokens, atol=2e-5, rtol=2e-5)


@every_setting
@pytest.mark.parametrize("block", [1, 8], ids=["first-half", "second-half"])
def test_pitome(setting: Any, block: int, look: Callable[..., View]) -> None:
    view = look(setting)
    plan, margin = decided("pitome", view, block=block), 0.75 - 0.75 * block / 12
    for i, image in images_of(view):
        go = min(image.count - image.keep, image.count // 2)
        alike = [[cosine(a, b) - margin for b in image.keys] for a in image.keys]
        energy = [float(np.mean([c if c > 0 else math.exp(c) - 1 for c in row])) for row in alike]
        order = sorted(range(image.count), key=lambda t: -energy[t])
        pool = order if block < 6 else order[: 2 * go]
        a, b = pool[0::2], pool[1::2]
        best = {t: max(b, key=lambda other: cosine(image.keys[t], image.keys[other])) for t in a} if b else {}
        ranked = sorted(best, key=lambda t: -cosine(image.keys[t], image.keys[best[t]]))[:go]
        groups = [[t] for t in a if t not in ranked] + [[t] for t in order if t not in pool]
        groups += [[t, *(s for s in ranked if best[s] == t)] for t in b]
        same(plan, i, groups, tokens_of(groups, image.size, image), view)
        assert plan.mass is None and plan.size is not None


@every_setting
@pytest.mark.parametrize("block", [1, 8], ids=["prune", "fuse"])
def test_tofu(setting: Any, block: int, look: Callable[..., View]) -> None:
    view = look(setting)
    plan = decided("tofu", view, block=block)
    for i, image in images_of(view):
        go = min(image.count - image.keep, image.count // 2)
        a, b = image.sides()
        best = {t: max(b, key=lambda other: cosine(image.keys[t], image.keys[other])) for t in a}
        ranked = sorted(a, key=lambda t: -cosine(image.keys[t], image.keys[best[t]]))
        stays = ranked[go:] if not image.prefix else [t for t in a if t in ranked[go:]]
        whole = [[t] for t in stays] + [[t, *(s for s in ranked[:go] if best[s] == t)] for t in b]
        if block == 1:
            groups, tokens = [[g[0]] for g in whole], np.array([image.x[g[0]] for g in whole])
        else:
            groups, tokens = whole, tokens_of(whole, np.ones(image.count), image)
            longest = np.array([max(np.linalg.norm(image.x[t]) for t in g) for g in whole])
            own = np.array([np.linalg.norm(image.x[g[0]]) for g in whole])
            tokens = tokens * (longest / own)[:, None]
        same(plan, i, groups, tokens, view)


@every_setting
@pytest.mark.parametrize("merged", [0.0, 0.5, 1.0])
def test_diffrate(setting: Any, merged: float, look: Callable[..., View]) -> None:
    if not setting[2]:
        pytest.skip("reads the class token")
    view = look(setting)
    plan = decided("diffrate", view, merged=merged)
    assert plan.mass is not None
    for i, image in images_of(view):
        order = sorted(range(image.count), key=lambda t: -image.paid[:, 0, image.prefix + t].mean())
        merging = math.floor((image.count - image.keep) * merged + 0.5)
        groups, size = [[t] for t in order[: image.keep]], [image.size[t] for t in order[: image.keep]]
        for t in order[image.keep : image.keep + merging]:
            alike = [cosine(image.x[t], image.x[g[0]]) for g in groups]
            into = int(np.argmax(alike))
            groups[into].append(t)
            size[into] += image.size[t] * max(alike[into], 0)
        same(plan, i, groups, tokens_of(groups, np.ones(image.count), image), view)
        np.testing.assert_allclose(plan.mass[i].numpy(), size, rtol=1e-4)


@every_setting
@pytest.mark.parametrize("both_ways", [True, False])
def test_mctf(setting: Any, both_ways: bool, look: Callable[..., View]) -> None:
    view = look(setting)
    plan = decided("mctf", view, both_ways=both_ways)
    for i, image in images_of(view):
        go = min(image.count - image.keep, image.count // 2)
        forth = go // 2 if both_ways else go
        a, b = image.sides()
        inside, small = 1 / image.received, 1 / image.size
        inside, small = inside / inside.max(), small / small.max()

        def score(s: int, t: int, image: Image = image, inside: Any = inside, small: Any = small) -> float:
            pair = (inside[s] * inside[t]) ** (1 / 20) * (small[s] * small[t]) ** (1 / 40)
            return (cosine(image.x[s], image.x[t]) + 1) / 2 * float(pair)

        best = {s: max(b, key=lambda t: score(s, t)) for s in a}
        ranked = sorted(a, key=lambda s: -score(s, best[s]))
        stays = [s for s in a if s in ranked[forth:]]
        home = {t: max(stays, key=lambda s: score(s, t)) for t in b} if both_ways else {}
        back = sorted(home, key=lambda t: -score(home[t], t))
        back, rest = (back[: go - forth], back[go - forth :]) if both_ways else ([], b)
        groups = [[s, *(t for t in back if home[t] == s)] for s in stays] + [[t] for t in rest]
        place = {t: place for place, members in enumerate(groups) for t in members}
        for s in ranked[:forth]:
            groups[place[best[s]]].append(s)
        same(plan, i, groups, tokens_of(groups, image.received * image.size, image), view)


@every_setting
def test_etps(setting: Any, look: Callable[..., View]) -> None:
    if not setting[2]:
        pytest.skip("reads the class token")
    view = look(setting)
    plan = decided("etps", view)
    for i, image in images_of(view):
        order = sorted(range(image.count), key=lambda t: -image.paid[:, 0, image.prefix + t].mean())
        groups = [[t] for t in order[: image.keep]]
        weight = np.full(image.count, math.e)
        for t in order[image.keep :]:
            alike = [cosine(image.x[t], image.x[g[0]]) for g in groups]
            groups[int(np.argmax(alike))].append(t)
            weight[t] = math.exp(max(alike))
        same(plan, i, groups, tokens_of(groups, weight, image), view)


@every_setting
def test_divprune(setting: Any, look: Callable[..., View]) -> None:
    view = look(setting)
    plan = decided("divprune", view)
    for i, image in images_of(view):
        far = np.array([[1 - cosine(a, b) for b in image.x] for a in image.x])
        chosen = [int(np.argmax([min(far[t][u] for u in range(image.count) if u != t) for t in range(image.count)]))]
        while len(chosen) < image.keep:
            chosen.append(int(np.argmax([min(far[t][u] for u in chosen) for t in range(image.count)])))
        assert plan.kept[i].tolist() == chosen


@every_setting
def test_ltmp(setting: Any, look: Callable[..., View]) -> None:
    view = look((*setting[:3], False))
    reducer: Any = method("ltmp").reducer(Stage(0, 1, view.keep, view.x.shape[1], 8)).eval().requires_grad_(False)
    reducer.merge_threshold.data.fill_(0.6)
    reducer.prune_share.data.fill_(0.9)
    plan = reducer(view)
    for i, image in images_of(view):
        a, b = image.sides()
        groups = {t: [t] for t in (*a, *b)}
        for s in a:
            best = max(b, key=lambda t: cosine(image.keys[s], image.keys[t]))
            if cosine(image.keys[s], image.keys[best]) > 0.6:
                groups[best] += groups.pop(s)
        mean = image.received / image.paid.shape[0] / image.paid.shape[1]
        most = {t: max(mean[member] for member in members) for t, members in groups.items()}
        best_of_all = max(most, key=most.__getitem__)
        stays = [t for t in (*a, *b) if t in groups and (most[t] * image.count > 0.9 or t == best_of_all)]
        left = [groups[t] for t in stays]
        same(plan, i, left, tokens_of(left, np.ones(image.count), image), view)
        assert plan.mass[i][: len(left)].tolist() == [len(members) for members in left]
        assert not plan.mass[i][len(left) :].any()


def test_avit() -> None:
    """Two stages of three tokens: who has added up to one stops, the last of all never."""
    stages = [method("avit").reducer(Stage(index, index, 2, 3, 2)).eval() for index in (0, 1)]
    tokens = torch.tensor([[[0.0, 9.0], [5.0, 9.0], [-4.0, 9.0]], [[9.0, 0.0], [9.0, 0.0], [8.0, 0.0]]])
    view = View(tokens, torch.arange(3).expand(2, -1), None, (1, 3), 2, 3, 1)
    first = stages[0](view)
    assert first.group.tolist() == [[0, -1, 1], [-1, -1, 0]]  # sigmoid(5) is above 0.99; somebody stays
    assert first.mass.tolist() == [[1, 1], [1, 0]]
    again = View(first.carry(tokens), first.carry(view.patch), first.mass, (1, 3), 2, 3, 1, memory=first.memory)
    then = stages[1](again)
    assert then.group.tolist() == [[-1, 0], [0, -1]]  # twice sigmoid(0) is 1
    torch.testing.assert_close(then.memory[:, 0], 2 * torch.tensor([-4.0, 8.0]).sigmoid())
