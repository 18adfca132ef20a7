"""How frames look in a terminal: nothing of them is cut off, whatever the width, and nothing wider than it."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from insight_assets.cli import WRONG_USE, app
from insight_assets.terminal import lay_out
from insight_assets_tests.deliveries import call

DAY = "2025-01-01"
WIDE = pl.DataFrame({f"column_{number}": [f"value {number} of {row}" for row in range(5)] for number in range(30)})


def told(frame: pl.DataFrame, width: int) -> list[str]:
    console = Console(width=width, soft_wrap=True, force_terminal=False)
    with console.capture() as captured:
        for table in lay_out(frame, width):
            console.print(table, soft_wrap=False)
    return captured.get().splitlines()


def test_a_table_that_fits_has_a_line_a_row():
    lines = told(pl.DataFrame({"name": ["a", "[red]b"], "count": [1, None]}), 40)
    assert [line.split() for line in lines if "a" in line or "b" in line] == [
        ["┃", "name", "┃", "count", "┃"], ["│", "a", "│", "1", "│"], ["│", "[red]b", "│", "│"],
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "beside"), [(40, 1), (80, 4), (120, 5)])
def test_a_wide_table_has_a_line_a_column(width, beside):
    lines = told(WIDE, width)
    heads = [line for line in lines if "row " in line]
    assert heads[0].count("row ") == beside
    assert sum(head.count("row ") for head in heads) == WIDE.height
    (first,) = [line for line in lines if "column_7 " in line and "value 7 of 0" in line]
    assert first.count("value 7 of") == beside
    text = "\n".join(lines)
    assert all(value in text for column in WIDE for value in column)
    assert max(map(cell_len, lines)) <= width


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text("ab绿茶[/]", max_size=60), min_size=1, max_size=4), width=st.integers(40, 120))
def test_no_character_is_lost(texts, width):
    frame = pl.DataFrame({"name": texts, **{f"more_{number}": texts for number in range(12)}})
    lines = told(frame, width)
    assert max(map(cell_len, lines)) <= width
    shown = "".join(char for char in "".join(lines) if char in "绿茶")
    assert sorted(shown) == sorted(char for column in frame for char in "".join(column) if char in "绿茶")


def test_an_empty_frame_shows_its_columns():
    assert "column_0" in "".join(told(WIDE.select("column_0").clear(), 40))
    assert all(f" {name} " in "".join(told(WIDE.clear(), 40)) for name in WIDE.columns)


@pytest.mark.usefixtures("kept_environment")
def test_wide_tables_are_readable_by_default_and_columns_can_be_chosen(home):
    home.land_calls("a.ndjson", [call(f"m{n}", f"{DAY}T10:00:00Z") for n in range(3)])
    home.build(DAY)

    def show(*options: str, expect: int = 0) -> str:
        done = CliRunner().invoke(app, ["show", "events", *options, "--as-of", DAY, "--home", str(home.root)])
        assert done.exit_code == expect, done.output
        return done.output

    lines = show().splitlines()
    names = [line.split()[1] for line in lines if line.startswith("│") and "m0" in line]
    assert names == ["event_id"]
    assert max(map(cell_len, lines)) <= 80
    few = show("--columns", "product_id, event_id")
    assert few.index("product_id") < few.index("event_id") < few.index("m0")
    assert "actor_key" not in few
    assert "no column evnt_id" in " ".join(show("--columns", "evnt_id", expect=WRONG_USE).split())
    hidden = CliRunner().invoke(app, ["show", "quarantine", "--columns", "payload", "--home", str(home.root)])
    assert (hidden.exit_code, "--payload" in hidden.output) == (WRONG_USE, True)
