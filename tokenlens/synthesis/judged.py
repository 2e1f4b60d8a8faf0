"""What `tokenlens fid` does: features of real and of drawn pictures, and the numbers that compare them.

Inception's features are clean-fid's (Parmar et al., 2022, arXiv:2104.11222; mode "clean"), as in the study; `nano` are
those of the embedded ViT, for pictures of the embedded set, which it also recognises. Shapes: B pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..core.families import UNORDERED
from ..data import open_data
from ..data.folder import text
from ..data.picture import formats
from ..errors import BadInput, UnknownName, needed
from ..extraction.reduced_models import device_of
from ..records import tables as table
from ..records.drawn import RUNS
from .drawn import ABOUT, TIMINGS, about_of
from .quality import frechet_distance, precision_recall
from .recognition import SIDE, recognise

SUFFIXES = (".png", ".jpg", ".jpeg")
INCEPTION = "inception-2015-12-05.pt"
KINDS = ("auto", "inception", "nano")
KEY = ("drawn", "real", "features")
Pictures = Iterator[tuple[str, Image.Image]]
Looked = tuple[Tensor, Tensor | None]
"""features (B, C), and the classes (B,) that were told, where the network tells any"""


@dataclass
class Quality:
    """What `tokenlens fid` was asked for; the fields are its options."""

    real: str
    drawn: Sequence[str]
    features: str = "auto"
    weights: Path | None = None
    per_class: int | None = None
    limit: int | None = None
    batch_size: int = 32
    device: str = "auto"
    out: Path = Path("results")
    csv: bool = False

    def run(self) -> Iterator[str]:
        """Do it; yields a line for each set of drawn pictures, which is then in the table `quality`."""
        if self.features not in KINDS:
            raise UnknownName("kind of features", self.features, KINDS)
        kind = self.features
        if kind == "auto":
            kind = "nano" if self.real.startswith("embedded:shapes") else "inception"
        table.check_out(self.out)
        sets = {folder: about_of(folder) for where in self.drawn for folder in sets_in(Path(where))}
        device = device_of(self.device)
        look = recognise if kind == "nano" else inception(self.weights, device)
        prepare = small if kind == "nano" else resized
        real, _, _ = self._seen(self.real, look, prepare, device)
        for folder, about in sets.items():
            features, told, names = self._seen(str(folder), look, prepare, device)
            row = self._row(folder, about, kind, real, features, told, names)
            table.merge(pd.DataFrame([row]), self.out, "quality", KEY, self.csv)
            yield describe(row)

    def _seen(
        self, where: str, look: Callable[[Tensor], Looked], prepare: Callable[[Image.Image], NDArray[Any]],
        device: torch.device,
    ) -> tuple[NDArray[Any], NDArray[Any] | None, list[str]]:  # fmt: skip
        """(n, C) features, (n,) classes told, and names of the pictures; as many in memory as a batch has."""
        features, told, names = list[Tensor](), list[Tensor](), list[str]()
        pictures = pictures_of(where, self.per_class, self.limit)
        while batch := list(islice(pictures, self.batch_size)):
            names += [name for name, _ in batch]
            pixels = torch.from_numpy(np.stack([prepare(image) for _, image in batch])).permute(0, 3, 1, 2)
            found, classes = look(pixels.contiguous().to(device))
            features.append(found.float().cpu())
            told += [] if classes is None else [classes.cpu()]
        if len(names) < 2:
            raise BadInput(f"{where} holds {len(names)} pictures, and a distance takes two or more; give more of them")
        return torch.cat(features).numpy(), torch.cat(told).numpy() if told else None, names

    def _row(
        self, folder: Path, about: dict[str, Any], kind: str, real: NDArray[Any], drawn: NDArray[Any],
        told: NDArray[Any] | None, names: Sequence[str],
    ) -> dict[str, Any]:  # fmt: skip
        precision, recall = precision_recall(real, drawn)
        recognised = np.nan
        if told is not None and about.get("prompts") == "shapes":
            recognised = float((told == [int(name.partition("_")[0]) for name in names]).mean())
        return {
            "drawn": text(folder.name), "real": text(self.real), "features": kind,
            "n_real": len(real), "n_drawn": len(drawn),
            "fid": frechet_distance(real, drawn), "precision": precision, "recall": recall, "recognised": recognised,
            "model": str(about.get("model", "")), "method": str(about.get("method", "")),
            "ratio": float(about.get("ratio", np.nan)), "seconds": float(about.get("seconds", np.nan)),
            "steps": int(about.get("steps", -1)), "guidance": float(about.get("guidance", np.nan)),
            "seed": int(about.get("seed", -1)),
            **{name: str(about.get(name, "")) for name in ("family", "label", "color", "marker")},
            "order": int(about.get("order", UNORDERED)),
        }  # fmt: skip


def describe(row: dict[str, Any]) -> str:
    """One set for a person to read."""
    seen = "" if np.isnan(row["recognised"]) else f", {100 * row['recognised']:.1f} % recognised"
    return (
        f"{row['drawn']}: FID {row['fid']:.2f}, precision {row['precision']:.3f}, recall {row['recall']:.3f}{seen} "
        f"({row['n_real']} real and {row['n_drawn']} drawn pictures, features of {row['features']})"
    )


def sets_in(folder: Path) -> list[Path]:
    """The folder, or those in it that `tokenlens synthesize` fills. Raises BadInput where there is none."""
    if not folder.is_dir():
        raise BadInput(f"there is no folder of pictures {folder}; make one with `tokenlens synthesize`")
    inside = {path.parent for name in (TIMINGS, ABOUT) for path in folder.glob(f"*/{name}")}
    return sorted(path for path in inside if path.name != RUNS) or [folder]


def pictures_of(where: str, per_class: int | None, limit: int | None) -> Pictures:
    """Pictures of a folder, by sorted name, or of a data set (KIND:PLACE).

    `per_class` takes the first so many of each folder of the folder, as the study does of ImageNet's classes.
    """
    if ":" in where and not Path(where).exists():
        data = open_data(where, "val", limit or 1000)
        yield from ((name, data.image(number)) for number, name in enumerate(data.ids))
        return
    folder = Path(where)
    if not folder.is_dir():
        raise BadInput(f"there is no folder of pictures {folder}; give one, or KIND:PLACE as `tokenlens data` lists")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    classes = groupby(sorted(found, key=lambda path: (path.parent, path.name)), key=lambda path: path.parent)
    for path in islice((path for _, files in classes for path in islice(files, per_class)), limit):
        try:
            with Image.open(path, formats=formats()) as image:
                picture = image.convert("RGB")
        except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
            raise BadInput(f"{path} cannot be read as a picture ({error}); remove it, or draw it anew") from error
        yield path.name, picture


def small(image: Image.Image) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): as large as the embedded ViT looks at."""
    return np.array(image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def resized(image: Image.Image) -> NDArray[np.float32]:
    """(299, 299, 3) in 0..255: resized as clean-fid does."""
    return clean_resizer()(np.array(image))  # type: ignore[no-any-return]


def clean_resizer() -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Clean-fid's own."""
    return needed("cleanfid.resize", "synthesis", "the FID").build_resizer("clean")  # type: ignore[no-any-return]


def inception(weights: Path | None, device: torch.device) -> Callable[[Tensor], Looked]:
    """Clean-fid's network, with weights that are given, cached or fetched.

    Raises:
        BadInput: there are none, or they cannot be read.
    """
    module = needed("cleanfid.inception_torchscript", "synthesis", "the FID")
    url = needed("cleanfid.downloads_helper", "synthesis", "the FID").inception_url
    file = weights or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION
    if file.name != INCEPTION:
        raise BadInput(f"{file} is not called {INCEPTION}, as clean-fid wants it; rename it")
    if not file.is_file():
        _fetch(url, file, weights)
    try:
        network = module.InceptionV3W(str(file.parent), download=False).to(device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(f"{file} is no Inception ({str(error).split(chr(10))[0]:.200}); fetch {url}") from error

    def look(pixels: Tensor) -> Looked:
        with torch.inference_mode():
            return network(pixels), None

    return look


def _fetch(url: str, file: Path, given: Path | None) -> None:
    if given is not None:
        raise BadInput(f"there is no file {given}; give clean-fid's weights, which are at {url}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=False)
    except OSError as error:  # of networks too
        raise BadInput(
            f"the weights of Inception are not in {file.parent} and cannot be fetched ({error}); fetch {url} elsewhere "
            "and name the file with --weights, or compare pictures of embedded:shapes with --features nano"
        ) from error
