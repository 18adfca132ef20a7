"""Columns that a source delivers and its contract does not know.

They are kept in raw whatever happens. Here they are only named, with what their values look like; the values go no
further.
"""

import json
import re
from collections.abc import Collection

import polars as pl

from insight_assets.contracts.sources import SourceContract

_SAMPLED_ROWS = 200
_NUMBER = re.compile(r"-?\d+([.,]\d+)?")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_NAME = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w .-]{0,63}")


def sample_rows(rows: pl.DataFrame, *, besides: Collection[pl.DataFrame] = ()) -> pl.DataFrame:
    """Give the rows that `unknown_columns` looks at.

    Args:
        rows: rows as `read_rows` gives them, or the next of them.
        besides: what was given of the rows before them.

    Returns:
        Few rows, with the column that is looked at.
    """
    name = _looked_at(rows)
    wanted = _SAMPLED_ROWS - sum(each.height for each in besides)
    return rows.select(pl.col(name).drop_nulls().head(max(wanted, 0)))


def _looked_at(rows: pl.DataFrame) -> str:
    return "extra" if "extra" in rows.columns else "payload"


def unknown_columns(rows: pl.DataFrame, source: SourceContract) -> dict[str, str]:
    """Name the columns of a file that its contract does not know.

    Args:
        rows: rows as `read_rows` gives them; the first of them are looked at.
        source: the contract they were read by.

    Returns:
        Column to what its values look like: "a number", "a time", "text", "a list or object", "nothing yet". Of nested
        rows only the outermost names; what does not look like a name, but may be a value, is left out.
    """
    if source.members:
        return {}
    text = rows[_looked_at(rows)]
    known = set() if "extra" in rows.columns else {column.path.split(".")[0] for column in source.delivered}
    seen: dict[str, list[object]] = {}
    for row in text.drop_nulls().head(_SAMPLED_ROWS):
        try:
            values = json.loads(row)
        except (ValueError, RecursionError):
            continue
        for name, value in values.items() if isinstance(values, dict) else ():
            if name not in known and _NAME.fullmatch(name):
                seen.setdefault(name, []).append(value)
    told = {name: [value for value in values if value not in (None, "")] for name, values in sorted(seen.items())}
    return {name: _kind(values) for name, values in told.items()}


def _kind(values: list[object]) -> str:
    if not values:
        return "nothing yet"
    if any(isinstance(value, dict | list) for value in values):
        return "a list or object"
    for kind, pattern in (("a number", _NUMBER), ("a time", _TIME)):
        if all(pattern.fullmatch(str(value)) for value in values):
            return kind
    return "text"
