from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.ml.origins import Origin, closed_origins

DAYS = st.dates(date(2020, 1, 1), date(2030, 1, 1))


@given(as_of=DAYS, horizon=st.integers(1, 400))
def test_a_window_begins_after_the_day_and_is_known_when_its_last_day_is(as_of, horizon):
    origin = Origin(as_of, horizon)
    assert len(origin.window) == horizon
    assert origin.window[0] == as_of + timedelta(days=1)
    assert origin.window[-1] == origin.closes
    assert origin.is_closed_by(origin.closes)
    assert not origin.is_closed_by(origin.closes - timedelta(days=1))
    assert origin.unseen(set(origin.window[:-1])) == (origin.closes,)


@given(as_of=DAYS, horizon=st.integers(1, 100), later=st.integers(0, 300))
def test_an_origin_teaches_only_those_whose_window_begins_after_its_own(as_of, horizon, later):
    teaches, graded = Origin(as_of, horizon), Origin(as_of + timedelta(days=later), horizon)
    shared = set(teaches.window) & set(graded.window)
    assert teaches.may_teach(graded) == (not shared)
    assert teaches.embargo_days(graded) == later - horizon


def test_a_window_without_days_is_refused():
    with pytest.raises(ValueError, match="at least 1 day"):
        Origin(date(2025, 1, 1), 0)


@given(
    as_of=DAYS,
    horizon=st.integers(1, 200),
    spacing=st.integers(1, 60),
    history=st.integers(0, 400),
    least=st.integers(1, 100),
    most=st.integers(1, 6),
)
def test_origins_are_closed_and_have_history(as_of, horizon, spacing, history, least, most):
    first = as_of - timedelta(days=history)
    origins = closed_origins(
        as_of,
        horizon_days=horizon,
        spacing_days=spacing,
        first_day=first,
        min_history_days=least,
        max_origins=most,
    )
    assert len(origins) <= most
    assert all(origin.is_closed_by(as_of) for origin in origins)
    assert all((origin.as_of - first).days + 1 >= least for origin in origins)
    gaps = {a.as_of - b.as_of for a, b in pairwise(origins)}
    assert gaps <= {timedelta(days=spacing)}
    if history + 1 - horizon >= least:
        assert origins[0] == Origin(as_of - timedelta(days=horizon), horizon)
    else:
        assert origins == []
