"""The decisions of the other methods against plain versions of the rules that the studies' authors published.

One view of 64 images, 196 tokens and 384 channels, 98 tokens asked for; both sides from the tokens to the plan, in
turns, least time. The plain versions are written from the rules: loops over images and clusters where the published
code has them, torch over the batch where it has that. Each is held against ours before the clock starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from tokenlens.core.random import keys as keys_of_draws
from tokenlens.core.view import View
from tokenlens.methods import Stage
from tokenlens.methods.ats import ATS, steps
from tokenlens.methods.dpcknn import DPCKNN
from tokenlens.methods.kmedoids import KMedoids
from tokenlens.methods.sinkhorn import transport
from tokenlens.methods.tome import ToMe

IMAGES, TOKENS, WIDTH, KEEP = 64, 196, 384, 98
Side = Callable[[], Any]


def synthetic() -> View:
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randn(IMAGES, TOKENS, WIDTH, generator=rng)
    queries, keys, values = torch.randn(3, IMAGES, 6, 1 + TOKENS, 64, generator=rng)
    attention = (queries @ keys.transpose(-2, -1) / 8).softmax(-1)
    attended = SimpleNamespace(keys=keys[:, :, 1:], mean_keys=keys[:, :, 1:].mean(1), values=values[:, :, 1:],
                               rows=lambda which: attention[:, :, which],
                               received=attention.sum((1, 2))[:, 1:])  # fmt: skip
    patch = torch.arange(TOKENS).expand(IMAGES, -1)
    seeds = keys_of_draws(torch.arange(IMAGES), 0, 0)
    return View(tokens, patch, None, (14, 14), KEEP, TOKENS, 1, cast(Any, attended), lambda: seeds)


def kmedoids(view: View) -> Tensor:
    """A loop over iterations and clusters, each with a masked copy of the batch's distances; returns the medoids."""
    distance, weight = torch.cdist(view.tokens, view.tokens), view.received
    weighted = distance * weight.unsqueeze(2)
    medoids = weight.topk(view.keep).indices
    for _ in range(3):
        group = distance.gather(2, medoids.unsqueeze(1).expand(-1, TOKENS, -1)).argmin(-1)
        for k in range(view.keep):
            inside = weighted.clone()
            inside[group != k] = 1e6
            medoids[:, k] = inside.sum(2).argmin(1)  # of an empty cluster all costs are the same: token 0
    return medoids


def dpcknn(view: View, score: torch.nn.Linear) -> Tensor:
    """Over the batch; groups, then means by one-hot products; returns the centres."""
    distance = torch.cdist(view.tokens, view.tokens) / WIDTH**0.5
    density = (-(distance.topk(5, largest=False).values ** 2).mean(-1)).exp() + 1e-6 * view.draw()
    mask = (density[:, None, :] > density[:, :, None]).to(distance.dtype)
    most = distance.flatten(1).max(-1).values[:, None, None]
    peak = (distance * mask + most * (1 - mask)).min(-1).values * density
    centres = peak.topk(view.keep).indices
    group = torch.stack([distance[b, centres[b]].argmin(0) for b in range(IMAGES)])
    group.scatter_(1, centres, torch.arange(view.keep).expand(IMAGES, -1))
    weight = score(view.tokens).exp()
    place = functional.one_hot(group, view.keep).to(distance.dtype).transpose(1, 2)
    _ = (place @ (view.tokens * weight)) / (place @ weight + 1e-6)
    return centres


def sinkhorn(similarity: Tensor) -> Tensor:
    """In the log domain, three iterations, eps 1."""
    rows, columns = similarity.shape[-2:]
    norm = -torch.tensor(float(rows + columns)).log()
    u, v = torch.zeros(len(similarity), rows), torch.zeros(len(similarity), columns)
    for _ in range(3):
        u = norm - torch.logsumexp(similarity + v.unsqueeze(1), 2)
        v = norm - torch.logsumexp(similarity + u.unsqueeze(2), 1)
    return (similarity + u.unsqueeze(2) + v.unsqueeze(1) - norm).exp()


