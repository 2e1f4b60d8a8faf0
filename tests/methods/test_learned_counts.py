"""What DiffRate, LTMP and A-ViT learn: the training walk is the walk that follows, and it is paid for in operations."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.reducer import Stage
from tokenlens.extraction.flops import gflops
from tokenlens.methods.diffrate_learned import LearnedDiffRate
from tokenlens.training.load_recipe import load_recipe
from tokenlens.training.losses import Criterion, Student, cost_of

BLOCKS = (1, 3, 4)


@pytest.mark.parametrize("name", ["diffrate-learned", "ltmp", "avit"])
def test_in_training_who_has_left_is_as_good_as_gone(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    blocks = (3,) if name == "ltmp" else BLOCKS  # the next one pairs other neighbours, where those who left are no more
    model = tokenlens.reduce(tiny_vit, name, 0.5, blocks)
    if name == "ltmp":
        for reducer in model.reducers.values():
            nn.init.constant_(reducer.merge_threshold, 0.5)
            nn.init.constant_(reducer.prune_share, 0.3)
    logits, trace = model.trace(images)
    learning, kept = model.train().trace(images)
    assert (trace.tokens_left[:, -1] < 40).all()
    torch.testing.assert_close(learning, logits, atol=1e-4, rtol=1e-4)
    stays = torch.stack([stays > 0.5 for stays in {**kept.mass, **kept.stays}.values()]).sum(-1).T
    assert torch.equal(stays, trace.tokens_left.long())


@pytest.mark.parametrize("name", ["diffrate-learned", "ltmp"])
def test_the_budget_is_one_of_operations(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, name, 0.5, BLOCKS).train()
    cost, asked = cost_of(model), [keep / 64 for keep in model.keep]
    assert cost is not None
    left = dict(zip(BLOCKS, model.keep, strict=True))
    assert float(cost(torch.tensor(asked))) == pytest.approx(gflops(tiny_vit, left) / gflops(tiny_vit, {}), rel=1e-6)
    loss = replace(load_recipe("shapes").loss, ratio=1.0, class_distillation=0.0, token_distillation=0.0)
    labels, seen = torch.tensor([1, 2, 3, 4]), Student(model)(images)
    with_cost, without = (Criterion(loss, asked, None, False, False, way) for way in (cost, None))
    over = cost(torch.stack([stays.mean(1) for stays in seen.policy])).mean() - cost(torch.tensor(asked))
    found = with_cost(seen, images, labels) - Criterion(replace(loss, ratio=0.0), asked, None, False, False)(
        seen, images, labels
    )
    torch.testing.assert_close(found, over.square())
    assert not torch.isclose(with_cost(seen, images, labels), without(seen, images, labels))
    assert cost_of(tokenlens.reduce(tiny_vit, "dynamicvit", 0.5, BLOCKS)) is None


def test_counts_are_means_rounded_up_and_read_when_training_ends() -> None:
    reducer = LearnedDiffRate(Stage(0, 1, 4, 8, 32)).eval()
    with torch.no_grad():
        reducer.logits.fill_(-torch.inf)
        reducer.logits[0, [4, 5]] = torch.tensor([0.75, 0.25]).log()  # 5 or 6: 5.25
        reducer.logits[1, 2] = 0.0  # 3
    before = reducer.unpruned, reducer.unmerged
    assert (reducer.train().eval().unpruned, reducer.unmerged) == (6, 3) != before
    other = LearnedDiffRate(Stage(0, 1, 4, 8, 32))
    other.load_state_dict(reducer.state_dict())
    assert (other.unpruned, other.unmerged) == (6, 3)
    with torch.no_grad():
        reducer.logits[1] = torch.tensor([-torch.inf] * 7 + [0.0])  # more may stay than are left
    assert (reducer.eval().unpruned, reducer.unmerged) == (6, 6)


def test_the_number_that_stays_is_learned(tiny_vit: nn.Module, images: Tensor) -> None:
    """The operations alone: the counts come down to what is asked for."""
    model = tokenlens.reduce(tiny_vit, "diffrate-learned", 0.9, BLOCKS).train()
    cost, optimizer = cost_of(model), torch.optim.Adam(model.reducers.parameters(), lr=1.0)
    assert cost is not None
    asked = float(cost(torch.tensor(model.keep) / 64))
    for _ in range(10):
        stays = torch.stack([stays.mean(1) for stays in model.trace(images)[1].stays.values()])
        optimizer.zero_grad()
        (cost(stays).mean() - 0.7).square().backward()
        optimizer.step()
    assert 0.7 < float(cost(model.eval().trace(images)[1].tokens_left.T / 64).mean()) < asked - 0.05
