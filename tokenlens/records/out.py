"""Where a user wants results, looked at before anything is computed: a place that can be written."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import BadInput, disk_errors
from .atomic import check_place
from .place import check_bucket, is_remote

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # s3://, file://, of which Path leaves one slash; not C:/


def check_folder(folder: Path, of: str) -> None:
    """Refuse a place for a folder `of` tables, runs, ..., where it is an address, a file, below one, or read-only."""
    if is_remote(folder):
        with disk_errors(folder):
            check_bucket(folder, of)
        return
    _check_here(folder, of)
    with disk_errors(folder):
        there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
        is_folder = there.is_dir()
    if not is_folder:
        raise BadInput(f"{there} is a file, not a folder, so no {of} can be written there; give a folder with --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(f"{there} cannot be written, being read-only for you; choose another folder with --out")


def check_file(file: Path, of: str, otherwise: str = "") -> None:
    """Refuse a place for a file, as `check_folder` does one for a folder; nor is anything but a plain file replaced.

    `otherwise` is what else may be done where something stands in the way.
    """
    if is_remote(file) and len(file.key.parts) < 2:
        raise BadInput(f"{file} names a bucket and no file in it; give a file with --out, such as {file}/page.html")
    if not is_remote(file):
        _check_here(file, of)
    check_folder(file.parent, of)
    with disk_errors(file):
        check_place(file, otherwise)


def _check_here(place: Path, of: str) -> None:
    if _ADDRESS.match(str(place)):
        raise BadInput(
            f"{place} is an address to which no {of} are written; give a place on this machine with --out, and copy "
            "from it"
        )
