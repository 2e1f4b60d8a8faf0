"""What the published checkpoints say of their training, and the models that they give."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import tokenlens
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts.published_checkpoints import trained_with

STUDY = {"reduction_loc": [3, 6, 9], "keep_rate": [0.5]}
COUNTS = {"reduction_loc": [3, 6, 9], "keep_rate": [98.0, 49.0, 24.0]}
SHARES = {"reduction_loc": [3, 6, 9], "keep_rate": [1.0, 1.0, 0.5]}
RINGS = {"heuristic_pattern": "linf", "not_contiguous": False, "min_radius": 1.0}


@pytest.mark.parametrize(
    ("model", "args", "expected"),
    [
        ("deit", {"reduction_loc": [], "keep_rate": []}, None),
        ("deit", STUDY, None),
        ("topk", {"reduction_loc": [], "keep_rate": []}, None),
        ("topk", {"reduction_loc": [3, 6, 9]}, None),
        ("topk", STUDY, {"method": "topk", "keep_rate": 0.5}),
        ("topk", SHARES, {"method": "topk", "keep_rate": [1.0, 1.0, 0.5]}),
        ("kmedoids", COUNTS, {"method": "kmedoids", "keep": [98, 49, 24]}),
        ("ats", COUNTS, {"method": "ats", "keep": [97, 48, 23]}),
        ("ats", STUDY, {"method": "ats", "keep_rate": 0.5}),
        (
            "dpcknn",
            {**STUDY, "k_neighbors": 5, "equal_weight": True},
            {"method": "dpcknn", "keep_rate": 0.5, "neighbours": 5, "equal_weight": True},
        ),
        (
            "heuristic",
            {"reduction_loc": [3, 6, 9], "keep_rate": [], **RINGS},
            {"method": "linf", "keep_rate": 0.5, "contiguous": True, "min_radius": 1.0},
        ),
        (
            "heuristic",
            {"reduction_loc": [3, 6, 9], "keep_rate": [], **RINGS, "min_radius": None},
            {"method": "linf", "keep_rate": 0.5, "contiguous": True, "min_radius": 0.0},
        ),
        ("heuristic", {"reduction_loc": [], "keep_rate": [], **RINGS, "not_contiguous": True}, None),
    ],
)
def test_what_a_checkpoint_was_trained_with(model: str, args: dict[str, Any], expected: dict[str, Any] | None) -> None:
    said = trained_with({"model": f"{model}_tiny_patch16_224", **args})
    assert said == (expected and {"blocks": (3, 6, 9), **expected})


@pytest.mark.parametrize(
    ("model", "args", "left"),
    [
        ("deit_tiny_patch16_224_local", {"reduction_loc": [], "keep_rate": []}, None),
        ("dpcknn_tiny_patch16_224", {**STUDY, "equal_weight": True}, (98, 49, 24)),
        ("ats_tiny_patch16_224", COUNTS, (97, 48, 23)),
    ],
)
def test_it_is_loaded(model: str, args: dict[str, Any], left: tuple[int, ...] | None, tmp_path: Path) -> None:
    vit = timm.create_model("deit_tiny_patch16_224", embed_dim=16, num_heads=2, num_classes=3)
    file = str(tmp_path / "best.pth")
    torch.save({"model": vit.state_dict(), "args": Namespace(model=model, **args)}, file)
    loaded = tokenlens.load(file, heads=2)
    assert (left and loaded.schedule.keep(196)) == left
    assert torch.equal((loaded.vit if left else loaded).head.weight, vit.head.weight)


def test_equal_weights_need_no_parameters_of_the_method() -> None:
    host = open_host()
    model = tokenlens.reduce(host.vit, "dpcknn", 0.33, (2, 4), equal_weight=True)  # at neither are there any
    host.equip(model, "dpcknn")
    assert not model.reducers.state_dict()


def test_a_path_is_as_good_as_its_name(tmp_path: Path) -> None:
    with pytest.raises(tokenlens.BadInput, match=r"there is no weights file .*nowhere\.pth"):
        tokenlens.load(tmp_path / "nowhere.pth")
    with pytest.raises(tokenlens.BadInput, match="weights are None; give a path, or hf:owner/name"):
        tokenlens.load(None)  # type: ignore[arg-type]
