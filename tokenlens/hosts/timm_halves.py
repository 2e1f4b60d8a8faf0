"""The halves of timm's blocks, as their forward has them: what stands before an attention, after it, and the MLP."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core.host import Between


class Halves:
    """What they have in common."""

    def joined(self: Any, x: Tensor, y: Tensor, between: Between | None) -> Tensor:
        """Tokens x (B, T, C) and what attention gives for them -> those that leave the block, maybe fewer."""
        x = x + self.drop_path1(self.after_attention(y))
        return self.second(x if between is None else between(x))

    def second(self: Any, x: Tensor) -> Tensor:
        """Tokens (B, T, C) after attention -> those that leave the block."""
        return x + self.drop_path2(self.changed(x))


class Scaled(Halves):
    """Norms before attention and MLP, and where they are there scales after them."""

    def before_attention(self: Any, x: Tensor) -> Tensor:
        """(B, T, C) -> what attention is given."""
        return self.norm1(x)

    def after_attention(self: Any, y: Tensor) -> Tensor:
        """What attention gives -> what is added."""
        return y if self.gamma_1 is None else self.gamma_1 * y

    def changed(self: Any, x: Tensor) -> Tensor:
        """(B, T, C) -> what the MLP adds."""
        y = self.mlp(self.norm2(x))
        return y if self.gamma_2 is None else self.gamma_2 * y


class Layered(Scaled):
    """Norms before attention and MLP, and layers that scale after them."""

    def after_attention(self: Any, y: Tensor) -> Tensor:
        """What attention gives -> what is added."""
        return self.ls1(y)

    def changed(self: Any, x: Tensor) -> Tensor:
        """(B, T, C) -> what the MLP adds."""
        return self.ls2(self.mlp(self.norm2(x)))


class PostNorm(Halves):
    """Norms after attention and MLP."""

    def before_attention(self: Any, x: Tensor) -> Tensor:
        """(B, T, C) -> what attention is given."""
        return x

    def after_attention(self: Any, y: Tensor) -> Tensor:
        """What attention gives -> what is added."""
        return self.norm1(y)

    def changed(self: Any, x: Tensor) -> Tensor:
        """(B, T, C) -> what the MLP adds."""
        return self.norm2(self.mlp(x))
