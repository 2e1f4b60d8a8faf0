"""A table as the bytes of a file, and back: Parquet with checksums of its pages, or CSV."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

TOLD = "tokenlens"  # the key of a Parquet file's metadata under which stands what its table was made of


def encode(frame: pd.DataFrame, csv: bool, told: Mapping[str, Any] | None) -> bytes:
    """The bytes of a frame's file; `told` is put into the metadata of Parquet, as JSON."""
    if csv:
        return frame.to_csv(index=False).encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    if told is not None:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), TOLD: json.dumps(told, sort_keys=True)})
    file = io.BytesIO()
    pq.write_table(table, file, write_page_checksum=True)
    return file.getvalue()


def decode(content: bytes, csv: bool, columns: Mapping[str, str]) -> pd.DataFrame:
    """The frame of a file's bytes; ValueError or OSError (pyarrow's errors are of these kinds) where it is damaged."""
    import pandas as pd

    if not csv:
        return pd.read_parquet(io.BytesIO(content), page_checksum_verification=True)
    text = {column: str for column, kind in columns.items() if kind == "str"}
    missing = {column: [""] for column in columns if column not in text}  # a run may be called NA
    return pd.read_csv(io.BytesIO(content), dtype=text, keep_default_na=False, na_values=missing)
