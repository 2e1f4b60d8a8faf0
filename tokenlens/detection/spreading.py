"""The walk of a dense host, which needs all patches again and again: plans are spread, and carried out once more.

Shapes: B images, N patches, K tokens that are left, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.attention import Attended
from ..core.host import Host
from ..core.plan import Plan
from ..core.reducer import Reducer
from ..core.replay import RememberingWalk
from ..core.schedule import Schedule


class SpreadingWalk(RememberingWalk):
    """A walk whose plans are taken back and carried out again."""

    def __init__(
        self, host: Host, reducers: Mapping[int, Reducer], schedule: Schedule, images: Tensor, seed: int
    ) -> None:
        super().__init__(host, reducers, schedule, images, seed)
        self.rate = schedule.rate

    def spread(self) -> Tensor:
        """(B, N, C): for every patch the token that it is in; 0 for those that were dropped."""
        x = self.x
        for plan in reversed(self.plans.values()):
            x = plan.spread(x)
        return x

    def carry(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, K, C): once more into the same tokens, with the same shares."""
        with torch.autocast(x.device.type, enabled=False):
            for plan in self.plans.values():
                x = plan.carry(x)
        return x

    def _decide(self, block: int, x: Tensor, attended: Attended | None) -> Plan | None:
        if self.rate is not None:  # of the tokens that are there, as the published detectors count
            self.planned = x.shape[1]
            self.keep[block] = max(int(self.rate * self.planned), 1)
        return super()._decide(block, x, attended)
