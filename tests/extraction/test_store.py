"""Runs on disk: their schema, reading them while they grow, and the same patterns in memory."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

import tokenlens
from tokenlens.data import open_data
from tokenlens.data.loading import Loading, batches
from tokenlens.errors import BadInput
from tokenlens.extraction.batch import _stored, canonical
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts.loading import input_of
from tokenlens.records import writer as writing
from tokenlens.records.layout import Layout
from tokenlens.records.run import Run
from tokenlens.records.store import StoreError, open_run, open_runs
from tokenlens.records.writer import RunWriter


def test_a_run_has_the_schema(run_job: Any, tmp_path: Path) -> None:
    (folder,) = run_job(tmp_path, methods=["sit"], features="float32", soft=True)
    run = xr.open_zarr(folder)
    found = {str(name): (*map(str, array.dims), str(array.dtype)) for name, array in run.data_vars.items()}
    assert found == {
        "kept": ("image", "stage", "patch", "bool"),
        "group": ("image", "stage", "patch", "int16"),
        "tokens_left": ("image", "stage", "int16"),
        "label": ("image", "int32"),
        "prediction": ("image", "int32"),
        "rank": ("image", "int32"),
        "score": ("image", "class", "float32"),
        "object": ("image", "patch", "bool"),
        "feature": ("image", "layer", "channel", "float32"),
        "soft_3": ("image", "token_3", "source_3", "float16"),
        "soft_6": ("image", "token_6", "source_6", "float16"),
        "soft_9": ("image", "token_9", "source_9", "float16"),
    }
    assert dict(run.sizes) == {
        **{"image": 6, "stage": 3, "patch": 196, "class": 10, "layer": 4, "channel": 64},
        **{"token_3": 98, "source_3": 196, "token_6": 49, "source_6": 98, "token_9": 24, "source_9": 49},
    }
    assert set(run.coords) == {"image", "stage", "patch", "row", "column", "layer"}
    assert [str(name) for name in run["image"].values] == [f"shapes/val/{i:06d}" for i in range(6)]
    assert run["stage"].values.tolist() == [3, 6, 9] and run["layer"].values.tolist() == [3, 6, 9, 11]
    assert (run["row"] * 14 + run["column"] == run["patch"]).all()
    facts = {"dataset": "embedded:shapes", "split": "val", "images": 6, "model": "nano", "method": "sit", "schema": 2}
    facts |= {"keep_rate": 0.5, "blocks": [3, 6, 9], "seed": 0, "written": 6, "complete": True, "grid": [14, 14]}
    facts |= {"run": folder.name, "batch_size": 4, "capacity": "nano", "keep": [98, 49, 24], "precision": "float32"}
    assert {name: run.attrs.get(name) for name in facts} == facts
    assert run.attrs["metrics"].keys() == {"top1", "top5"} and run.attrs["versions"].keys() >= {"torch", "timm"}


def test_features_in_half_the_space(run_job: Any, tmp_path: Path) -> None:
    (whole,), (half,) = (run_job(tmp_path / kind, methods=["topk"], features=kind) for kind in ("float32", "float16"))
    one, other = open_run(whole)["feature"].load(), open_run(half)["feature"].load()
    assert (one.dtype, other.dtype) == (np.float32, np.float16)
    assert np.array_equal(one.values.astype(np.float16), other.values)


def test_features_beyond_float16_are_refused() -> None:
    feature = torch.tensor([[70000.0]])
    assert torch.equal(_stored(feature, "float32"), feature)
    with pytest.raises(BadInput, match="beyond what float16 holds; use --features float32"):
        _stored(feature, "float16")


def test_labels_ranks_and_objects_are_the_images_own(run_job: Any, tmp_path: Path) -> None:
    (folder,) = run_job(tmp_path, methods=["none"], limit=20, batch_size=20)
    run, data = open_run(folder), open_data("embedded:shapes", "val", 20)
    assert run["label"].values.tolist() == [data.label(i) for i in range(20)]
    masks = [data.mask(i) for i in range(20)]
    assert all(np.array_equal(run["object"][i], mask.ravel()) for i, mask in enumerate(masks) if mask is not None)
    score, label = run["score"].values, run["label"].values
    own = score[np.arange(20), label]
    assert np.array_equal(run["rank"].values, (score > own[:, None]).sum(1))
    assert np.array_equal(run["prediction"].values, score.argmax(1))
    assert run.attrs["metrics"]["top1"] == 100 * (run["rank"].values < 1).mean() > 85


@given(st.lists(st.lists(st.integers(-1, 11), min_size=12, max_size=12), min_size=1, max_size=5))
def test_canonical_labels_name_the_same_partition_by_first_occurrence(rows: list[list[int]]) -> None:
    found = canonical(torch.tensor(rows))
    assert found.dtype == torch.int16
    for row, new in zip(rows, found.tolist(), strict=True):
        names: dict[int, int] = {}
        assert new == [-1 if old < 0 else names.setdefault(old, len(names)) for old in row]
    assert torch.equal(canonical(found), found)


class Shown(Dataset[Any]):
    """Images with labels and names, as a user's data set may give them."""

    def __init__(self, count: int) -> None:
        data = open_data("embedded:shapes", "val", count)
        loading = Loading.of(input_of(open_host().vit), data, count, 0)
        self.images, self.labels, self.objects = next(batches(data, loading))
        self.ids = list(data.ids)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], self.labels[index], self.objects[index]  # type: ignore[index]


