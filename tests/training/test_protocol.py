"""A few steps of the published protocol, on ImageNet's layout with the real DeiT-S: stopped, gone on, extracted."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tokenlens.cli
from tokenlens.hosts.header import finetuned
from tokenlens.records.store import open_runs
from tokenlens.training import finetune as loop

WORDS = ("--recipe", "imagenet", "--model", "deit_small_patch16_224", "--method", "evit", "--keep-rate", "0.7")
FEW = ("--weights", "random", "--batch-size", "2", "--accumulate", "2", "--epochs", "2", "--workers", "0")


def imagenet(root: Path) -> Path:
    """Three classes in ILSVRC's layout."""
    rng = np.random.default_rng(0)
    for wnid in ("n01440764", "n01443537", "n01484850"):
        for split, count in (("train", 3), ("val", 1)):
            (root / split / wnid).mkdir(parents=True)
            for index in range(count):
                name = f"{wnid}_{index}" if split == "train" else f"ILSVRC2012_val_{int(wnid[1:]) % 10**8:08d}"
                pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / wnid / f"{name}.JPEG")
    return root


@pytest.mark.long
def test_stopped_gone_on_and_extracted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, where = tmp_path / "tuned", f"imagenet:{imagenet(tmp_path / 'imagenet')}"
    words = ["finetune", *WORDS, *FEW, "--data", where, "--out", str(out), "--set", "schedule.warmup_epochs=1"]
    step = loop.Training._step

    def stops(self: Any, number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt
        step(self, number)

    def typed(*line: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tokenlens", *line])
        try:
            tokenlens.cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    with monkeypatch.context() as stopped:
        stopped.setattr(loop.Training, "_step", stops)
        assert typed(*words) == 130
    assert "Stopped. What was written is kept" in capfd.readouterr().err
    assert typed(*words) == 0
    assert f"-> {out / 'best.safetensors'}" in capfd.readouterr().out
    said = finetuned(str(out / "best.safetensors"))
    assert said is not None and said["classes"] == ["n01440764", "n01443537", "n01484850"] and said["data"] == where
    assert typed("extract", "--weights", str(out / "best.safetensors"), "--out", str(tmp_path / "runs")) == 0
    assert "evit at 0.7: top1" in capfd.readouterr().out
    (run,) = open_runs(tmp_path / "runs")
    assert (run.attrs["method"], run.attrs["keep_rate"], run.attrs["model"]) == ("evit", 0.7, "deit_small_patch16_224")
    assert list(run.attrs["mean"]) == said["input"]["mean"] and run.attrs["depth"] == 12 and run.sizes["image"] == 3
    assert typed(*words, "--lr", "0.5") == 2
    assert "was begun with another recipe (optimizer.lr 0.001 there, 0.5 here)" in capfd.readouterr().err
