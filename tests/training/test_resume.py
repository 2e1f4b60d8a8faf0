"""A training that is killed anywhere goes on to the same bits; nothing that was good is ever lost."""

import csv
import errno
import io
import itertools
import pathlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import tokenlens
from tokenlens.extraction.pretrained import open_host
from tokenlens.training import finetune as loop
from tokenlens.training.finetune import finetune
from tokenlens.training.losses import Criterion

# every draw of the protocol, images read in processes of their own, a policy drawn in the model
ALL = {
    "reduction.method": "dynamicvit", "data.workers": 2, "model.drop_path": 0.1, "train.save_steps": 3,
    "augment.crop": "random", "augment.randaugment": "rand-m9-mstd0.5-inc1", "augment.erasing": 0.5,
    "augment.mixup": 0.8, "augment.cutmix": 1.0, "augment.repeats": 3,
}  # fmt: skip
KILLED_AT_A_STEP = """
step = finetune.Training._step
def killed(self, number):
    if number == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number)
finetune.Training._step = killed
"""
# when the new content lies beside the old
KILLED_WRITING = """
import pathlib
replace = pathlib.Path.replace
def killed(self, target):
    if target.name == "{name}":
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = killed
"""


SameWeights = Callable[[Path, Path], None]


def state_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    return found


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "images_per_second"} for row in csv.DictReader(file)
        ]


