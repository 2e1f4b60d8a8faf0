"""GTP-ViT: the tokens that leave are added, in part, to their neighbours on a graph of the image.

Xu et al., 2024, arXiv:2311.03035. Held against Ackesnal/GTP-ViT@97a1178 (Apache-2.0).
Neighbours are the patches around, or those that were embedded most alike, or both; the graph is normalised once, and
its rows and columns leave with the tokens. A token is ranked by what it pays itself times what it receives, each of the
head where it is most, or by one of them alone, or by what the class pays it. Token scales grow as tokens do, and weigh
in attention. With a `sparsity` below 1 only so much of each head's attention counts.
Departs: nothing is written to a file at every walk. What sparsity leaves without rank ties, and the sort decides.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..core.attention import strongest
from ..core.plan import Plan, gather, select
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register

RANKS = ("class", "image", "diagonal", "mixed")
GRAPHS = ("mixed", "spatial", "semantic")


def around(grid: tuple[int, int]) -> Tensor:
    """(P, P) bool: the patches that touch."""
    y, x = (side.flatten() for side in torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij"))
    near = ((y[:, None] - y).abs() <= 1) & ((x[:, None] - x).abs() <= 1)
    return near & ~torch.eye(len(y), dtype=torch.bool)


@register("gtp")
class GTP(Reducer):
    """Drop the tokens of the lowest rank, and propagate them along the graph."""

    family = "merging"
    keeps = True
    drops = True
    portable = True
    needs = ("attention",)
    paper = "arXiv:2311.03035"
    look = Look("GTP-ViT")

    def __init__(
        self, stage: Stage, rank: str = "mixed-max", graph: str = "mixed", neighbours: int = 8, alpha: float = 0.1,
        scales: bool = True, sparsity: float = 1.0,
    ) -> None:  # fmt: skip
        """`rank` is class, image (what a token receives), diagonal or mixed, and the mean or the max over heads."""
        super().__init__(stage)
        kind, _, how = rank.partition("-")
        demand(kind in RANKS and how in ("mean", "max"), "rank", rank, f"{', '.join(RANKS)} with -mean or -max")
        demand(0 < sparsity <= 1, "sparsity", sparsity, "a share above 0, up to 1")
        self.rank, self.sparsity = rank, sparsity
        demand(graph in GRAPHS, "graph", graph, ", ".join(GRAPHS))
        demand(neighbours >= 1, "neighbours", neighbours, "1 or more")
        demand(alpha >= 0, "alpha", alpha, "0 or more")
        self.graph, self.neighbours, self.alpha, self.scales = graph, neighbours, alpha, scales
        self.near: Tensor
        self.register_buffer("near", around(stage.grid or (1, stage.patches)), persistent=False)

    def forward(self, view: View) -> Plan:
        score = self.score(view)
        order = score.argsort(dim=1, descending=True)
        plan = select(view, order[:, : view.keep])
        rows = gather(self.edges(view) if view.memory is None else view.memory, plan.kept)  # (B, K, N)
        plan.memory = rows.gather(2, plan.kept.unsqueeze(1).expand(-1, view.keep, -1))
        gone = plan.group < 0
        sent = self.alpha * rows.masked_fill(~gone.unsqueeze(1), 0.0)
        plan.group = torch.where(gone & (sent.sum(1) > 0), sent.argmax(1), plan.group)
        stays = functional.one_hot(plan.kept, gone.shape[1]).to(sent.dtype)
        plan.weights = stays + sent
        if self.scales:
            scale = torch.ones_like(score) if view.mass is None else view.mass
            plan.mass = (plan.weights @ scale.unsqueeze(-1)).squeeze(-1)
        return plan

    def score(self, view: View) -> Tensor:
        """(B, N): the rank of each token."""
        kind, _, how = self.rank.partition("-")
        if kind == "class":
            heads = view.from_class
            return heads.mean(1) if how == "mean" else heads.amax(1)
        attention = strongest(view.attention, self.sparsity)
        parts = {"image": attention.sum(-2), "diagonal": attention.diagonal(dim1=-2, dim2=-1)}
        chosen = parts.values() if kind == "mixed" else [parts[kind]]
        over = [part.mean(1) if how == "mean" else part.amax(1) for part in chosen]
        return math.prod(over[1:], start=over[0])[:, view.prefix :]

    def edges(self, view: View) -> Tensor:
        """(B, P, P): the normalised graph of the embedded patches."""
        near = self._near(view.grid)
        if self.graph != "spatial":
            tokens = functional.normalize(view.embedded, dim=-1)
            alike = tokens @ tokens.transpose(1, 2)
            least = alike.topk(self.neighbours + 1).values[..., -1:]  # each is most like itself
            like = (alike >= least) & ~torch.eye(alike.shape[1], dtype=torch.bool, device=alike.device)
            near = like | near if self.graph == "mixed" else like
        graph = near.expand(view.patch.shape[0], -1, -1).to(view.embedded.dtype)
        degree = graph.sum(-1).rsqrt()
        return degree.unsqueeze(2) * graph * degree.unsqueeze(1)

    @torch.compiler.assume_constant_result
    def _near(self, grid: tuple[int, int]) -> Tensor:
        """Made once for images of the model's own size, else for each walk."""
        return self.near if grid == self.stage.grid else around(grid).to(self.near.device)
