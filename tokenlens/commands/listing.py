"""What there is to choose from, in one shape: `tokenlens methods|metrics|data|hosts` and `figures --list`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from ..errors import UnknownName
from .options import Command, items

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 80


@dataclass(frozen=True)
class Row:
    """A thing of a registry: its name, its family or kind, one sentence, and what else is known."""

    name: str
    family: str
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return {"name": self.name, "family": self.family, "what it is": self.sentence, **self.facts}


def listing_options(command: Command) -> Command:
    """The names that are asked for, and `--json`; the command gets them as `names` and `as_json`."""
    json_option("All that is known")(command)
    click.argument("names", nargs=-1, metavar="[NAME]...", callback=items)(command)
    return command


def json_option(what: str) -> Callable[[Command], Command]:
    """`--json`, which prints `what` for programs; the command gets it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=f"{what}, as JSON.")


def json_of(tables: Sequence[pd.DataFrame]) -> str:
    """Tables of the same columns as one list of objects, one a row; what is not known is null."""
    import pandas as pd

    return pd.concat(tables).to_json(orient="records", indent=2, force_ascii=False)


def listing_command(name: str, kind: str, doc: str, rows: Callable[[], Iterable[Row]], epilog: str) -> click.Command:
    """A command that lists a registry, which is imported when it is asked for."""

    @click.command(name, help=doc, epilog=epilog)
    @listing_options
    def listed(names: tuple[str, ...], as_json: bool) -> None:
        show(kind, list(rows()), names, as_json)

    return listed


def show(kind: str, rows: Sequence[Row], names: Sequence[str] = (), as_json: bool = False) -> None:
    """Print the things of these names with all that is known of them, or without names a line or two on each."""
    known = {row.name: row for row in rows}
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)
    chosen = [known[name] for name in names] or list(rows)
    if as_json:
        click.echo(json.dumps([row.values() for row in chosen], indent=2, ensure_ascii=False))
        return
    for line in _in_full(chosen) if names else _table(chosen):
        click.echo(line)


def _table(rows: Sequence[Row]) -> Iterator[str]:
    name, family = (max((len(getattr(row, part)) for row in rows), default=0) + 2 for part in ("name", "family"))
    for row in rows:
        yield from _hanging(f"{row.name:{name}}{row.family:{family}}", row.sentence)


def _in_full(rows: Sequence[Row]) -> Iterator[str]:
    width = max(len(key) for row in rows for key in row.values()) + 2
    for row in rows:
        for key, value in row.values().items():
            yield from _hanging(f"{key:{width}}", _plain(value))
        yield ""


def _hanging(start: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start)) or [start.rstrip()]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={inner}" for key, inner in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
