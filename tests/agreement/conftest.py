"""The folder of golden data: TOKENLENS_GOLDEN, or ../shared/golden beside the project, or tests/golden.

Its README says what each file holds. Nothing here knows how many images, patches, heads or files there are.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
HEADS = 4  # of the golden models, where nothing recorded says another number
CHECKPOINT = ("best_checkpoint.pth", "golden.npz")
NEWER = Path("systems", "methods")  # the part of the folder that newer methods were recorded in


def golden_folder() -> Path:
    named = os.environ.get("TOKENLENS_GOLDEN")
    beside = ROOT.parent / "shared" / "golden"
    return Path(named) if named else beside if beside.is_dir() else ROOT / "tests" / "golden"


@cache
def files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The golden files and the folders of checkpoints; refuses a folder that would leave nothing to compare."""
    way_out = "name a folder in the format of tests/golden/README.md with TOKENLENS_GOLDEN"
    if not folder.is_dir():
        raise pytest.UsageError(f"there is no folder {folder}; {way_out}")
    files = sorted(folder.glob("golden-*-r*.npz"))
    missing = [name for name in ("backbone.safetensors", "images.npz") if not (folder / name).is_file()]
    if missing or not files:
        lacks = missing[0] if missing else "golden-<method>-r<tag>.npz"
        raise pytest.UsageError(f"{folder} has no {lacks}, so nothing can be compared; {way_out}")
    parts = {part: sorted(p for p in (folder / part).glob("*") if p.is_dir() or part == "metrics")
             for part in ("checkpoints", "metrics")}  # fmt: skip
    for part, inside in parts.items():
        if (folder / part).exists() and not inside:
            raise pytest.UsageError(f"{folder / part} is empty; fill it, or remove it to leave it out")
    if (folder / NEWER).exists() and not newer_settings(folder):
        raise pytest.UsageError(f"{folder / NEWER} holds no setting of a method; fill it, or remove it to leave it out")
    for inside in parts["checkpoints"]:
        if absent := [name for name in CHECKPOINT if not (inside / name).is_file()]:
            raise pytest.UsageError(f"{inside} has no {absent[0]}; add it, or remove the folder")
    return files, parts["checkpoints"]


@cache
def newer_settings(folder: Path) -> list[tuple[Path, str, str]]:
    """The file, the method and the setting of each recorded walk of a newer method."""
    found = []
    for file in sorted((folder / NEWER).glob("*.npz")):
        with np.load(file) as stored:
            keys = [key.split("__") for key in stored.files if key.endswith("__logits")]
        found += [(file, name, setting) for name, setting, _ in keys]
    return found


