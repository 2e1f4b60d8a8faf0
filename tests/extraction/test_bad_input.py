"""What a user can do wrong: one sentence each, exit code 2, no traceback, nothing half-written."""

import errno
import os
import pickle
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import tokenlens
from tokenlens.extraction.pretrained import open_host
from tokenlens.records import writer as writing
from tokenlens.records.store import open_runs

NANO = Path(__file__).parents[2] / "tokenlens" / "weights" / "nano.safetensors"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--method topkk", r"there is no method called 'topkk'; did you mean topk"),
        ("--method topk,evut", r"no method called 'evut'; did you mean evit"),
        ("--method ,", r"--method ',' names nothing; name one or more, or leave it out"),
        ("--model deit_tiny_patch16_22", r"no model called 'deit_tiny_patch16_22'; did you mean deit_tiny_patch16_224"),
        (
            "--model resnet18 --weights random",
            r"resnet18 is a ResNet, which tokenlens does not understand; `tokenlens models`",
        ),
        (f"--model resnet18 --weights {NANO}", r"resnet18 is a ResNet"),
        ("--model swin_tiny_patch4_window7_224 --weights random", r"SwinTransformer, which attends within windows"),
        (f"--seed {2**63}", r"Invalid value for .--seed.: 9223372036854775808 is not in the range"),
        ("--method dpcknn --option neighbours=0", r"option neighbours is 0; it takes 1 or more"),
        ("--method kmedoids --option iterations=-1", r"option iterations is -1; it takes 0 or more"),
        ("--method sinkhorn --option iterations=0", r"option iterations is 0; it takes 1 or more"),
        ("--method sinkhorn --option eps=0", r"option eps is 0.0; it takes a number above 0"),
        ("--method sinkhorn --option eps=nan", r"option eps is nan; it takes a number above 0"),
        ("--method l2 --option min_radius=nan", r"option min_radius is nan; it takes a number from 0 up"),
        ("--method l2 --option min_radius=inf --option contiguous=true", r"option min_radius is inf"),
        ("--data embeded:shapes", r"no data set called 'embeded:shapes'; did you mean embedded:shapes"),
        ("--data embedded:shape", r"no embedded set called 'shape'; did you mean shapes"),
        ("--data photos", r"no data set called 'photos'"),
        ("--split vall", r"no split of shapes called 'vall'; did you mean val"),
        ("--batch-size 0", r"Invalid value for .--batch-size.: 0 is not in the range"),
        ("--colour red", r"^No such option .--colour."),
        ("--remove 8 --blocks 3,6", r"--blocks does not go with it; leave one out"),
        ("--heads 2", r"--heads says what a weights file does not"),
        ("--method sit --blocks 1,2,3", r"sit trained at blocks 3, 6, 9 at keep rates 0.25, 0.5, 0.7, 0.9"),
        ("--keep-rate 0", r"keep rate 0 is outside \(0, 1\]"),
        ("--keep-rate -0.5", r"outside \(0, 1\]"),
        ("--keep-rate 0.5,1.5", r"keep rate 1.5 is outside \(0, 1\]"),
        ("--keep-rate nan", r"keep rate nan is outside"),
        ("--keep-rate half", r"keep rate 'half' is not made of numbers"),
        ("--keep-rate 0.7/0.5", r"2 keep rates for 3 blocks \[3, 6, 9\]; give one, or one for each"),
        ("--keep-rate 0.7/0.5/0", r"outside \(0, 1\]"),
        ("--keep 98/49", r"counts to keep \[98, 49\] must be one positive whole number for each block"),
        ("--keep 98/49/0", r"counts to keep"),
        ("--keep many", r"keep 'many' is not made of numbers"),
        ("--keep 98/49/24 --keep-rate 0.5", r"give one of --keep-rate, --keep and --remove"),
        ("--decreasing", r"--decreasing goes with --remove"),
        ("--blocks 3,12", r"blocks \[3, 12\] are not all in this model: it has blocks 0 to 11"),
        ("--blocks -1", r"blocks \[-1\] are not all in this model"),
        ("--blocks 6,3", r"blocks must be ascending, and \[6, 3\] are not"),
        ("--blocks 3,3", r"blocks must be ascending"),
        ("--blocks three", r"blocks 'three' is not made of numbers"),
        ("--option speed=3", r"topk has no option 'speed'"),
        ("--method kmedoids --option iterations=many", r"option iterations of kmedoids is 'many'; it takes a int"),
        ("--method kmedoids --option iterations", r"write name=value"),
        ("--data folder:/nowhere/at/all", r"there is no folder /nowhere/at/all"),
        ("--weights nowhere.pth", r"there is no weights file nowhere.pth"),
        ("--img-size 100", r"images of 100 pixels are not tiled by patches of 8; give, for instance, 96"),
        ("--data photographs:mine", r"no set of photographs called 'mine'; known: scikit-image"),
        ("--data photographs:scikit-image --split test", r"no split of the photographs called 'test'"),
        ("--method sit --keep-rate 0.3", r"comes with sit trained at blocks 3, 6, 9 at keep rates 0.25, 0.5, 0.7, 0.9"),
        ("--method sit --blocks 3", r"comes with sit trained at blocks 3, 6, 9"),
    ],
)
def test_refused_in_one_sentence(call: Any, tmp_path: Path, words: str, sentence: str) -> None:
    out = tmp_path / "runs"
    assert re.search(sentence, call("extract", *words.split(), "--limit", 2, "--out", out).sentence)
    assert not out.exists()


