"""Random: keep patches drawn without replacement; the floor that every similarity is read against.

No paper. The draw depends on the image, the stage and the seed, never on the batch.
"""

from ..core.plan import Plan, select
from ..core.reducer import Look, Reducer
from ..core.view import View
from .registry import register


@register("random")
class Random(Reducer):
    """Keep a uniform random subset, in the tokens' order."""

    site = "before_block"
    family = "random"
    look = Look("Random", "#8c8c8c", ".")

    def forward(self, view: View) -> Plan:
        order = view.draw().argsort(dim=1, stable=True)  # equal draws fall alike on every device
        return select(view, order[:, : view.keep].sort(1).values)
