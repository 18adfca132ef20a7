import numpy as np

from insight_assets.charts import chart_markdown
from insight_assets.insights.churn.pictures import loss_chart, reliability_chart, reliability_table


def test_the_loss_curve_is_a_small_picture():
    epochs = [[number, 0.7 / (1 + number), 0.7 / (1 + number) + 0.01] for number in range(12)]
    assert len(chart_markdown(loss_chart(epochs))) < 25_000


def test_reliability_shows_groups_of_many_customers_only():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 500)
    table = reliability_table(truth, {"rule": generator.random(500)}, smallest_group=40)
    assert table["customers"].min() >= 40
    assert table["customers"].sum() == 500
    assert len(chart_markdown(reliability_chart(table))) < 25_000


def test_reliability_of_few_customers_shows_nothing():
    table = reliability_table(np.ones(12), {"rule": np.full(12, 0.5)}, smallest_group=10)
    assert table.is_empty()
