import numpy as np
import pytest

from insight_assets.charts import chart_markdown
from insight_assets.ml.pictures import lift_chart, lift_table, reliability_chart, reliability_table


def test_reliability_shows_groups_of_many_customers_only():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 500)
    table = reliability_table(truth, {"rule": generator.random(500)}, smallest_group=40)
    assert table["customers"].min() >= 40
    assert table["customers"].sum() == 500
    assert len(chart_markdown(reliability_chart(table, of="orders"))) < 25_000


def test_reliability_of_few_customers_shows_nothing():
    table = reliability_table(np.ones(12), {"rule": np.full(12, 0.5)}, smallest_group=10)
    assert table.is_empty()


def test_a_perfect_order_lifts_its_first_tenth_by_ten():
    truth = np.repeat([0.0, 1.0], [180, 20])
    table = lift_table(truth, {"oracle": np.arange(200.0), "chance": np.zeros(200)}, smallest_group=10)
    lifts = dict(table.filter(method="oracle").select("tenth", "lift").iter_rows())
    assert lifts[1] == pytest.approx(10)
    assert lifts[10] == 0
    assert table.filter(method="chance")["lift"].to_list() == [1.0]
    assert len(chart_markdown(lift_chart(table))) < 25_000
    assert lift_table(truth, {"oracle": truth}, smallest_group=21).is_empty()
