"""A view is all that a reducer may look at. What is not read is not computed.

Shapes: B images, N patch tokens, C channels, H heads, D channels a head. What is decided from is float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import BadInput
from .attention import Attended, widen
from .random import uniform


@dataclass
class View:
    """The patch tokens before a stage, and what the model knows about them.

    Examples:
        >>> import torch
        >>> tokens = torch.tensor([[[1.0], [3.0], [2.0], [4.0]]])
        >>> view = View(tokens, torch.arange(4)[None], None, grid=(2, 2), keep=2, planned=4, prefix=0)
        >>> view.tokens.norm(dim=-1).topk(view.keep).indices
        tensor([[3, 1]])
    """

    x: Float[Tensor, "b n c"]
    """the tokens in the host's precision; a decision reads `tokens`"""
    patch: Int[Tensor, "b n"]
    """the patch that each token still is, row-major on the grid; -1: a blend or padding"""
    mass: Float[Tensor, "b n"] | None
    """how much each token weighs in averages, and as an attention key; 0: padding; None: all 1"""
    grid: tuple[int, int]
    """rows and columns of patches"""
    keep: int
    """how many tokens are asked to remain"""
    planned: int
    """how many tokens were planned to be there: those that the stage before was asked to leave, all patches at first;
    `planned - keep` is how many are to go, off the shelf even where fewer are there"""
    prefix: int
    """how many class, distillation and register tokens stand before the patches"""
    attended: Attended | None = None
    """the latest attention: this block's after attention, the previous block's before a block"""
    seeds: Callable[[], Tensor] | None = None
    """(B,) int64 on the device of x: what the draws of each image at this stage follow from"""
    size: Float[Tensor, "b n"] | None = None
    """how much each token counts in averages, where that is not its mass; None: as its mass"""
    has_class: bool = True
    """whether the first of the prefix is a class token"""
    start: Float[Tensor, "b p c"] | None = None
    """the patches before the first block"""
    memory: Tensor | None = None
    """what the stage before handed on, and `Reducer.watch` since"""
    stand_in: bool = False
    """read the mean attention that a token receives for the attention that the class token pays it"""

    @property
    def tokens(self) -> Float[Tensor, "b n c"]:
        """The tokens in float32 (float64 in a float64 model): ranks and distances are made in it."""
        return widen(self.x)

    @property
    def embedded(self) -> Tensor:
        """(B, P, C): the patches before the first block, in float32."""
        assert self.start is not None, "a view for a method that reads the embedding comes with it"
        return widen(self.start)

    @property
    def normed(self) -> Tensor:
        """(B, N, C): what the attention projects, as the block's norm gives it."""
        given = self._attended.qkv.given
        if given is None:
            raise BadInput("this host does not say what its attention projects; choose a method that does not read it")
        return widen(given[:, self.prefix :])

    @property
    def keys(self) -> Tensor:
        """(B, H, N, D)."""
        return self._attended.keys

    @property
    def compared(self) -> Tensor:
        """(B, H, N, D): the keys in the host's precision, for what widens them as it reads them."""
        return self._attended.compared

    @property
    def mean_keys(self) -> Tensor:
        """(B, N, D): the mean over heads."""
        return self._attended.mean_keys

    @property
    def values(self) -> Tensor:
        """(B, H, N, D)."""
        return self._attended.values

    @property
    def from_class(self) -> Tensor:
        """(B, H, N): the attention that the class token pays, one row of N x N; or what stands in, a mean of all."""
        if self.stand_in:
            return self._attended.mean_received
        return self._attended.rows(slice(0, 1))[:, :, 0, self.prefix :]

    @property
    def attention(self) -> Tensor:
        """(B, H, T, T): the whole softmax, with the prefix; quadratic in the tokens."""
        return self._attended.rows(slice(None))

    @property
    def received(self) -> Tensor:
        """(B, N): the attention that each token gets from all, summed over heads and queries.

        All 1 where no attention went before (a stage before the first block).
        """
        if self.attended is None:
            return torch.ones(self.patch.shape, device=self.x.device)
        return self.attended.received

    @property
    def _attended(self) -> Attended:
        if self.attended is None:
            raise BadInput(
                "a reducer before the first block cannot read attention, none is paid yet; start at a later block"
            )
        return self.attended

    def draw(self) -> Tensor:
        """(B, N) uniform in [0, 1), float32, from each image's own seed: the batch size cannot change it."""
        assert self.seeds is not None, "a view for a method that draws comes with seeds"
        return uniform(self.seeds(), self.x.shape[1])
