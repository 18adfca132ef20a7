"""Text of delivered files: bytes into lines, and lines of csv into cells.

A line that cannot be decoded, or has not as many cells as the others, is told apart and kept as it was written; it
never changes how another line is read. Which columns the cells are, and what a whole file must hold, is in `readers`.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator

import polars as pl

LINES = pl.Schema({"line": pl.Int64, "text": pl.String, "undecodable": pl.Boolean})
BROKEN = "broken"
# With this begins what is kept of a line above the size limit.
SIZE_VIOLATION = "size_violation"
# A quoted cell with more line ends than this is taken for a quote that somebody forgot to close.
_LINES_OF_A_CELL = 100


def split_lines(data: bytes, encoding: str, *, begins_file: bool = True) -> pl.DataFrame:
    """Split text into lines, as Unix or Windows ends them.

    Args:
        data: the bytes of a file.
        encoding: Python's name of their encoding.
        begins_file: whether a byte order mark at their beginning is one; elsewhere it is a character of a line.

    Returns:
        One row a line, blank ones included: `line` (from 1), `text` and `undecodable`, true where bytes are not of the
        encoding; there `text` shows them as hexadecimal escapes.

    Raises:
        UnicodeDecodeError: if bytes are not of an encoding whose lines cannot be told apart without decoding.
    """
    codec = codecs.lookup(encoding).name
    try:
        text = data if codec in {"utf-8", "utf-8-sig"} else data.decode(codec).encode()
        lines = pl.read_lines(io.BytesIO(text.removeprefix(codecs.BOM_UTF8) if begins_file else text), name="text")
        lines = lines.with_columns(undecodable=False)
    except (pl.exceptions.ComputeError, UnicodeDecodeError, OSError):
        if "\n".encode(codec) != b"\n":
            raise
        lines = _decode_each(data, codec.removesuffix("-sig"))
        if begins_file:
            lines[0, "text"] = lines["text"][0].removeprefix("\ufeff")
    return lines.with_row_index("line", offset=1).cast({"line": pl.Int64}).select(LINES.names())


def _decode_each(data: bytes, codec: str) -> pl.DataFrame:
    texts, undecodable = [], []
    for line in data.removesuffix(b"\n").split(b"\n"):
        try:
            text, bad = line.decode(codec), False
        except UnicodeDecodeError:
            text, bad = line.decode(codec, "backslashreplace"), True
        texts.append(text.removesuffix("\r"))
        undecodable.append(bad)
    return pl.DataFrame({"text": texts, "undecodable": undecodable}, schema_overrides={"text": pl.String})


def is_blank(text: pl.Expr) -> pl.Expr:
    """Tell lines that hold nothing but white space."""
    return text.str.strip_chars() == ""


def split_header(text: str, delimiter: str) -> list[str]:
    """Split the line of names of a csv file."""
    return _read_record(text, delimiter)[0] or [text]


def split_cells(lines: pl.DataFrame, delimiter: str, width: int) -> pl.DataFrame:
    """Split lines of csv into cells; cells may be quoted, and quoted cells may hold line ends.

    Args:
        lines: lines as `split_lines` gives them, without the line of names.
        delimiter: one character.
        width: number of cells of a row.

    Returns:
        One row a record, by line: `line` (its first), the cells `cell_0` to `cell_<width - 1>` (null where empty) and
        `broken`: the text of a line that is no record of so many cells, null for all others. Blank lines are left out.
    """
    return pl.concat(split_slices([lines], delimiter, width))


def split_slices(slices: Iterable[pl.DataFrame], delimiter: str, width: int) -> Iterator[pl.DataFrame]:
    """Split lines of csv that come some at a time; however they are sliced, the rows are the same.

    Args:
        slices: lines as `split_cells` takes them, one slice after the other.
        delimiter: one character.
        width: number of cells of a row.

    Yields:
        For each slice the records that begin in it, as `split_cells` gives them.
    """
    ahead: deque[pl.DataFrame] = deque()
    coming, free, is_over = iter(slices), 0, False
    while True:
        # A record that begins in a slice may end in the lines after it.
        while not is_over and sum(each.height for each in list(ahead)[1:]) < _LINES_OF_A_CELL:
            following = next(coming, None)
            is_over = following is None
            if following is not None:
                ahead.append(following)
        if not ahead:
            return
        lines = ahead.popleft()
        after = pl.concat(ahead).head(_LINES_OF_A_CELL) if ahead else lines.clear()
        rows, free = _split_slice(lines, pl.concat([lines, after]), free, delimiter, width)
        yield rows


def _split_slice(
    lines: pl.DataFrame, context: pl.DataFrame, free: int, delimiter: str, width: int
) -> tuple[pl.DataFrame, int]:
    """Split some lines, of which those before `free` belong to an earlier record; give rows, and where they end.

    Args:
        lines: the lines.
        context: the same, and some that follow.
        free: number of the first line that belongs to no record yet.
        delimiter: one character.
        width: number of cells of a row.
    """
    names = [f"cell_{place}" for place in range(width)]
    filled = lines.filter((pl.col("line") >= free) & ~is_blank(pl.col("text")))
    quoted = pl.col("text").str.contains('"', literal=True)
    readable = filled.filter(~pl.col("undecodable"))
    plain = readable.filter(~quoted).with_columns(_count(pl.col("text"), delimiter, width))
    rows = [_split_plain(plain.filter("whole"), delimiter, names)]
    broken = [plain.filter(~pl.col("whole")), filled.filter("undecodable")]
    simple, odd = _split_simple(readable.filter(quoted), delimiter, names)
    rows.append(simple)
    records = list(_rescue(context, odd, delimiter, width))
    taken = [inner for first, last, _ in records for inner in range(first + 1, last + 1)]
    whole = [(first, *cells) for first, _, cells in records if cells]
    rows.append(pl.DataFrame(whole, schema={"line": pl.Int64} | dict.fromkeys(names, pl.String), orient="row"))
    hopeless = [first for first, _, cells in records if not cells]
    broken.append(lines.filter(pl.col("line").is_in(hopeless)))
    none = pl.lit(None, dtype=pl.String)
    split = pl.concat(rows).with_columns(pl.when(pl.col(name) != "").then(pl.col(name)) for name in names)
    kept = pl.concat(
        [
            split.with_columns(none.alias(BROKEN)),
            pl.concat([part.select("line", "text") for part in broken]).select(
                "line", *(none.alias(name) for name in names), pl.col("text").alias(BROKEN)
            ),
        ]
    )
    last = max((last for _, last, _ in records), default=0)
    return kept.filter(~pl.col("line").is_in(taken)).sort("line"), max(free, last + 1)


def _count(text: pl.Expr, delimiter: str, width: int) -> pl.Expr:
    return (text.str.count_matches(delimiter, literal=True) == width - 1).alias("whole")


def _split_plain(lines: pl.DataFrame, delimiter: str, names: list[str]) -> pl.DataFrame:
    cells = pl.col("text").str.split_exact(delimiter, len(names) - 1).struct.rename_fields(names)
    return lines.select("line", cells).unnest("text")


def _split_simple(lines: pl.DataFrame, delimiter: str, names: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split lines whose cells are quoted as RFC 4180 says; give their cells, and the lines that are left."""
    mark = re.escape(delimiter)
    cell = f'(?:"(?:[^"]|"")*"|[^"{mark}\\r]*)'
    outside = pl.col("text").str.replace_all('"[^"]*"', "")
    regular = pl.col("text").str.contains(f"^{cell}(?:{mark}{cell})*$")
    marked = lines.with_columns(_count(outside, delimiter, len(names)) & regular)
    simple, odd = marked.filter("whole"), marked.filter(~pl.col("whole"))
    if simple.is_empty():
        return pl.DataFrame(schema={"line": pl.Int64} | dict.fromkeys(names, pl.String)), odd
    cells = pl.read_csv(
        # Polars unpacks what begins as packed data does, which text may do by chance; a row of our own goes before it.
        io.BytesIO(("-" + delimiter * (len(names) - 1) + "\n" + simple["text"].str.join("\n").item()).encode()),
        has_header=False, separator=delimiter, infer_schema=False, new_columns=names,
    ).slice(1)
    return cells.insert_column(0, simple["line"]), odd


