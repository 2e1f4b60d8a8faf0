"""Methods against plain loops over one image at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tokenlens.core.view import View
from tokenlens.methods import Stage
from tokenlens.methods.ats import ATS, steps
from tokenlens.methods.dpcknn import DPCKNN
from tokenlens.methods.evit import EViT
from tokenlens.methods.kmedoids import KMedoids
from tokenlens.methods.sinkhorn import transport
from tokenlens.methods.tome import ToMe
from tokenlens.methods.topk import TopK

MakeView = Callable[..., View]
SEEDS = pytest.mark.parametrize("seed", range(4))


def distances(tokens: Tensor) -> np.ndarray:
    x = tokens.double().numpy()
    return np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))


def groups(labels: list[int]) -> set[frozenset[int]]:
    return {frozenset(i for i, other in enumerate(labels) if other == label) for label in labels}


@SEEDS
def test_kmedoids(seed: int, make_view: MakeView, stage: Stage) -> None:
    view = make_view(keep=5, seed=seed)
    plan = KMedoids(stage)(view)
    for b in range(3):
        away, weight = distances(view.tokens[b]), view.received[b].double().numpy()
        medoids = list(np.argsort(-weight)[:5])
        for _ in range(3):
            home = [int(np.argmin([away[i, m] for m in medoids])) for i in range(30)]
            medoids = [
                min((i for i in range(30) if home[i] == k), key=lambda i: weight[i] * away[i].sum(), default=0)
                for k in range(5)
            ]
        assert plan.kept[b].tolist() == medoids
        assert plan.group[b].tolist() == [int(np.argmin([away[i, m] for m in medoids])) for i in range(30)]
        assert torch.equal(plan.carry(view.tokens)[b], view.tokens[b, medoids])


@SEEDS
def test_kmedoids_with_equal_weights(seed: int, make_view: MakeView, stage: Stage) -> None:
    view = make_view(keep=6, seed=seed)
    reducer = KMedoids(stage, equal_weight=True, iterations=0)
    reducer.first = 7
    plan = reducer(view)
    for b in range(3):
        away, chosen = distances(view.tokens[b]), [7]
        while len(chosen) < 6:
            free = [i for i in range(30) if i not in chosen]
            chosen.append(max(free, key=lambda i: max(away[i, c] for c in chosen)))
        assert plan.kept[b].tolist() == chosen


@SEEDS
@pytest.mark.parametrize("equal_weight", [False, True])
@torch.no_grad()
def test_dpcknn(seed: int, equal_weight: bool, make_view: MakeView, stage: Stage) -> None:
    view = make_view(keep=4, seed=seed)
    torch.manual_seed(seed)
    reducer = DPCKNN(stage, equal_weight=equal_weight)
    plan = reducer(view)
    for b in range(3):
        away = distances(view.tokens[b]) / np.sqrt(8)
        density = [np.exp(-np.mean(np.sort(row)[:5] ** 2)) for row in away]
        peak = []
        for i in range(30):
            denser = [away[i, j] for j in range(30) if density[j] > density[i]]
            peak.append(density[i] * min(denser, default=away.max()))
        centres = [int(i) for i in np.argsort(peak)[::-1][:4]]
        assert plan.kept[b].tolist() == centres
        home = [int(np.argmin([away[i, c] for c in centres])) for i in range(30)]
        assert plan.group[b].tolist() == home
        weight = torch.ones(30) if equal_weight else reducer.score(view.tokens[b])[:, 0].exp()
        for k in range(4):
            members = [i for i in range(30) if home[i] == k]
            mean = (view.tokens[b, members] * weight[members, None]).sum(0) / (weight[members].sum() + 1e-6)
            torch.testing.assert_close(plan.carry(view.tokens)[b, k], mean)


@SEEDS
@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("count", [29, 30])
def test_tome(seed: int, prefix: int, count: int, make_view: MakeView, stage: Stage) -> None:
    mass = torch.rand(3, count, generator=torch.Generator().manual_seed(seed)) + 1
    view = make_view(keep=count - 11, count=count, prefix=prefix, seed=seed, mass=mass)
    plan = ToMe(stage)(view)
    for b in range(3):
        keys = view.keys[b].mean(0).double().numpy()
        keys /= np.linalg.norm(keys, axis=1, keepdims=True)
        sources = [i for i in range(count) if (i + prefix) % 2 == 0]
        targets = [i for i in range(count) if (i + prefix) % 2 == 1]
        best = {i: max(targets, key=lambda j: keys[i] @ keys[j]) for i in sources}
        ranked = sorted(sources, key=lambda i: -(keys[i] @ keys[best[i]]))
        merged = ranked[:11]
        label = [best[i] if i in merged else i for i in range(count)]
        assert groups(plan.group[b].tolist()) == groups(label)
        order = (sorted(ranked[11:]) if prefix else ranked[11:]) + targets  # published so: sorted beside a class token
        for place, owner in enumerate(order):
            members = [i for i in range(count) if label[i] == owner]
            assert all(plan.group[b, i] == place for i in members)
            mean = (view.tokens[b, members] * mass[b, members, None]).sum(0) / mass[b, members].sum()
            torch.testing.assert_close(plan.carry(view.tokens)[b, place], mean)
            torch.testing.assert_close(plan.mass[b, place], mass[b, members].sum())


@SEEDS
@pytest.mark.parametrize("keep", [1, 3, 9, 25])
def test_ats(seed: int, keep: int, make_view: MakeView, stage: Stage) -> None:
    view = make_view(keep=keep, seed=seed)
    plan = ATS(stage)(view)
    for b in range(3):
        score = (view.from_class[b] * view.values[b].norm(dim=-1)).sum(0).double().numpy()
        cdf = np.cumsum(score / score.sum())
        picked = sorted({int(np.argmin(np.abs(step - cdf))) for step in steps(keep).tolist()})
        padded = plan.kept[b].tolist()
        assert padded == picked + [-1] * (len(padded) - len(picked))
        assert plan.mass[b].tolist() == [float(i >= 0) for i in padded]
    assert max((row >= 0).sum() for row in plan.kept) == plan.kept.shape[1]


def test_ats_steps_are_the_published_ones() -> None:
    """Midpoints of count + 1 intervals; one more for those counts where floating point holds the last one too."""
    more = {count for count in range(2, 49) if len(steps(count)) == count + 1}
    assert {count + 1 for count in more} >= {3, 7, 12, 14, 19, 27, 34, 35, 36, 39, 42, 47, 48}
    for count in set(range(2, 49)) - more:
        assert steps(count).tolist() == pytest.approx([(2 * j + 1) / (2 * count + 2) for j in range(count)])


def test_topk_and_evit(make_view: MakeView, stage: Stage) -> None:
    view = make_view()
    kept, fused = TopK(stage)(view), EViT(stage)(view)
    for b in range(3):
        score = view.from_class[b].mean(0)
        order = sorted(range(30), key=lambda i: -score[i])
        assert kept.kept[b].tolist() == order[:9]
        assert fused.kept[b].tolist() == [*order[:9], -1]
        rest = order[9:]
        torch.testing.assert_close(fused.carry(view.tokens)[b, 9], (view.tokens[b, rest] * score[rest, None]).sum(0))
        assert (fused.group[b, rest] == 9).all()


@pytest.mark.parametrize("eps", [1.0, 0.05, 0.02, 0.005])
@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn(eps: float, iterations: int) -> None:
    """Rows and columns scaled in turn to 1 / (K + N), in long arithmetic; the last one scaled are the columns."""
    similarity = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)).tanh()
    plan = np.exp(similarity.numpy().astype(np.longdouble) / eps)
    for _ in range(iterations):
        plan /= 13 * plan.sum(1, keepdims=True)
        plan /= 13 * plan.sum(0, keepdims=True)
    found = transport(similarity[None], eps, iterations)[0]
    assert found.numpy() == pytest.approx(np.asarray(13 * plan, dtype=float), abs=1e-4)
    torch.testing.assert_close(found.sum(0), torch.ones(9), rtol=0, atol=1e-4)
