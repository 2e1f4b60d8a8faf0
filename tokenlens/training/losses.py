"""What is learned: the classes, DeiT's distillation from a teacher, and DynamicViT's policy.

Held against github.com/JoakimHaurum/TokenReduction/blob/dc1c77333a63c849b06e800041f745596e25eec4/losses.py
Departs: the asymmetric loss is a mean over images, where timm's default sums, so that neither clipping nor DynamicViT's
other terms depend on how many images a process takes at a time.
Shapes: B images, N patch tokens, D channels, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from timm.loss import AsymmetricLossMultiLabel, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn import functional

from ..core.reduced_vit import ReducedViT
from ..extraction.flops import gflops
from ..hosts.timm_vit import TimmViT
from .recipe import Loss


class Seen(NamedTuple):
    """What one forward pass gives to learn from."""

    logits: Tensor
    """(B, C)"""
    distilled: Tensor
    """(B, C) of the distillation token; without one, the logits again"""
    policy: list[Tensor]
    """(B, N) of each stage that learns who stays: 1 stays, 0 leaves"""
    tokens: Tensor | None
    """(B, N, D) after the last norm, where there is a policy"""


class Student(nn.Module):
    """A reduced model that shows what it is to be taught from. Everything goes through `forward`, as DDP wants it."""

    def __init__(self, model: ReducedViT, distill: bool = False) -> None:
        """`distill`: a distillation token, where the model has one, gives logits of its own."""
        super().__init__()
        self.model = model
        self._tokens: Tensor | None = None
        if distill and hasattr(model.vit, "set_distilled_training"):
            model.vit.set_distilled_training(True)
        self.policy = has_policy(model)
        if self.policy:
            model.vit.norm.register_forward_hook(self._remember)

    def _remember(self, norm: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self._tokens = output[:, self.model.host.prefix :]

    def forward(self, images: Tensor) -> Seen:
        """(B, 3, H, W) float -> what is seen."""
        logits, trace = self.model.trace(images)
        both = logits if isinstance(logits, tuple) else (logits, logits)
        tokens, self._tokens = self._tokens, None
        learned = {block: mass for block, mass in trace.mass.items() if mass.requires_grad} if self.policy else {}
        return Seen(*both, [trace.stays.get(block, mass) for block, mass in learned.items()], tokens)


def has_policy(model: ReducedViT) -> bool:
    """Whether the reducers learn who stays, and from an un-reduced model."""
    return any(reducer.policy for reducer in model.reducers.values())


def cost_of(model: ReducedViT) -> Callable[[Tensor], Tensor] | None:
    """From the shares of patches (stages, ...) that stay to their share of the un-reduced model's multiply-adds.

    None where the method learns to keep to the tokens that are asked for at each stage.
    """
    first = model.reducer(model.blocks[0])
    if first.budget == "tokens":
        return None
    whole = gflops(model.host, {})

    def cost(stays: Tensor) -> Tensor:
        left = dict(zip(model.blocks, stays * model.patches, strict=True))
        return torch.as_tensor(gflops(model.host, left, first.site) / whole)

    return cost


class Criterion:
    """The loss of a batch."""

    def __init__(
        self,
        loss: Loss,
        share: list[float],
        teacher: TimmViT | None,
        multi_label: bool,
        mixes: bool,
        cost: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """`share` of the patches that are to stay, for each stage; labels are mixed already where `mixes`.

        With `cost`, from shares (stages, ...) to what they take (...), this is held to what was asked, not each stage.
        """
        self.loss, self.share, self.teacher, self.cost = loss, share, teacher, cost
        if multi_label:
            self.classes: nn.Module = AsymmetricLossMultiLabel(
                loss.gamma_negative, loss.gamma_positive, loss.clip, reduction="batchmean"
            )
        elif mixes:
            self.classes = SoftTargetCrossEntropy()
        else:
            self.classes = LabelSmoothingCrossEntropy(loss.smoothing) if loss.smoothing else nn.CrossEntropyLoss()

    def __call__(self, seen: Seen, images: Tensor, labels: Tensor) -> Tensor:
        """A scalar; labels are (B,) int64, or (B, C)."""
        loss: Tensor = self.classes(seen.logits, labels)
        if self.loss.distill != "none":
            loss = (1 - self.loss.alpha) * loss + self.loss.alpha * self._distill(seen.distilled, images)
        if seen.policy:
            loss = loss + self.loss.ratio * self._ratio(seen.policy) + self._unreduced(seen, images)
        return loss

    def _distill(self, logits: Tensor, images: Tensor) -> Tensor:
        """DeiT, arXiv:2012.12877; averaged over images, as the study does."""
        assert self.teacher is not None
        with torch.no_grad():
            taught = self.teacher(images).float()
        if self.loss.distill == "hard":
            return functional.cross_entropy(logits, taught.argmax(1))
        heat = self.loss.temperature
        return divergence(logits / heat, taught / heat) * heat**2

    def _ratio(self, policy: list[Tensor]) -> Tensor:
        """As many stay as are asked for, in each image and at each stage; or their operations, over images and all."""
        stays = torch.stack([mass.float().mean(1) for mass in policy])  # (stages, B)
        asked = stays.new_tensor(self.share)
        if self.cost is not None:
            return (self.cost(stays).mean() - self.cost(asked)).square()
        return (stays - asked.unsqueeze(1)).square().mean()

    def _unreduced(self, seen: Seen, images: Tensor) -> Tensor:
        """From the un-reduced model: its classes, and its tokens where they stay to the end.

        Classes are taught by their softmax, where an image has several labels too, as in the study.
        """
        if self.teacher is None or seen.tokens is None:
            return seen.logits.new_zeros(())
        with torch.no_grad():
            tokens = self.teacher.forward_features(images)
            taught = self.teacher.forward_head(tokens).float()
        stays = seen.policy[-1].detach().unsqueeze(-1)
        gaps = (seen.tokens.float() - tokens[:, self.teacher.num_prefix_tokens :].float()).square() * stays
        # an empty selection gives 0, and its gradient too
        token_loss = gaps.sum() / (stays.sum() * gaps.shape[-1]).clamp(min=1)
        class_loss = divergence(seen.logits, taught)
        return self.loss.class_distillation * class_loss + self.loss.token_distillation * token_loss


def divergence(logits: Tensor, taught: Tensor) -> Tensor:
    """Kullback-Leibler from what is taught, averaged over images."""
    target = taught.log_softmax(-1)
    return functional.kl_div(logits.log_softmax(-1), target, reduction="batchmean", log_target=True)
