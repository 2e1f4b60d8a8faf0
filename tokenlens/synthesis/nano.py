"""The pipeline `nano`: a small class-conditional diffusion model of the embedded set `shapes`, of diffusers' classes.

It stands in for Stable Diffusion where nothing can be downloaded. In place of an autoencoder, FOLD x FOLD pixels are
folded into the channels of a latent; in place of a text encoder, the class's embedding is cut into WORDS words.
`python -m tokenlens.workflows.nano.diffusion` trained it: 4,743 steps of 256 pictures, seven minutes of a data-centre
GPU. Of 200 samples of 50 steps the embedded ViT recognised 72.5 % without guidance, 83.5 % at 2 and 85.5 % at 3.
Shapes: B pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from ..data.embedded import CLASSES
from ..errors import BadInput

SIDE = 112  # pixels of a picture, as in the data set
FOLD = 4
WORDS = 4
NOTHING = len(CLASSES)  # the class of guidance's other branch
UNET: dict[str, Any] = {
    "sample_size": SIDE // FOLD,
    "in_channels": 3 * FOLD**2,
    "out_channels": 3 * FOLD**2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (64, 88),
    "layers_per_block": 1,
    "attention_head_dim": (8, 11),  # which diffusers takes for the number of heads
    "norm_num_groups": 8,
    "cross_attention_dim": 4 * 64 // WORDS,
    "num_class_embeds": len(CLASSES) + 1,
    "resnet_time_scale_shift": "scale_shift",
    "use_linear_projection": True,
}
SCHEDULER: dict[str, Any] = {
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
}


def fold(pictures: Tensor) -> Tensor:
    """(B, 3, SIDE, SIDE) uint8 -> latents (B, 3 FOLD^2, SIDE / FOLD, SIDE / FOLD) float32 in -1..1."""
    return functional.pixel_unshuffle(pictures.float() / 127.5 - 1, FOLD)


def unfold(latents: Tensor) -> Tensor:
    """The pictures of latents: the other way round."""
    pictures = functional.pixel_shuffle(latents.float(), FOLD)
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def words(unet: UNet2DConditionModel, classes: Tensor) -> Tensor:
    """(B,) int64 -> (B, WORDS, channels): what cross-attention looks at, in the place of a text."""
    return unet.class_embedding(classes).unflatten(1, (WORDS, -1))


def class_of(prompt: str) -> int:
    """The class that a prompt names. Raises BadInput where it names none."""
    found = [number for number, name in enumerate(CLASSES) if name in prompt.lower()]
    if not found:
        raise BadInput(
            f"the nano pipeline draws {', '.join(CLASSES)}, and the prompt {prompt!r:.80} names none of these; "
            "name one, or give another --pipeline"
        )
    return found[0]


class NanoPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Called as diffusers' StableDiffusionPipeline is."""

    def __init__(self, unet: UNet2DConditionModel, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        num_inference_steps: int = 25,
        guidance_scale: float = 2.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        """Draw a picture for each prompt.

        Args:
            prompt: one or more; each names a class of `embedded:shapes`.
            num_inference_steps: of DDIM.
            guidance_scale: above 1, [unconditional, conditional] go through the U-Net as one batch.
            generator: one, or one for each picture.
            latents: (B, 48, 28, 28) to start from, drawn by default.
            output_type: "pil", or "latent" for the latents in place of the pictures.

        Raises:
            BadInput: a prompt names no class.
        """
        device, guided = self._execution_device, guidance_scale > 1
        prompts = [prompt] if isinstance(prompt, str) else prompt
        classes = torch.tensor([class_of(one) for one in prompts], device=device)
        if guided:
            classes = torch.cat([torch.full_like(classes, NOTHING), classes])
        context = words(self.unet, classes)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        if latents is None:
            size = self.unet.config.sample_size
            shape = (len(prompts), self.unet.config.in_channels, size, size)
            latents = randn_tensor(shape, generator=generator, device=device, dtype=self.unet.dtype)
        latents = latents * self.scheduler.init_noise_sigma
        for time in self.progress_bar(self.scheduler.timesteps):
            given = torch.cat([latents] * 2) if guided else latents
            said = self.unet(given, time, context, class_labels=classes, return_dict=False)[0]
            if guided:
                without, with_class = said.chunk(2)
                said = without + guidance_scale * (with_class - without)
            latents = self.scheduler.step(said, time, latents, return_dict=False)[0]
        if output_type == "latent":
            return ImagePipelineOutput(images=latents)
        pictures = unfold(latents).permute(0, 2, 3, 1).cpu().numpy()
        return ImagePipelineOutput(images=[Image.fromarray(picture) for picture in pictures])


def nano_pipeline(weights: Path) -> NanoPipeline:
    """The pipeline with weights as `tokenlens.workflows.nano.diffusion` writes them, in float32."""
    unet = UNet2DConditionModel(**UNET)
    unet.load_state_dict(load_file(weights))
    return NanoPipeline(unet.eval(), DDIMScheduler(**SCHEDULER))
