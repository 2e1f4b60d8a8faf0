"""Why models that attend within windows, or pool their tokens on the way, are no hosts."""

from timm.models.davit import DaVit
from timm.models.gcvit import GlobalContextVit
from timm.models.hiera import Hiera
from timm.models.hieradet_sam2 import HieraDet
from timm.models.mvitv2 import MultiScaleVit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.swin_transformer_v2_cr import SwinTransformerV2Cr
from timm.models.vision_transformer_sam import VisionTransformerSAM

from ..core.host import no_host

no_host(
    (VisionTransformerSAM, SwinTransformer, SwinTransformerV2, SwinTransformerV2Cr, GlobalContextVit, DaVit),
    "attends within windows of the grid, which are no longer full where tokens are gone; it would take tokens that are "
    "put back on the grid before each windowed block, or methods that reduce within each window",
)
no_host(
    (Hiera, HieraDet, MultiScaleVit),
    "pools its tokens over the grid from stage to stage, which is no longer full where tokens are gone; it would take "
    "tokens that are put back on the grid before each pooling, or methods that reduce within what is pooled together",
)
