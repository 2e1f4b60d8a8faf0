"""The weights that come with the package belong to the model that `NANO` describes, and know the embedded set."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import tokenlens
from tokenlens.data.embedded import CLASSES
from tokenlens.extraction.pretrained import open_host
from tokenlens.methods import methods
from tokenlens.weights import ARCHITECTURE, NANO, nano_path
from tokenlens.workflows.nano.train import accuracy


def test_nano_knows_the_embedded_set() -> None:
    vit = timm.create_model(ARCHITECTURE, **NANO)
    assert accuracy(vit, "test", 100, 50) < 0.4
    vit.load_state_dict(load_file(nano_path()))
    assert accuracy(vit, "test", 200, 50) >= 0.9


def test_unknown_weights_are_refused_with_those_that_exist() -> None:
    with pytest.raises(LookupError, match=r"no weights called 'mano' .* nano"):
        nano_path("mano")


def test_the_diffusion_model_draws_what_is_asked_for() -> None:
    pytest.importorskip("diffusers", reason="diffusers is not installed")
    from tokenlens.synthesis.nano import nano_pipeline
    from tokenlens.synthesis.recognition import recognise

    pipe = nano_pipeline(nano_path("nano-diffusion"))
    pipe.set_progress_bar_config(disable=True)
    asked = [0, 5, 9]
    prompts = [f"A picture of a {CLASSES[one]}." for one in asked]
    images = pipe(prompts, num_inference_steps=6, generator=torch.Generator().manual_seed(0)).images
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    assert int((recognise(pixels)[1] == torch.tensor(asked)).sum()) >= 2
    assert nano_path("nano-diffusion").stat().st_size < 6e6


def shipped() -> list[tuple[str, float]]:
    """(method, keep rate) of what the file holds; a rate of those that serve at any."""
    names = {tuple(key.split("/")[:2]) for key in load_file(nano_path("nano-reducers"))}
    return sorted((name, 0.5 if rate == "any" else float(rate)) for name, rate in names)


def test_every_learned_method_gets_what_ships_of_it() -> None:
    host = open_host("nano")
    ours = {name: m for name, m in methods().items() if m.reducer.__module__.startswith("tokenlens.")}
    learned = {name for name, m in ours.items() if m.reducer.trained}
    assert {name for name, _ in shipped()} == learned
    for name, rate in shipped():
        torch.manual_seed(0)
        model = tokenlens.reduce(host.vit, name, rate)
        before = {key: value.clone() for key, value in model.reducers.state_dict().items()}
        host.equip(model, name)
        after = model.reducers.state_dict()
        assert any(not torch.equal(before[key], after[key]) for key in after), name
