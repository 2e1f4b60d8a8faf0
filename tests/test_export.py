"""ONNX files: they give torch's logits in another runtime, or are not there."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import tokenlens
from tokenlens import export
from tokenlens.commands.export import export as command
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.errors import BadInput
from tokenlens.export import export_onnx
from tokenlens.extraction.pretrained import Pretrained
from tokenlens.methods import methods

PORTABLE = [name for name, method in methods().items() if method.reducer.portable]
STUDY = {"topk", "evit", "dynamicvit", "tome", "sit", "patchmerger", "sinkhorn"}


@pytest.fixture(scope="module")
def small(make_vit: Callable[..., nn.Module]) -> nn.Module:
    """16 patches, one block: the exporter's time goes by operations."""
    return make_vit(img_size=32, depth=1)


@pytest.fixture
def topk(small: nn.Module) -> ReducedViT:
    return tokenlens.reduce(small, "topk", blocks=(0,))


def test_what_can_be_exported() -> None:
    newer = {"pitome", "tofu", "diffrate", "diffrate-learned", "mctf", "dtps", "etps", "dtem", "gtp", "visionzip"}
    assert set(PORTABLE) == STUDY | newer | {"divprune", "avgpool", "downsample", "l1", "l2", "linf", "none"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ("topk", "tome", "sit") else pytest.mark.long)
     for name in PORTABLE if name not in ("l1", "linf", "none")],
)  # fmt: skip
@torch.no_grad()
def test_another_runtime_gives_the_same_logits(
    name: str, small: nn.Module, make_vit: Callable[..., nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(3)
    vit = make_vit(img_size=32, depth=2) if name == "tome" else small  # whose sizes weigh in later attention
    model = tokenlens.reduce(vit, name, blocks=(0,))
    path = tmp_path / "deep" / "model.onnx"
    assert export_onnx(model, path, told={"tokenlens.method": name}) <= 1e-4
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    assert [entry.version for entry in written.opset_import if entry.domain in ("", "ai.onnx")] == [18]
    assert {entry.key: entry.value for entry in written.metadata_props}["tokenlens.method"] == name
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], {"images": images.numpy()})
    assert np.abs(logits - model(images).numpy()).max() < 1e-4
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]


def test_a_file_that_fails_the_check_is_not_put_in_place(
    topk: ReducedViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("before")
    real = export._difference

    def another(model: ReducedViT, images: Tensor, file: Path) -> float:
        moved = copy.deepcopy(model)
        with torch.no_grad():
            moved.vit.head.bias += 0.01
        return real(moved, images, file)

    monkeypatch.setattr(export, "_difference", another)
    with pytest.raises(BadInput, match=r"differs from torch by .*e-0[23], more than 0.0001, so nothing was written"):
        export_onnx(topk, path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_what_the_exporter_cannot_do_is_told(topk: ReducedViT, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"knows opsets up to \d+, not 999; give one with --opset"):
        export_onnx(topk, tmp_path / "model.onnx", opset=999)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_packages_that_are_missing(
    package: str, topk: ReducedViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInput, match=rf"needs {package}, .* pip install tokenlens-vit\[export\]"):
        export_onnx(topk, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *((f"--method {name}", rf"{name} decides in a way that ONNX cannot express; .* exported: none, topk, evit, d")
          for name in ("ats", "kmedoids", "dpcknn", "atc-average", "random")),
        ("--method topk,tome", "2 models were asked for and a file holds one"),
        ("--keep-rate 0.5,0.7", "2 models were asked for and a file holds one"),
        ("--method topkk", "there is no method called 'topkk'; did you mean topk"),
        ("--out /proc/nowhere/model.onnx", "cannot be written .*choose another folder with --out"),
    ],
)  # fmt: skip
def test_refused_in_one_sentence(words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=sentence):
        CliRunner().invoke(command, words.split(), catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_a_model_too_large_for_one_file(topk: ReducedViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LARGEST", 1000)
    with pytest.raises(BadInput, match="an ONNX file holds 2; take a smaller model"):
        export_onnx(topk, tmp_path / "model.onnx")


def test_the_command_says_what_it_wrote(small: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Pretrained(small, "small", "random", "random weights")
    monkeypatch.setattr("tokenlens.extraction.reduced_models.open_host", lambda *_: host)
    out = tmp_path / "new.onnx"
    done = CliRunner().invoke(command, ["--keep-rate", "0.4", "--blocks", "0", "--opset", "20", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"topk of small, asked to leave 6 tokens: {out}, opset 20, ")
    told = {entry.key.removeprefix("tokenlens."): entry.value for entry in onnx.load(out).metadata_props}
    assert (told["method"], told["model"], told["blocks"], told["keep"]) == ("topk", "small", "0", "6")
    assert (told["mean"], told["interpolation"]) == ("0.5 0.5 0.5", "bicubic")
