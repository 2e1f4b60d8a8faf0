"""From the names of figures to their files: what `tokenlens figures` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

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
    some = source.only(request.where)
    yield from ((None, note) for note in notices(source.results, source.folder))
    for entry in chosen:
        try:
            shown = some if entry.of_one_setting else source
            with style.among(entry.looks(shown)):
                made = list(_made(entry, shown, request, kinds))
        except BadInput as lack:
            lacking.setdefault(str(lack), []).append(entry.name)
            continue
        if entry.of_one_setting and entry.pages is None:
            single.append(entry.name)
        for name, content, note in made:
            yield write(request.out / name, content), note
        if entry.pages is not None and "png" not in kinds:
            yield None, f"{entry.name}: it is drawn pixel by pixel, and so written as png and not as {request.formats}"
    if single and (others := _settings(some) - 1) > 0:
        are = "settings are" if others > 1 else "setting is"
        yield None, (f"{', '.join(single)}: {others} other {are} not shown, having no more runs; choose one with "
                     "--where dataset=NAME,model=NAME")  # fmt: skip
    if sum(map(len, lacking.values())) == len(chosen):
        raise BadInput("nothing can be drawn: " + "; ".join(lacking))
    yield from ((None, f"not drawn: {', '.join(names)}: {lack}") for lack, names in lacking.items())


def _settings(source: Source) -> int:
    try:
        return settings(source.table("runs"))
    except BadInput:
        return settings(rows_of(source.runs))


def _made(entry: Entry, source: Source, request: Request, kinds: list[str]) -> Iterator[tuple[str, bytes | str, str]]:
    """The files of a figure: name, content, and what found no place."""
    if entry.pages is not None:
        for name, content, left_out in entry.pages(source.runs, allow_remote=source.allow_remote, **request.sheet):
            names = ", ".join(left_out)
            yield f"{name}.png", content, f"not shown, being further runs of the same methods: {names}" if names else ""
    else:
        figure = entry.draw(source, preset=request.preset, strict=True)
        assert isinstance(figure, Figure)  # nothing was passed in to draw into
        yield from ((f"{entry.name}.{kind}", image(figure, kind, request.preset), "") for kind in kinds)
    if request.tables:
        frame = entry.numbers(source)
        frame = frame if entry.layout is None else latex_markdown.spread(frame, entry.layout)
        yield f"{entry.name}.tex", latex_markdown.latex(frame, entry.caption, entry.name), ""
        yield f"{entry.name}.md", latex_markdown.markdown(frame, entry.caption), ""
