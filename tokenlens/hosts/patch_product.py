"""The projection of patches as a matrix product, which in half precision a GPU does several times faster."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchProduct(nn.Conv2d):
    """A convolution whose kernels do not overlap: in half precision on a GPU one product, off by 2e-3 in float16.

    Everywhere else it is what it was, to the bit.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, rows, columns)."""
        half = input.dtype in (torch.float16, torch.bfloat16)
        whole = all(side % patch == 0 for side, patch in zip(input.shape[-2:], self.kernel_size, strict=True))
        return self.product(input) if half and whole and input.is_cuda else super().forward(input)

    def product(self, images: Tensor) -> Tensor:
        """The same by a matrix product, for images of whole patches."""
        height, width = self.kernel_size
        cut = images.unflatten(3, (-1, width)).unflatten(2, (-1, height))  # (B, 3, rows, height, columns, width)
        patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(3)
        return functional.linear(patches, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def let_product(projection: nn.Module) -> None:
    """Turn a plain convolution of patches into a `PatchProduct`: the same module, parameters and hooks."""
    if type(projection) is nn.Conv2d and projection.kernel_size == projection.stride and projection.groups == 1:
        projection.__class__ = PatchProduct
