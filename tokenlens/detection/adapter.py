"""ViT-Adapter with reducers: a ViT whose tokens are fewer and fewer, inside a pyramid that stays whole.

Chen et al., 2023, arXiv:2205.08534; ATC in it: Haurum et al., 2024, arXiv:2409.11923. Held against JoakimHaurum/ATC@
227c94b, which follows uzh-rpg/svit@d2472c1 and czczup/ViT-Adapter@fd64a51 (Apache-2.0).

Before each injector the tokens are spread to all patches, and after it carried into the same groups again; extractors
and the pyramid see them spread. What was dropped is 0 there.

Shapes: B images, N patches, C channels, S places of the pyramid.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from ..core.host import Tokens
from ..core.reducer import Stage
from ..core.schedule import STUDY_BLOCKS, Schedule, schedule
from ..core.trace import Trace
from ..core.walk import read_before
from ..errors import BadInput
from ..hosts.timm_vit import TimmVisionTransformer
from ..methods.registry import method as method_named
from ..methods.registry import methods
from .deformable import Shape, centres
from .interaction import EPS, AdapterConfig, Interaction, SpatialPrior
from .spreading import SpreadingWalk


class AdapterHost(TimmVisionTransformer):
    """The ViT inside a ViT-Adapter, as the walk sees it: timm's blocks, without a class token, over any grid."""

    family = "ViT-Adapter"
    supported = "a ViTAdapter"

    def __init__(self, model: ViTAdapter) -> None:
        config = model.config
        self.model, self.name = model, "ViT-Adapter"
        self.blocks, self.width, self.heads, self.prefix = config.depth, config.width, config.heads, 0
        self.grid = config.pretrained
        rows, columns = config.pretrained
        self.image = (3, rows * config.patch, columns * config.patch)
        self.has_class_token = False

    @staticmethod
    def recognises(model: object) -> bool:
        """A ViTAdapter."""
        return isinstance(model, ViTAdapter)

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 24 channels in two interactions."""
        return ViTAdapter(
            AdapterConfig(24, 2, 4, 2.0, pretrained=(4, 4), stem=8, deform_heads=2, spans=((0, 1), (2, 3)))
        )

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens, with positions stretched to their grid."""
        x = self.model.patch_embed(images)
        grid = (x.shape[2], x.shape[3])
        return Tokens(x.flatten(2).transpose(1, 2) + self.model.positions(grid), grid)

    def grid_of(self, size: Sequence[int]) -> Shape:
        """Rows and columns of patches of images of (height, width)."""
        rows, columns = (side // self.model.config.patch for side in size)
        return rows, columns


class ViTAdapter(nn.Module):
    """From images to a pyramid of four maps; with reducers where `reduced` put them.

    Parameters are called as in mmdet's checkpoints below `backbone.`, without those that play no part there
    (`cls_token`, `norm`, `head`).
    """

    grad_checkpointing = False

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        c = self.config = config
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, c.width, c.patch, c.patch)))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + c.pretrained[0] * c.pretrained[1], c.width))  # class first
        norm: Any = partial(nn.LayerNorm, eps=EPS)
        drops = torch.linspace(0, c.drop_path, c.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(c.width, c.heads, c.mlp_ratio, qkv_bias=True, drop_path=drop, norm_layer=norm) for drop in drops
        )
        self.spm = SpatialPrior(c.stem, c.width)
        self.level_embed = nn.Parameter(torch.zeros(3, c.width))
        self.interactions = nn.ModuleList(Interaction(c, span == c.spans[-1]) for span in c.spans)
        self.up = nn.ConvTranspose2d(c.width, c.width, 2, 2)
        self.norm1, self.norm2 = nn.BatchNorm2d(c.width), nn.BatchNorm2d(c.width)
        self.norm3, self.norm4 = nn.BatchNorm2d(c.width), nn.BatchNorm2d(c.width)
        self.schedule = Schedule((), counts=())
        self.reducers = nn.ModuleDict()
        self.seed = 0
        for table in (self.pos_embed, self.level_embed):
            nn.init.trunc_normal_(table, std=0.02)

    def positions(self, grid: Shape) -> Tensor:
        """(1, N, C): the position embedding, stretched to a grid; the class token has none."""
        square = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, self.config.pretrained)
        return functional.interpolate(square, grid, mode="bicubic").flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> maps (B, C, H / 4, W / 4) to (B, C, H / 32, W / 32)."""
        return self.trace(images)[0]

    def trace(self, images: Tensor) -> tuple[list[Tensor], Trace]:
        """The maps, and what became of every patch."""
        multiple = 2 * self.config.patch
        if any(side % multiple for side in images.shape[-2:]):
            raise BadInput(
                f"the images are {' x '.join(map(str, images.shape[-2:]))}, and a ViT-Adapter takes sides that are "
                f"multiples of {multiple}; pad them"
            )
        reducers: Any = {int(block): reducer for block, reducer in self.reducers.items()}
        walk = SpreadingWalk(AdapterHost(self), reducers, self.schedule, images, self.seed)
        rows, columns = walk.grid
        shapes = [(2 * rows, 2 * columns), (rows, columns), (rows // 2, columns // 2)]
        patches, places = centres([walk.grid], images), centres(shapes, images)
        first, *levels = self.spm(images)
        pyramid = torch.cat(
            [level.flatten(2).transpose(1, 2) + embed for level, embed in zip(levels, self.level_embed, strict=True)], 1
        )
        interactions: Any = self.interactions
        for interaction, (begin, end) in zip(interactions, self.config.spans, strict=True):
            walk.x = walk.carry(interaction.injector(walk.spread(), patches, pyramid, shapes))
            for block in range(begin, end + 1):
                walk.step(block)
            pyramid = interaction.extract(pyramid, places, walk.spread(), walk.grid, shapes)
        return self._maps(first, pyramid, walk.spread(), walk.grid, shapes), walk.trace

    def _maps(self, first: Tensor, pyramid: Tensor, x: Tensor, grid: Shape, shapes: Sequence[Shape]) -> list[Tensor]:
        """The pyramid as maps, the patches added to each."""
        parts = pyramid.transpose(1, 2).split([rows * columns for rows, columns in shapes], 2)
        c2, c3, c4 = (part.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True))
        of_patches = x.transpose(1, 2).unflatten(2, grid)
        maps = (self.up(c2) + first, c2, c3, c4)
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        done = []
        for norm, level, scale in zip(norms, maps, (4, 2, 1, 0.5), strict=True):
            same = scale == 1
            done.append(norm(level + (of_patches if same else functional.interpolate(
                of_patches, scale_factor=scale, mode="bilinear"))))  # fmt: skip
        return done


def reduced(
    adapter: ViTAdapter,
    method: str = "atc-average",
    keep_rate: float | Sequence[float] = 0.5,
    blocks: int | Sequence[int] = STUDY_BLOCKS,
    *,
    seed: int = 0,
    **options: Any,
) -> ViTAdapter:
    """A copy of a ViT-Adapter with a method of the registry in it.

    Args:
        adapter: it is not changed.
        method: a registered name; those that read the class token's attention get the mean over all tokens' instead.
        keep_rate: one rate r: each stage keeps int(r * n) of the n tokens that are there, as the published detectors
            count; or one share of the patches for each block.
        blocks: 0-indexed, ascending.
        seed: of whatever is drawn at random.
        **options: of the method.

    Raises:
        BadInput: an unknown method or option, one with parameters that would have to be trained, or rates and blocks
            that make no schedule.

    Examples:
        >>> model = reduced(AdapterHost.example().eval(), "atc-average", 0.5, blocks=(1, 2))
        >>> maps, trace = model.trace(torch.zeros(1, 3, 64, 96))
        >>> trace.tokens_left.tolist()
        [[12, 6]]
    """
    chosen = method_named(method)
    if chosen.reducer.trained:
        able = ", ".join(name for name, other in methods().items() if not other.reducer.trained)
        raise BadInput(f"{method} has parameters of its own, which no detector was trained with; choose one of {able}")
    host = AdapterHost(adapter)
    stand_in = {"from_class": "received"} if "from_class" in chosen.reducer.settings() else {}
    settings = chosen.options({**stand_in, **options})
    asked = schedule(blocks, keep_rate, depth=host.blocks)
    plan = chosen.reducer.schedule(asked, host.grid, **settings)
    if plan.counts is not None:
        raise BadInput(f"{method} shrinks by counts of one grid here, and the images of a detector differ in size; "
                       "leave out contiguous=true")  # fmt: skip
    patches = host.grid[0] * host.grid[1]
    reducers = {
        block: chosen.build(Stage(index, block, keep, patches, host.width, host.grid), settings)
        for index, (block, keep) in enumerate(zip(plan.blocks, plan.keep(patches), strict=True))
    }
    model = copy.deepcopy(adapter)
    model.reducers = nn.ModuleDict({str(block): reducer for block, reducer in reducers.items()}).train(model.training)
    model.reducers.to(model.pos_embed.device)
    model.schedule, model.seed = plan, seed
    heard = {at for block, one in reducers.items() for at in (block, block - read_before(one)) if at >= 0}
    AdapterHost(model).prepare(sorted(heard))
    return model
