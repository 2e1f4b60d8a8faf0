"""The suite itself: on folders that hold too little, and on one of another model, with other tags and fewer files."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tokenlens
from tokenlens.extraction.batch import canonical
from tokenlens.methods.ats import steps

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "there, sentence",
    [
        (None, "there is no folder"),
        ([], "has no backbone.safetensors, so nothing"),
        (["backbone.safetensors"], "has no images.npz, so nothing"),
        (["backbone.safetensors", "images.npz", "golden-deit.npz"], "has no golden-<method>-r<tag>.npz, so nothing"),
        (["checkpoints/"], "checkpoints is empty; fill it, or remove it"),
        (["metrics/"], "metrics is empty; fill it, or remove it"),
        (["checkpoints/topk-r0.5/golden.npz"], "topk-r0.5 has no best_checkpoint.pth; add it"),
    ],
)
def test_a_folder_that_holds_too_little_is_refused(
    there: list[str] | None, sentence: str, check_folder: Callable[[Path], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "golden"
    whole = ["backbone.safetensors", "images.npz", "golden-topk-r0.5.npz"]
    part = there is not None and any("/" in name for name in there)
    for name in [] if there is None else [*there, "README.md", *(whole if part else [])]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).mkdir() if name.endswith("/") else (folder / name).touch()
    with pytest.raises(pytest.UsageError, match=sentence):
        check_folder(folder)


@torch.no_grad()
def record(folder: Path, tag: str, rates: list[float], model: Any, images: torch.Tensor, stable: bool = True) -> None:
    """A golden file of a method that prunes or merges, of what our own model does."""
    logits, trace = model.trace(images, features=True)
    arrays = {"keep_rate": np.array(rates), "stages": np.array(trace.blocks), "logits": logits.numpy()}
    arrays |= {f"cls_{block}": feature.numpy() for block, feature in trace.features.items()}
    arrays["n_tokens"] = trace.tokens_left.numpy().max(0)
    flag = np.full(len(images), stable)
    for stage, block in enumerate(trace.blocks):
        group, kept = trace.group[:, stage].numpy(), trace.kept[:, stage].numpy()
        arrays |= {f"stable_{block}": flag, f"stable_order_{block}": flag}
        if (group >= 0).all():
            arrays[f"abs_assign_{block}"] = group
            arrays[f"canon_assign_{block}"] = canonical(trace.group[:, stage]).numpy()
            continue
        rows = np.full((len(images), kept.sum(1).max()), -1)
        for row, of, mine in zip(rows, group, kept, strict=True):
            patches = np.flatnonzero(mine)
            row[: len(patches)] = patches[of[patches].argsort()]
        arrays[f"abs_kept_{block}"] = rows
    if "-ats-" in f"-{tag}":
        counts = np.array(rates, int)
        points = np.array([len(steps(count - 1)) for count in counts])
        arrays |= {"sample_count": counts, "n_sample_steps": points, "n_valid": trace.tokens_left.numpy().T}
    np.savez(folder / f"golden-{tag}.npz", **arrays)


@pytest.fixture
def other_folder(tmp_path: Path, make_vit: Callable[..., Any]) -> Path:
    """Another size of images, patches, model; lists of rates, other blocks; no checkpoints, metrics or soft maps."""
    vit = make_vit(img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=6)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    save_file(vit.state_dict(), tmp_path / "backbone.safetensors")
    np.savez(tmp_path / "images.npz", images=images.numpy())
    with torch.no_grad():
        tokens = vit.forward_intermediates(images, norm=False, intermediates_only=True, return_prefix_tokens=True)
        arrays = {f"cls_{block}": prefix[:, 0].numpy() for block, (_, prefix) in enumerate(tokens)}
        np.savez(tmp_path / "golden-deit.npz", logits=vit(images).numpy(), **arrays)

    def add(tag: str, rates: list[float], method: str, stable: bool = True, **words: Any) -> Any:
        model = tokenlens.reduce(vit, method, **words)
        record(tmp_path, tag, rates, model, images, stable)
        return model

    predictors = add("dyvit-r0.8_0.5-loc1_3", [0.8, 0.5], "dynamicvit", keep=[12, 8], blocks=[1, 3]).reducers
    state = {
        f"score_predictor.{i}.{k}": v for i, r in enumerate(predictors.values()) for k, v in r.state_dict().items()
    }
    save_file(state, tmp_path / "extras-dyvit-r0.8_0.5-loc1_3.safetensors")
    add("topk-r0.05-loc2", [0.05], "topk", keep=[9], blocks=[2])  # of 196 patches, whatever the grid
    add("ats-r12_6-loc1_2", [12, 6], "ats", keep=[11, 5], blocks=[1, 2])
    add("tome-r12_9-loc1_2", [12, 9], "tome", keep=[12, 9], blocks=[1, 2])
    add("kmedoids-r0.55-loc2", [0.55], "kmedoids", stable=False, keep_rate=0.55, blocks=[2])
    add("tome-r7_3-loc1_2", [7, 3], "tome", keep=[10, 3], blocks=[1, 2])  # wrong, and to be found so
    return tmp_path


@pytest.mark.long
def test_another_folder(other_folder: Path) -> None:
    paths = [str(path) for path in sorted(HERE.glob("test_*.py")) if path != Path(__file__)]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", "-rA", "-p", "no:cacheprovider", *paths],
        env={**os.environ, "TOKENLENS_GOLDEN": str(other_folder)},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )
    passed, failed = (
        set(re.findall(rf"^{word} \S+::(\S+)", ran.stdout, re.MULTILINE)) for word in ("PASSED", "FAILED")
    )
    each = ("test_logits_class_tokens_and_soft_maps", "test_patterns", "test_counts")
    agree = ("dyvit-r0.8_0.5-loc1_3", "topk-r0.05-loc2", "ats-r12_6-loc1_2", "tome-r12_9-loc1_2")
    assert failed == {f"{test}[tome-r7_3-loc1_2]" for test in each}, ran.stdout + ran.stderr
    assert passed >= {f"{test}[{tag}]" for test in each for tag in agree} | {"test_unreduced_model_agrees"}
    for reason in ("hang on rounding", "has no checkpoints", "has no metrics/metrics.json"):
        assert re.search(f"^SKIPPED .*{reason}", ran.stdout, re.MULTILINE), reason
