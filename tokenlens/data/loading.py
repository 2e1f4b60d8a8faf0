"""Images on their way to the model: timm's evaluation transform, and batches that never depend on where one begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ..errors import PROCESS, BadInput, check_memory
from . import ImageSet

Item = tuple[Tensor, Any, Tensor | None]
Loaded = tuple[Tensor, Tensor, Tensor | None]
CACHE_BYTES = 1 << 27


@dataclass(frozen=True)
class Loading:
    """How images become batches."""

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    squash: bool = False
    batch_size: int = 32
    workers: int = 0

    def __post_init__(self) -> None:
        """Refuses more processes that read images than there is memory for."""
        check_memory(f"{self.workers} processes that read images", self.workers * PROCESS, "give fewer --workers")

    @classmethod
    def of(cls, config: dict[str, Any], data: ImageSet, batch_size: int, workers: int) -> Loading:
        """From timm's data config, but for two kinds of sets.

        Those with object masks are never cropped: the masks would not fit any more. Of multi-label sets the whole
        image is squashed to the square, as in the study: what a crop would cut off is in the labels.
        """
        whole = data.multi_label or data.mask(0) is not None
        return cls(
            tuple(config["input_size"]),
            tuple(config["mean"]),
            tuple(config["std"]),
            config["interpolation"],
            crop_pct=1.0 if whole else float(config["crop_pct"]),
            squash=data.multi_label or config.get("crop_mode") == "squash",
            batch_size=batch_size,
            workers=workers,
        )

    def attributes(self) -> dict[str, Any]:
        """What a run remembers of it."""
        return {
            "input_size": list(self.input_size[1:]),
            "crop_pct": self.crop_pct,
            "squash": self.squash,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
        }

    def with_batch_size(self, batch_size: int) -> Loading:
        """The same with other batches."""
        return replace(self, batch_size=batch_size)


class Pictures(Dataset[Item]):
    """An image set as tensors. Small sets are kept in memory, for the next run over the same images."""

    def __init__(self, data: ImageSet, loading: Loading) -> None:
        self.data = data
        self.transform = create_transform(
            loading.input_size,
            mean=loading.mean,
            std=loading.std,
            interpolation=loading.interpolation,
            crop_pct=loading.crop_pct,
            crop_mode="squash" if loading.squash else None,
        )
        bytes_needed = 4 * len(data) * int(np.prod(loading.input_size))
        self.cache: dict[int, Any] | None = {} if bytes_needed <= CACHE_BYTES and loading.workers == 0 else None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Item:
        if self.cache is not None and index in self.cache:
            return self.cache[index]  # type: ignore[no-any-return]
        mask = self.data.mask(index)
        item = (
            self.transform(self.data.image(index)),
            self.data.label(index),
            None if mask is None else torch.from_numpy(mask.reshape(-1)),
        )
        if self.cache is not None:
            self.cache[index] = item
        return item


def collate(items: list[Item]) -> Loaded:
    """Stack images, labels and, where all have one, object masks."""
    images, labels, masks = zip(*items, strict=True)
    objects = None if any(mask is None for mask in masks) else torch.stack(masks)
    return torch.stack(images), torch.as_tensor(np.stack(labels)), objects


class Loader(DataLoader[Any]):
    """torch's, but what a process that reads images finds wrong arrives as it was raised there, in one sentence.

    torch would make a RuntimeError of it that holds a traceback: so it travels as a value.
    """

    def __init__(self, data: Dataset[Any], together: Callable[[list[Any]], Any] = default_collate, **settings: Any):
        super().__init__(
            _Caught(data), collate_fn=partial(_together, together), pin_memory=torch.cuda.is_available(), **settings
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, BadInput):
                raise batch
            yield batch


class _Caught(Dataset[Any]):
    """A data set that returns what it would raise."""

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.data[index]
        except BadInput as error:
            return error


def _together(together: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, BadInput)), None) or together(items)


_latest: list[tuple[Any, Pictures]] = []  # of one set: several runs in a row read the same images


def pictures(data: ImageSet, loading: Loading) -> Pictures:
    """The tensors of a set; the same object as the last time where nothing has changed."""
    key = (id(data), replace(loading, batch_size=0))
    if not _latest or _latest[0][0] != key:
        _latest[:] = [(key, Pictures(data, loading))]
    return _latest[0][1]


def batches(data: ImageSet, loading: Loading, start: int = 0) -> Iterator[Loaded]:
    """Batches from image `start` to the last: images (B, 3, H, W), labels (B,) or (B, classes), object masks (B, P)."""
    return batches_of(data, loading, [(start, len(data))])


def batches_of(data: ImageSet, loading: Loading, spans: Iterable[tuple[int, int]]) -> Iterator[Loaded]:
    """Batches of one span (first image, last + 1) after the other, which are asked for as they are needed."""
    size = loading.batch_size
    rows = (range(at, min(at + size, end)) for first, end in spans for at in range(first, end, size))
    if loading.workers or torch.cuda.is_available():
        return iter(Loader(pictures(data, loading), collate, batch_sampler=rows, num_workers=loading.workers))
    return _ahead(pictures(data, loading), rows)


def _ahead(data: Pictures, rows: Iterable[range]) -> Iterator[Loaded]:
    """Batches of these rows, of which a thread reads the next one while the last one is looked at."""

    def read(some: range) -> Loaded:
        return collate([data[row] for row in some])

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1) as reader:
        # a picture is too little for several threads, which would take the cores from the models; torch's number is
        # that of the process, but for threads that have asked for it since they set it
        reader.submit(torch.set_num_threads, 1)
        reader.submit(torch.get_num_threads).result()
        torch.set_num_threads(threads)
        waiting: deque[Future[Loaded]] = deque()
        for some in rows:
            waiting.append(reader.submit(read, some))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
