"""A method of another package is found through the entry-point group `tokenlens.methods`, and is like our own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokenlens.errors import BadInput
from tokenlens.methods import Method, Reducer, method, register

MODULE = '''"""Checkerboard: keep every n-th token.

No paper.
"""
import torch

from tokenlens import Plan, Reducer, View, register, select


@register("checkerboard")
@register("stripes", step=3)
class Checkerboard(Reducer):
    family = "pruning"

    def __init__(self, stage, step: int = 2) -> None:
        super().__init__(stage)
        self.step = step

    def forward(self, view: View) -> Plan:
        return select(view, torch.arange(0, view.tokens.shape[1], self.step).expand(len(view.tokens), -1))


class Plain(Checkerboard):
    """Registered by its entry point alone."""
'''
USE = """
import timm, torch, tokenlens
vit = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2).eval()
images = torch.zeros(1, 3, 64, 64)
for name, options, first in (("checkerboard", {}, 2), ("stripes", {}, 3), ("plain", {"step": 4}, 4)):
    logits, trace = tokenlens.reduce(vit, name, 0.5, blocks=(0,), **options).trace(images)
    assert trace.kept[0, 0].nonzero()[:2, 0].tolist() == [0, first], name
try:
    tokenlens.reduce(vit, "checkerbord", blocks=(0,))
except LookupError as error:
    print(error)
from tokenlens.cli import main
main()
"""


def install(folder: Path, module: str, points: str, name: str) -> None:
    """What an installer would leave behind."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tokenlens.methods]\n{points}")
    (folder / f"{name}.py").write_text(module)


@pytest.mark.long
def test_a_third_party_is_like_our_own_and_a_broken_one_takes_nothing_away(tmp_path: Path) -> None:
    install(tmp_path, MODULE, "checkerboard = boards\nplain = boards:Plain\n", "boards")
    install(tmp_path, "import no_such_package\n", "broken = faulty\n", "faulty")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", USE, "methods"], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "there is no method called 'checkerbord'; did you mean checkerboard" in done.stdout
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"checkerboard", "stripes", "plain", "topk", "none"} <= set(listed)
    assert "Checkerboard: keep every n-th token." in done.stdout
    assert "the method broken of faulty is left out: its import failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_third_party_cannot_take_a_name_of_ours() -> None:
    with pytest.raises(BadInput, match=r"elsewhere\.Other registers a method 'topk', and .*TopK has that name"):
        register("topk")(type("Other", (Reducer,), {"__module__": "elsewhere"}))
    assert method("topk").reducer.__module__ == "tokenlens.methods.topk"


def test_a_subclass_is_not_called_or_drawn_as_its_parent() -> None:
    class Mine(method("topk").reducer):  # type: ignore[misc,name-defined]
        pass

    facts = Method("mine", Mine).facts()
    assert (facts["label"], facts["color"], facts["marker"]) == ("mine", "", "")
    assert facts["family"] == method("topk").facts()["family"] and method("topk").facts()["label"] == "Top-K"
