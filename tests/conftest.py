"""A small seeded ViT with decided opinions, and images for it."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported; tests share the cores

import pytest
import timm
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from tokenlens.errors import BadInput

# nothing hangs on how fast this machine is, or on what was drawn another time
settings.register_profile(
    "here", deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")

SIZE: dict[str, Any] = {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 6, "num_heads": 2, "num_classes": 10}
MakeViT = Callable[..., nn.Module]


def build_vit(name: str = "vit_tiny_patch16_224", **overrides: Any) -> nn.Module:
    """A timm model of 64 patches; its weights are large, so that scores are far apart and rounding decides nothing."""
    torch.manual_seed(0)
    vit: nn.Module = timm.create_model(name, **{**SIZE, **overrides}).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return vit


@pytest.fixture(scope="session")
def make_vit() -> MakeViT:
    return build_vit


@pytest.fixture(scope="session")
def tiny_vit() -> nn.Module:
    """Nobody may change it: `tokenlens.reduce` copies."""
    return build_vit()


@pytest.fixture(scope="session")
def images() -> Tensor:
    """(4, 3, 64, 64) float32."""
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="session")
def interpreted() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs code on Triton's interpreter, in a process of its own: Triton reads the setting when it is imported."""
    pytest.importorskip("triton", reason="Triton is not installed")

    def run(code: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KB, all of it taken by files of 4 KB; skipped where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        with suppress(OSError):
            for number in itertools.count():
                (place / f"ballast{number:03d}").write_bytes(bytes(4096))
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=False, capture_output=True)


@pytest.fixture
def until_it_fits(small_disk: Path) -> Callable[[Callable[[Path], object], int], int]:
    """Write into a disk of which each time more is free, until nothing fails; how often it was full is given."""

    def tried(write: Callable[[Path], object], pages: int) -> int:
        ballast = sorted(small_disk.glob("ballast*"))
        for times, first in enumerate(range(0, len(ballast), pages)):
            try:
                write(small_disk / "out")
                return times
            except BadInput as error:
                assert "the disk is full while writing" in str(error)
            for path in ballast[first : first + pages]:
                path.unlink(missing_ok=True)
        raise AssertionError("the disk is too small for this test")

    return tried
