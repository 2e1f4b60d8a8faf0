"""Which timm models the walk understands; all others are refused by name."""

from timm.layers import Attention, PatchEmbed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from ..errors import BadInput
from .attention import TimmViT

SUPPORTED = (
    "timm's VisionTransformer made of its PatchEmbed and plain pre-norm Blocks with its Attention "
    "(vit_*, deit_*, deit3_*, flexivit_*, with AugReg, DINO, DINOv2, CLIP, SigLIP or MAE weights)"
)


def name_of(vit: TimmViT) -> str:
    """The registered timm name of a model, or its class."""
    cfg = getattr(vit, "pretrained_cfg", None) or {}
    return str(cfg.get("architecture") or type(vit).__name__)


def check_host(vit: TimmViT) -> None:
    """Refuse, by name, a model that the walk does not understand."""
    name = name_of(vit)
    if type(vit) not in (VisionTransformer, VisionTransformerDistilled):
        raise BadInput(f"{name} is a {type(vit).__name__}, which tokenlens does not understand; supported: {SUPPORTED}")
    if type(vit.patch_embed) is not PatchEmbed:
        kind = type(vit.patch_embed).__name__
        raise BadInput(f"{name} makes its patches with a {kind}, not the plain PatchEmbed; supported: {SUPPORTED}")
    for i, block in enumerate(vit.blocks):
        for part, plain in ((block, Block), (getattr(block, "attn", None), Attention)):
            if type(part) is not plain:
                kind = type(part).__name__
                raise BadInput(
                    f"block {i} of {name} has a {kind}, not the plain {plain.__name__}; supported: {SUPPORTED}"
                )
    if not isinstance(vit.patch_drop, nn.Identity):
        raise BadInput(f"{name} drops random patches before its first block; create it with patch_drop_rate=0")
