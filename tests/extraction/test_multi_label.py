"""Runs over sets of several classes an image: what is stored, mAP, resuming, and models of other classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tokenlens
from tokenlens.data import open_data
from tokenlens.data.loading import Loading, batches, pictures
from tokenlens.errors import BadInput
from tokenlens.extraction.jobs import Job
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts.loading import input_of
from tokenlens.records import writer as writing
from tokenlens.records.accuracy import mean_average_precision
from tokenlens.records.store import open_run, open_runs
from tokenlens.reduce import reduce

TAGS = ("clouds", "dog", "sky")


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """NUS-WIDE's layout: ten small images of three tags, each of one image at least; oblong, with a white left edge."""
    root = tmp_path / "tagged"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["filepath,label,split_name"]
    for index in range(10):
        pixels = rng.integers(0, 200, (20, 60, 3), dtype=np.uint8)
        pixels[:, :12] = 255
        Image.fromarray(pixels).save(root / f"images/{index}.png")
        tags = [tag for number, tag in enumerate(TAGS) if (index + 1) >> number & 1]
        rows.append(f'images/{index}.png,"{tags}",val')
    (root / "nus_wid_data.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def job(tagged: Path) -> Any:
    """A job over these images with an untrained nano ViT of as many classes."""

    def made(out: Path, **settings: Any) -> Job:
        settings = {"data": f"nuswide:{tagged}", "weights": "random", "batch_size": 2, **settings}
        return Job(**{"out": out, "progress": False, "methods": ["topk"], **settings})

    return made


def test_labels_scores_and_map_are_stored(job: Any, tmp_path: Path) -> None:
    ((_, result),) = job(tmp_path / "runs").results()
    run = open_run(result.folder)
    assert run["label"].dims == run["score"].dims == ("image", "class") and run["label"].dtype == bool
    assert run["label"].values.tolist() == [[bool((i + 1) >> n & 1) for n in range(3)] for i in range(10)]
    assert (run["rank"] == -1).all() and (run["prediction"] == -1).all()
    expected = mean_average_precision(run["score"].values, run["label"].values)
    assert result.metrics == run.attrs["metrics"] == {"mAP": expected} and 20 < expected < 100


def test_the_command_prints_map_and_goes_on(tagged: Path, call: Any, tmp_path: Path) -> None:
    words = ("extract", "--data", f"nuswide:{tagged}", "--weights", "random", "--out", tmp_path / "runs")
    assert "topk at 0.5: mAP " in call(*words).out and "already there" in call(*words).out


def test_a_stopped_run_goes_on_to_the_same_result(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_run: Any
) -> None:
    monkeypatch.setattr(writing, "CHUNK", 4)
    ((_, whole),) = job(tmp_path / "whole").results()
    written, put = [], writing.RunWriter.put

    def stop_at_the_third(self: Any, first: int, parts: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(first)
        put(self, first, parts)

    monkeypatch.setattr(writing.RunWriter, "put", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        list(job(tmp_path / "parts").results())
    (part,) = open_runs(tmp_path / "parts")
    assert part["label"].shape == (8, 3) and not part.attrs["complete"]
    monkeypatch.setattr(writing.RunWriter, "put", put)
    ((_, parts),) = job(tmp_path / "parts").results()
    same_run(whole.folder, parts.folder)


def test_scores_of_many_classes_are_stored_all_the_same(tmp_path: Path) -> None:
    host = open_host(None, "random", None, 120, 0)
    label = torch.arange(240).reshape(2, 120) % 7 == 0
    run = tokenlens.extract(reduce(host.vit, "none"), [(torch.randn(2, 3, 112, 112), label)])
    assert run["score"].shape == run["label"].shape == (2, 120) and run["label"].dtype == bool
    assert np.array_equal(run["label"], label) and "mAP" in run.attrs["metrics"]


def test_labels_of_other_classes_than_the_models_give_no_accuracy(job: Any, tmp_path: Path) -> None:
    said: list[str] = []
    ((_, result),) = job(tmp_path / "runs", weights=None, tell=said.append).results()
    run = open_run(result.folder)
    assert result.metrics == {} and "score" not in run and run["label"].shape == (10, 3)
    assert len(said) == 1 and "has 3 classes and the model 10: no accuracy is given" in said[0]


def test_the_whole_image_is_squashed_to_the_square(tagged: Path) -> None:
    data = open_data(f"nuswide:{tagged}")
    loading = Loading.of(input_of(open_host().vit), data, 2, 0)
    assert loading.squash and loading.crop_pct == 1 and loading.attributes()["squash"]
    image = pictures(data, loading)[0][0]
    assert image.shape == (3, 112, 112)
    assert (image[:, :, :20] > image.mean()).all() and (image[:, :, 25:].mean() < image[:, :, :20].mean()).all()
    _, labels, objects = next(batches(data, loading))
    assert labels.dtype == torch.bool and labels.shape == (2, 3) and objects is None


def test_a_missing_image_ends_in_a_sentence_and_loses_nothing(job: Any, tagged: Path, tmp_path: Path) -> None:
    (tagged / "images/7.png").unlink()
    with pytest.raises(BadInput, match=r"1 of 10 images in .* cannot be read \(images/7.png: there is no file"):
        list(job(tmp_path / "runs").results())
    ((_, result),) = job(tmp_path / "runs", skip_bad=True, tell=lambda line: None).results()
    assert open_run(result.folder)["label"].shape == (9, 3)
