"""The vision towers of transformers: ViT, DeiT, DINOv2 with and without registers, DINOv3, CLIP, SigLIP and SigLIP 2.

The layers are walked by us; embeddings, last norm, pool and head are the library's own forward, run around the tokens
that are left, so that a reduced model gives the library's own output class. Attention stays the one that the model was
made with, SDPA by default.

Shapes: B images, T tokens with the prefix, N patch tokens, C channels, D channels a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.attention import QKV
from ..core.host import Between, Decide, Ear, Tokens, host, name_of
from ..errors import BadInput
from .hf_layers import PROJECTIONS, TOWERS, heads_of, projected, split, split_layer
from .hf_loading import open_tower
from .hf_reduced import ReducedTower
from .hf_rope import rotary
from .twins import given, twin

CLASSIFIERS = ("ForImageClassification", "ForImageClassificationWithTeacher")  # how their names end


@host("hf-vision")
class HfVision:
    """A vision tower of transformers, alone, with a projection, or with an image classifier on top."""

    family = "transformers tower"
    supported = (
        "transformers' ViT, DeiT, DINOv2 with or without registers, DINOv3, CLIP and SigLIP vision towers, alone, with "
        "projection or as ...ForImageClassification (hf:owner/name, or a folder)"
    )
    library = "hf"
    reduced = ReducedTower
    open = staticmethod(open_tower)

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, name_of(model)
        self.path, self.tower = self._tower()
        self.tower_names = TOWERS[type(self.tower).__name__]
        self.layers = self.tower.get_submodule(self.tower_names.layers)
        self._check()
        config, embeddings = self.tower.config, self.tower.embeddings
        self.blocks, self.width = len(self.layers), config.hidden_size
        self.heads = heads_of(getattr(self.layers[0], self.tower_names.attention)) if self.blocks else 0
        self.has_class_token = hasattr(embeddings, "cls_token") or hasattr(embeddings, "class_embedding")
        registers = getattr(embeddings, "register_tokens", torch.empty(1, 0))
        self.prefix = self.has_class_token + hasattr(embeddings, "distillation_token") + registers.shape[1]
        self.has_positions = self.tower_names.rotary is not None
        self.patch = _pair(config.patch_size)
        self.image = (config.num_channels, *self._size())
        self.grid = self.grid_of(self.image[1:])
        self.classifies = type(model).__name__.endswith(CLASSIFIERS)
        self.classes = model.config.num_labels if self.classifies else 0

    @staticmethod
    def recognises(model: object) -> bool:
        """Any model of transformers."""
        return any(kind.__module__ == "transformers.modeling_utils" for kind in type(model).__mro__)

    @classmethod
    def names(cls) -> list[str]:
        """None: any repository on the hub may hold one."""
        return []

    @staticmethod
    def example() -> nn.Module:
        """Four layers of 32 channels over 8 x 8 patches."""
        from transformers import ViTConfig, ViTForImageClassification

        words: dict[str, Any] = {"num_labels": 10}
        small = ViTConfig(image_size=64, patch_size=8, hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
                          intermediate_size=64, **words)  # fmt: skip
        made: nn.Module = ViTForImageClassification(small)
        return made

    def _tower(self) -> tuple[str, Any]:
        """The tower's dotted name in the model, and the tower."""
        kind = type(self.model).__name__
        found = [(path, part) for path, part in self.model.named_modules() if type(part).__name__ in TOWERS]
        if not found:
            raise BadInput(
                f"{kind} of transformers has no tower of patch tokens that is understood; supported: {self.supported}"
            )
        (path, tower) = found[0]
        if path and not kind.endswith((*CLASSIFIERS, "WithProjection")):
            raise BadInput(
                f"{kind} of transformers does more than look at an image; give its {path}, or one of: {self.supported}"
            )
        return path, tower

    def _check(self) -> None:
        way = self.tower.config._attn_implementation
        if way not in ("sdpa", "eager"):
            raise BadInput(
                f"{self.name} attends by {way}, which takes no mass of a token; load it with attn_implementation='sdpa'"
            )
        wanted = (*self.tower_names.norms, "mlp", *(f"{self.tower_names.attention}.{name}" for name in PROJECTIONS))
        for i, layer in enumerate(self.layers):
            there = dict(layer.named_modules())
            if missing := [name for name in wanted if name not in there]:
                raise BadInput(
                    f"layer {i} of {self.name} has no {missing[0]}: this version of transformers builds it otherwise; "
                    "update with: pip install -U transformers"
                )

    def _size(self) -> tuple[int, int]:
        """Height and width that its image processor makes, or else its configuration says."""
        config, seen = self.tower.config, getattr(self.model, "pretrained_cfg", {}).get("input_size")
        if seen is not None:
            return seen[1], seen[2]
        if hasattr(config, "image_size"):
            return _pair(config.image_size)
        side = int(config.num_patches**0.5)  # SigLIP 2 is made for any shape of so many patches
        return side * self.patch[0], side * self.patch[1]

    def prepare(self, blocks: Sequence[int]) -> None:
        """Let these layers be SplitLayers: the same modules, parameters and hooks, with one more way to be called."""
        for i in blocks:
            kind: Any = type(self.layers[i])
            self.layers[i].__class__ = split_layer(kind, self.tower_names)

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens; positions are interpolated where the size is not the model's own."""
        tower, (rows, columns) = self.tower, self.grid_of(images.shape[-2:])
        projection = tower.embeddings.get_submodule(self.tower_names.patches)
        images = images.to(projection.weight.dtype)
        if isinstance(projection, nn.Linear):
            shapes = torch.tensor([rows, columns], device=images.device).expand(len(images), 2)
            x = tower.embeddings(_cut(images, self.patch), shapes)
        else:
            way = "interpolate_pos_encoding"
            takes = way in inspect.signature(tower.embeddings.forward).parameters
            other = takes and tuple(images.shape[-2:]) != _pair(tower.config.image_size)
            x = tower.embeddings(images, **({way: True} if other else {}))
        if self.tower_names.prenorm is not None:
            x = getattr(tower, self.tower_names.prenorm)(x)
        positions = None
        if self.tower_names.rotary is not None:
            positions = rotary(getattr(tower, self.tower_names.rotary), images, (rows, columns))
        return Tokens(x, (rows, columns), positions)

    def block(
        self,
        i: int,
        x: Tensor,
        mask: Tensor | None,
        positions: Any,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """Layer i, through its own `__call__`, so that hooks and wrappers see it."""
        named: dict[str, Any] = {"ear": ear, "between": between, "decide": decide}
        given = {name: what for name, what in named.items() if what is not None}
        if positions is not None:
            given["position_embeddings"] = positions.rows(i).chunk(2, -1)
        out: Tensor = self.layers[i](x, attention_mask=mask, **given)
        return out

    def second(self, i: int, x: Tensor) -> Tensor:
        """What layer i does after its attention."""
        out: Tensor = self.layers[i].second(x)  # type: ignore[operator]
        return out

    def qkv(self, i: int, x: Tensor, ear: Ear) -> QKV:
        """Queries, keys and values of layer i, turned where the model turns them."""
        layer, heard = self.layers[i], ear.heard
        attention: Any = getattr(layer, self.tower_names.attention)
        if heard is None:
            return projected(layer, x, None)
        return split(attention, [heard[name] for name in PROJECTIONS], heard["rotation"])._replace(given=ear.given)

    def finish(self, x: Tensor, mass: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C) after the last norm, where it is of all tokens; averages will be by mass."""
        if self.tower_names.norm is not None:
            x = getattr(self.tower, self.tower_names.norm)(x)
        if mass is None or (self.has_class_token and not (self.classifies and self.tower_names.averages)):
            return x
        if not self.classifies:
            if bool((mass == 0).any()):
                raise BadInput(
                    f"{self.name} pools by attention, which would see padding; use a method that does not pad"
                )
            return x
        weight = (mass / mass.mean(1, keepdim=True)).unsqueeze(-1).to(x.dtype)
        return torch.cat([x[:, : self.prefix], x[:, self.prefix :] * weight], 1)

    def output(self, features: Tensor, **named: Any) -> Any:
        """What the library's forward returns, run around the tokens (B, T, C) that are left."""
        names, at = self.tower_names, f"{self.path}." if self.path else ""
        parts: dict[str, nn.Module] = {
            f"{at}embeddings": given(self.tower.embeddings, features),
            f"{at}{names.layers}": nn.ModuleList(),
        }
        parts |= {f"{at}{done}": nn.Identity() for done in (names.norm, names.prenorm) if done is not None}
        if names.rotary is not None:
            parts[f"{at}{names.rotary}"] = given(getattr(self.tower, names.rotary), (None, None))
        if type(self.tower).__name__ == "Siglip2VisionModel":
            everywhere = torch.ones(features.shape[:2], dtype=torch.long, device=features.device)
            named = {"pixel_attention_mask": everywhere, "spatial_shapes": None, **named}
        return twin(self.model, parts)(pixel_values=features, **named)

    def head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, T, C) -> (B, classes); of a tower alone what it pools to, or its class token."""
        found = self.output(features)
        for name in ("logits", "image_embeds", "pooler_output"):
            if not (pre_logits and name == "logits") and found.get(name) is not None:
                value: Tensor = found[name]
                return value
        return features[:, 0] if self.has_class_token else features.mean(1)

    def grid_of(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches of images of (height, width)."""
        return size[0] // self.patch[0], size[1] // self.patch[1]

    def flops(self, i: int, attended: Any, left: Any) -> Any:
        """Multiply-adds of layer i: attention over `attended` patches, MLP over `left`, the prefix beside them."""
        tokens, layer = attended + self.prefix, self.layers[i]
        inner = getattr(layer, self.tower_names.attention).q_proj.out_features
        mlp = sum(part.weight.numel() for part in layer.mlp.modules() if isinstance(part, nn.Linear))
        return tokens * self.width * 4 * inner + 2 * tokens**2 * inner + (left + self.prefix) * mlp

    def flops_around(self) -> float:
        """Multiply-adds of patch embedding and classifier."""
        rows, columns = self.grid
        embedding = rows * columns * self.width * self.image[0] * self.patch[0] * self.patch[1]
        classifier = getattr(self.model, "classifier", None)
        return float(embedding + (classifier.weight.numel() if isinstance(classifier, nn.Linear) else 0))


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _cut(images: Tensor, patch: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) -> (B, N, patch rows x patch columns x 3): patches row by row, as SigLIP 2 takes them."""
    cut = images.unflatten(3, (-1, patch[1])).unflatten(2, (-1, patch[0]))  # (B, 3, rows, height, columns, width)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