def test_a_real_process_refuses_the_same_way(tmp_path: Path) -> None:
    words = ["tokenlens", "extract", "--method", "topkk", "--out", str(tmp_path / "runs")]
    python = Path(os.sys.executable).parent  # type: ignore[attr-defined]
    done = subprocess.run([python / words[0], *words[1:]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"Error: there is no method called 'topkk'; did you mean .*\n", done.stderr)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(call: Any, tmp_path: Path) -> None:
    assert call("extract", "--device", "cuda", "--out", tmp_path).sentence.startswith("no CUDA device is to be had")


def test_bad_images_are_named_counted_and_skipped(call: Any, photos: Any, tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 3), tmp_path / "runs"
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    words = ("extract", "--method", "none", "--data", f"folder:{folder}", "--out", out)
    sentence = call(*words).sentence
    assert sentence.startswith("3 of 6 images in ") and "--skip-bad" in sentence
    assert all(name in sentence for name in ("cut.png", "empty.jpg", "text.png")) and not out.exists()
    said = call(*words, "--skip-bad")
    assert said.code == 0 and said.out.startswith("left out 3 files that cannot be read: cut.png (")
    assert open_runs(out)[0]["image"].values.tolist() == ["0.png", "1.png", "2.png"]
    for name in ("0.png", "1.png", "2.png"):
        (folder / name).unlink()
    assert "which leaves none" in call(*words, "--skip-bad").sentence


def test_a_folder_without_images(call: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("none here")
    said = call("extract", "--data", f"folder:{tmp_path / 'photos'}", "--out", tmp_path / "runs")
    assert "holds no images" in said.sentence


def test_other_classes_than_the_models_give_no_accuracy(call: Any, photos: Any, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        photos(tmp_path / "photos" / name, 2)
    said = call("extract", "--method", "none", "--data", f"folder:{tmp_path / 'photos'}", "--out", tmp_path / "runs")
    assert said.code == 0 and "2 classes and the model 10: no accuracy is given" in said.out
    (run,) = open_runs(tmp_path / "runs")
    assert "top1" not in said.out and run.attrs["metrics"] == {}
    assert run["label"].values.tolist() == [0, 0, 1, 1] and (run["rank"] == -1).all()


class Command:
    """What a malicious pickle does."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def state() -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(NANO)


def bad_file(kind: str, folder: Path) -> Path:
    file = folder / "weights.pth"
    weights: dict[str, Any] = state()
    if kind == "pickle":
        file.write_bytes(pickle.dumps({"model": Command(folder / "marker")}, protocol=2))
    elif kind == "newer pickle":
        file.write_bytes(pickle.dumps({"model": Command(folder / "marker")}, protocol=4))
    elif kind == "zipped pickle":
        torch.save({"model": weights, "args": Command(folder / "marker")}, file)
    elif kind == "nan":
        weights["blocks.3.mlp.fc1.bias"][5] = float("nan")
        torch.save(weights, file)
    elif kind == "missing":
        del weights["blocks.3.mlp.fc1.bias"]
        torch.save(weights, file)
    elif kind == "stray":
        torch.save({**weights, "blocks.3.extra": torch.zeros(2)}, file)
    elif kind == "shape":
        weights["blocks.3.mlp.fc1.bias"] = torch.zeros(7)
        torch.save(weights, file)
    elif kind == "classes":
        weights |= {"head.weight": torch.zeros(7, 64), "head.bias": torch.zeros(7)}
        torch.save(weights, file)
    elif kind == "cut":
        torch.save(weights, file)
        file.write_bytes(file.read_bytes()[:100_000])
    elif kind == "cut safetensors":
        file = file.with_suffix(".safetensors")
        file.write_bytes(NANO.read_bytes()[:100_000])
    elif kind == "text":
        file.write_text("hello, world\n")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "list":
        torch.save([torch.zeros(2)], file)
    elif kind == "no tensors":
        torch.save({"epoch": 3}, file)
    elif kind == "no vit":
        torch.save({"layer.weight": torch.zeros(2, 2)}, file)
    return file


DAMAGED = r"weights\.\w+ is damaged or no checkpoint; download or save it again"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("pickle", r"wants posix\.system to be run while loading, which tokenlens does not do"),
        ("zipped pickle", r"wants posix\.system to be run while loading"),
        ("newer pickle", DAMAGED),
        ("nan", r"blocks\.3\.mlp\.fc1\.bias in .* holds NaN or infinite values"),
        ("missing", r"blocks\.3\.mlp\.fc1\.bias is missing in .*weights\.pth"),
        ("stray", r"blocks\.3\.extra is missing in "),
        ("shape", r"blocks\.3\.mlp\.fc1\.bias is \(7,\) in .* and \(256,\) in"),
        ("classes", r"tells 7 classes apart and embedded:shapes has 10"),
        ("cut", DAMAGED),
        ("cut safetensors", DAMAGED),
        ("text", DAMAGED),
        ("empty", DAMAGED),
        ("list", r"holds a list, not a state dict"),
        ("no tensors", r"holds no tensors"),
        ("no vit", r"holds no ViT"),
    ],
)
def test_bad_weights(call: Any, tmp_path: Path, kind: str, sentence: str) -> None:
    file, out = bad_file(kind, tmp_path), tmp_path / "runs"
    words = ("--model", "deit_tiny_patch16_224", "--heads", 4, "--weights", file, "--out", out)
    assert re.search(sentence, call("extract", *words, "--limit", 2).sentence)
    assert not out.exists() and not (tmp_path / "marker").exists()


def test_the_malicious_pickle_would_run_elsewhere(tmp_path: Path) -> None:
    pickle.loads(bad_file("pickle", tmp_path).read_bytes())
    assert (tmp_path / "marker").exists()


def test_weights_that_need_a_name(call: Any, tmp_path: Path) -> None:
    words = ("extract", "--weights", NANO, "--limit", 2, "--out", tmp_path)
    assert "does not say which model it holds; name it with --model" in call(*words).sentence
    said = call(*words, "--model", "deit_tiny_patch16_224").sentence
    assert "is 64 wide and deit_tiny_patch16_224 192, so the name does not tell its attention heads" in said
    said = call(*words, "--model", "deit_tiny_patch16_224", "--heads", 5).sentence
    assert "a width of 64 does not divide into 5 heads" in said
    assert "no parameters of SiT for stage 0" in call(*words, "--model", "nano", "--method", "sit").sentence


@pytest.mark.parametrize(("batch", "named"), [(4, "shapes/val/000005"), (1, "shapes/val/000005")])
def test_nan_logits_name_the_image_and_are_not_stored(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, named: str
) -> None:
    monkeypatch.setattr(writing, "CHUNK", 4)
    before = tokenlens.ReducedViT.trace
    seen = [0]

    def broken(self: Any, images: torch.Tensor, *rest: Any) -> Any:
        logits, trace = before(self, images, *rest)
        first, seen[0] = seen[0], seen[0] + len(images)
        if first <= 5 < seen[0]:
            logits[5 - first, 3] = float("nan")
        return logits, trace

    monkeypatch.setattr(tokenlens.ReducedViT, "trace", broken)
    words = ("extract", "--limit", 8, "--batch-size", batch, "--out", tmp_path)
    assert f"gave NaN or infinite logits for image {named}, so its pattern is not stored" in call(*words).sentence
    (run,) = open_runs(tmp_path)
    assert run["image"].values.tolist() == [f"shapes/val/{i:06d}" for i in range(4)] and not run.attrs["complete"]


def test_nan_logits_without_a_bar(run_job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name comes from what was read, not from the progress bar."""
    before = tokenlens.ReducedViT.trace
    calls = [0]

    def broken(self: Any, images: torch.Tensor, *rest: Any) -> Any:
        logits, trace = before(self, images, *rest)
        calls[0] += 1
        return (logits * float("inf") if calls[0] == 2 else logits), trace

    monkeypatch.setattr(tokenlens.ReducedViT, "trace", broken)
    with pytest.raises(tokenlens.BadInput, match="for image shapes/val/000004,"):
        run_job(tmp_path, limit=6, batch_size=4)


FULL = "the disk is full while writing .*; what was written is kept, free some space and run again"


@pytest.mark.parametrize(
    ("number", "after", "sentence"),
    [
        *((errno.ENOSPC, after, FULL) for after in (0, 3, 40, 45)),
        (errno.EDQUOT, 41, FULL),
        (errno.EROFS, 0, r"cannot be written \(Read-only file system\); choose another folder with --out"),
        (errno.EIO, 42, r"cannot be written \(Input/output error\)"),
    ],
)
def test_a_disk_that_refuses_keeps_what_was_written(
    call: Any, run_job: Any, same_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    number: int, sentence: str, after: int,
) -> None:  # fmt: skip
    import zarr.storage._local as local

    monkeypatch.setattr(writing, "CHUNK", 4)
    put, count = local._put, [0]

    def refusing(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] > after:
            raise OSError(number, os.strerror(number))
        return put(*args, **kwargs)

    words = ("extract", "--limit", 10, "--batch-size", 4, "--out", tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(local, "_put", refusing)
        assert re.search(sentence, call(*words).sentence)
    for run in open_runs(tmp_path / "runs", strict=True) if (tmp_path / "runs").is_dir() else ():
        assert run.attrs["written"] in (0, 4, 8)
    assert call(*words).code == 0
    (whole,) = run_job(tmp_path / "whole", limit=10)
    same_run(tmp_path / "runs" / whole.name, whole)


def test_a_disk_that_is_really_full(run_job: Any, same_run: Any, tmp_path: Path, until_it_fits: Any) -> None:
    (whole,) = run_job(tmp_path / "whole", features="float32")
    assert until_it_fits(lambda out: run_job(out, features="float32"), pages=10) > 2
    same_run(tmp_path / "small/out" / whole.name, whole)


def test_out_that_is_no_folder_of_runs(call: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    words = ("extract", "--limit", 2, "--method", "none", "--out")
    assert "file is a file, not a folder, so no runs can be written there" in call(*words, tmp_path / "file").sentence
    assert "is not a folder of runs: it holds file; give a new or empty folder" in call(*words, tmp_path).sentence
    assert (
        "file is a file, not a folder, so no runs can be written there"
        in call(*words, tmp_path / "file" / "runs").sentence
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_damaged_run_is_not_touched(call: Any, run_job: Any, tmp_path: Path) -> None:
    (folder,) = run_job(tmp_path, methods=["none"], limit=2)
    (folder / "zarr.json").write_text("{")
    said = call("extract", "--method", "none", "--limit", 2, "--out", tmp_path)
    assert said.sentence.startswith(f"{folder} cannot be read as a run (")
    assert said.sentence.endswith("); move it away to have it extracted again")
    (folder / "zarr.json").unlink()
    said = call("extract", "--method", "topk", "--limit", 2, "--out", tmp_path)
    assert said.sentence == f"{folder} is a run that has lost its zarr.json; move it away to have it extracted again"


def test_what_lies_beside_runs_is_no_hindrance(call: Any, run_job: Any, tmp_path: Path) -> None:
    run_job(tmp_path, methods=["none"], limit=2)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert call("extract", "--method", "topk", "--limit", 2, "--out", tmp_path).code == 0


def test_without_a_network_the_hub_answers_at_once(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenlens.hub.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://localhost:9")  # nobody listens there
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits to try again"))
    reason = "(localhost cannot be reached, and the cache does not hold it)"
    words = ("extract", "--limit", 2, "--out", tmp_path / "runs")
    assert f"download hf:owner/none {reason}" in call(*words, "--weights", "hf:owner/none").sentence
    assert f"deit_tiny_patch16_224 {reason}" in call(*words, "--model", "deit_tiny_patch16_224").sentence


def test_an_interrupted_download(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import timm
    from huggingface_hub.errors import LocalEntryNotFoundError

    monkeypatch.setattr("tokenlens.hub._reached", lambda *_: True)
    words = ("extract", "--limit", 2, "--out", tmp_path / "runs")
    for error in (ConnectionError("connection reset by peer"), LocalEntryNotFoundError("not in the cache\nreally")):

        def fails(*args: Any, _error: Exception = error, **kwargs: Any) -> Any:
            raise _error

        reason = str(error).split("\n")[0]
        with monkeypatch.context() as patch:
            patch.setattr(huggingface_hub, "hf_hub_download", fails)
            assert f"could not download hf:owner/name ({reason})" in call(*words, "--weights", "hf:owner/name").sentence
            patch.setattr(timm, "create_model", fails)
            said = call(*words, "--model", "deit_tiny_patch16_224").sentence
            assert f"could not get the published weights of deit_tiny_patch16_224 ({reason})" in said
    assert not (tmp_path / "runs").exists()
    assert open_host("nano").digest == open_host().digest