def _rescue(
    lines: pl.DataFrame, odd: pl.DataFrame, delimiter: str, width: int
) -> Iterator[tuple[int, int, list[str] | None]]:
    """Read lines with odd quotes one by one; give first and last line of each record, and its cells if it is one."""
    free = 0
    for line in odd["line"]:
        if line < free:
            continue
        first = last = line - lines["line"][0]
        cells, is_open = _read_record(lines["text"][first], delimiter)
        if is_open:
            last, cells = _join_lines(lines, first, delimiter, width)
        if cells is None or len(cells) != width:
            last, cells = first, None
        free = line + last - first + 1
        yield line, free - 1, cells


def _join_lines(lines: pl.DataFrame, first: int, delimiter: str, width: int) -> tuple[int, list[str] | None]:
    text = lines["text"]
    joined = text[first]
    for last in range(first + 1, min(first + _LINES_OF_A_CELL, len(text))):
        alone, _ = _read_record(text[last], delimiter)
        # A line that is a record of its own is never swallowed by a quote that somebody forgot to close.
        if lines["undecodable"][last] or (alone is not None and len(alone) == width > 1):
            break
        joined += "\n" + text[last]
        cells, is_open = _read_record(joined, delimiter)
        if not is_open:
            return last, cells
    return first, None


def _read_record(text: str, delimiter: str) -> tuple[list[str] | None, bool]:
    """Read one csv record; None if it is none, and whether that is because a quote is open at its end."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [""]), False
    except csv.Error as error:
        return None, "unexpected end of data" in str(error)
