import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.insights.churn.rivals import recency_score


@given(st.lists(st.integers(0, 3_000), min_size=2, unique=True), st.integers(1, 400))
def test_recency_only_grows(days, horizon):
    score = recency_score(np.sort(days), horizon_days=horizon)
    assert (np.diff(score) >= 0).all()
    assert 0 <= score.min() <= score.max() <= 1


def test_who_never_bought_is_gone():
    assert recency_score(np.array([np.nan, 5.0]), horizon_days=30)[0] == 1