def tome(view: View) -> Tensor:
    """Merging the identity along with the tokens tells who went where; returns the groups."""
    keys = functional.normalize(view.keys.mean(1), dim=-1)
    even, odd = slice(1, None, 2), slice(0, None, 2)  # the class token stands first
    best, partner = (keys[:, even] @ keys[:, odd].mT).max(-1)
    order = best.argsort(dim=1, descending=True)
    removed = TOKENS - view.keep
    source, stays = order[:, :removed], order[:, removed:].sort(1).values

    def merged(x: Tensor) -> Tensor:
        def take(index: Tensor) -> Tensor:
            return x[:, even].gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

        into = partner.gather(1, source).unsqueeze(-1).expand(-1, -1, x.shape[-1])
        return torch.cat([take(stays), x[:, odd].scatter_reduce(1, into, take(source), "sum")], 1)

    _ = merged(view.tokens) / merged(torch.ones_like(view.tokens[..., :1]))
    return merged(torch.eye(TOKENS).expand(IMAGES, -1, -1)).argmax(1)


def ats(view: View) -> Tensor:
    """One image after the other; returns the tokens picked, padded."""
    score = (view.from_class * view.values.norm(dim=-1)).sum(1)
    cdf = (score / score.sum(1, keepdim=True)).cumsum(1)
    points = steps(view.keep).view(-1, 1)
    picked = [(points - row).abs().argmin(1).unique() for row in cdf]
    index = torch.nn.utils.rnn.pad_sequence(picked, batch_first=True, padding_value=-1)
    _ = view.tokens.gather(1, index.clamp(min=0).unsqueeze(-1).expand(-1, -1, WIDTH))
    return index


def sides(view: View) -> dict[str, tuple[Side, Side]]:
    """What each method's plain version and ours return of the view, which must be equal."""
    stage = Stage(0, 1, KEEP, TOKENS, WIDTH)
    medoids, peaks, ours_tome, ours_ats = KMedoids(stage), DPCKNN(stage), ToMe(stage), ATS(stage)
    centres = functional.normalize(torch.randn(KEEP, WIDTH, generator=torch.Generator().manual_seed(1)), dim=-1)
    similarity = centres @ functional.normalize(view.tokens, dim=-1).mT
    paid = functional.pad(view.received, (1, 0))[:, None, None]  # given, as to the published function
    given = replace(view, attended=cast(Any, SimpleNamespace(rows=lambda which: paid)))
    return {
        "kmedoids": (lambda: kmedoids(given), lambda: medoids(given).kept),
        "dpcknn": (lambda: dpcknn(view, peaks.score), lambda: peaks(view).kept),
        "sinkhorn": (lambda: sinkhorn(similarity), lambda: transport(similarity, 1.0, 3)),
        "tome": (lambda: tome(view), lambda: ours_tome(view).group),
        "ats": (lambda: ats(view), lambda: ours_ats(view).kept),
    }


@torch.no_grad()
def method_ratios(rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Their time over ours."""
    found = {}
    print(f"{'method':>10} {'plain':>10} {'ours':>10} {'ratio':>7}   (milliseconds a batch)")
    for name, pair in sides(synthetic()).items():
        plain, ours = (side() for side in pair)
        torch.testing.assert_close(plain, ours, rtol=1e-4, atol=0)
        best = [float("inf")] * 2
        for _ in range(rounds):
            for k, side in enumerate(pair):
                start = clock()
                side()
                best[k] = min(best[k], clock() - start)
        found[name] = round(best[0] / best[1], 2)
        print(f"{name:>10} {1e3 * best[0]:>10.2f} {1e3 * best[1]:>10.2f} {found[name]:>7.1f}", flush=True)
    return found
