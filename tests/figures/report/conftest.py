"""Twelve images in two class folders, and five runs of made-up patterns on them, as the store writes them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tokenlens.methods import methods
from tokenlens.records import tables as table
from tokenlens.records.drawn import RUNS
from tokenlens.records.run import Run
from tokenlens.records.writer import RunWriter

EVIL = "<img src=x onerror=alert(1)>"  # a folder may be called so
CLASSES = (EVIL, "cat")  # as a folder's classes are sorted
IDS = tuple(sorted(f"{name}/{i}.png" for i in range(6) for name in CLASSES))
BLOCKS, GRID, SIDE = (3, 6, 9), (4, 4), 32
FACTS = {name: methods()[name].facts() for name in ("topk", "evit", "tome", "atc-average", "l2")}
HELD = {"l2": 8}  # images, of a run that still grows; the others hold all


@dataclass(frozen=True)
class Study:
    """Where things are, and what the runs hold by method: kept, group (I, 3, 16), rank, score, object (I, 16)."""

    runs: Path
    results: Path
    held: dict[str, dict[str, np.ndarray]]
    names: dict[str, str]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Read only."""
    place = tmp_path_factory.mktemp("study")
    return build(place)


@dataclass(frozen=True)
class Drawn:
    """A run of `tokenlens synthesize`: its folder, its one picture, and its groups (1, 3, 2, 1, 16)."""

    runs: Path
    picture: Path
    group: np.ndarray


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    """Three steps, two branches, one block."""
    shape, branches = (1, 3, 2, 1, 16), ["unconditional", "conditional"]
    run = Run("prompts:p", "1 each", 1, "c", "nano", "w", "tome", 0.5, (0,), (8,))
    attributes = {**FACTS["tome"], "grid": list(GRID), "steps": [0, 1, 2], "branches": branches}
    writer = RunWriter(tmp_path / "images" / RUNS, run, attributes, ["p/0_0"], 1, 1)
    group = np.random.default_rng(0).integers(0, 8, shape, dtype=np.int16)
    writer.add({"kept": np.zeros(shape, bool), "group": group, "tokens_left": np.full(shape[:-1], 8, np.int16)})
    writer.finish({})
    picture = tmp_path / "images" / run.name / "0_0.png"
    picture.parent.mkdir()
    Image.new("RGB", (SIDE, SIDE), (200, 30, 60)).save(picture)
    return Drawn(writer.folder.parent, picture, group)


@pytest.fixture
def make_study() -> Callable[[Path], Study]:
    """A study of one's own to spoil."""
    return build


def build(place: Path) -> Study:
    rng = np.random.default_rng(0)
    for name in IDS:
        (place / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (GRID[0], GRID[1], 3), dtype=np.uint8)
        Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.NEAREST).save(place / "photos" / name)
    held, names = {}, {}
    for method, facts in FACTS.items():
        held[method] = arrays(rng, facts["merges"], HELD.get(method, len(IDS)))
        names[method] = write_run(place, method, held[method])
    frame = pd.DataFrame({
        "finding": [1, 2], "claim": ["Top-K is strong", f"{EVIL} & so on"], "statistic": "s", "value": [0.7, np.nan],
        "low": [0.6, np.nan], "high": [0.8, np.nan], "reference": 0.5, "n": [4, 0],
        "verdict": ["supported for these data", "not enough runs"], "missing": "", "paragraph": ["It is `so`.", EVIL],
    })  # fmt: skip
    table.write(frame, place / "results", "findings")
    table.write(frame.assign(finding=[6, 7], claim="It hits the object"), place / "results", "truth")
    return Study(place / "runs", place / "results", held, names)


def arrays(rng: np.random.Generator, merges: bool, count: int) -> dict[str, np.ndarray]:
    """Patterns: what a stage drops stays dropped, what it merges stays merged."""
    patches, left = GRID[0] * GRID[1], (8, 5, 3)
    group, kept = (np.empty((count, len(left), patches), dtype) for dtype in (np.int16, bool))
    for image in range(count):
        order = rng.permutation(patches)
        for stage, n in enumerate(left):
            if merges:
                labels = (
                    np.minimum(np.argsort(order), n - 1) if stage == 0 else np.minimum(group[image, stage - 1], n - 1)
                )
                group[image, stage], kept[image, stage] = labels, np.bincount(labels, minlength=n)[labels] == 1
            else:
                kept[image, stage] = np.isin(np.arange(patches), order[:n])
                group[image, stage] = np.where(kept[image, stage], np.cumsum(kept[image, stage]) - 1, -1)
                if image % 2:  # fused, as in EViT
                    group[image, stage][~kept[image, stage]] = n
    score = rng.normal(size=(count, 2)).astype(np.float32)
    label = np.array([CLASSES.index(name.split("/")[0]) for name in IDS[:count]], np.int32)
    return {
        "kept": kept, "group": group, "tokens_left": (group.max(-1) + 1).astype(np.int16), "label": label,
        "prediction": score.argmax(1).astype(np.int32), "rank": (score.argmax(1) != label).astype(np.int32),
        "score": score, "object": rng.random((count, patches)) < 0.3,
    }  # fmt: skip


def write_run(place: Path, method: str, held: dict[str, np.ndarray]) -> str:
    run = Run(
        dataset=f"folder:{place / 'photos'}", split="val", images=len(IDS), content="c", model="</script>\"'<b>",
        weights="w", method=method, keep_rate=0.5, blocks=BLOCKS, keep=(8, 5, 3),
    )  # fmt: skip
    attributes: dict[str, Any] = {
        **FACTS[method], "grid": list(GRID), "depth": 12, "input_size": [SIDE, SIDE], "crop_pct": 1.0,
        "capacity": "tiny", "layers": [],
    }  # fmt: skip
    writer = RunWriter(place / "runs", run, attributes, IDS, batch_size=4)
    writer.chunk = 4
    for start in range(0, len(held["kept"]), 4):
        writer.add({name: values[start : start + 4] for name, values in held.items()})
    if writer.written == len(IDS):
        writer.finish({"top1": 100 * float((held["rank"] == 0).mean())})
    if method == "l2":  # a name that no file could have
        name = 'l2 "quoted" </script><script>alert(1)</script>'
        writer.note(run=name)
        return name
    return run.name
