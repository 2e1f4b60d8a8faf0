"""Where the pictures lie that `tokenlens synthesize` drew, beside the runs of what was merged to draw them.

images/<run>/0_0.png  timings.csv  about.json       images/runs/<run>
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput

if TYPE_CHECKING:
    import xarray as xr

RUNS = "runs"  # the folder of patterns beside those of pictures


def drawn_picture(run: xr.Dataset, image: str) -> Path:
    """The file of one picture of a run with steps.

    Args:
        run: as `tokenlens.records.store.open_run` opens it.
        image: its id, <prompts>/<name>.

    Raises:
        BadInput: the run was not opened from a folder, or the picture is not beside it.
    """
    if "source" not in run.encoding:
        raise BadInput(f"{run.attrs.get('run')} was not opened from a folder, so its pictures are not known")
    there = Path(run.encoding["source"])
    path = there.parent.parent / there.name / f"{image.rpartition('/')[2]}.png"
    if not path.is_file():
        raise BadInput(
            f"there is no picture {path}, of which {there} is; keep `{RUNS}` in the folder that `tokenlens synthesize` "
            "filled, or draw the pictures anew"
        )
    return path
