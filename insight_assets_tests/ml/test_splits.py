import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.ml.splits import customer_groups, mixed_keys


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


def test_mixing_is_the_published_one():
    # First output of splitmix64 from seed 0, as its authors give it.
    assert mixed_keys(np.array([0])).tolist() == [0xE220A8397B1DCDAF]
