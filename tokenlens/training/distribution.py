"""accelerate: processes, devices, precision and trackers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.reduced_vit import ReducedViT
from ..errors import BadInput, UnknownName
from ..extraction.reduced_models import device_of, precision_on
from .recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def make_accelerator(recipe: Recipe, out: Path, device: str, trackers: Sequence[str]) -> Accelerator:
    """The accelerator of a recipe; BadInput where the extra `train` is not installed, or a tracker is not."""
    missing = [name for name in ("accelerate", "tensorboard") if find_spec(name) is None]
    if missing:
        raise BadInput(f"fine-tuning needs {' and '.join(missing)}; install it with: pip install tokenlens-vit[train]")
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
    from accelerate.tracking import get_available_trackers  # type: ignore[import-untyped]
    from accelerate.utils import GradientAccumulationPlugin, LoggerType, ProjectConfiguration  # type: ignore[import-untyped]

    place = device_of(device)
    kind, precision = place.type, precision_on(place, recipe.train.precision)
    if precision == "float16" and kind != "cuda":
        raise BadInput("float16 needs a GPU to train on; use --precision float32")
    accumulate = GradientAccumulationPlugin(recipe.train.accumulate, sync_with_dataloader=False)
    AcceleratorState._reset_state()  # else a second training in one process could not have another precision
    here = ["all", *map(str, get_available_trackers())]
    for tracker in trackers:
        if tracker not in LoggerType.list():
            raise UnknownName("tracker", tracker, LoggerType.list())
        if tracker not in here:
            raise BadInput(f"the tracker {tracker} is not installed; install it with: pip install {tracker}")
    return Accelerator(
        cpu=kind == "cpu",
        mixed_precision=PRECISION[precision],
        gradient_accumulation_plugin=accumulate,
        log_with=["tensorboard", *trackers],
        project_config=ProjectConfiguration(str(out), logging_dir=str(out / "tensorboard")),
        kwargs_handlers=[DistributedDataParallelKwargs()],
    )


def tell_ddp(accelerator: Accelerator, model: ReducedViT) -> None:
    """Say whether a stage has nothing to do and never uses its reducer, as at rate 1 or where one token is left."""
    patches = model.patches
    rests = any(after >= before for before, after in pairwise((patches, *model.schedule.keep(patches))))
    accelerator.ddp_handler.find_unused_parameters = rests


def flat(recipe: Recipe) -> dict[str, Any]:
    """A recipe as `section.key`, in values that trackers take."""
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str | bool) else str(value)
        for section, values in recipe.values().items()
        for key, value in values.items()
    }
