"""Text files of a data set, line by line, so that a fault is told with its path and line."""

import csv
from pathlib import Path

from tokenlens.errors import BadInput

Rows = list[tuple[int, list[str]]]


def read_text(path: Path, what: str) -> str:
    """The text of a file; what is not UTF-8 stays readable.

    Args:
        path: the file.
        what: what it tells, for the message where it is missing, as in "which images there are".
    """
    try:
        return path.read_text("utf-8", "backslashreplace")
    except FileNotFoundError:
        raise BadInput(f"there is no {path}, which says {what}: give the folder that holds it, or add it") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): mend it, or check its permissions") from None


def read_words(path: Path, words: int, like: str, what: str) -> Rows:
    """The lines of a file that are not blank, numbered from 1, each as `words` words; the last takes what is left.

    Raises:
        BadInput: the file is missing, or a line has fewer; `like` is an example of a good one.
    """
    rows = []
    for number, line in enumerate(read_text(path, what).splitlines(), 1):
        found = line.split(maxsplit=words - 1)
        if not found:
            continue
        if len(found) < words:
            raise bad_line(path, number, line, like)
        rows.append((number, [word.rstrip() for word in found]))
    return rows


def read_columns(path: Path, columns: tuple[str, ...], what: str) -> Rows:
    """These columns of a CSV file that has a header, each row with the number of its last line."""
    lines = csv.reader(read_text(path, what).splitlines(), skipinitialspace=True)
    header = next(lines, [])
    missing = [name for name in columns if name not in header]
    if missing:
        raise BadInput(
            f"line 1 of {path} has no column {missing[0]}, only {', '.join(header) or 'nothing'}: "
            f"the columns {', '.join(columns)} are needed"
        )
    places = [header.index(name) for name in columns]
    rows = []
    for row in lines:
        if row and len(row) != len(header):
            raise bad_line(path, lines.line_num, ",".join(row), ",".join(header))
        if row:
            rows.append((lines.line_num, [row[place] for place in places]))
    return rows


def bad_line(path: Path, number: int, line: str, like: str) -> BadInput:
    """The error for a line that is not as it should be."""
    shown = line if len(line) <= 60 else line[:60] + "..."
    return BadInput(f"line {number} of {path} is {shown!r} and not like {like!r}: mend it, or fetch the file again")


def to_number(path: Path, number: int, word: str, like: str) -> int:
    """A whole number out of a line, or BadInput."""
    try:
        return int(word)
    except ValueError:
        raise bad_line(path, number, word, like) from None
