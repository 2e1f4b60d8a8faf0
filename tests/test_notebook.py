"""What one does in a notebook: runs in memory are runs like any other, and everything says and shows what it is."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

import tokenlens
from tokenlens.errors import BadInput
from tokenlens.figures.source import Missing, Source
from tokenlens.records.patterns import Patterns


@pytest.fixture(scope="module")
def reduced(tiny_vit: nn.Module) -> Any:
    return {name: tokenlens.reduce(tiny_vit, name, 0.5, (1, 3)).eval() for name in ("topk", "tome", "l2")}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def runs(reduced: Any, images: torch.Tensor) -> list[Patterns]:
    return [tokenlens.extract(model, [(images, [0, 1, 2, 3])], dataset="mine") for model in reduced.values()]


@pytest.fixture(scope="module")
def compared(runs: list[Patterns]) -> Any:
    return tokenlens.compare(runs, metrics=["iou"], resamples=20)


def test_runs_in_memory_say_what_they_are(runs: list[Patterns], reduced: Any, images: torch.Tensor) -> None:
    assert len({run.attrs["run"] for run in runs}) == 3
    assert runs[0].attrs["dataset"] == "mine" and runs[0].attrs["run"].startswith("mine")
    assert tokenlens.extract(reduced["topk"], [images], name="again").attrs["run"] == "again"
    assert tokenlens.extract(reduced["topk"], [(images, [0, 1, 2, 3])], dataset="mine").identical(runs[0])


def test_a_run_in_memory_is_compared_drawn_and_reported(runs: list[Patterns], compared: Any, tmp_path: Path) -> None:
    assert set(compared.comparison["axis"]) == {"method"}
    assert repr(compared) == "3 runs, 1 pairs along method, 1 metrics"  # sets of topk and l2; tome alone merges
    for name in ("similarity", "examples", "contact-sheet", "tokens_left"):
        assert isinstance(tokenlens.draw(name, [compared, *runs]), Figure)
    with pytest.raises(Missing, match="table was given; `tokenlens compare` makes one"):
        tokenlens.draw("similarity", runs)
    with pytest.raises(BadInput, match=r"a figure is of a str; give what tokenlens\.compare returns"):
        Source.of(["runs"])
    page = tokenlens.report([compared, *runs], tmp_path / "page.html")
    assert "mages cannot be shown" not in page.read_text()


def test_images_that_are_not_kept_are_told(reduced: Any, images: torch.Tensor) -> None:
    bare = tokenlens.extract(reduced["topk"], [images], pictures=0)
    with pytest.raises(BadInput, match=r"given in memory as 'memory' and are not kept; extract with more of pictures="):
        tokenlens.show(bare)


class Compiled(nn.Module):
    """As torch.compile wraps, without the seconds that its import takes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model


@pytest.mark.parametrize("wrap", [nn.DataParallel, Compiled])
def test_wrapped_models_are_understood(reduced: Any, images: torch.Tensor, runs: Any, wrap: Any) -> None:
    assert np.array_equal(tokenlens.extract(wrap(reduced["topk"]), images)["kept"], runs[0]["kept"])


class Pictures(Dataset[Any]):
    """Somebody's own data set of PIL images."""

    def __init__(self, pictures: list[Image.Image]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Any:
        return self.pictures[index], index


def test_inputs_that_people_have(reduced: Any, images: torch.Tensor, runs: Any) -> None:
    model = reduced["topk"]
    for given in (images, images.numpy(), [{"pixel_values": images, "labels": torch.arange(4)}], [images.numpy()]):
        assert np.array_equal(tokenlens.extract(model, given)["kept"], runs[0]["kept"])
    pictures = [Image.fromarray(picture) for picture in runs[0]["picture"].values]
    alone, behind = tokenlens.extract(model, pictures), tokenlens.extract(model, Pictures(pictures))
    assert np.array_equal(alone["kept"], behind["kept"]) and behind["label"].values.tolist() == [0, 1, 2, 3]
    ours = tokenlens.open_data("embedded:shapes", limit=3)
    assert tokenlens.extract(model, ours)["image"].values.tolist() == list(ours.ids)


def test_a_run_goes_through_netcdf(runs: list[Patterns], tmp_path: Path) -> None:
    runs[0].to_netcdf(tmp_path / "run.nc")
    back = Patterns.from_netcdf(tmp_path / "run.nc")
    assert back.attrs == runs[0].attrs and back["picture"].dtype == np.uint8
    for name, values in runs[0].variables.items():
        assert np.array_equal(back[name].values, values), name


def test_all_say_in_a_line_what_they_are(
    runs: list[Patterns], reduced: Any, images: torch.Tensor, compared: Any
) -> None:
    trace = reduced["topk"].trace(images)[1]
    assert repr(runs[0]).startswith("topk, 4 images, 2 stages, 64 → 32 → 16\n<xarray.")
    assert repr(trace) == "topk, 4 images, 2 stages, 64 → 32 → 16"
    assert repr(reduced["topk"]).endswith("topk, 2 stages, 64 → 32 → 16, at blocks 1 3")
    for one in (runs[0], trace, reduced["topk"], compared):
        assert repr(one).split("\n")[0].replace("→", "") in one._repr_html_().replace("→", "")


def test_training_mode_is_told(tiny_vit: nn.Module, images: torch.Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", 0.5, (1, 3)).train()
    trace = model.trace(images)[1]
    assert "in training mode, where patterns may change from call to call" in repr(trace)
    with pytest.warns(UserWarning, match="in training mode"):
        trace.show(images)


def test_traces_show_themselves(reduced: Any, images: torch.Tensor) -> None:
    trace = reduced["tome"].trace(images)[1]
    shown = trace.show(images, rows=2)
    assert len(shown.images) == 2 * 3
    axes = Figure().subplots()
    assert trace.plot(images, ax=axes, image=1) is axes and axes.images
    with pytest.raises(BadInput, match="the trace is of 4 images and 2 are given"):
        trace.show(images[:2])
    with pytest.raises(BadInput, match="give those that were traced"):
        trace.show(None)


def test_a_figure_is_readable_in_a_notebook_and_shown_once(runs: list[Patterns], compared: Any) -> None:
    import io

    for figure in (tokenlens.draw("tokens_left", [compared, *runs]), tokenlens.show(runs)):
        with Image.open(io.BytesIO(figure._repr_png_())) as shown:
            assert shown.width >= 500
    assert "pyplot" not in str(figure.canvas.manager) and not matplotlib._pylab_helpers.Gcf.figs


def test_a_loader_that_is_none_is_refused_in_a_sentence(reduced: Any) -> None:
    for given in ("photographs", {"a": 1}, 3):
        with pytest.raises(BadInput, match=f"the loader is a {type(given).__name__}; give a DataLoader"):
            tokenlens.extract(reduced["topk"], given)
