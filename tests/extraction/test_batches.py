"""Batches and labels as loaders hand them out: used rightly, or refused in a sentence."""

import re
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import nn

import tokenlens
from tokenlens.data import open_data
from tokenlens.data.embedded.open import EmbeddedSet
from tokenlens.data.loading import Loading, batches
from tokenlens.errors import BadInput
from tokenlens.extraction.inputs import classes_of
from tokenlens.records.store import check_out, open_runs

ROWS = torch.eye(10)[:4]


@pytest.fixture(scope="module")
def model(tiny_vit: nn.Module) -> Any:
    return tokenlens.reduce(tiny_vit, "topk", 0.5, (1, 3))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (0.01 + 0.9 * ROWS, "labels are no classes: a row is"),
        (torch.softmax(torch.randn(4, 10), 1), "label smoothing or mixup"),
        (torch.tensor([0.5, 1, 2, 3]), "labels are no classes"),
        (torch.full((4, 10), float("nan")), "labels are no classes"),
        (2 * ROWS, "labels are no classes"),
        (torch.arange(4)[:, None], re.escape("labels are (4, 1), a class each or one of one class; give labels[:, 0]")),
        (torch.arange(3), re.escape("labels are (3,) for 4 images")),
        (("cat", "dog", "cat", "dog"), "labels are .*; give their numbers"),
    ],
)
def test_labels_that_are_no_classes_are_refused(model: Any, images: torch.Tensor, labels: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        tokenlens.extract(model, [(images, labels)])


@pytest.mark.parametrize("labels", [ROWS.bool(), ROWS, ROWS.long()])
def test_rows_of_yes_and_no_are_several_classes(labels: torch.Tensor) -> None:
    assert torch.equal(classes_of(labels, 4), ROWS.bool())
    assert torch.equal(classes_of([3.0, -1.0], 2), torch.tensor([3, -1]))


def test_images_that_are_none_are_refused(model: Any, tiny_vit: nn.Module, images: torch.Tensor) -> None:
    last = images.permute(0, 2, 3, 1)
    for batch in ({"picture": images}, images.numpy().astype("uint8"), images.byte(), images[0], images[:, :1], last):
        with pytest.raises(BadInput, match=r"^(a batch of images is|the loader yields a dict of picture)"):
            tokenlens.extract(model, [batch])
    with pytest.raises(BadInput, match=r"with channels last; give images.permute\(0, 3, 1, 2\)"):
        tokenlens.extract(model, last)
    with pytest.raises(BadInput, match="the loader gave no images"):
        tokenlens.extract(model, [images[:0]])
    for other in (tiny_vit, nn.DataParallel(tiny_vit)):
        with pytest.raises(BadInput, match=r"give what tokenlens\.reduce returns"):
            tokenlens.extract(other, [images])
    assert tokenlens.extract(model, [images.double()], ids=(i for i in "abcd"))["image"].values.tolist() == [*"abcd"]


def test_a_backbone_without_a_head_has_no_class(make_vit: Any, images: torch.Tensor) -> None:
    found = tokenlens.extract(tokenlens.reduce(make_vit(num_classes=0), "topk", 0.5, (1, 3)), [(images, [0, 1, 2, 3])])
    assert (found["prediction"] == -1).all() and (found["rank"] == -1).all() and not found.attrs["metrics"]
    assert "score" not in found


def test_a_run_where_its_folder_is_meant(run_job: Any, tmp_path: Path) -> None:
    (run,) = run_job(tmp_path / "runs", limit=2)
    assert [one.attrs["run"] for one in open_runs(run)] == [run.name]
    with pytest.raises(BadInput, match=re.escape(f"{run} is one run; give the folder that it lies in")):
        check_out(run)


@pytest.mark.parametrize("place", ["s3://bucket/runs", "gs://bucket/runs"])
def test_an_address_is_no_folder_of_runs(place: str) -> None:
    with pytest.raises(BadInput, match="is an address to which no runs are written"):
        check_out(Path(place))


def test_the_next_batch_is_read_beside_the_models_which_keep_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, image, enough = list[tuple[int, int]](), EmbeddedSet.image, Event()

    def told(self: Any, index: int) -> Any:
        seen.append((index, torch.get_num_threads()))
        if len(seen) == 4:
            enough.set()
        return image(self, index)

    monkeypatch.setattr(EmbeddedSet, "image", told)
    torch.set_num_threads(2)
    data = open_data("embedded:shapes", limit=6)
    found = batches(data, Loading((3, 32, 32), (0.5,) * 3, (0.5,) * 3, batch_size=2))
    first, *_ = next(found)
    assert enough.wait(60) and torch.get_num_threads() == 2
    assert [len(first), *(len(images) for images, *_ in found)] == [2, 2, 2]
    assert seen == [(index, 1) for index in range(6)]
