"""The walk: one forward pass of any host, with a reducer at some of its blocks.

Nothing here knows a method or a host, and nothing stays on a module: all that a walk holds goes with it.

Shapes: B images, T tokens with the prefix, N patch tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .attention import QKV, Attended, key_bias
from .beginning import Beginning, mass_of
from .host import Ear, Host
from .plan import Plan, gather, positions
from .random import content_hashes, keys
from .reducer import Reducer
from .schedule import Schedule
from .trace import Trace
from .view import View


def read_before(reducer: Reducer) -> int:
    """How many blocks before its own the attention lies that a reducer reads."""
    return int(reducer.site == "before_block")


def listened(reducers: Mapping[int, Reducer]) -> set[int]:
    """The blocks whose attention somebody reads."""
    read = {block - read_before(reducer) for block, reducer in reducers.items()}
    return {block for block in read if block >= 0} | watched(reducers).keys()


def watched(reducers: Mapping[int, Reducer]) -> dict[int, Reducer]:
    """Block -> the reducer of the next stage, which is shown its attention."""
    stages = pairwise(sorted(reducers))
    return {i: reducers[then] for first, then in stages if reducers[then].watches for i in range(first, then)}


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
        begin: Beginning | None = None,
        attention: bool = False,
    ) -> None:
        """Embed the images.

        `layers` are blocks after which the class token is recorded; `soft`: soft maps too; `attention`: what is paid to
        the tokens that a stage decides of.
        """
        self.begin, self.attention = begin, attention
        tokens = host.embed(images) if begin is None else begin.tokens
        self.host, self.reducers, self.images, self.seed = host, reducers, images, seed
        self.x, self.grid, self.positions = tokens.x, tokens.grid, tokens.positions
        self.mass = mass_of(tokens)
        self.start = self.x[:, host.prefix :]
        self.size: Tensor | None = None
        self.memory: Tensor | None = None
        self.waiting: tuple[Tensor, Tensor | None, Any] | None = None  # tokens, masses and positions
        self.layers, self.soft = layers, soft
        self.patches = self.planned = self.grid[0] * self.grid[1]
        self.keep = dict(zip(schedule.blocks, schedule.keep(self.patches), strict=True))
        self.fewer = dict(zip(schedule.blocks, schedule.fewer or (), strict=False))
        self.watchers = watched(reducers)
        busy = {block: r for block, r in reducers.items() if self.keep[block] < self.patches or r.sparsity < 1}
        self.listened = listened(busy) | self.watchers.keys()
        self.trace = Trace(self.x.shape[0], self.patches, self.x.device)
        self._masked: tuple[Tensor | None, torch.dtype, Tensor | None] | None = None
        self._contents: Tensor | None = None
        self._attended: Attended | None = None
        self._first = -1
        """the block before which `begin` ends, if there is one"""

    def run(self) -> Tensor:
        """(B, T, C): the features after the last block."""
        if self.begin is not None:
            self._first = min({self.host.blocks, *self.reducers, *self.watchers, *self.layers})
            if self._first - 1 in self.listened:
                self._attended = self.begin.attended(self._first - 1)
            self.x = self.begin.before(self._first)
        for i in range(max(0, self._first), self.host.blocks):
            self.step(i)
        self._rejoin()
        return self.host.finish(self.x, self.mass if self.size is None else self.size)

    def step(self, i: int) -> None:
        """Run block i, and the reducer that stands at it."""
        site = self.reducers[i].site if i in self.reducers else None
        if site is not None:
            self._rejoin()
        if site in ("before_block", "ahead"):
            self.x = self._reduced(i, self.x, self._attended if site == "before_block" else self._ahead(i, self.x))
        self._attended = self._block(i, site)
        if site == "after_block":
            self.x = self._reduced(i, self.x, self._attended)
        if i in self.watchers:
            assert self._attended is not None
            with torch.autocast(self.x.device.type, enabled=False):
                self.memory = self.watchers[i].watch(self._attended, self.memory)
        if i in self.layers:
            self.trace.features[i] = self.x[:, 0]

    def _block(self, i: int, site: str | None) -> Attended | None:
        """Run a block, and ask the reducer that stands inside it; what was attended, where somebody listens."""
        host, x, ear = self.host, self.x, Ear() if i in self.listened else None
        mask = self._mask(x.dtype)
        if ear is None:
            self.x = host.block(i, x, mask, self.positions)
            if site in ("before_attention", "after_attention"):  # a stage that has nothing to do
                self._decide(i, self.x, None)
            return None
        heard = ear
        attended = Attended(lambda: host.qkv(i, x, heard), self.mass, host.prefix)
        if site == "before_attention" and self._asks(i, x):
            self.x = host.block(i, x, mask, self.positions, decide=lambda x, qkv, _: self._decided(i, x, qkv))
        elif site == "after_attention":
            attended = self._between_halves(i, x, mask, ear, attended)
        else:
            self.x = host.block(i, x, mask, self.positions, ear)
            if site == "before_attention":
                self._decide(i, x, None)
        return attended

    def _between_halves(self, i: int, x: Tensor, mask: Tensor | None, ear: Ear, attended: Attended) -> Attended:
        """Run a block with its reducer inside; its attention is the same for all, where nothing was decided before."""
        share = self.reducers[i].sparsity
        begin = self.begin if i == self._first and share == 1 else None
        if begin is not None and i in begin.inside:
            x, attended = begin.inside[i]
            self.x = self.host.second(i, self._reduced(i, x, attended))
            return attended

        def between(x: Tensor) -> Tensor:
            if begin is not None:
                begin.inside[i] = x, attended
            return self._reduced(i, x, attended)

        sparse = None if share == 1 else (lambda x, *_: self._sparse(x, share))
        self.x = self.host.block(i, x, mask, self.positions, ear, between, sparse)
        return attended

    def _mask(self, dtype: torch.dtype) -> Tensor | None:
        """The additive mask of the masses, made once for all blocks between two stages."""
        if self._masked is None or self._masked[0] is not self.mass or self._masked[1] != dtype:
            self._masked = self.mass, dtype, key_bias(self.mass, self.host.prefix, dtype)
        return self._masked[2]

    def _asks(self, block: int, x: Tensor) -> bool:
        """Is there anything to decide?"""
        return self.keep[block] < (self.patches if self.reducers[block].adaptive else x.shape[1] - self.host.prefix)

    def _sparse(self, x: Tensor, share: float) -> Plan:
        """All tokens go on, and so much of the attention among them."""
        everyone = positions(x.shape[0], x.shape[1] - self.host.prefix, x.device)
        return Plan(everyone, everyone, sparsity=share)

    def _ahead(self, i: int, x: Tensor) -> Attended:
        """What block i would attend to, were nothing to be done before it."""
        return Attended(lambda: self.host.qkv(i, x, Ear()), self.mass, self.host.prefix)

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

    def _rejoin(self) -> None:
        """Put those that waited behind the others."""
        if self.waiting is not None:
            tokens, mass, places = self.waiting
            self.x = torch.cat([self.x, tokens], 1)
            self.positions = None if self.positions is None else self.positions.joined(places)
            self.mass = None if mass is None or self.mass is None else torch.cat([self.mass, mass], 1)
            self.waiting = None
            self.trace.rejoin()

    def _decided(self, block: int, x: Tensor, qkv: QKV) -> Plan | None:
        """Ask the reducer that stands before the attention whose projections are there already."""
        return self._decide(block, x, Attended(lambda: qkv, self.mass, self.host.prefix))

    def _decide(self, block: int, x: Tensor, attended: Attended | None) -> Plan | None:
        reducer, keep, prefix = self.reducers[block], self.keep[block], self.host.prefix
        plan: Plan | None = None
        if attended is not None:
            attended.rotated = reducer.keys == "rotated"
        if self._asks(block, x):
            with torch.autocast(x.device.type, enabled=False):  # half-precision ranks tie: decide in float32
                if self.attention and attended is not None:
                    self.trace.attend(block, attended.paid(self.host.has_class_token))
                plan = reducer(
                    View(
                        x=x[:, prefix:],
                        patch=self.trace.patch,
                        mass=self.mass,
                        grid=self.grid,
                        keep=keep,
                        planned=self._planned(block),
                        prefix=prefix,
                        attended=attended,
                        stand_in=reducer.from_class == "received",
                        seeds=lambda: self._seeds(block),
                        size=self.size,
                        has_class=self.host.has_class_token,
                        start=self.start,
                        memory=self.memory,
                    )
                )
                if plan.waiting is not None:
                    self._set_aside(plan.waiting, x[:, prefix:], reducer.position)
                if self.positions is not None:
                    self.positions = self.positions.carried(plan, x[:, prefix:], reducer.position)
            self.mass, self.size, self.memory = plan.mass, plan.size, plan.memory
        self.trace.add(block, plan, self.soft)
        self.planned = keep
        return plan

    def _set_aside(self, waiting: Tensor, x: Tensor, rule: str) -> None:
        """Let some of the tokens x (B, N, C) wait, as they are."""
        mass = None if self.mass is None else gather(self.mass, waiting)
        places = None if self.positions is None else self.positions.carried(Plan(waiting, waiting), x, rule)
        self.waiting = gather(x, waiting), mass, places

    def _planned(self, block: int) -> int:
        """Tokens that were planned to be there; off the shelf as many more than asked for as are to go here."""
        return self.keep[block] + self.fewer[block] if self.fewer else self.planned

    def _seeds(self, block: int) -> Tensor:
        """(B,) int64: from the model's seed, the block and the image's content, which is read once in a walk."""
        if self._contents is None:
            self._contents = content_hashes(self.images) if self.begin is None else self.begin.contents
        return keys(self._contents, self.seed, block)
