"""Text files of a data set, line by line, so that a fault is told with its path and line."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tokenlens.errors import BadInput, check_no_pipe

Rows = list[tuple[int, list[str]]]


def read_text(path: Path, what: str) -> str:
    """The text of a file, without the mark that some editors put first; what is not UTF-8 stays readable.

    Args:
        path: the file.
        what: what it tells, for the message where it is missing, as in "which images there are".
    """
    check_no_pipe(path)
    try:
        return path.read_text("utf-8-sig", "backslashreplace")
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
    """These columns of a CSV file that has a header, each row with the number of its first line."""
    lines = _csv(path, what)
    _, header = next(lines, (1, []))
    missing = [name for name in columns if name not in header]
    if missing:
        raise BadInput(
            f"line 1 of {path} has no column {missing[0]}, only {', '.join(header) or 'nothing'}: "
            f"the columns {', '.join(columns)} are needed"
        )
    places = [header.index(name) for name in columns]
    rows = []
    for number, row in lines:
        if row and len(row) != len(header):
            raise bad_line(path, number, ",".join(row), ",".join(header))
        if row:
            rows.append((number, [row[place] for place in places]))
    return rows


def _csv(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Every row, with the number of its first line: a quote that is left open takes the lines after it along."""
    reader = csv.reader(read_text(path, what).splitlines(), skipinitialspace=True)
    number = 1
    try:
        for row in reader:
            yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(
            f"line {number} of {path} does not end ({error}): close its quote, or fetch the file again"
        ) from None


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
