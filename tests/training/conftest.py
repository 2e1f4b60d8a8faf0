"""What the tests of training share: a recipe of seconds, processes that can be killed, a set of several labels."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from tokenlens.training.load_recipe import load_recipe
from tokenlens.training.recipe import Recipe

SMALL = {
    "data.limit": 24,
    "data.epoch": 16,
    "data.val_limit": 10,
    "data.workers": 0,
    "train.batch_size": 4,
    "schedule.epochs": 2,
    "reduction.keep_rate": 0.25,
}
# a process of its own that has imported everything already; `before` may break something there
CHILD = """
import multiprocessing, os, signal, sys, torch
from pathlib import Path
multiprocessing.set_start_method(usual, force=True)  # of workers; else as this process was started
torch.set_num_threads(1)
errors = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(errors, 2)
from tokenlens.training.load_recipe import load_recipe
from tokenlens.training import finetune
exec(before)
finetune.finetune(load_recipe("shapes", changes), Path(out), device="cpu", progress=False)
"""

Small = Callable[..., Recipe]
Begin = Callable[..., Any]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models gain nothing from more, and lose much where the cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small() -> Small:
    """The recipe `shapes`, two epochs of four steps; keywords change it, with __ for the dot."""

    def made(**changes: Any) -> Recipe:
        return load_recipe("shapes", {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}})

    return made


@pytest.fixture(scope="session")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    """Start a fine-tuning of the small recipe in a process of its own; what it says goes to a file, `process.said`."""
    context: Any = multiprocessing.get_context("forkserver")  # it forks from a process that only imported
    context.set_forkserver_preload(["tokenlens.training.finetune", "tokenlens.data.embedded.open", "accelerate"])
    started: list[Any] = []
    folder = tmp_path_factory.mktemp("said")

    def run(out: Path, changes: dict[str, Any], before: str = "") -> Any:
        said = folder / str(len(started))
        names = {"out": str(out), "changes": {**SMALL, **changes}, "before": before, "said": str(said)}
        names["usual"] = multiprocessing.get_start_method()
        process = context.Process(target=exec, args=(CHILD, names))
        process.start()
        process.said = said
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.join(30)


def assert_same_weights(one: Path, other: Path) -> None:
    """Two safetensors files hold the same bits."""
    left, right = load_file(one), load_file(other)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), f"{name} differs"


@pytest.fixture
def same_weights() -> Callable[[Path, Path], None]:
    return assert_same_weights


class Several:
    """Noise, of any of three classes: several, one or none."""

    name, classes, multi_label = "noise", ("a", "b", "c"), True

    def __init__(self, split: str, count: int) -> None:
        self.split = split
        self.ids = [f"{split}/{index}" for index in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image.Image:
        rng = np.random.default_rng([len(self.split), index])
        return Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))

    def label(self, index: int) -> np.ndarray:
        return np.array([index % 2 == 0, index % 3 == 0, index % 5 == 0])

    def mask(self, index: int) -> None:
        return None


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever set is asked for is the one of several labels."""
    from tokenlens.training import setup as start

    monkeypatch.setattr(start, "open_data", lambda spec, split, limit, skip_bad: Several(split, limit or 12))


TwoProcesses = Callable[..., None]
DISTRIBUTED = """
import os, sys, time
from pathlib import Path
import yaml
from tokenlens.training import finetune
from tokenlens.training.load_recipe import load_recipe
out, changes, stop = Path(sys.argv[1]), yaml.safe_load(sys.argv[2]), int(sys.argv[3])
step = finetune.Training._step
def stopping(self, number):
    if number == stop:  # and what was sent to the other has arrived there
        here, other = (Path(f"{sys.argv[0]}.{rank}") for rank in (os.environ["RANK"], 1 - int(os.environ["RANK"])))
        here.touch()
        while not other.exists():
            time.sleep(0.05)
        os._exit(0)
    step(self, number)
finetune.Training._step = stopping
tuned = finetune.finetune(load_recipe(sys.argv[4], changes), out, device="cpu", progress=False)
out.with_name(f"{out.name}-{os.environ['RANK']}.best").write_text(str(tuned.best))
"""


@pytest.fixture
def two_processes(tmp_path: Path) -> TwoProcesses:
    """Run a small recipe in two processes of torchrun, over gloo; `stop`: before this step they are gone."""

    def run(out: Path, changes: dict[str, Any], stop: int = -1, recipe: str = "shapes") -> None:
        script = tmp_path / "distributed.py"
        script.write_text(DISTRIBUTED)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        words = [str(script), str(out), yaml.safe_dump({**SMALL, **changes}), str(stop), recipe]
        done = subprocess.run([*launch, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]

    return run
