"""Sets that the datasets library reads, from folders: columns, splits, ids, several classes, and what is refused."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Features, Value

from tokenlens.data import check_apart, open_data
from tokenlens.errors import BadInput


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def folder(tmp_path: Path, encoded: Any) -> Path:
    """A folder of images with splits and classes."""
    for split, first in (("train", 10), ("validation", 100)):
        for number, name in enumerate(("dog/1", "cat/1", "cat/2")):
            file = tmp_path / "set" / split / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(first + number))
    return tmp_path / "set"


Parquet = Any


@pytest.fixture
def parquet(tmp_path: Path) -> Parquet:
    """Writes columns as a set in Parquet."""

    def made(columns: dict[str, list[Any]], features: dict[str, Any], split: str = "validation") -> Path:
        (tmp_path / "parquet").mkdir(exist_ok=True)
        table = datasets.Dataset.from_dict(columns, Features(features))
        table.to_parquet(tmp_path / f"parquet/{split}-00000-of-00001.parquet")
        return tmp_path / "parquet"

    return made


def test_a_folder_of_images(folder: Path, seen: Any) -> None:
    val, train = open_data(f"hf:{folder}"), open_data(f"hf:{folder}", "train")
    assert val.ids == ("validation/cat/1.png", "validation/cat/2.png", "validation/dog/1.png")
    assert val.classes == train.classes == ("cat", "dog") and not val.multi_label
    assert (
        [val.label(i) for i in range(3)] == [0, 0, 1] and seen(val) == [101, 102, 100] and seen(train) == [11, 12, 10]
    )
    assert seen(pickle.loads(pickle.dumps(val))) == [101, 102, 100]  # as a worker process gets it
    check_apart(train, val)
    limited = open_data(f"hf:{folder}", limit=2)
    assert limited.ids == val.ids[:2] and seen(limited) == [101, 102] and limited.name == f"hf:{folder}"


def test_columns_are_found_by_their_kind(parquet: Parquet, encoded: Any, seen: Any) -> None:
    cells = [{"bytes": encoded(n), "path": f"{n}.png"} for n in (5, 6)]
    features = {"id": Value("int64"), "kind": ClassLabel(names=["b", "a"]), "img": datasets.Image()}
    data = open_data(f"hf:{parquet({'id': [8, 9], 'kind': [1, None], 'img': cells}, features)}")
    assert data.classes == ("b", "a") and [data.label(0), data.label(1)] == [1, -1]
    assert seen(data) == [5, 6] and data.ids == ("validation/5.png", "validation/6.png")


def test_several_classes_an_image(parquet: Parquet, encoded: Any) -> None:
    cells = [{"bytes": encoded(n), "path": f"{n}.png"} for n in (5, 6, 7)]
    features = {"image": datasets.Image(), "tags": datasets.List(ClassLabel(names=["a", "b", "c"]))}
    data = open_data(f"hf:{parquet({'image': cells, 'tags': [[2, 0], [], [1]]}, features)}")
    assert data.multi_label and [list(map(int, data.label(i))) for i in range(3)] == [[1, 0, 1], [0] * 3, [0, 1, 0]]


def test_images_without_a_name_are_called_by_their_bytes(parquet: Parquet, encoded: Any, seen: Any) -> None:
    features = {"image": datasets.Image()}
    cells = [{"bytes": encoded(n), "path": None} for n in (5, 6, 5)]
    data = open_data(f"hf:{parquet({'image': cells}, features)}")
    assert len(set(data.ids)) == 3 and data.ids[2] == f"{data.ids[0]}-2" and data.ids[0].startswith("validation/")
    assert data.classes == () and data.label(0) == -1
    again = open_data(f"hf:{parquet({'image': cells[::-1]}, features, 'test')}", "test")
    assert [name.split("/")[1] for name in again.ids] == [data.ids[i].split("/")[1] for i in (0, 1, 2)]
    assert seen(open_data(f"hf:{parquet({'image': cells}, features)}", limit=2)) == [5, 6]


def test_a_bad_image_is_named_or_left_out(parquet: Parquet, encoded: Any) -> None:
    cells = [{"bytes": b"no image", "path": "a.png"}, {"bytes": encoded(7), "path": "b.png"}]
    where = parquet({"image": cells}, {"image": datasets.Image()})
    with pytest.raises(BadInput, match=r"validation/a\.png of hf:.* cannot be read as an image \(not an image"):
        open_data(f"hf:{where}").image(0)
    left: Any = open_data(f"hf:{where}", skip_bad=True)
    assert left.ids == ("validation/b.png",) and left.image(0).getpixel((0, 0))[0] == 7


def test_what_cannot_be_opened_is_told_in_a_sentence(
    folder: Path, parquet: Parquet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(name: str) -> None:
        raise ConnectionError(f"Couldn't reach {name}\non the Hub")

    with pytest.raises(BadInput, match=r"has the splits train, validation and not test: choose one of these"):
        open_data(f"hf:{folder}", "test")
    with pytest.raises(BadInput, match=r"has no column of images, only a: give another set"):
        open_data(f"hf:{parquet({'a': [1]}, {'a': Value('int64')})}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"^hf:.*empty cannot be opened \(.*\): check the name, the network and") as told:
        open_data(f"hf:{tmp_path / 'empty'}")
    assert "\n" not in str(told.value)
    monkeypatch.setattr(datasets, "get_dataset_split_names", offline)
    with pytest.raises(BadInput, match=r"^hf:a/b cannot be opened \(Couldn't reach a/b on the Hub\): check the name"):
        open_data("hf:a/b")
