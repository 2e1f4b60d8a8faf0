"""The small models that come with the package, and where their weights lie.

`nano` is a ViT on the embedded set `shapes`: timm's plain ViT with 12 blocks, 14 x 14 patches and 64 channels, for
pictures normalised to mean 0.5 and standard deviation 0.5. `python -m tokenlens.workflows.nano.train` made its
backbone (stopped after 2,445 steps), then `python -m tokenlens.workflows.nano.joint` (1,000 steps) that and what the
learned methods need. What DTEM, dTPS, LTMP, DiffRate and A-ViT learn came later, on that backbone as it is, by `python
-m tokenlens.workflows.nano.reducers` (dTPS of a longer recipe, 320 pictures an epoch in batches of 32, stopped after
eight epochs). `nano-diffusion` is the denoiser of `tokenlens.synthesis.nano`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["ARCHITECTURE", "NANO", "NANOS", "nano_path", "nano_shape"]

ARCHITECTURE = "vit_tiny_patch16_224"
NANO: dict[str, Any] = {
    "img_size": 112,
    "patch_size": 8,
    "embed_dim": 64,
    "depth": 12,
    "num_heads": 4,
    "num_classes": 10,
}
# channels and attention heads; tiny, small and base mirror DeiT's three capacities, at a quarter of the width
NANOS = {"nano": (64, 4), "nano-micro": (32, 2), "nano-tiny": (48, 3), "nano-small": (96, 6), "nano-base": (192, 12)}


def nano_shape(name: str, classes: int) -> dict[str, Any]:
    """A nano ViT by name, as arguments of timm's `create_model`."""
    width, heads = NANOS[name]
    return {**NANO, "embed_dim": width, "num_heads": heads, "num_classes": classes}


def nano_path(name: str = "nano") -> Path:
    """Where the weights of that name lie, e.g. "nano" for the bare backbone. Raises LookupError when there are none."""
    here = Path(__file__).parent
    path = here / f"{name}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in here.glob("*.safetensors"))) or "none"
        raise LookupError(f"no weights called {name!r} come with the package; those that do: {known}")
    return path
