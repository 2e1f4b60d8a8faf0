"""The beginning of walks through one host: what comes before anything is decided, and is the same for many models.

Shapes: B images, T tokens with the prefix, N patch tokens, C channels.
"""

from __future__ import annotations

import copy
from functools import cached_property

import torch
from torch import Tensor

from .attention import Attended, key_bias
from .host import Ear, Host, Tokens
from .random import content_hashes


class Beginning:
    """What comes before the first decision: for models that share a host's weights, the same; so it is computed once.

    Examples:
        begin = Beginning(one.host, images)
        a, b = one.trace(images, begin=begin), other.trace(images, begin=begin)
    """

    def __init__(self, host: Host, images: Tensor) -> None:
        """Embed the images."""
        self.host, self.images, self.tokens = host, images, host.embed(images)
        self.mass = mass_of(self.tokens)
        self.after = [self.tokens.x]
        """the tokens before block 0, 1, ..., as far as somebody has asked"""
        self.inside: dict[int, tuple[Tensor, Attended]] = {}
        """block -> the tokens between its attention and its MLP, and what was attended, as the first to come left it"""
        self._attended: dict[int, Attended] = {}

    def before(self, block: int) -> Tensor:
        """(B, T, C): the tokens that block `block` is given."""
        while len(self.after) <= block:
            self.after.append(self._block(len(self.after) - 1))
        return self.after[block]

    def attended(self, block: int) -> Attended:
        """What is attended in block `block`; where it was run before anybody listened, it is run once more."""
        if block not in self._attended:
            x, ear = self.before(block), Ear()
            self.host.prepare([block])
            after = self._block(block, ear)
            if len(self.after) == block + 1:
                self.after.append(after)
            self._attended[block] = Attended(lambda: self.host.qkv(block, x, ear), self.mass, self.host.prefix)
        return self._attended[block]

    @cached_property
    def contents(self) -> Tensor:
        """(B,) int64: a number for each image, which its draws follow from."""
        return content_hashes(self.images)

    def _block(self, block: int, ear: Ear | None = None) -> Tensor:
        x = self.after[block]
        mask = key_bias(self.mass, self.host.prefix, x.dtype)
        return self.host.block(block, x, mask, self.tokens.positions, ear)

    def fork(self) -> Beginning:
        """One that knows what this one does, and keeps to itself what it is asked beyond."""
        twin = copy.copy(self)
        twin.after, twin.inside, twin._attended = [*self.after], {**self.inside}, {**self._attended}
        return twin


def mass_of(tokens: Tokens) -> Tensor | None:
    """(B, N) float32: 1 for patches that an image has, 0 for others; None where it has all."""
    return None if tokens.valid is None else tokens.valid.to(torch.float32)