@pytest.mark.parametrize("method", ["ats", "sit"])
def test_in_memory_is_what_is_on_disk(method: str, run_job: Any, tmp_path: Path) -> None:
    (folder,) = run_job(tmp_path, methods=[method], features="float32", soft=True)
    host = open_host()
    model = tokenlens.reduce(host.vit, method)
    host.equip(model, method)
    there = open_run(folder).load()
    here = tokenlens.extract(model, DataLoader(Shown(6), 4), features=True, soft=True, pictures=0)
    assert set(there.variables) == set(here.variables)
    for name, variable in there.variables.items():
        assert variable.dims == here[name].dims
        assert np.array_equal(np.asarray(variable), np.asarray(here[name])), name
    shared = ("grid", "blocks", "keep_rate", "family", "schema", "metrics", "written", "complete", "images", "site")
    assert {name: there.attrs[name] for name in shared} == {name: here.attrs[name] for name in shared}


def test_a_shuffled_loader_does_not_give_away_its_ids() -> None:
    shown, model = Shown(4), tokenlens.reduce(open_host().vit, "none")
    shuffled = DataLoader(shown, 4, shuffle=True, generator=torch.Generator().manual_seed(3))
    assert not set(tokenlens.extract(model, shuffled)["image"].values) & set(shown.ids)
    once = sorted(tokenlens.extract(model, shuffled)["image"].values)
    assert once == sorted(tokenlens.extract(model, DataLoader(shown, 3, shuffle=True))["image"].values)
    repeated = tokenlens.extract(model, [torch.stack([shown.images[0]] * 2)])["image"].values
    assert len(set(repeated)) == 2 and repeated[1] == f"{repeated[0]}-2"


def test_ids_are_counted() -> None:
    model = tokenlens.reduce(open_host().vit, "none")
    for ids in (["a"], ["a", "b", "c"]):
        with pytest.raises(BadInput, match=rf"there are {len(ids)} ids for 2 images"):
            tokenlens.extract(model, [torch.zeros(2, 3, 112, 112)], ids)
    with pytest.raises(BadInput, match="gave no images"):
        tokenlens.extract(model, [])


def test_what_the_schema_cannot_hold_is_refused() -> None:
    vit = timm.create_model("deit_tiny_patch16_224", img_size=32, embed_dim=12, depth=2, dynamic_img_size=True)
    model = tokenlens.reduce(vit, "topk", blocks=1)
    for size in (32, 48):
        model.trace(torch.zeros(1, 3, size, size))
    with pytest.raises(BadInput, match=r"images of 48 x 32 make 3 x 2 patches and deit_tiny_patch16_224 has 2 x 2"):
        tokenlens.extract(model, [torch.zeros(1, 3, 48, 32)])
    with pytest.raises(BadInput, match="no type of features called 'float64'; did you mean float16 or float32"):
        tokenlens.extract(model, [torch.zeros(1, 3, 32, 32)], features="float64")


