"""Average pooling: each cell of the grid becomes the mean of its patches, whatever the image shows.

No paper: what a method has to beat. The cells are those of down-sampling; sizes weigh the averages and later attention.
"""

from ..core.plan import Plan, merge
from ..core.reducer import Look
from ..core.view import View
from .downsample import Downsample
from .registry import register


@register("avgpool")
class AvgPool(Downsample):
    """Merge the patches of each cell."""

    family = "merging"
    look = Look("Average pooling")

    def forward(self, view: View) -> Plan:
        at, into = self._tree(view.grid)
        here = at.argsort()[: view.patch.shape[1]].sort().values
        home = here
        for _ in range(sum(side.bit_length() for side in view.grid)):  # no cell is made in more steps
            home = into[home].where(at[home] >= view.keep, home)
        stays = at.argsort()[: view.keep].sort().values
        group = (home.unsqueeze(1) == stays).int().argmax(1)
        return merge(view, group.expand(view.patch.shape[0], -1), view.keep)
