"""The walk: one forward pass of any host, with a reducer at some of its blocks.

Nothing here knows a method or a host, and nothing stays on a module: all that a walk holds goes with it.

Shapes: B images, T tokens with the prefix, N patch tokens, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .attention import QKV, Attended, key_bias
from .host import Ear, Host, host_of
from .plan import Plan
from .random import content_hashes
from .reducer import Reducer
from .schedule import Schedule
from .trace import Trace
from .view import View


class ReducedViT(nn.Module):
    """A model and its reducers. State dict: `vit.*` and `reducers.<block>.*`.

    What timm's own tools ask of a ViT is answered as the ViT answers it: transforms, optimizers and layer decay work.
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
        self.schedule = plan
        self.seed = seed
        self.method, self.options = method, dict(options or {})
        self.host = host_of(vit)
        self.host.prepare(sorted({block for at, reducer in reducers.items() for block in (at, at - read_before(reducer))
                                  if block >= 0}))  # fmt: skip

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
        return not free and self.schedule.rates is not None

    def reducer(self, block: int) -> Reducer:
        """The reducer that stands at a block."""
        found: Any = self.reducers[str(block)]
        return found  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes): logits."""
        return self.forward_head(self.forward_features(images))

    def trace(self, images: Tensor, features: bool = False, soft: bool = False) -> tuple[Tensor, Trace]:
        """The logits and what became of every patch.

        Args:
            images: (B, 3, H, W) float.
            features: record the class token after every stage's block and after the last.
            soft: record the soft maps of a soft merger.
        """
        host = self.host
        if features and not host.has_class_token:
            raise BadInput(f"{host.name} has no class token, so there are no class-token features to record")
        walk = self._walk(images, {*self.blocks, host.blocks - 1} if features else (), soft)
        return host.head(walk.run()), walk.trace

    def _walk(self, images: Tensor, layers: Collection[int] = (), soft: bool = False) -> Walk:
        return Walk(self.host, {block: self.reducer(block) for block in self.blocks}, self.schedule, images, self.seed,
                    layers, soft)  # fmt: skip

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, T, C): the tokens that are left, normalised."""
        return self._walk(images).run()

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, T, C) -> (B, classes): as the model pools and classifies; `pre_logits`: without the last layer."""
        return self.host.head(features, pre_logits)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """The model's own, which timm makes transforms of."""
        found: dict[str, Any] = self.vit.pretrained_cfg
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


def read_before(reducer: Reducer) -> int:
    """How many blocks before its own the attention lies that a reducer reads."""
    return int(reducer.site == "before_block")


class Walk:
    """One forward pass: the tokens on their way, and all that is known of them."""

    def __init__(
        self,
        host: Host,
        reducers: Mapping[int, Reducer],
        schedule: Schedule,
        images: Tensor,
        seed: int = 0,
        layers: Collection[int] = (),
        soft: bool = False,
    ) -> None:
        """Embed the images. `layers` are blocks after which the class token is recorded; `soft`: soft maps too."""
        tokens = host.embed(images)
        self.host, self.reducers, self.images, self.seed = host, reducers, images, seed
        self.x, self.grid, self.positions = tokens.x, tokens.grid, tokens.positions
        self.mass = None if tokens.valid is None else tokens.valid.to(torch.float32)
        self.layers, self.soft = layers, soft
        self.patches = self.planned = self.grid[0] * self.grid[1]
        self.keep = dict(zip(schedule.blocks, schedule.keep(self.patches), strict=True))
        self.listened = {block - read_before(reducer) for block, reducer in reducers.items()}
        self.trace = Trace(self.x.shape[0], self.patches, self.x.device)
        self._contents: Tensor | None = None

    def run(self) -> Tensor:
        """(B, T, C): the features after the last block."""
        attended: Attended | None = None
        for i in range(self.host.blocks):
            site = self.reducers[i].site if i in self.reducers else None
            if site == "before_block":
                self.x = self._reduced(i, self.x, attended)
            attended = self._block(i, site)
            if i in self.layers:
                self.trace.features[i] = self.x[:, 0]
        return self.host.finish(self.x, self.mass)

    def _block(self, i: int, site: str | None) -> Attended | None:
        """Run a block, and ask the reducer that stands inside it; what was attended, where somebody listens."""
        host, x, ear = self.host, self.x, Ear() if i in self.listened else None
        mask = key_bias(self.mass, host.prefix, x.dtype)
        if ear is None:
            self.x = host.block(i, x, mask, self.positions)
            return None
        heard = ear
        attended = Attended(lambda: host.qkv(i, x, heard), self.mass, host.prefix)
        if site == "before_attention":
            self.x = host.block(i, x, mask, self.positions, decide=lambda x, qkv, _: self._decided(i, x, qkv))
        elif site == "after_attention":
            self.x = host.block(i, x, mask, self.positions, ear, lambda x: self._reduced(i, x, attended))
        else:
            self.x = host.block(i, x, mask, self.positions, ear)
        return attended

    def _reduced(self, block: int, x: Tensor, attended: Attended | None) -> Tensor:
        """Ask the reducer, carry its plan out and write it down: (B, T, C) -> (B, T', C)."""
        plan = self._decide(block, x, attended)
        if plan is None:
            return x
        prefix = self.host.prefix
        with torch.autocast(x.device.type, enabled=False):
            if plan.content is None:
                return plan.carry(x, prefix)
            return torch.cat([x[:, :prefix], plan.carry(plan.content).to(x.dtype)], 1)

    def _decided(self, block: int, x: Tensor, qkv: QKV) -> Plan | None:
        """Ask the reducer that stands before the attention whose projections are there already."""
        return self._decide(block, x, Attended(lambda: qkv, self.mass, self.host.prefix))

    def _decide(self, block: int, x: Tensor, attended: Attended | None) -> Plan | None:
        reducer, keep, prefix = self.reducers[block], self.keep[block], self.host.prefix
        plan: Plan | None = None
        if keep < (self.patches if reducer.adaptive else x.shape[1] - prefix):
            with torch.autocast(x.device.type, enabled=False):  # half-precision ranks tie: decide in float32
                plan = reducer(
                    View(
                        x=x[:, prefix:],
                        patch=self.trace.patch,
                        mass=self.mass,
                        grid=self.grid,
                        keep=keep,
                        planned=self.planned,
                        prefix=prefix,
                        attended=attended,
                        seeds=lambda: self._seeds(block),
                    )
                )
                if self.positions is not None:
                    self.positions = plan.carry(self.positions)
            self.mass = plan.mass
        self.trace.add(block, plan, self.soft)
        self.planned = keep
        return plan

    def _seeds(self, block: int) -> Tensor:
        """(B, 3) int64: the model's seed, the block and the image's content, which is read once in a walk."""
        if self._contents is None:
            self._contents = content_hashes(self.images)
        here = torch.tensor([self.seed, block]).expand(self._contents.shape[0], -1)
        return torch.cat([here, self._contents.unsqueeze(1)], 1)
