"""A folder of drawn pictures: PNGs, a table that says how each was made, and a file that says what all of them are.

A row of the table holds a digest of itself and of its picture, and the file one of what it says, so that a changed bit
in any of the three is told and never judged.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import BadInput, check_no_pipe
from ..records.atomic import write
from ..records.checksum import digest_of, intact, sealed

TIMINGS = "timings.csv"
ABOUT = "about.json"  # written once all pictures are there
COLUMNS = ("picture", "prompt", "seed", "seconds", "deciding", "flagged")
DIGEST = "digest"
Row = dict[str, str]


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG that is whole or not there."""
    content = io.BytesIO()
    image.save(content, format="PNG")
    write(path, content.getvalue())


def row_of(folder: Path, **values: Any) -> Row:
    """What is said of a picture that has been written: a text for each of `COLUMNS`, and the digest."""
    row = {name: str(values[name]) for name in COLUMNS}
    return {**row, DIGEST: _digest(folder, row)}


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write the table, from the first picture on."""
    text = io.StringIO()
    table = csv.DictWriter(text, (*COLUMNS, DIGEST), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write(folder / TIMINGS, text.getvalue())


def rows_of(folder: Path) -> list[Row]:
    """The rows of the pictures that are there as they were made, from the first on.

    Raises:
        BadInput: the table is not one of ours.
    """
    return list(takewhile(lambda row: _is_whole(folder, row), _table(folder)))


def write_about(folder: Path, facts: Mapping[str, Any]) -> None:
    """Say beside the pictures what they are, for whoever judges them."""
    write(folder / ABOUT, json.dumps(sealed(facts), indent=1) + "\n")


def about_of(folder: Path) -> dict[str, Any]:
    """What `tokenlens synthesize` says of the pictures in a folder; {} of other pictures.

    Raises:
        BadInput: that, the table or a picture is damaged, or not all are drawn yet. A picture that has been taken away
            is none of it.
    """
    path = folder / ABOUT
    check_no_pipe(path)
    try:
        found = json.loads(path.read_bytes())
        right = isinstance(found, dict) and intact(found)
    except FileNotFoundError:
        if (folder / TIMINGS).exists():
            raise BadInput(f"{folder} has no {ABOUT}, which says that all of its pictures are drawn; give the command "
                           "again that draws them") from None  # fmt: skip
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read ({error}); remove it, or make the pictures anew") from error
    if not right:
        raise BadInput(f"{path} does not match its digest; remove it, or make the pictures anew")
    rows = _table(folder)
    if len(rows) != found["pictures"]:
        raise BadInput(f"{folder / TIMINGS} is damaged, having {len(rows)} rows for {found['pictures']} pictures; "
                       "move the folder away and make the pictures anew")  # fmt: skip
    for number, row in enumerate(rows, 1):
        if not _is_whole(folder, row) and (folder / str(row.get("picture"))).exists():
            raise BadInput(f"{folder / str(row.get('picture'))} or row {number} of {TIMINGS} beside it is damaged; "
                           "move the folder away and make the pictures anew")  # fmt: skip
    if strange := {path.name for path in folder.glob("*.png")} - {row["picture"] for row in rows}:
        raise BadInput(f"{folder / min(strange)} is in no row of {TIMINGS} beside it; take it out, or move the folder "
                       "away and make the pictures anew")  # fmt: skip
    return dict(found)


def _table(folder: Path) -> list[Row]:
    path = folder / TIMINGS
    if not path.is_file():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="backslashreplace"))))
    except csv.Error as error:
        raise BadInput(f"{path} cannot be read ({error}); move it away with the pictures beside it") from error
    if rows and tuple(rows[0]) != (*COLUMNS, DIGEST):
        raise BadInput(f"{path} has other columns than {', '.join((*COLUMNS, DIGEST))}; move it away with the pictures "
                       "beside it")  # fmt: skip
    return rows


def _is_whole(folder: Path, row: Row) -> bool:
    return None not in row.values() and (folder / row["picture"]).is_file() and _digest(folder, row) == row[DIGEST]


def _digest(folder: Path, row: Row) -> str:
    picture = hashlib.blake2b((folder / row["picture"]).read_bytes(), digest_size=8).hexdigest()
    return digest_of([picture, *(row[name] for name in COLUMNS)])
