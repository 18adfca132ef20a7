import numpy as np
import polars as pl
import pytest

from insight_assets.ml.rate_tables import PRIOR_ROWS, RateTable, fit_rate_table


def test_a_cell_foretells_its_rate_held_to_the_overall_one():
    cells = pl.Series(["often"] * 80 + ["seldom"] * 120)
    truth = np.array([1.0] * 60 + [0.0] * 140)
    table = fit_rate_table(cells, truth)
    assert table.overall == pytest.approx(0.3)
    assert table.rates == {
        "often": pytest.approx((60 + PRIOR_ROWS * 0.3) / (80 + PRIOR_ROWS)),
        "seldom": pytest.approx(PRIOR_ROWS * 0.3 / (120 + PRIOR_ROWS), abs=1e-6),
    }
    told = table(pl.Series(["seldom", "never seen", "often", None]))
    assert told.tolist() == [table.rates["seldom"], 0.3, table.rates["often"], 0.3]


def test_rows_in_another_order_and_a_stored_table_give_the_same():
    cells, truth = pl.Series(["a", "b", "a", "c"] * 9), np.array([1.0, 0.0, 0.0, 1.0] * 9)
    table = fit_rate_table(cells, truth)
    assert fit_rate_table(cells[::-1], truth[::-1]) == table
    assert RateTable.from_json(table.to_json()) == table