def pytest_configure() -> None:
    """Before anything runs: an unfit folder is a fault of the call, and not a test that has nothing to do."""
    files_in(golden_folder())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = golden_folder()
    files, checkpoints = files_in(folder)
    if "golden_file" in metafunc.fixturenames:  # module scope: the tests of one file come together, and share one walk
        ids = [file.stem.removeprefix("golden-") for file in files]
        metafunc.parametrize("golden_file", files, ids=ids, scope="module")
    if "newer_setting" in metafunc.fixturenames:
        absent = pytest.param(None, id="none", marks=pytest.mark.skip(f"{folder} has no newer methods"))
        settings = [pytest.param(one, id=f"{one[1]}-{one[2]}") for one in newer_settings(folder)]
        metafunc.parametrize("newer_setting", settings or [absent], scope="module")
    if "checkpoint_folder" in metafunc.fixturenames:
        absent = pytest.param(None, id="none", marks=pytest.mark.skip(f"{folder} has no checkpoints"))
        metafunc.parametrize("checkpoint_folder", [pytest.param(c, id=c.name) for c in checkpoints] or [absent])


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden data in use."""
    return golden_folder()


@pytest.fixture(scope="session")
def newer_walks(golden: Path) -> list[tuple[Path, str, str]]:
    """Of all newer methods."""
    return newer_settings(golden)


@pytest.fixture(scope="session")
def check_folder() -> Callable[[Path], Any]:
    """What is asked of a folder before anything is compared."""
    return files_in.__wrapped__


@pytest.fixture(scope="session")
def tolerance() -> float:
    """Of logits and class tokens, as the README of the golden data suggests."""
    return 3e-5


@pytest.fixture(scope="session")
def images(golden: Path) -> torch.Tensor:
    """(B, 3, H, W) float32."""
    return torch.from_numpy(np.load(golden / "images.npz")["images"])


@pytest.fixture(scope="session")
def vit(golden: Path, images: torch.Tensor) -> torch.nn.Module:
    """The un-reduced model: its sizes are read off the weights and the images."""
    recorded = golden / "golden-deit.npz"
    logits = torch.from_numpy(np.load(recorded)["logits"]) if recorded.exists() else None
    return backbone(golden / "backbone.safetensors", images, logits, lambda made: made(images))


def backbone(
    path: Path, images: torch.Tensor, logits: torch.Tensor | None, walk: Callable[[torch.nn.Module], torch.Tensor]
) -> torch.nn.Module:
    """The model of these weights. They do not tell the number of heads, but only one gives the logits of a walk."""
    state = load_file(path)
    dim, side = len(state["norm.weight"]), state["patch_embed.proj.weight"].shape[-1]

    def model(heads: int) -> torch.nn.Module:
        made = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=tuple(images.shape[-2:]),
            patch_size=side,
            embed_dim=dim,
            depth=1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
            num_heads=heads,
            qkv_bias="blocks.0.attn.qkv.bias" in state,
            mlp_ratio=len(state["blocks.0.mlp.fc1.bias"]) / dim,
            num_classes=len(state["head.bias"]),
        )
        made.load_state_dict(state)
        return made.eval()

    with safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get("num_heads")
    if said or logits is None:
        return model(int(said or HEADS))
    with torch.no_grad():
        models = [model(heads) for heads in range(1, dim + 1) if dim % heads == 0]
        return min(models, key=lambda made: float((walk(made) - logits).abs().max()))


@pytest.fixture(scope="session")
def read_backbone() -> Callable[..., torch.nn.Module]:
    """As `vit`, of any folder."""
    return backbone


@pytest.fixture(scope="session")
def part(golden: Path) -> Callable[[str], Path]:
    """Finds a file of `metrics/`, or a reason to skip."""

    def find(name: str) -> Path:
        if not (golden / "metrics" / name).is_file():
            pytest.skip(f"{golden} has no metrics/{name}")
        return golden / "metrics" / name

    return find


class Tables(dict[str, Any]):
    """The recorded tables by name."""

    def __missing__(self, name: str) -> None:
        pytest.skip(f"metrics.json has no {name}")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Without the cells that are empty: stages that one of two runs does not have."""
        found = [{k: v for k, v in row.items() if v is not None and v == v} for row in self[name]]
        if not found:
            pytest.skip(f"in metrics.json {name} is empty")
        return found


@pytest.fixture(scope="module")
def recorded(part: Callable[[str], Path]) -> Tables:
    return Tables(json.loads(part("metrics.json").read_text()))


@pytest.fixture(scope="module")
def runs(part: Callable[[str], Path]) -> dict[str, str]:
    """Short run name of each long name that the tables use."""
    names = {}
    with part("runs.csv").open() as file:
        for row in csv.DictReader(file):
            stages, rate = row["reduction_loc"].strip("[]"), row["keep_rate"].strip("[]")
            ring = f"-{row['heuristic_pattern']}" if "heuristic" in row["model"] else ""
            place = stages.replace(" ", "").replace(",", "_")
            names[f"{row['model']}{ring}-{place}-_{float(rate) if rate else ''}"] = row["Name"]
    return names


class Differences(dict[str, float]):
    """method -> the largest difference seen."""

    def note(self, name: str, value: float) -> None:
        self[name] = max(self.get(name, 0.0), float(value))


@pytest.fixture(scope="session")
def differences() -> Iterator[Differences]:
    """The largest difference of each method's logits; TOKENLENS_DIFFERENCES=FILE keeps them, for docs/methods.py."""
    found = Differences()
    yield found
    if into := os.environ.get("TOKENLENS_DIFFERENCES"):
        Path(into).write_text(
            json.dumps({name: float(f"{value:.1e}") for name, value in found.items()}, indent=1) + "\n"
        )
