"""From the names of figures to their files: what `tokenlens figures` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from tqdm import tqdm

from tokenlens.errors import BadInput
from tokenlens.records.atomic import write
from tokenlens.records.manifest import notices
from tokenlens.records.out import check_folder

from ..catalogue import Entry
from ..select.setting import rows_of, settings
from ..source import Source
from ..theme import style
from . import latex_markdown
from .formats import formats, image


@dataclass(frozen=True)
class Request:
    """What a user wants written, and where."""

    out: Path
    formats: str = "pdf,svg,png"
    preset: str = "iccv"
    tables: bool = False
    sheet: Mapping[str, Any] = field(default_factory=dict)
    where: Sequence[str] = ()
    methods: int | Literal["all"] | None = None
    """shown where each is large; None for as many as a figure shows by itself"""
    progress: bool = False


def draw_all(chosen: Sequence[Entry], source: Source, request: Request) -> Iterator[tuple[Path | None, str]]:
    """Draw each figure that the source allows and write it, in a file for each format.

    Yields:
        (path, "") for each file once it is whole, (path, note) where something found no place on it, and (None, note)
        where figures show one setting of several, and for figures that could not be drawn, with the command that makes
        what they lack. `where` chooses the runs of figures that show one setting or images, and of no others.

    Raises:
        BadInput: nothing could be drawn at all, a format or preset that does not exist, or an unwritable folder.
    """
    kinds = formats(request.formats)
    style.preset(request.preset)
    check_folder(request.out, "figures")
    lacking: dict[str, list[str]] = {}
    single: list[str] = []
    few: list[str] = []
    some = source.only(request.where)
    yield from ((None, note) for note in notices(source.results, source.folder))
    for entry in tqdm(chosen, "figures", unit="figure", disable=not request.progress, leave=False):
        try:
            shown = some if entry.of_one_setting else source
            with style.among(entry.looks(shown)):
                made = list(_made(entry, shown, request, kinds))
        except BadInput as lack:
            lacking.setdefault(str(lack), []).append(entry.name)
            continue
        if entry.of_one_setting and entry.pages is None:
            single.append(entry.name)
        if request.methods is None and entry.few is not None and _count(entry, shown) > entry.few:
            few.append(entry.name)
        for name, content, note in made:
            yield write(request.out / name, content), note
    if few:
        yield None, f"{', '.join(few)}: a few methods stand out; with --methods all, all do"
    if single and (others := _settings(some) - 1) > 0:
        are = "settings are" if others > 1 else "setting is"
        yield None, (f"{', '.join(single)}: {others} other {are} not shown, having no more runs; choose one with "
                     "--where dataset=NAME,model=NAME")  # fmt: skip
    if sum(map(len, lacking.values())) == len(chosen):
        raise BadInput("nothing can be drawn: " + "; ".join(lacking))
    yield from ((None, f"not drawn: {', '.join(names)}: {lack}") for lack, names in lacking.items())


def _count(entry: Entry, source: Source) -> int:
    """How many reduction methods a figure shows, or could show."""
    looks = entry.looks(source)
    drawn = set(entry.numbers(source)["method"]) if entry.fades else set(looks)
    return sum(look.family != "none" for method, look in looks.items() if method in drawn)


def _settings(source: Source) -> int:
    try:
        return settings(source.table("runs"))
    except BadInput:
        return settings(rows_of(source.runs))


def _made(entry: Entry, source: Source, request: Request, kinds: list[str]) -> Iterator[tuple[str, bytes | str, str]]:
    """The files of a figure and its caption: name, content, and what found no place."""
    told = request.methods
    chosen: dict[str, Any] = {} if entry.few is None or told is None else {"methods": None if told == "all" else told}
    if entry.pages is not None:
        asked = {**request.sheet, **chosen}
        for name, page, left_out in entry.pages(source.runs, allow_remote=source.allow_remote, **asked):
            names = ", ".join(left_out)
            note = f"not shown, being further runs of the same methods: {names}" if names else ""
            for i, kind in enumerate(kinds):
                yield f"{name}.{kind}", image(page, kind, request.preset), note if i == 0 else ""
    else:
        images = request.sheet.get("images", 0)
        if not isinstance(images, int) and "images" in signature(entry.draw).parameters:
            chosen["images"] = images
        figure = entry.draw(source, preset=request.preset, strict=True, **chosen)
        assert isinstance(figure, Figure)  # nothing was passed in to draw into
        yield from ((f"{entry.name}.{kind}", image(figure, kind, request.preset), "") for kind in kinds)
    yield f"{entry.name}.txt", f"{entry.caption}\n", ""
    if request.tables:
        frame = entry.numbers(source)
        table = latex_markdown.plain(frame) if entry.layout is None else latex_markdown.spread(frame, entry.layout)
        yield f"{entry.name}.tex", latex_markdown.latex(table, entry.table_caption, entry.name), ""
        yield f"{entry.name}.md", latex_markdown.markdown(table, entry.table_caption), ""
