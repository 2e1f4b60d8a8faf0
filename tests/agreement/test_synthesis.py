"""Merging inside a diffusion model, held against the published code: JoakimHaurum/ATC@227c94b, dbolya/tomesd@27a14a3.

Of `systems/sd`, whose settings stand in the names of the arrays: <method>__r<ratio>[__<layers>][__<downsample>].
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

import tokenlens
from tokenlens.core.plan import positions
from tokenlens.core.reducer import Stage
from tokenlens.extraction.batch import canonical
from tokenlens.synthesis.reduce import method_of
from tokenlens.synthesis.reduced import ReducedDenoiser
from tokenlens.synthesis.view import LatentView

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
Recorded = Mapping[str, NDArray[Any]]
Open = Callable[[str], Recorded]
STEPS, GUIDANCE, SEEDS = 10, 7.5, {"rand": 5, "rand77": 77}


@pytest.fixture(scope="module")
def part(golden: Path) -> Open:
    """Opens a file of `systems/sd`; refuses one that holds nothing, and skips where it is not."""

    def find(name: str) -> Recorded:
        path = golden / "systems" / "sd" / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"{golden} has no systems/sd/{name}.npz")
        found: Recorded = np.load(path)
        assert any("__" in key for key in found), f"{path} holds nothing to compare"
        return found

    return find


def asked(setting: str) -> tuple[str, dict[str, Any], torch.Generator | None]:
    """The method, its arguments and what it draws from, of a setting's name."""
    name, ratio = re.match(r"([a-z0-9-]+)__r([0-9.]+)", setting).groups()  # type: ignore[union-attr]
    settings: dict[str, Any] = {"ratio": float(ratio)}
    generator = None
    if name.startswith("tome"):
        _, _, how = name.partition("-")
        name, settings["rand"] = "tome-sd", how in SEEDS
        generator = torch.Generator().manual_seed(SEEDS[how]) if how in SEEDS else None
    if found := re.search(r"max_downsample(\d+)", setting):
        settings["max_downsample"] = int(found[1])
    layers = {"cross_attention": "crossattn" in setting, "mlp": "mlp" in setting}
    return name, {**settings, **{layer: True for layer, on in layers.items() if on}}, generator


def reduced(model: Any, setting: str, **more: Any) -> ReducedDenoiser:
    name, settings, generator = asked(setting)
    made: Any = tokenlens.reduce(model, name, **settings, **more)  # of an even batch: of an odd one nothing is drawn
    made.generator = generator
    return made


def same_partition(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return torch.equal(canonical(torch.from_numpy(a.astype(np.int64))), canonical(torch.from_numpy(b.astype(np.int64))))


def far(ours: Any, theirs: NDArray[Any]) -> float:
    """The largest difference, as a share of the largest number where that is beyond 1."""
    return float(np.abs(np.asarray(ours) - theirs).max() / max(1, np.abs(theirs).max()))


@torch.no_grad()
def test_merge_and_spread(part: Open) -> None:
    recorded, wrong = part("sd_merge"), dict[str, float]()
    for setting in sorted({key.rpartition("__")[0] for key in recorded if key.endswith("unmerged")}):
        grid, _, how = setting.partition("__")
        rows, columns = map(int, grid.split("x"))
        metric, x = (torch.from_numpy(recorded[f"{grid}__{name}"]) for name in ("metric", "x"))
        name, settings, generator = asked(how)
        count = rows * columns
        keep, chosen = count - int(count * settings.pop("ratio")), method_of(name)
        reducer: Any = chosen.reducer(Stage(0, 0, keep, count, metric.shape[-1]), **chosen.options(settings))
        reducer.generator = generator
        view = LatentView(metric, positions(*metric.shape[:2], metric.device), None, (rows, columns), keep, count, 0)
        plan = reducer(view)
        merged = plan.carry(x)
        wrong[setting] = far(plan.spread(merged), recorded[f"{setting}__unmerged"])
        # the published order of ToMe-SD's destinations is that of an unstable sort
        wrong[f"{setting}, merged"] = far(np.sort(merged, 1), np.sort(recorded[f"{setting}__merged"], 1))
        if name != "tome-sd":
            assert same_partition(plan.group.numpy(), recorded[f"{setting}__labels"]), setting
    wrong = {setting: much for setting, much in wrong.items() if not much < 1e-5}
    assert not wrong


def unet_of(golden: Path) -> Any:
    folder = golden / "systems" / "sd"
    config = json.loads((folder / "sd_unet_tiny.json").read_text())["unet"]
    unet = diffusers.UNet2DConditionModel(**config)
    unet.load_state_dict(load_file(folder / "sd_unet_tiny.safetensors"))
    return unet.eval()


@torch.no_grad()
def test_one_call_of_the_denoiser(part: Open, golden: Path) -> None:
    recorded = part("sd_unet_tiny")
    unet = unet_of(golden)
    latent, context, time = (torch.from_numpy(recorded[name]) for name in ("latent", "context", "timestep"))

    def call() -> Tensor:
        return unet(latent, time, encoder_hidden_states=context).sample  # type: ignore[no-any-return]

    wrong = {"none": far(call(), recorded["none"])}
    for setting in (key for key in recorded if "__" in key):
        with reduced(unet, setting):
            wrong[setting] = far(call(), recorded[setting])
        assert far(recorded[setting], recorded["none"]) > 1e-3, f"{setting} changes nothing"
    wrong = {setting: much for setting, much in wrong.items() if not much < 1e-5}
    assert not wrong
    assert far(call(), recorded["none"]) < 1e-5, "it is undone"


@torch.no_grad()
def test_a_whole_pipeline(part: Open, golden: Path) -> None:
    recorded, folder = part("sd_pipeline_tiny"), golden / "systems" / "sd"
    config = json.loads((folder / "sd_pipeline_tiny.json").read_text())
    vae = diffusers.AutoencoderKL(**config["vae"])
    vae.load_state_dict(load_file(folder / "sd_vae_tiny.safetensors"))
    scheduler = {name: value for name, value in config["scheduler"].items() if not name.startswith("_")}
    pipe = diffusers.StableDiffusionPipeline(
        vae.eval(), None, None, unet_of(golden), diffusers.PNDMScheduler(**scheduler), None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    given = {n: torch.from_numpy(recorded[n]) for n in ("latents", "prompt_embeds", "negative_prompt_embeds")}
    wrong = dict[str, float]()
    for setting in sorted({key.rpartition("__")[0] for key in recorded if "__" in key}):
        made = None if setting == "none" else reduced(pipe, setting, record_steps=None)
        latents = pipe(**given, num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type="latent").images
        image = vae.decode(latents / vae.config.scaling_factor).sample
        wrong[setting] = far(latents, recorded[f"{setting}__latents"])
        shown = image.numpy()
        wrong[f"{setting}, image"] = far(shown, recorded[f"{setting}__image"])
        if made is not None:
            made.remove()
            group = made.take(images=1)["group"][0]
            labels = recorded.get(f"{setting}__labels")
            if labels is not None:  # (calls x blocks, branches, patches)
                ours = group.transpose(0, 2, 1, 3).reshape(labels.shape)
                assert same_partition(ours, labels), setting
    wrong = {setting: much for setting, much in wrong.items() if not much < 1e-5}
    assert not wrong
