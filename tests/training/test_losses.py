"""What is learned: each loss against its formula, and what a policy learns from."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import tokenlens
from tokenlens.training.load_recipe import load_recipe
from tokenlens.training.losses import Criterion, Seen, Student

LOSS = replace(load_recipe("imagenet").loss, smoothing=0.0)
B, N, D, C = 5, 6, 4, 3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Teacher(nn.Module):
    """Says the same of every image: tokens (B, 1 + N, D) and logits (B, C)."""

    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.logits = drawn(B, 1 + N, D, seed=1), drawn(B, C, seed=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits

    def forward_features(self, images: Tensor) -> Tensor:
        return self.tokens

    def forward_head(self, tokens: Tensor) -> Tensor:
        assert tokens is self.tokens
        return self.logits


def criterion(**changes: Any) -> Criterion:
    return Criterion(replace(LOSS, **changes), [0.5, 0.25], Teacher(), multi_label=False, mixes=False)


IMAGES, LOGITS, LABELS = torch.zeros(B, 3, 2, 2), drawn(B, C), torch.tensor([0, 1, 2, 1, 0])
PLAIN = Seen(LOGITS, LOGITS, [], None)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes(smoothing: float) -> None:
    wanted = functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(criterion(smoothing=smoothing)(PLAIN, IMAGES, LABELS), wanted)


def test_mixed_classes() -> None:
    mixed = drawn(B, C, seed=3).softmax(1)
    found = Criterion(LOSS, [], None, multi_label=False, mixes=True)(PLAIN, IMAGES, mixed)
    torch.testing.assert_close(found, functional.cross_entropy(LOGITS, mixed))


def test_several_labels() -> None:
    """arXiv:2009.14119: the negatives' probability is shifted, then raised to gamma."""
    labels, p = drawn(B, C, seed=4) > 0, LOGITS.sigmoid()
    shifted = (p - 0.05).clamp(min=0)
    wanted = -(labels * p.log() + ~labels * shifted**4 * (1 - shifted).log()).sum(1).mean()
    found = Criterion(LOSS, [], None, multi_label=True, mixes=False)(PLAIN, IMAGES, labels)
    torch.testing.assert_close(found, wanted)


def test_distillation_of_deit() -> None:
    base, taught = functional.cross_entropy(LOGITS, LABELS), Teacher().logits
    distilled = drawn(B, C, seed=5)
    seen = Seen(LOGITS, distilled, [], None)
    hard = criterion(distill="hard", alpha=0.25)(seen, IMAGES, LABELS)
    torch.testing.assert_close(hard, 0.75 * base + 0.25 * functional.cross_entropy(distilled, taught.argmax(1)))
    p, q = (taught / 3).softmax(1), (distilled / 3).softmax(1)
    soft = criterion(distill="soft", alpha=0.5, temperature=3.0)(seen, IMAGES, LABELS)
    torch.testing.assert_close(soft, 0.5 * base + 0.5 * 9 * (p * (p / q).log()).sum(1).mean())


def test_a_policy_learns_how_many_stay_and_from_the_unreduced_model() -> None:
    teacher, base = Teacher(), functional.cross_entropy(LOGITS, LABELS)
    policy = [(drawn(B, N, seed=seed) > 0).float() for seed in (6, 7)]
    tokens = drawn(B, N, D, seed=8)
    ratio = torch.stack([(p.mean(1) - share) ** 2 for p, share in zip(policy, (0.5, 0.25), strict=True)]).mean()
    p, q = teacher.logits.softmax(1), LOGITS.softmax(1)
    classes = (p * (p / q).log()).sum(1).mean()
    stays = policy[1].bool()
    gaps = ((tokens - teacher.tokens[:, 1:])[stays] ** 2).mean()
    found = criterion()(Seen(LOGITS, LOGITS, policy, tokens), IMAGES, LABELS)
    torch.testing.assert_close(found, base + 2 * ratio + 0.5 * classes + 0.5 * gaps)
    nobody = [torch.zeros(B, N)] * 2
    found = criterion()(Seen(LOGITS, LOGITS, nobody, tokens), IMAGES, LABELS)
    torch.testing.assert_close(found, base + 2 * (0.5**2 + 0.25**2) / 2 + 0.5 * classes)


def test_gradients_reach_the_predictor_through_the_draw(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "dynamicvit", 0.5, blocks=(1, 3)).train()
    student, labels = Student(model), torch.tensor([1, 2, 3, 4])
    torch.manual_seed(0)
    seen = student(images)
    assert [mass.shape for mass in seen.policy] == [(4, 64), (4, 64)]
    assert all(set(mass.unique().tolist()) <= {0.0, 1.0} for mass in seen.policy)
    assert bool((seen.policy[1] <= seen.policy[0]).all())  # who left stays away
    assert seen.tokens is not None and seen.tokens.shape == (4, 64, 32)
    Criterion(replace(LOSS, ratio=0.0), [0.5, 0.25], None, False, False)(seen, images, labels).backward()
    for name, parameter in model.reducers.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


@pytest.mark.parametrize("distill", [False, True])
def test_a_distillation_token_is_taught_for_itself(distill: bool) -> None:
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 3}
    vit = timm.create_model("deit_tiny_distilled_patch16_224", **shape)
    nn.init.normal_(vit.head_dist.weight)
    model = tokenlens.reduce(vit, "topk", 0.5, blocks=(1,)).train()
    seen = Student(model, distill)(torch.randn(2, 3, 32, 32))
    assert seen.policy == [] and seen.tokens is None and seen.logits.shape == seen.distilled.shape == (2, 3)
    assert torch.equal(seen.logits, seen.distilled) != distill
