"""None: the un-reduced model, recorded at the same stages as the others."""

from dataclasses import replace
from typing import Any

from ..core.plan import Plan, positions, select
from ..core.reducer import Look, Reducer
from ..core.schedule import Schedule
from ..core.view import View
from .registry import register


@register("none")
class Unreduced(Reducer):
    """Keep every token; whatever keep rate is asked for."""

    family = "none"
    fixed = True
    portable = True
    look = Look("Un-reduced", "#000000", "*")

    def forward(self, view: View) -> Plan:
        return select(view, positions(len(view.patch), view.patch.shape[1], view.patch.device))

    @classmethod
    def schedule(cls, asked: Schedule, grid: tuple[int, int], **options: Any) -> Schedule:
        return replace(Schedule(asked.blocks), rate=1.0, rates=(1.0,) * len(asked.blocks))
