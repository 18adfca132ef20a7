"""How a frame looks in a terminal: as a table where it fits, else on its side, one column of the frame a line.

Lays out text and prints nothing; which rows and columns may be shown is decided by the caller.
"""

from collections.abc import Iterator, Sequence

import polars as pl
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

# A longer value is folded into several lines where rows stand side by side.
_WIDEST = 40
_BETWEEN, _EDGE = 3, 1


def lay_out(frame: pl.DataFrame, width: int) -> Iterator[Table]:
    """Lay out the rows of a frame.

    Args:
        frame: the rows.
        width: characters that fit beside each other.

    Yields:
        One table with a line a row where all columns fit. Else tables with a line a column, each of as many rows as
        fit beside each other, and of one at least; rows are numbered from 1.
    """
    rows = [["" if cell is None else str(cell) for cell in row] for row in frame.iter_rows()]
    columns = zip(frame.columns, *rows, strict=True)
    if sum(max(map(cell_len, column)) + _BETWEEN for column in columns) + _EDGE <= width:
        yield _table(frame.columns, rows)
        return
    free = width - max(map(cell_len, frame.columns)) - _BETWEEN - _EDGE
    block: list[int] = []
    used = 0
    for place, row in enumerate(rows):
        wide = min(max(map(cell_len, row)), _WIDEST) + _BETWEEN
        if block and used + wide > free:
            yield _on_its_side(frame.columns, rows, block)
            block, used = [], 0
        block.append(place)
        used += wide
    if block or not rows:
        yield _on_its_side(frame.columns, rows, block)


def _on_its_side(names: Sequence[str], rows: Sequence[Sequence[str]], block: Sequence[int]) -> Table:
    heads = ["column", *(f"row {place + 1}" for place in block)]
    return _table(heads, [[name, *(rows[place][at] for place in block)] for at, name in enumerate(names)])


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for place, head in enumerate(heads):
        # Names are never folded: they are what is typed into --columns.
        table.add_column(Text(head), overflow="fold", no_wrap=place == 0)
    for line in lines:
        # What was delivered is shown as it is, markup of terminals included.
        table.add_row(*map(Text, line))
    return table
