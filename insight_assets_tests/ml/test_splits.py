from datetime import date, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.ml.splits import closed_origins, customer_groups, mixed_keys

DAYS = st.dates(date(2020, 1, 1), date(2030, 1, 1))


def test_groups_are_even_and_for_ever_the_same():
    groups = customer_groups(np.arange(100_000), 10)
    share = np.bincount(groups, minlength=10) / len(groups)
    assert np.abs(share - 0.1).max() < 0.005
    # Written down: another release must not deal customers out anew.
    assert customer_groups(np.array([1, 2, 3, 4, 5, 2**62]), 10).tolist() == [5, 0, 3, 8, 8, 5]


def test_a_salt_gives_an_independent_grouping():
    keys = np.arange(50_000)
    together = customer_groups(keys, 10) == customer_groups(keys, 10, salt=1)
    assert abs(together.mean() - 0.1) < 0.01


@given(st.lists(st.integers(-(2**62), 2**62), unique=True, min_size=1))
def test_mixing_keeps_keys_apart(keys):
    assert len(set(mixed_keys(np.array(keys)).tolist())) == len(keys)


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
    assert all(origin + timedelta(days=horizon) <= as_of for origin in origins)
    assert all((origin - first).days + 1 >= least for origin in origins)
    gaps = {a - b for a, b in pairwise(origins)}
    assert gaps <= {timedelta(days=spacing)}
    if history + 1 - horizon >= least:
        assert origins[0] == as_of - timedelta(days=horizon)
    else:
        assert origins == []


def test_mixing_is_the_published_one():
    # First output of splitmix64 from seed 0, as its authors give it.
    assert mixed_keys(np.array([0])).tolist() == [0xE220A8397B1DCDAF]
