"""Weights as other tools save them, and headers that anybody can write: read as they are meant, or refused by name."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.models import load_checkpoint
from torch import nn

import tokenlens
from tokenlens.errors import BadInput
from tokenlens.hosts.header import finetuned

NAME = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"depth": 2, "num_classes": 5}
State = dict[str, torch.Tensor]
REDUCTION = {"method": "topk", "keep_rate": 0.5, "blocks": [1]}


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(1)
    made: nn.Module = timm.create_model(NAME, **SMALL)
    return made


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def below(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def moved(state: State) -> State:
    return {name: value + 0.5 for name, value in state.items()}


def assert_same(made: nn.Module, state: State) -> None:
    there = made.state_dict()
    assert there.keys() == state.keys() and all(torch.equal(there[name], state[name]) for name in state)


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module._orig_mod.module.", "model.", "net._orig_mod.", "backbone.", "model.encoder."]
)
@pytest.mark.parametrize("under", [None, "state_dict", "model_state_dict", "teacher", "model_ema"])
def test_prefixes_and_wrappers_are_taken_off(vit: nn.Module, tmp_path: Path, prefix: str, under: str | None) -> None:
    state = below(prefix, vit.state_dict())
    path = saved(tmp_path / "w.pth", state if under is None else {under: state, "epoch": 3})
    assert_same(tokenlens.load(path, NAME), vit.state_dict())


def test_what_is_left_out_is_said_and_two_vits_are_refused(vit: nn.Module, tmp_path: Path) -> None:
    state = below("model.", vit.state_dict()) | {"loss.weight": torch.ones(3)}
    with pytest.warns(
        UserWarning, match=r"below model\. are read as the ViT, and 1 others are left out \(loss\.weight"
    ):
        assert_same(tokenlens.load(saved(tmp_path / "w.pth", state), NAME), vit.state_dict())
    both = below("student.", vit.state_dict()) | below("other.", vit.state_dict())
    with pytest.raises(BadInput, match=r"holds 2 ViTs, with the prefixes 'other\.', 'student\.'"):
        tokenlens.load(saved(tmp_path / "w.pth", both), NAME)


def test_a_file_of_timms_training_is_read_as_timm_reads_it(vit: nn.Module, tmp_path: Path) -> None:
    state = vit.state_dict()
    content = {
        "arch": NAME,
        "state_dict": state,
        "state_dict_ema": moved(state),
        "args": argparse.Namespace(model=NAME),
    }
    path = saved(tmp_path / "last.pth.tar", content)
    theirs = timm.create_model(NAME, **SMALL)
    load_checkpoint(theirs, str(path), weights_only=False)
    assert_same(tokenlens.load(path), theirs.state_dict())
    del content["args"]
    assert_same(tokenlens.load(saved(path, content)), theirs.state_dict())


@pytest.mark.parametrize(
    "said",
    [{"input": "data/in"}, {"reduction": "mean"}, {"heads": "12"}, {"keep_rate": [1.0]}, {"keep_rate": object}],
)
def test_settings_of_other_peoples_scripts_are_not_ours(vit: nn.Module, tmp_path: Path, said: Any) -> None:
    args = argparse.Namespace(model=NAME, **{k: None if v is object else v for k, v in said.items()})
    made = tokenlens.load(saved(tmp_path / "w.pth", {"model": vit.state_dict(), "args": args}))
    assert type(made) is type(vit)


def test_settings_of_the_published_code_that_are_malformed(vit: nn.Module, tmp_path: Path) -> None:
    args = {"model": "ats_tiny_patch16_224", "keep_rate": ["a", "b"]}
    path = saved(tmp_path / "w.pth", {"model": vit.state_dict(), "args": args})
    with pytest.raises(BadInput, match="settings of a checkpoint of ats_tiny_patch16_224 cannot be read"):
        tokenlens.load(path)


def test_keys_are_named_where_nothing_is_understood(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no tensors, only epoch, optimizer; give"):
        tokenlens.load(saved(tmp_path / "w.pth", {"epoch": 1, "optimizer": {"a": 1}}), NAME)
    with pytest.raises(BadInput, match=r"no patch_embed\.proj\.weight, but embeddings\.cls_token\)"):
        tokenlens.load(saved(tmp_path / "w.pth", {"embeddings.cls_token": torch.ones(1)}), NAME)


@pytest.mark.parametrize("kind", [torch.complex64, torch.int64])
def test_numbers_of_another_kind_are_not_cast(vit: nn.Module, tmp_path: Path, kind: torch.dtype) -> None:
    state = {**vit.state_dict(), "norm.weight": vit.state_dict()["norm.weight"].to(kind)}
    with pytest.raises(BadInput, match=r"norm\.weight in .* is (complex64|int64) and not floating point"):
        tokenlens.load(saved(tmp_path / "w.pth", state), NAME)


@pytest.mark.parametrize(
    "said",
    [
        {"reduction": []},
        {"reduction": {"method": "topk"}},
        {"reduction": {**REDUCTION, "keep_rate": "x"}},
        {"reduction": {**REDUCTION, "blocks": [-1]}},
        {"reduction": {**REDUCTION, "options": [1]}},
        {"reduction": {**REDUCTION, "options": {"a\nb": 1}}},
        {"data": 5},
        {"model": {"a": 1}},
        {"heads": 0},
        {"classes": "x"},
        {"input": {"mean": "x"}},
        {"input": {"input_size": [3, 0, 224]}},
    ],
)
def test_a_header_is_checked_word_by_word(tmp_path: Path, said: dict[str, Any]) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, path, {"tokenlens": json.dumps({"format": 1, **said})})
    with pytest.raises(BadInput, match=r"the header of .* says that \w+ is .*, which no tokenlens writes") as told:
        finetuned(str(path))
    assert "\n" not in str(told.value)