def run_of(**changes: Any) -> Run:
    facts: dict[str, Any] = {"dataset": "embedded:shapes", "split": "val", "images": 7, "content": "c", "model": "nano"}
    facts |= {"weights": "w", "method": "topk", "keep_rate": 0.5, "blocks": (1,), "keep": (2,)}
    return Run(**{**facts, **changes})


def batch_of(count: int, first: int = 0) -> dict[str, np.ndarray]:
    return {
        "kept": np.ones((count, 1, 4), bool),
        "group": np.zeros((count, 1, 4), np.int16),
        "tokens_left": np.full((count, 1), 2, np.int16),
        "label": np.arange(first, first + count, dtype=np.int32),
    }


def test_a_growing_run_is_cut_to_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHUNK", 4)
    writer = RunWriter(tmp_path, run_of(), {"grid": [2, 2]}, [f"é{i}" for i in range(7)], 2)
    writer.add(batch_of(2))
    assert open_runs(tmp_path) == [] and not list(tmp_path.iterdir())  # nothing is seen before the first chunk
    writer.add(batch_of(2, 2))
    (run,) = open_runs(tmp_path)
    assert run["label"].values.tolist() == [0, 1, 2, 3] and list(run["image"].values) == ["é0", "é1", "é2", "é3"]
    assert not run.attrs["complete"]
    writer.add(batch_of(2, 4))
    writer.add(batch_of(1, 6))
    (run,) = open_runs(tmp_path)
    assert run["label"].values.tolist() == list(range(7)) and not run.attrs["complete"]
    writer.finish({"top1": 1.0})
    assert open_runs(tmp_path)[0].attrs["complete"] and not list(tmp_path.glob(".*"))


