"""Weights from files and from the hub: every way in gives the same model."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

import tokenlens
from tokenlens.extraction.pretrained import load_reducers, open_host
from tokenlens.hosts.checkpoints import Weights, load_vit, read
from tokenlens.hosts.header import finetuned
from tokenlens.hosts.loading import vit_for

NAME = "deit_tiny_patch16_224"
SIZE: dict[str, Any] = {"embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 7, "img_size": 64}


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(5)
    made: nn.Module = timm.create_model(NAME, **SIZE).eval()
    return made


def other(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value + 1 for name, value in state.items()}


@pytest.mark.parametrize(
    "kind", ["bare", "safetensors", "state_dict", "module", "model", "ema", "ema not best", "half"]
)
def test_every_kind_of_file_gives_the_model_back(kind: str, small: nn.Module, tmp_path: Path) -> None:
    state, file = small.state_dict(), tmp_path / "weights.pth"
    content: dict[str, Any] = {
        "bare": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "module": {f"module.{name}": value for name, value in state.items()},
        "model": {"model": state, "args": Namespace(lr=0.1), "optimizer": {}},
        "ema": {"model": other(state), "model_ema": state, "ema_best": True},
        "ema not best": {"model": state, "model_ema": other(state), "ema_best": False},
        "half": {name: value.bfloat16() for name, value in state.items()},
    }.get(kind, state)
    if kind == "safetensors":
        file = file.with_suffix(".safetensors")
        safetensors.torch.save_file(content, file)
    else:
        torch.save(content, file)
    vit = tokenlens.load(str(file), NAME, heads=3)
    patch = vit.patch_embed
    assert (vit.embed_dim, len(vit.blocks), vit.num_classes, patch.img_size) == (48, 4, 7, (64, 64))
    assert vit.blocks[0].attn.num_heads == 3 and not vit.training
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        near = {"rtol": 0.05, "atol": 0.05} if kind == "half" else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(vit(images), small(images), **near)


def test_a_patch_size_is_read_off_too(tmp_path: Path) -> None:
    nano = Path(tokenlens.__file__).parent / "weights" / "nano.safetensors"
    vit = tokenlens.load(str(nano), "vit_tiny_patch16_224", heads=4)
    images = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        assert torch.equal(vit(images), open_host().vit(images))


@pytest.mark.parametrize("method", ["topk", "dynamicvit", "sit"])
def test_our_own_state_dict_comes_back(method: str, small: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = tokenlens.reduce(small, method, blocks=(1, 3))
    safetensors.torch.save_file(model.state_dict(), tmp_path / "ours.safetensors")
    found = read(str(tmp_path / "ours.safetensors"))
    torch.manual_seed(2)
    again = tokenlens.reduce(vit_for(found, "ours", NAME, 3).eval(), method, blocks=(1, 3))
    if method != "topk":
        with pytest.raises(AssertionError):
            torch.testing.assert_close(again.state_dict(), model.state_dict())
    load_reducers(again, found, "ours")
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_nothing_is_loaded_where_one_part_does_not_fit(small: nn.Module) -> None:
    vit = timm.create_model(NAME, **SIZE)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with pytest.raises(tokenlens.BadInput, match=r"norm\.weight is missing in file"):
        load_vit(vit, Weights({n: v for n, v in small.state_dict().items() if n != "norm.weight"}), "file")
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_reducers_of_another_rate_are_refused(small: nn.Module) -> None:
    made = tokenlens.reduce(small, "sit", 0.5, (1, 3)).state_dict()
    stages = [{n.split(".", 2)[2]: v for n, v in made.items() if n.startswith(f"reducers.{b}.")} for b in (1, 3)]
    with pytest.raises(tokenlens.BadInput, match=r"of stage 0 is .* use the keep rate that it was trained with"):
        load_reducers(tokenlens.reduce(small, "sit", 0.25, (1, 3)), Weights({}, stages), "file")


@pytest.mark.parametrize("weights_name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("tag", [None, "fb_in1k", "unheard_of"])
def test_a_repository_on_the_hub(
    weights_name: str, tag: str | None, small: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = safetensors.torch.save_file if weights_name.endswith("tensors") else torch.save
    save(small.state_dict(), tmp_path / weights_name)
    config = {"architecture": NAME, **({"pretrained_cfg": {"tag": tag}} if tag else {})}
    (tmp_path / "config.json").write_text(json.dumps(config))

    def download(repository: str, name: str) -> str:
        assert repository == "owner/name"
        if not (tmp_path / name).is_file():
            raise EntryNotFoundError(f"no {name} there")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    vit = tokenlens.load("hf:owner/name", heads=3)
    torch.testing.assert_close(vit.state_dict(), small.state_dict(), rtol=0, atol=0)
    host = open_host(None, "hf:owner/name", 3)
    assert host.model.split(".")[0] == NAME and host.source == "hf:owner/name"
    (tmp_path / "config.json").unlink()
    with pytest.raises(tokenlens.BadInput, match="does not say which model it holds"):
        tokenlens.load("hf:owner/name", heads=3)
    (tmp_path / weights_name).unlink()
    with pytest.raises(tokenlens.BadInput, match=r"could not download hf:owner/name \(no pytorch_model.bin there\)"):
        tokenlens.load("hf:owner/name", heads=3)


@pytest.mark.parametrize("entry", ["[]", '{"a": 1}', "3", '{"format": "1"}'])
def test_a_header_that_is_not_ours_is_refused(entry: str, small: nn.Module, tmp_path: Path) -> None:
    file = str(tmp_path / "weights.safetensors")
    safetensors.torch.save_file(small.state_dict(), file, {"tokenlens": entry})
    with pytest.raises(
        tokenlens.BadInput, match=r"header of .*s has an entry tokenlens that is not ours; save its ten"
    ):
        finetuned(file)
    with pytest.raises(tokenlens.BadInput, match="that is not ours"):
        tokenlens.load(file, NAME, heads=3)


@pytest.mark.parametrize("entry", ["{", "[" * 100_000])
def test_a_header_that_is_damaged(entry: str, small: nn.Module, tmp_path: Path) -> None:
    file = str(tmp_path / "weights.safetensors")
    safetensors.torch.save_file(small.state_dict(), file, {"tokenlens": entry})
    with pytest.raises(tokenlens.BadInput, match=r"safetensors is damaged or no checkpoint; download or save it again"):
        finetuned(file)


def test_heads_tell_two_hosts_apart(small: nn.Module, tmp_path: Path) -> None:
    file = str(tmp_path / "weights.safetensors")
    safetensors.torch.save_file(small.state_dict(), file)
    assert open_host(NAME, file, 3).digest != open_host(NAME, file, 4).digest
    assert open_host(NAME, file, 3).digest == open_host(NAME, file, 3).digest


def test_the_same_weights_have_one_digest_whatever_file_they_lie_in(small: nn.Module, tmp_path: Path) -> None:
    state = small.state_dict()
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    safetensors.torch.save_file(state, tmp_path / "b.safetensors", {"written by": "somebody else"})
    torch.save({"model": state}, tmp_path / "c.pth")
    safetensors.torch.save_file({**state, "cls_token": state["cls_token"] + 1}, tmp_path / "d.safetensors")
    digests = [
        read(str(tmp_path / name)).digest for name in ("a.safetensors", "b.safetensors", "c.pth", "d.safetensors")
    ]
    assert len(set(digests[:3])) == 1 and digests[3] not in digests[:3]
