"""Carry out in one model what was decided in another: its plans are written down in one walk and replayed in the next.

So a pattern is told apart from the weights that it came from: whether these patches matter, or what the weights make
of them. Shapes: B images, P patches.
Source of what is shown: Petsiuk, Das & Saenko, BMVC 2018, arXiv:1806.07421. Departs: tokens leave, and no pixel is
painted over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from ..errors import BadInput
from .attention import Attended
from .host import Host
from .plan import Plan, positions, select
from .reduced_vit import ReducedViT
from .reducer import Reducer, Stage
from .schedule import Schedule
from .trace import Trace
from .view import View
from .walk import Walk


class Decided(Reducer):
    """A stage whose plan is known beforehand, and carried out at the site of the reducer that it is of."""

    site = "before_block"
    adaptive = True  # it is asked, however many tokens are there

    def __init__(self, stage: Stage, decide: Callable[[View], Plan], like: Reducer | None = None) -> None:
        super().__init__(stage)
        self.decide = decide
        for name in ("site", "position", "sparsity") if like is not None else ():
            setattr(self, name, getattr(like, name))

    def forward(self, view: View) -> Plan:
        """The plan."""
        return self.decide(view)


class RememberingWalk(Walk):
    """A walk that writes its plans down."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.plans: dict[int, Plan] = {}
        """by block, in their order"""

    def _decide(self, block: int, x: Tensor, attended: Attended | None) -> Plan | None:
        plan = super()._decide(block, x, attended)
        if plan is not None:
            self.plans[block] = plan
        return plan


def decided(model: ReducedViT, images: Tensor) -> tuple[Tensor, Trace, dict[int, Plan]]:
    """Walk, and write down what is decided: logits (B, classes), trace, and the plan of each block that had any.

    Raises:
        BadInput: the method mixes tokens softly, and what it mixes is no other model's.

    Examples:
        logits, trace, plans = decided(one, images)
        replayed(one, plans, one.host, images)   # the same logits, to the last bit
        replayed(one, plans, other.host, images)  # what another's weights make of the pattern
    """
    stages = {block: model.reducer(block) for block in model.blocks}
    walk = RememberingWalk(model.host, stages, model.schedule, images, model.seed)
    logits = model.host.head(walk.run())
    if any(plan.content is not None for plan in walk.plans.values()):
        raise BadInput(
            f"{model.method} mixes all tokens softly, so it has no pattern that other weights could carry out; "
            "choose a method that keeps or groups tokens"
        )
    return logits, walk.trace, walk.plans


def replayed(model: ReducedViT, plans: Mapping[int, Plan], host: Host, images: Tensor) -> Tensor:
    """The logits (B, classes) of a host that is made to do what `model` decided on these images, as `decided` gives it.

    The host has to be prepared for these blocks (`Host.prepare`), and to have as many patches.
    """
    stages = {block: Decided(model.reducer(block).stage, partial(_given, plan), model.reducer(block))
              for block, plan in sorted(plans.items())}  # fmt: skip
    schedule = Schedule(tuple(stages), counts=(1,) * len(stages))
    return host.head(Walk(host, stages, schedule, images).run())


def _given(plan: Plan, view: View) -> Plan:
    return plan


def shown(host: Host, images: Tensor, patches: Bool[Tensor, "b p"]) -> Tensor:
    """The logits (B, classes) of a host that is shown some patches of each image, from the first block on.

    An image of which none is shown is seen as its prefix tokens alone.
    """
    most = max(int(patches.sum(1).max()), 1)
    places = positions(len(patches), patches.shape[1], patches.device).masked_fill(~patches, patches.shape[1])
    index = places.sort(1).values[:, :most]
    index = index.masked_fill(index == patches.shape[1], -1)
    stage = Stage(0, 0, most, patches.shape[1], host.width, host.grid, host.blocks)
    first = Decided(stage, lambda view: select(view, index, padded=True))
    return host.head(Walk(host, {0: first}, Schedule((0,), counts=(1,)), images).run())
