"""From runs to the PNG files of their contact sheets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import xarray as xr

from tokenlens.errors import BadInput, disk_errors

from .contact_sheet import contact_sheet
from .runs import choose_images, choose_runs, last_block, read_panel, read_pictures


def draw_contact_sheets(
    runs: Sequence[xr.Dataset], out: Path, images: int = 4, keep_rate: float | None = None,
    stage: int | None = None, where: Sequence[str] = (),
) -> Iterator[tuple[Path, tuple[str, ...]]]:  # fmt: skip
    """Draw `contact-sheet-<dataset>-<model>.png` for each data set and model among the runs.

    Args:
        runs: the runs, as `tokenlens.store.open_runs` returns them.
        out: the folder to write to; it is made.
        images: rows of a sheet, at most.
        keep_rate: the rate to show; None for 0.5, or the most frequent one.
        stage: the block whose stage is shown; None for each run's last.
        where: conditions on the runs' attributes, as in "method=topk|tome,keep_rate=0.5".

    Yields:
        Each file once it is written, with the names of the runs that found no place on it.

    Raises:
        BadInput: no runs, none that match, no image in common, images that are gone, or an unwritable folder.
    """
    sheets = choose_runs(runs, where, keep_rate, stage)
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file and not a folder: give another folder with --out")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for sheet in sheets:
        name = next(n for i in range(1, len(sheets) + 1) if (n := sheet.name + (f"-{i}" if i > 1 else "")) not in taken)
        taken.add(name)  # two folders of the same name, or two splits, must not write over each other
        ids = choose_images(sheet.runs, images)
        blocks = {last_block(run) if stage is None else stage for run in sheet.runs}
        panels = [read_panel(run, ids, stage, tell_block=len(blocks) > 1) for run in sheet.runs]
        after = f"after block {blocks.pop()}" if len(blocks) == 1 else "after the last stage"
        note = f"{sheet.model} · {sheet.place} · {after}"
        pictures = read_pictures(sheet.runs[0], ids)
        with disk_errors(out):
            contact_sheet(pictures, panels, out / f"{name}.png", note)
        yield out / f"{name}.png", sheet.left_out
