"""The region proposal network: which anchors may hold an object.

Ren et al., 2015, arXiv:1506.01497. Held against mmdet 2.28.2 (Apache-2.0); parameters are called as there.

Shapes: B images, A anchors of all levels, P proposals.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .boxes import RATIOS, STRIDES, anchors, assign, decode, encode, sample, suppress

STDS = (1.0, 1.0, 1.0, 1.0)
OVERLAP = 0.7  # above it a worse proposal goes
POSITIVE, NEGATIVE, LEAST = 0.7, 0.3, 0.3  # overlaps with an object, in training
SAMPLED, SHARE = 256, 0.5  # anchors that a loss is taken of, and how many of them may have an object


class RPNHead(nn.Module):
    """Scores and deltas of the anchors of each place."""

    def __init__(self, channels: int, most: int = 1000) -> None:
        """At most `most` proposals a level, and as many of all."""
        super().__init__()
        self.most = most
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, len(RATIOS), 1)
        self.rpn_reg = nn.Conv2d(channels, 4 * len(RATIOS), 1)
        for layer in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each level: logits (B, A), deltas (B, A, 4), anchors (A, 4)."""
        found = []
        for level, stride in zip(maps, STRIDES, strict=True):
            hidden = functional.relu(self.rpn_conv(level))
            logits = self.rpn_cls(hidden).permute(0, 2, 3, 1).flatten(1)
            deltas = self.rpn_reg(hidden).permute(0, 2, 3, 1).reshape(len(level), -1, 4)
            shape = (level.shape[2], level.shape[3])
            found.append((logits, deltas, anchors(shape, stride, deltas)))
        return found

    @torch.no_grad()
    def propose(self, levels: Sequence[tuple[Tensor, Tensor, Tensor]], image: int, size: tuple[int, int]) -> Tensor:
        """(P, 5): the proposals of one image of (height, width), and their scores, best first."""
        boxes, scores, kinds = [], [], []
        for number, (logits, deltas, places) in enumerate(levels):
            score, order = logits[image].sigmoid().sort(descending=True)
            score, order = score[: self.most], order[: self.most]
            boxes.append(decode(places[order], deltas[image, order], STDS, size))
            scores.append(score)
            kinds.append(torch.full_like(order, number))
        every, score, kind = torch.cat(boxes), torch.cat(scores), torch.cat(kinds)
        whole = (every[:, 2:] > every[:, :2]).all(1)
        every, score, kind = every[whole], score[whole], kind[whole]
        best = suppress(every, score, kind, OVERLAP, self.most)
        return torch.cat([every[best], score[best, None]], 1)

    def losses(
        self, levels: Sequence[tuple[Tensor, Tensor, Tensor]], objects: Sequence[Tensor], draws: Tensor
    ) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            levels: as `forward` gives them.
            objects: for each image (G, 4).
            draws: (B, A) uniform in [0, 1): which anchors a loss is taken of.
        """
        logits = torch.cat([level[0] for level in levels], 1)
        deltas = torch.cat([level[1] for level in levels], 1)
        places = torch.cat([level[2] for level in levels])
        scoring, moving, count = logits.new_zeros(()), logits.new_zeros(()), 0
        for image, there in enumerate(objects):
            found = assign(places, there, POSITIVE, NEGATIVE, LEAST)
            taken, empty = sample(found, SAMPLED, SHARE, draws[image])
            either = taken | empty
            scoring = scoring + functional.binary_cross_entropy_with_logits(
                logits[image, either], taken[either].to(logits.dtype), reduction="sum"
            )
            goal = encode(places[taken], there[found[taken]], STDS)
            moving = moving + functional.l1_loss(deltas[image, taken], goal, reduction="sum")
            count += int(either.sum())
        return {"rpn score": scoring / max(count, 1), "rpn box": moving / max(count, 1)}