def assert_same_state(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same_state(left, right)
    else:
        assert one == other


@pytest.mark.long
def test_killed_and_gone_on_is_the_same_to_the_last_bit(begin: Any, same_weights: SameWeights, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    alone = begin(whole, ALL)
    breaks = [
        KILLED_AT_A_STEP.format(at=5),  # after the state of step 4, an epoch's end
        KILLED_WRITING.format(name="last.safetensors"),  # at the end of the second epoch
        KILLED_AT_A_STEP.format(at=7),  # after that of step 6, within an epoch
    ]
    for before in breaks:
        process = begin(killed, ALL, before)
        process.join(300)
        assert process.exitcode == -signal.SIGKILL, process.said.read_text()
    assert state_of(killed)["step"] == 6
    last = begin(killed, ALL)
    for process in (last, alone):
        process.join(300)
        assert process.exitcode == 0, process.said.read_text()
    files = sorted(path.name for path in whole.glob("*.safetensors"))
    assert files == sorted(path.name for path in killed.glob("*.safetensors")) and len(files) == 4
    assert not list(killed.glob(".*"))
    for name in files:
        same_weights(whole / name, killed / name)
    assert_same_state(state_of(whole), state_of(killed))
    assert log_of(whole) == log_of(killed) and len(log_of(whole)) == 2


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_request_to_end_is_met_with_what_was_learnt(begin: Any, tmp_path: Path, name: str) -> None:
    asked = KILLED_AT_A_STEP.replace("SIGKILL", name).format(at=4)  # within an epoch, and at no step that saves
    process = begin(tmp_path / "out", {"reduction.method": "topk", "train.save_steps": 100}, asked)
    process.join(300)
    assert process.exitcode not in (0, -signal.SIGKILL) and "Terminated" in process.said.read_text()
    assert state_of(tmp_path / "out")["step"] == 5


class Filling(io.FileIO):
    """A file on a disk with little room: part of what is written arrives, and then no more."""

    room = 0

    def write(self, data: Any) -> int:
        arrives = bytes(data)[: Filling.room]
        Filling.room -= len(arrives)
        super().write(arrives)
        if len(arrives) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(arrives)


@pytest.mark.parametrize("writes, file", [("_judge", "last.safetensors"), ("_save", "state.pt")])
def test_a_full_disk_leaves_the_last_good_checkpoint(
    writes: str, file: str, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_weights: SameWeights
) -> None:
    """Full halfway through the second epoch's weights, or through its state."""
    recipe, whole, out = small(), tmp_path / "whole", tmp_path / "full"
    finetune(recipe, whole, device="cpu", progress=False)
    plain, calls = getattr(loop.Training, writes), []
    before: dict[str, bytes] = {}

    def fills(self: Any, said: Any) -> None:
        calls.append(said)
        if len(calls) == 2:
            before.update({path.name: path.read_bytes() for path in out.iterdir() if path.is_file()})
            Filling.room = len(before[file]) // 2
            monkeypatch.setattr(pathlib.Path, "open", partly)
        plain(self, said)

    opened = pathlib.Path.open

    def partly(path: Path, mode: str = "r", **words: Any) -> Any:
        return Filling(path, mode) if "w" in mode else opened(path, mode, **words)

    monkeypatch.setattr(loop.Training, writes, fills)
    with pytest.raises(tokenlens.BadInput, match=r"the disk is full while writing .*; what was written is kept"):
        finetune(recipe, out, device="cpu", progress=False)
    monkeypatch.undo()
    assert state_of(out)["step"] == 4 and (out / file).read_bytes() == before[file]
    assert {path.name for path in out.iterdir()} == {*before, "tensorboard"}
    for name in before:
        if name.endswith(".safetensors"):
            load_file(out / name)
    finetune(recipe, out, device="cpu", progress=False)
    same_weights(whole / "last.safetensors", out / "last.safetensors")
    assert_same_state(state_of(whole), state_of(out))


def test_a_nan_stops_at_its_step_and_what_was_good_stays(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Criterion.__call__, list[Any]()

    def broken(self: Criterion, *args: Any) -> torch.Tensor:
        calls.append(args)
        loss = whole(self, *args)
        return loss * float("nan") if len(calls) == 7 else loss

    monkeypatch.setattr(Criterion, "__call__", broken)
    with pytest.raises(tokenlens.BadInput, match=r"the loss is not finite at step 6, .*; what .* holds .* is good"):
        finetune(small(train__save_steps=5), tmp_path, device="cpu", progress=False)
    assert state_of(tmp_path)["step"] == 5 and log_of(tmp_path)[-1]["epoch"] == "1"
    for value in load_file(tmp_path / "last.safetensors").values():
        assert bool(value.isfinite().all())


def test_a_finished_training_is_not_done_again(small: Any, tmp_path: Path) -> None:
    recipe = small(schedule__epochs=1)
    first = finetune(recipe, tmp_path, device="cpu", progress=False)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*") if path.name != "recipe.json"}
    assert finetune(recipe, tmp_path, device="cpu", progress=False) == first
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_what_changed_since_is_told(small: Any, tmp_path: Path) -> None:
    """Images, weights and teacher are named in a recipe; what lies behind the names is looked at too."""
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    for split, name, index in itertools.product(("train", "val"), colours, range(3)):
        (tmp_path / "set" / split / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), colours[name]).save(tmp_path / "set" / split / name / f"{split}{index}.png")
    vit = open_host("nano").vit
    for name in ("start", "teacher"):
        save_file(vit.state_dict(), tmp_path / f"{name}.safetensors")
    recipe = small(
        data__name=f"folder:{tmp_path / 'set'}", data__limit=None, data__epoch=4, schedule__epochs=1,
        model__weights=str(tmp_path / "start.safetensors"), loss__distill="none",
    )  # fmt: skip

    def again() -> None:
        finetune(recipe, tmp_path / "out", device="cpu", progress=False)

    again()
    again()
    vit.head.bias.data += 1
    save_file(vit.state_dict(), tmp_path / "start.safetensors")
    with pytest.raises(tokenlens.BadInput, match="begun with other weights to start from; put back what has changed"):
        again()
    vit.head.bias.data -= 1
    save_file(open_host("nano").vit.state_dict(), tmp_path / "start.safetensors")
    again()
    for split, sets in (("val", "images to judge by"), ("train", "images to learn from and images to judge by")):
        Image.new("RGB", (32, 32)).save(tmp_path / "set" / split / "red" / f"{split}9.png")
        with pytest.raises(tokenlens.BadInput, match=f"begun with other {sets}; put back"):
            again()
    for split in ("train", "val"):
        (tmp_path / "set" / split / "green").mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / "set" / split / "green" / f"{split}.png")
    with pytest.raises(tokenlens.BadInput, match="images to judge by and classes; put back"):
        again()


def test_another_recipe_or_other_steps_need_another_folder(small: Any, tmp_path: Path) -> None:
    finetune(small(schedule__epochs=1), tmp_path / "begun", device="cpu", progress=False)
    with pytest.raises(tokenlens.BadInput, match=r"begun with another recipe \(optimizer.lr 0.001 there, 0.5 here\)"):
        finetune(small(schedule__epochs=1, optimizer__lr=0.5), tmp_path / "begun", device="cpu", progress=False)
    before = (tmp_path / "begun" / "last.safetensors").read_bytes()
    for epochs in (2, 1):
        finetune(small(schedule__epochs=epochs), tmp_path / "begun", device="cpu", progress=False, aside=True)
    assert (tmp_path / "begun" / "last.safetensors").read_bytes() == before
    moved = [len(log_of(tmp_path / f"begun.old-{n}")) for n in (1, 2)]
    assert moved == [1, 2] and len(list(tmp_path.glob("begun*"))) == 3
    state = state_of(tmp_path / "begun")
    origin = {**state["origin"], "images a step": 8}
    torch.save({**state, "origin": origin}, tmp_path / "begun" / "state.pt")
    with pytest.raises(tokenlens.BadInput, match="begun with 8 images a step and would go on with 4; start as many"):
        finetune(small(schedule__epochs=1), tmp_path / "begun", device="cpu", progress=False)
    other = io.BytesIO()
    torch.save({"model": state["model"]}, other)
    for damaged in (b"nothing", other.getvalue()):
        (tmp_path / "begun" / "state.pt").write_bytes(damaged)
        with pytest.raises(tokenlens.BadInput, match=r"state.pt is damaged; remove the folder"):
            finetune(small(schedule__epochs=1), tmp_path / "begun", device="cpu", progress=False)
    for damaged in (b"{", b"\xff", b"[]", b'{"model": 3}'):
        (tmp_path / "begun" / "recipe.json").write_bytes(damaged)
        with pytest.raises(tokenlens.BadInput, match=r"recipe.json is damaged; remove the folder"):
            finetune(small(schedule__epochs=1), tmp_path / "begun", device="cpu", progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(tokenlens.BadInput, match="holds something else; give a new or empty folder"):
        finetune(small(), tmp_path / "other", device="cpu", progress=False)
    with pytest.raises(tokenlens.BadInput, match="is a file, not a folder, so no checkpoints can be written there"):
        finetune(small(), tmp_path / "other" / "thesis.txt", device="cpu", progress=False)
