"""What the report says of the runs, and which of them can be looked at together.

Runs that saw the same pictures form a `PictureSet`: their patterns can be laid over one image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xarray as xr

from ..select.images import chosen_of, ids_with_pictures
from ..theme.style import label, order_key, place
from .opening import most_apart, opening
from .patterns import labels

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 48  # images in one piece of data


@dataclass
class PictureSet:
    """Runs over the same pictures; `ids` are those shown, `classes` and `note` become known with the pictures."""

    title: str
    runs: list[xr.Dataset]
    ids: list[str]
    classes: tuple[str, ...] = ()
    note: str = ""
    titles: list[str] = field(init=False)

    @property
    def drawn(self) -> bool:
        """Whether each run drew pictures of its own, as `tokenlens synthesize` does."""
        return "step" in self.runs[0].dims

    def __post_init__(self) -> None:
        """Name each run by what tells it from the others."""
        self.titles = _titles(self.runs)


def picture_sets(runs: Sequence[xr.Dataset], wanted: int | Sequence[str]) -> list[PictureSet]:
    """Sort runs by the pictures that they saw, most runs first, and choose at most so many images, or those wanted.

    They are evenly spaced among the images that most of the set's complete runs hold.
    """
    groups: dict[tuple[str, ...], list[xr.Dataset]] = {}
    for run in sorted(runs, key=_order):
        key = tuple(str(run.attrs.get(name, "")) for name in ("dataset", "split", "input_size", "crop_pct", "sides"))
        groups.setdefault(key, []).append(run)
    several = Counter(key[:2] for key in groups)
    found = []
    for (dataset, split, size, crop, _), members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        title = f"{place(dataset)}, {split}" + (f", {size}, crop {crop}" if several[dataset, split] > 1 else "")
        whole = [run for run in members if run.attrs.get("complete")] or members
        held = Counter(name for run in whole for name in ids_with_pictures(run))
        most = max(held.values())
        ids = [name for name in held if held[name] == most]
        found.append(PictureSet(title, members, chosen_of(ids, wanted)))
    return found


def describe_set(one: PictureSet) -> dict[str, Any]:
    """What the viewer reads of a set: ids, labels (a list an image), names of classes, what is shown at first."""
    attrs, first = one.runs[0].attrs, opening(one.runs)
    height, width = (int(n) for n in attrs.get("input_size") or attrs["grid"])
    return {
        "title": one.title, "ids": one.ids, "labels": labels(one.runs, one.ids), "classes": list(one.classes),
        "note": one.note, "size": [height, width], "chunk": CHUNK,
        "start": [str(run.attrs["run"]) for run in first], "image": most_apart(first, one.ids),
    }  # fmt: skip


def overview(runs: Sequence[xr.Dataset]) -> pd.DataFrame:
    """One row a run: what it was, its tokens left after each stage (mean over images), its measures in percent."""
    import pandas as pd

    rows = []
    for run in sorted(runs, key=_order):
        attrs = run.attrs
        left: Any = (
            run["tokens_left"].mean([dim for dim in run["tokens_left"].dims if dim != "stage"]).values
            if run.sizes["image"]
            else []
        )
        rows.append({
            "method": label(str(attrs["method"])), "keep": amount(run),
            **{f"{name} %": float(value) for name, value in dict(attrs.get("metrics") or {}).items()},
            "tokens left": " ".join(f"{n:.1f}".removesuffix(".0") for n in left), "images": run.sizes["image"],
            "data set": place(str(attrs["dataset"])), "split": str(attrs.get("split", "")),
            "model": str(attrs["model"]), "seed": int(attrs.get("seed", 0) or 0),
            "complete": bool(attrs.get("complete")), "run": str(attrs["run"]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def amount(run: xr.Dataset) -> str:
    """How much a run was asked to keep: its rate, or the tokens after each stage."""
    rate = run.attrs.get("keep_rate")
    return f"{float(rate):g}" if isinstance(rate, int | float) else "/".join(map(str, run.attrs.get("keep", [])))


def _titles(runs: Sequence[xr.Dataset]) -> list[str]:
    """Method and rate, then model, seed and name as far as needed to tell the runs apart."""
    titles = [
        label(str(run.attrs["method"])) + (f" {amount(run)}" if run.attrs["family"] != "none" else "") for run in runs
    ]
    if len({str(run.attrs["model"]) for run in runs}) > 1:
        titles = [f"{title}, {run.attrs['model']}" for title, run in zip(titles, runs, strict=True)]
    for further in ("seed", "run"):
        count = Counter(titles)
        words = [f", {further} {run.attrs.get(further, '')}" for run in runs]
        titles = [title + word * (count[title] > 1) for title, word in zip(titles, words, strict=True)]
    return titles


def _order(run: xr.Dataset) -> tuple[Any, ...]:
    return str(run.attrs["model"]), order_key(str(run.attrs["method"])), amount(run), str(run.attrs["run"])
