"""The walk: any plain timm ViT, with a reducer at some of its blocks.

Nothing here knows a method. No forward of timm's is copied but the two lines of a block between which a reducer stands.

Shapes: B images, T tokens with the prefix, N patch tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadInput
from ..hosts.attention import Attended, TimmViT, bias, forget, remember, widen
from ..hosts.timm_vit import name_of
from .plan import Plan
from .random import content_hashes
from .reducer import Reducer
from .schedule import Schedule
from .trace import Trace
from .view import View


class ReducedViT(nn.Module):
    """A ViT and its reducers. State dict: `vit.*` and `reducers.<block>.*`."""

    def __init__(self, vit: TimmViT, reducers: Mapping[int, Reducer], plan: Schedule, seed: int = 0) -> None:
        super().__init__()
        self.vit: TimmViT = vit
        self.reducers = nn.ModuleDict({str(block): reducer for block, reducer in reducers.items()})
        like = next(vit.parameters())
        self.reducers.to(like.device, like.dtype).train(vit.training)
        self.schedule = plan
        self.seed = seed
        for block, reducer in reducers.items():
            attended = block if reducer.site == "after_attention" else block - 1
            if attended >= 0:
                vit.blocks[attended].attn.qkv.register_forward_hook(remember)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The stages."""
        return self.schedule.blocks

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes): logits."""
        return self._walk(images, Recorder())[0]

    def trace(self, images: Tensor, features: bool = False, soft: bool = False) -> tuple[Tensor, Trace]:
        """The logits and what became of every patch.

        Args:
            images: (B, 3, H, W) float.
            features: record the class token after every stage's block and after the last.
            soft: record the soft maps of a soft merger.
        """
        if features and self.vit.cls_token is None:
            raise BadInput(f"{name_of(self.vit)} has no class token, so there are no class-token features to record")
        layers = {*self.blocks, len(self.vit.blocks) - 1} if features else set()
        return self._walk(images, Recorder(layers, soft))

    def _walk(self, images: Tensor, recorder: Recorder) -> tuple[Tensor, Trace]:
        vit = self.vit
        x = vit.patch_embed(images)
        grid = (x.shape[1], x.shape[2]) if x.dim() == 4 else vit.patch_embed.grid_size
        x = vit.norm_pre(vit.patch_drop(vit._pos_embed(x)))
        mass: Tensor | None = None
        trace = Trace(x.shape[0], grid[0] * grid[1], x.device)
        ask = Asker(self, images, grid, trace, recorder.soft)
        for i, block in enumerate(vit.blocks):
            x, mass = ask(i, "before_block", x, mass)
            mask = bias(mass, vit.num_prefix_tokens, x.dtype)
            if ask.stands(i, "after_attention"):
                x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x), attn_mask=mask)))
                x, mass = ask(i, "after_attention", x, mass)
                x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
            else:
                x = block(x, attn_mask=mask)
            if i in recorder.layers:
                trace.features[i] = x[:, 0]
        forget(vit)
        x = fill_padding(vit.norm(x), mass, vit)
        return vit.forward_head(x), trace


class Recorder:
    """What a walk records beside the patterns."""

    def __init__(self, layers: set[int] | None = None, soft: bool = False) -> None:
        self.layers, self.soft = layers or set(), soft


class Asker:
    """Asks the reducer that stands at a site, carries its plan out and writes it down."""

    def __init__(self, model: ReducedViT, images: Tensor, grid: tuple[int, int], trace: Trace, soft: bool) -> None:
        self.model, self.grid, self.trace, self.soft = model, grid, trace, soft
        self.patches = grid[0] * grid[1]
        self.keep = dict(zip(model.blocks, model.schedule.keep(self.patches), strict=True))
        self.planned = self.patches
        self.images = images
        self._contents: Tensor | None = None

    def stands(self, block: int, site: str) -> bool:
        """Is there a reducer at this site?"""
        return str(block) in self.model.reducers and self._reducer(block).site == site

    def _reducer(self, block: int) -> Reducer:
        reducer: Any = self.model.reducers[str(block)]
        return reducer  # type: ignore[no-any-return]

    def __call__(self, block: int, site: str, x: Tensor, mass: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, T, C) tokens and (B, N) mass before, the same after."""
        if not self.stands(block, site):
            return x, mass
        reducer, keep, prefix = self._reducer(block), self.keep[block], self.model.vit.num_prefix_tokens
        plan: Plan | None = None
        if keep < (self.patches if reducer.adaptive else x.shape[1] - prefix):
            with torch.autocast(x.device.type, enabled=False):  # half-precision ranks tie: decide in float32
                plan = reducer(self._view(block, site, x, mass, keep))
            x = torch.cat([x[:, :prefix], plan.tokens.to(x.dtype)], 1)
            mass = plan.mass
        self.trace.add(block, plan, self.soft)
        self.planned = keep
        return x, mass

    def _view(self, block: int, site: str, x: Tensor, mass: Tensor | None, keep: int) -> View:
        vit = self.model.vit
        attended = block if site == "after_attention" else block - 1
        return View(
            tokens=widen(x[:, vit.num_prefix_tokens :]),
            patch=self.trace.patch,
            mass=mass,
            grid=self.grid,
            keep=keep,
            planned=self.planned,
            prefix=vit.num_prefix_tokens,
            attended=Attended(vit.blocks[attended].attn, mass, vit.num_prefix_tokens) if attended >= 0 else None,
            seeds=lambda: self._seeds(block),
        )

    def _seeds(self, block: int) -> Tensor:
        """(B, 3) int64: the model's seed, the block and the image's content, which is read once in a walk."""
        if self._contents is None:
            self._contents = content_hashes(self.images)
        here = torch.tensor([self.model.seed, block]).expand(self._contents.shape[0], -1)
        return torch.cat([here, self._contents.unsqueeze(1)], 1)


def fill_padding(x: Tensor, mass: Tensor | None, vit: TimmViT) -> Tensor:
    """Give padding the mean of the image's other tokens, so that it changes neither an average nor a maximum pool."""
    if mass is None or vit.global_pool == "token":
        return x
    absent = (mass == 0).unsqueeze(-1)
    if vit.attn_pool is not None:
        if bool(absent.any()):
            raise BadInput(
                f"{name_of(vit)} pools by attention, which would see padding; use a method that does not pad"
            )
        return x
    patches = x[:, vit.num_prefix_tokens :]
    present = (~absent).to(x.dtype)
    # without the prefix the pool sees patches alone; with it, the mean over all tokens that are there
    head = x[:, : vit.num_prefix_tokens] if vit.pool_include_prefix else x[:, :0]
    mean = ((patches * present).sum(1) + head.sum(1)) / (present.sum(1) + head.shape[1])
    return torch.cat([x[:, : vit.num_prefix_tokens], torch.where(absent, mean.unsqueeze(1), patches)], 1)
