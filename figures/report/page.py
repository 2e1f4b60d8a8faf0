"""The report as files: packed data, the page around it, and both written whole or not at all.

Everything that comes from runs and tables reaches the page in one of two ways: as text through `escape`, or packed in
base64, from where the script puts it on the page as text. So no name can become markup.
"""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from hashlib import blake2b, sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tokenlens.errors import BadInput, disk_errors
from tokenlens.records.atomic import scratch, sync, write
from tokenlens.records.leases import lock
from tokenlens.records.out import check_file, check_folder
from tokenlens.records.place import move, remove_tree

if TYPE_CHECKING:
    import pandas as pd

SCRIPTS = ("tables.js", "draw.js", "state.js", "viewer.js", "page.js")
GENERATOR = '<meta name="generator" content="tokenlens">'
INDEX, DATA = "index.html", "data"  # the files of a report in a folder
OURS = re.compile(rf"{DATA}-[0-9a-f]{{12}}")


def static(name: str) -> str:
    """A file that lies beside this one."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def pack(content: bytes | Any) -> str:
    """Bytes, or anything else as JSON, deflated and in base64."""
    if not isinstance(content, bytes):
        content = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return b64encode(zlib.compress(content)).decode()


def table_data(frame: pd.DataFrame) -> dict[str, Any]:
    """A frame as {columns, rows} of plain JSON: numbers to six digits, None for what is missing."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return {"columns": [str(column) for column in frame.columns], "rows": rows}


def _cell(value: Any) -> Any:
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if pd.api.types.is_bool(value):
        return "yes" if value else "no"
    if pd.api.types.is_integer(value):
        return int(value)
    if pd.api.types.is_float(value):
        return float(f"{value:.6g}") if abs(value) != float("inf") else str(value)
    return str(value)


def page(parts: Mapping[str, str], data: Mapping[str, str], split: bool, folder: str = "") -> str:
    """The HTML of the report.

    `parts` are its sections as markup, `data` the pieces that go into the page itself; `folder` holds the others.
    """
    style, scripts = static("page.css"), [static(name) for name in SCRIPTS]
    sources = " ".join(_hash(script) for script in scripts) + (" 'self'" if split else "")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {sources}; "
        "base-uri 'none'; form-action 'none'"
    )
    filled = {
        **parts,
        "folder": folder,
        "style": style,
        "policy": policy,
        "data": "\n".join(f'<script type="text/plain" id="data-{name}">{text}</script>' for name, text in data.items()),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    html, *rest = static("page.html").split("{{")
    for piece in rest:  # in one pass: what is filled in is never looked at again
        name, _, after = piece.partition("}}")
        html += filled[name] + after
    return html


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


class Writer(Protocol):
    """Where the pieces of a report go."""

    def add(self, name: str, content: bytes | Any) -> None:
        """Take a piece of data: bytes, or what can be JSON."""

    def finish(self, parts: Mapping[str, str]) -> Path:
        """Write the page around them, and return its path."""


class OneFile:
    """A report in one HTML file, all data in it."""

    split = False

    def __init__(self, out: Path) -> None:
        check_file(out, "reports", otherwise=", or give --split")
        self.out, self.data = out, dict[str, str]()

    def __enter__(self) -> OneFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.data.clear()

    def add(self, name: str, content: bytes | Any) -> None:
        """Take a piece of data."""
        self.data[name] = pack(content)

    def finish(self, parts: Mapping[str, str]) -> Path:
        """Write the page, and return its path."""
        return write(self.out, page(parts, self.data, self.split))


class Folder:
    """A report in a folder: the page, and scripts with data, loaded when they are looked at.

    The data have a folder that is called after what they are, and come first; the page, which names it, is put in place
    in one piece; then what an older page named goes. So there is a whole report at any moment, also after a kill.
    """

    split = True

    def __init__(self, out: Path) -> None:
        check_folder(out, "reports")
        if out.exists() and not _replaceable(out):
            raise BadInput(f"{out} holds more than a report, so it is not replaced: give another folder with --out")
        self.out, self.digest, self.opened = out, blake2b(digest_size=6), ExitStack()
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            self.making = self.opened.enter_context(scratch(out / DATA, folder=True))

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()
        with suppress(OSError):  # it holds something, as it should
            self.out.rmdir()

    def add(self, name: str, content: bytes | Any) -> None:
        """Write a piece of data."""
        script = f"put({json.dumps(name)},{json.dumps(pack(content))});\n"
        self.digest.update(script.encode())
        with disk_errors(self.out):
            (self.making / f"{name}.js").write_text(script)
            sync(self.making / f"{name}.js")

    def finish(self, parts: Mapping[str, str]) -> Path:
        """Put the data and the page in their places, and return the page's path."""
        index, data = self.out / INDEX, self.out / f"{DATA}-{self.digest.hexdigest()}"
        with lock(self.out / ".lock", str(self.out)), disk_errors(self.out):
            if not (index.is_file() and data.name in index.read_text(encoding="utf-8")):
                remove_tree(data)  # which somebody was killed at
                move(self.making, data)
            write(index, page(parts, {}, self.split, data.name))
            for old in self.out.glob(f"{DATA}*"):
                if old != data:
                    remove_tree(old)
        return index


def _replaceable(folder: Path) -> bool:
    """Whether a folder is empty or holds a report, whole or begun, and nothing else."""
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else {""}
    if INDEX in there:
        ours = GENERATOR in (folder / INDEX).read_text(encoding="utf-8", errors="replace")
        return ours and all(name in (INDEX, DATA) or OURS.fullmatch(name) for name in there)
    return all(OURS.fullmatch(name) for name in there)


def text(words: str) -> str:
    """Words as markup: escaped, paragraphs apart, `code` as code."""
    marked = ["".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(escape(paragraph).split("`")))
              for paragraph in words.split("\n\n")]  # fmt: skip
    return "".join(f"<p>{paragraph}</p>" for paragraph in marked)
