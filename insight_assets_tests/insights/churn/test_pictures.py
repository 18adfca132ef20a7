from insight_assets.charts import chart_markdown
from insight_assets.insights.churn.pictures import loss_chart


def test_the_loss_curve_is_a_small_picture():
    epochs = [[number, 0.7 / (1 + number), 0.7 / (1 + number) + 0.01] for number in range(12)]
    assert len(chart_markdown(loss_chart(epochs))) < 25_000
