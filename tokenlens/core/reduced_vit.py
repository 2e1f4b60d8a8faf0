"""A model with its reducers, as a module: any host, with a reducer at some of its blocks.

Shapes: B images, T tokens with the prefix, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from ..errors import BadInput
from ..words import as_html, in_a_line
from .beginning import Beginning
from .graph import graphed
from .host import host_of
from .reducer import Reducer
from .schedule import Schedule
from .trace import About, Trace
from .walk import Walk, listened

USUAL = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # of images, where the model does not say


class ReducedViT(nn.Module):
    """A model and its reducers. State dict: `vit.*` and `reducers.<block>.*`.

    What timm's own tools ask of a ViT is answered as the ViT answers it: transforms, optimizers and layer decay work.

    Examples:
        >>> import torch, tokenlens
        >>> model = tokenlens.reduce(tokenlens.load("nano"), "topk")
        >>> model
        vit_tiny_patch16_224, topk, 3 stages, 196 → 98 → 49 → 24, at blocks 3 6 9
        >>> logits, trace = model.trace(torch.zeros(1, 3, 112, 112))
        >>> trace.kept.shape
        torch.Size([1, 3, 196])
    """

    def __init__(
        self,
        vit: nn.Module,
        reducers: Mapping[int, Reducer],
        plan: Schedule,
        seed: int = 0,
        method: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a model of one's own, which is changed where a reducer stands; `tokenlens.reduce` copies it first."""
        super().__init__()
        self.vit: Any = vit
        self.reducers = nn.ModuleDict({str(block): reducer for block, reducer in reducers.items()})
        like = next(vit.parameters())
        self.reducers.to(like.device, like.dtype).train(vit.training)
        self.training = vit.training
        self.schedule = plan
        self.seed = seed
        self.method, self.options = method, dict(options or {})
        self.host = host_of(vit)
        self.host.prepare(sorted({*reducers, *listened(reducers)}))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The stages."""
        return self.schedule.blocks

    @property
    def patches(self) -> int:
        """Of an image of the model's own size."""
        rows, columns = self.host.grid
        return rows * columns

    @property
    def keep(self) -> tuple[int, ...]:
        """Patch tokens asked to remain after each stage, of an image of the model's own size."""
        return self.schedule.keep(self.patches)

    @property
    def follows_rate(self) -> bool:
        """Whether the tokens that remain follow the one rate that was asked for."""
        free = any(self.reducer(block).adaptive or self.reducer(block).family == "none" for block in self.blocks)
        return not free and (self.schedule.rates is not None or self.schedule.fewer is not None)

    @property
    def rate(self) -> float | None:
        """The one rate asked for; off the shelf the share of the patches asked to remain, the mean over all blocks."""
        if self.schedule.fewer is None:
            return self.schedule.rate
        return round(sum(self.keep) / len(self.keep) / self.patches, 4)

    def reducer(self, block: int) -> Reducer:
        """The reducer that stands at a block."""
        found: Any = self.reducers[str(block)]
        return found  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes): logits."""
        return self.forward_head(self.forward_features(images))

    def trace(
        self, images: Tensor, features: bool = False, soft: bool = False, begin: Beginning | None = None,
        attention: bool = False,
    ) -> tuple[Tensor, Trace]:  # fmt: skip
        """The logits and what became of every patch.

        Args:
            images: (B, 3, H, W) float.
            features: record the class token after every stage's block and after the last.
            soft: record the soft maps of a soft merger.
            begin: of the same images, by a model of the same weights; see `tokenlens.core.beginning.Beginning`.
            attention: record what the class token (or else all tokens) pays to the patches that a stage decides of.
        """
        host = self.host
        if features and not host.has_class_token:
            raise BadInput(f"{host.name} has no class token, so there are no class-token features to record")
        walk = self._walk(images, {*self.blocks, host.blocks - 1} if features else (), soft, begin, attention)
        walk.trace.about = About(
            self.method, self.reducer(self.blocks[0]).merges, host.grid_of(images.shape[-2:]), self.training,
            *(tuple(self.pretrained_cfg.get(name, usual)) for name, usual in zip(("mean", "std"), USUAL, strict=True)),
        )  # fmt: skip
        return host.head(walk.run()), walk.trace

    def spread(self, images: Tensor) -> tuple[Tensor, Trace]:
        """For every patch the last token that it is in, normalised, and what became of it.

        Args:
            images: (B, 3, H, W) float.

        Returns:
            (B, P, C), 0 where a patch was dropped; and the trace.

        Examples:
            >>> import timm, tokenlens
            >>> vit = timm.create_model("vit_tiny_patch16_224", depth=4, img_size=64).eval()
            >>> tokenlens.reduce(vit, "tome", 0.5, (1, 2)).spread(torch.zeros(2, 3, 64, 64))[0].shape
            torch.Size([2, 16, 192])
        """
        walk = self._walk(images)
        tokens, home = walk.run()[:, self.host.prefix :], walk.trace.home
        spread = tokens.gather(1, home.clamp(min=0).unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        return torch.where(home.unsqueeze(-1) >= 0, spread, 0.0), walk.trace

    def __repr__(self) -> str:
        blocks = " ".join(map(str, self.blocks))
        return f"{self.host.name}, {in_a_line(self.method, None, [self.patches, *self.keep])}, at blocks {blocks}"

    def _repr_html_(self) -> str:
        rows = zip(self.blocks, self.keep, strict=True)
        return as_html(repr(self), ("at block", "tokens asked to remain"), rows)

    def graphed(self, example: Tensor) -> Callable[[Tensor], Tensor]:
        """The forward pass for images like `example` as one CUDA graph, as `graph.graphed` says; itself on a CPU.

        Examples:
            fast = tokenlens.reduce(vit, "tome").cuda().half().eval().graphed(images)
            logits = fast(images)
        """
        return graphed(self, example)

    def _walk(
        self, images: Tensor, layers: Collection[int] = (), soft: bool = False, begin: Beginning | None = None,
        attention: bool = False,
    ) -> Walk:  # fmt: skip
        return Walk(self.host, {block: self.reducer(block) for block in self.blocks}, self.schedule, images, self.seed,
                    layers, soft, begin, attention)  # fmt: skip

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, T, C): the tokens that are left, normalised."""
        return self._walk(images).run()

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, T, C) -> (B, classes): as the model pools and classifies; `pre_logits`: without the last layer."""
        return self.host.head(features, pre_logits)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """The model's own, which timm makes transforms of."""
        found: dict[str, Any] = getattr(self.vit, "pretrained_cfg", None) or {}
        return found

    @property
    def default_cfg(self) -> dict[str, Any]:
        """As `pretrained_cfg`, under its older name."""
        return self.pretrained_cfg

    @property
    def num_classes(self) -> int:
        """Of the model."""
        return int(self.vit.num_classes)

    @property
    def num_features(self) -> int:
        """Channels of the features."""
        return int(self.vit.num_features)

    def get_classifier(self) -> nn.Module:
        """The model's last layer."""
        last: nn.Module = self.vit.get_classifier()
        return last

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimizers do not decay."""
        return {f"vit.{name}" for name in self.vit.no_weight_decay()}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which layer a parameter belongs to, for timm's layer decay; reducers come last."""

        def inside(pattern: Any) -> Any:
            if isinstance(pattern, str):
                free = re.sub(r"(^|\|)\^", r"\1", pattern)  # without the start that each way is tied to
                return rf"^vit\.(?:{free})"
            return [(inside(one), where) for one, where in pattern]

        return {name: inside(pattern) for name, pattern in self.vit.group_matcher(coarse=coarse).items()}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass, but for those that a reducer stands in or listens to."""
        self.vit.set_grad_checkpointing(enable)
