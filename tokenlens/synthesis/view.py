"""What a reducer may look at inside a denoiser.

Shapes: B latents (two for each picture under guidance), N tokens, C channels, H heads.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..core.view import View

ROWS = 512  # queries at a time: N x N of all heads would not fit into memory at 4,096 tokens


class LatentView(View):
    """A block's input, before its first norm, and the self-attention that follows.

    Patterns are decided from the input, so it stands where a ViT's reducers find keys. There is no class token: what
    its attention says is said by the attention that each token receives, as is usual for encoders without one.
    """

    @property
    def keys(self) -> Float[Tensor, "b 1 n c"]:
        """The input, as of one head."""
        return self.tokens.unsqueeze(1)

    @property
    def compared(self) -> Float[Tensor, "b 1 n c"]:
        """The input, in the host's precision."""
        return self.x.unsqueeze(1)

    @property
    def mean_keys(self) -> Float[Tensor, "b n c"]:
        """The input."""
        return self.tokens

    @property
    def received(self) -> Float[Tensor, "b n"]:
        """The attention that each token gets in this block, summed over heads and queries."""
        count = self.x.shape[1]
        return sum(  # type: ignore[return-value]
            self._attended.rows(slice(first, first + ROWS)).sum((1, 2)) for first in range(0, count, ROWS)
        )

    @property
    def from_class(self) -> Float[Tensor, "b 1 n"]:
        """In the place of the class token's attention: what each token receives; the tokens' sum to 1."""
        received = self.received
        return (received / received.sum(-1, keepdim=True)).unsqueeze(1)