def test_half_made_groups_and_files_are_never_seen(run_job: Any, tmp_path: Path) -> None:
    (folder,) = run_job(tmp_path, methods=["none"], limit=2)
    zarr.create_group(tmp_path / f".{folder.name}.123")
    (folder / "zarr.0123.partial").write_text("{")
    (folder / "kept" / "zarr.0123.partial").write_text("{")
    (run,) = open_runs(tmp_path)
    assert run.sizes["image"] == 2


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "schema", "attributes", "metadata", "digest", "stranger", "no kept"]
)
def test_a_damaged_run_is_named_and_passed_over(damage: str, tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, run_of(), {"grid": [2, 2]}, list("abcdefg"), 7)
    writer.add(batch_of(7))
    whole, layout = (writer.folder / "zarr.json").read_text(), Layout.read(writer.folder)
    broken = tmp_path / "broken"
    writer.folder.rename(broken)
    if damage == "empty":
        (broken / "zarr.json").write_text("")
    elif damage == "cut":
        (broken / "zarr.json").write_text(whole[: len(whole) // 2])
    elif damage == "schema":
        replace(layout, folder=broken, attributes={**layout.attributes, "schema": 99}).write()
    elif damage == "attributes":
        (broken / "zarr.json").write_text(whole.replace('"seed": 0', '"seed": 4'))
    elif damage == "metadata":
        (broken / "zarr.json").write_text(whole.replace('"shuffle": "bitshuffle"', '"shuffle": "shuffle"'))
    elif damage == "digest":
        (broken / "zarr.json").write_text(whole.replace('"digest":', '"dogest":'))
    elif damage == "stranger":
        (broken / "zarr.json").unlink()
    else:
        (broken / "kept").rename(tmp_path / ".kept")
    assert damage in ("stranger", "no kept") or (broken / "zarr.json").read_text() != whole
    good = RunWriter(tmp_path, run_of(seed=1), {"grid": [2, 2]}, list("abcdefg"), 7)
    good.add(batch_of(7))
    with pytest.warns(UserWarning, match="broken") as told:
        assert [run.attrs["seed"] for run in open_runs(tmp_path)] == [1]
    assert len(told) == 1 and "\n" not in str(told[0].message)
    with pytest.raises(StoreError, match="broken"), warnings.catch_warnings():
        open_runs(tmp_path, strict=True)


def stored_run(folder: Path, monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> RunWriter:
    """Seven images in chunks of four; its groups are zeros throughout."""
    monkeypatch.setattr(writing, "CHUNK", 4)
    writer = RunWriter(folder, run_of(), {"grid": [2, 2], **attributes}, list("abcdefg"), 4)
    writer.add(batch_of(4))
    writer.add(batch_of(3, 4))
    return writer


@pytest.mark.parametrize("lost", ["kept/c/1/0/0", "group/c/0/0/0", "label/c/1", "image/c/0", "row/c/0"])
@pytest.mark.parametrize("depth", [0, 1, 2])  # the file, the folder it lies in, ...
def test_what_a_run_has_lost_is_named(lost: str, depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stored_run(tmp_path, monkeypatch).folder
    assert open_run(folder)["group"].values.tolist() == np.zeros((7, 1, 4), int).tolist()
    name, _, *chunk = lost.split("/")
    gone = folder / name if depth == 2 else folder / name / "c" / Path(*chunk[: 1 if depth else None])
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    named = lost.replace("/c/1", "/c/0") if depth == 2 else lost  # the first that has gone
    with pytest.raises(StoreError, match=rf"\(it has lost {named}\); move it away to have it extracted again"):
        open_run(folder)


def test_a_begun_run_of_another_schema_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout.read(stored_run(tmp_path, monkeypatch).folder)
    replace(layout, attributes={**layout.attributes, "schema": 99}).write()
    described = (layout.folder / "zarr.json").read_text()
    with pytest.raises(BadInput, match="has schema 99, this tokenlens reads 2; update tokenlens, or move it away"):
        RunWriter(tmp_path, run_of(), {"grid": [2, 2]}, list("abcdefg"), 4)
    assert (layout.folder / "zarr.json").read_text() == described


def test_a_run_begun_with_other_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(**versions: str) -> RunWriter:
        found = RunWriter(tmp_path, run_of(), {"grid": [2, 2], "versions": versions}, list("abcdefg"), 4)
        with found.alone():
            return found

    begun = {"tokenlens-vit": "1.0", "torch": "2.1", "timm": "1.0"}
    writer = stored_run(tmp_path, monkeypatch, versions=begun)
    again(**begun)
    with pytest.raises(BadInput, match=r"begun with tokenlens-vit 1\.0, and tokenlens-vit 1\.1 may decide otherwise"):
        again(**{**begun, "tokenlens-vit": "1.1"})
    assert "resumed" not in open_run(writer.folder).attrs
    later = {**begun, "torch": "2.2"}
    with pytest.warns(UserWarning, match="was begun with torch 2.1 and goes on with torch 2.2, which may round"):
        again(**later)
    again(**later).finish({})
    assert open_run(writer.folder).attrs["resumed"] == [{"written": 7, **later}]
    again(**{**begun, "tokenlens-vit": "9"})  # a finished run stays what it is


def test_no_folder_of_runs() -> None:
    with pytest.raises(BadInput, match="there is no folder of runs nowhere; make one with"):
        open_runs("nowhere")


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": 1}, {"keep_rate": 0.25}, {"options": {"eps": 0.1}}, {"precision": "bfloat16"}, {"images": 8}),
        *(
            {"content": "d"},
            {"weights": "v"},
            {"features": "float32"},
            {"features": "float16"},
            {"soft": True},
            {"blocks": (2,)},
            {"keep": (3,)},
        ),
        *({"dataset": "folder:/a/shapes"}, {"split": "test"}, {"model": "nano "}, {"method": "evit"}),
    ],
    ids=str,
)
def test_every_setting_is_part_of_a_runs_name(change: dict[str, Any]) -> None:
    assert run_of(**change).name != run_of().name == run_of().name


def test_a_runs_name_is_a_file_name() -> None:
    name = run_of(dataset="folder:/tmp/my photos " + "é" * 200 + "x" * 300, model="hf:a/b c").name
    assert len(name.encode()) < 200 and not set(name) & set(" /:\\")
    assert run_of(dataset="folder:/").name.startswith("folder-_val_nano_topk_r0.5_")


def test_another_run_of_the_same_name_is_refused(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, run_of(), {"grid": [2, 2]}, list("abcdefg"), 7)
    writer.add(batch_of(7))
    writer.folder.rename(tmp_path / run_of(seed=5).name)
    with pytest.raises(BadInput, match="holds another run: its seed is 0 and not 5"):
        RunWriter(tmp_path, run_of(seed=5), {"grid": [2, 2]}, list("abcdefg"), 7)
