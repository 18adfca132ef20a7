import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from insight_assets.insights.recommendation import ranking
from insight_assets.insights.recommendation.interactions import History
from insight_assets.insights.recommendation.ranking import (
    NOBODY,
    Policy,
    Ranker,
    evidence,
    rank,
    top,
)


def history(*customers: list[tuple[int, float, int, int]]) -> History:
    """A history from (item, weight, age, purchase days) of every customer."""
    contacts = [contact for customer in customers for contact in sorted(customer)]
    items, weights, ages, days = zip(*contacts, strict=True)
    return History(
        customers=np.arange(len(customers)) * 10,
        offsets=np.concatenate([[0], np.cumsum([len(customer) for customer in customers])]),
        items=np.array(items, dtype=np.int32),
        weights=np.array(weights, dtype=np.float32),
        ages=np.array(ages, dtype=np.int32),
        purchase_days=np.array(days, dtype=np.int32),
        stages=np.ones(len(customers), dtype=np.int8),
    )


def base(*scores: float) -> np.ndarray:
    return np.array(scores, dtype=np.float32)


def weights(size: int, cells: dict[tuple[int, int], float]) -> sparse.csr_matrix:
    matrix = sparse.lil_matrix((size, size), dtype=np.float32)
    for cell, value in cells.items():
        matrix[cell] = value
    return matrix.tocsr()


EVERYTHING = np.ones(4, dtype=bool)
SHORT = Policy(length=3)


def test_popularity_lists_are_the_same_for_everybody():
    ranker = Ranker(base=base(1, 5, 3, 5))
    lists = rank(
        ranker,
        history([(0, 1.0, 0, 1)], [(2, 1.0, 0, 1)]),
        available=EVERYTHING,
        policy=SHORT,
    )
    assert lists.items.tolist() == [[1, 3, 2], [1, 3, 2]]
    assert lists.scores.tolist() == [[5, 5, 3], [5, 5, 3]]


def test_scores_add_faded_neighbours_own_purchases_and_base():
    ranker = Ranker(
        base=base(0.1, 0.2, 0.3, 0.4),
        neighbours=weights(4, {(0, 2): 0.5, (1, 2): 1.0, (1, 3): -2.0}),
        decay=0.5,
        repeat=2.0,
    )
    served = history([(0, 1.0, 0, 3), (1, 0.3, 2, 0)])
    lists = rank(ranker, served, available=EVERYTHING, policy=Policy(length=4))
    faded = 0.3 * np.exp(-1.0)
    expected = {
        0: 0.1 + 2.0 * np.log2(4),
        1: 0.2 + 2.0 * faded,
        2: 0.3 + 0.5 + faded,
        3: 0.4 - 2.0 * faded,
    }
    found = dict(zip(lists.items[0].tolist(), lists.scores[0].tolist(), strict=True))
    assert list(found) == [0, 2, 1, 3]
    assert found == pytest.approx(expected, rel=1e-6)


def test_products_bought_before_can_be_left_out():
    ranker = Ranker(base=base(4, 3, 2, 1))
    served = history([(0, 1.0, 0, 1), (1, 0.1, 0, 0)])
    lists = rank(
        ranker, served, available=EVERYTHING, policy=Policy(repeat_purchases=False, length=4)
    )
    assert lists.items.tolist() == [[1, 2, 3, NOBODY]]
    assert np.isnan(lists.scores[0, 3])


def test_products_that_are_gone_are_left_out():
    available = np.array([True, False, True, False])
    lists = rank(
        Ranker(base=base(1, 9, 2, 9)),
        history([(0, 1.0, 0, 1)]),
        available=available,
        policy=SHORT,
    )
    assert lists.items.tolist() == [[2, 0, NOBODY]]


SCORES = arrays(
    np.float32,
    (6, 9),
    elements=st.sampled_from([-3.5, -1.0, -0.0, 0.0, 1e-30, 0.25, 0.5, 1.0, 7.0]),
)


@given(SCORES, arrays(bool, 9), st.integers(1, 12))
def test_the_top_is_the_start_of_a_stable_sort(scores, available, length):
    served = history(*([(0, 1.0, 0, 1)] for _ in range(6)))
    lists = top(scores, served, available=available, policy=Policy(length=length))
    for row, items, values in zip(scores, lists.items, lists.scores, strict=True):
        expected = [i for i in np.argsort(-row, kind="stable") if available[i]][:length]
        assert items[items != NOBODY].tolist() == expected
        assert values[items != NOBODY].tolist() == row[expected].tolist()


def test_batches_do_not_change_lists(monkeypatch):
    generator = np.random.default_rng(5)
    served = history(
        *(
            [(int(i), 1.0, int(generator.integers(3)), 1) for i in generator.choice(20, 4, False)]
            for _ in range(30)
        )
    )
    ranker = Ranker(
        base=base(*generator.random(20)),
        neighbours=sparse.random(20, 20, 0.3, format="csr", dtype=np.float32, random_state=1),
        decay=0.1,
        repeat=0.5,
    )
    available = np.ones(20, dtype=bool)
    whole = rank(ranker, served, available=available, policy=SHORT)
    reasons = evidence(ranker, served, whole)
    monkeypatch.setattr(ranking, "BATCH_CELLS", 70)
    parts = rank(ranker, served, available=available, policy=SHORT)
    np.testing.assert_array_equal(whole.items, parts.items)
    np.testing.assert_array_equal(whole.scores, parts.scores)
    np.testing.assert_array_equal(reasons, evidence(ranker, served, parts))


def test_the_reason_is_the_contact_that_contributed_most():
    ranker = Ranker(
        base=base(0, 0, 0, 0.01),
        neighbours=weights(4, {(0, 2): 0.5, (1, 2): 0.4}),
        decay=1.0,
        repeat=1.0,
    )
    # For the first customer product 0 was long ago, so product 1 speaks louder for product 2.
    served = history(
        [(0, 1.0, 2, 1), (1, 1.0, 0, 1)],
        [(0, 1.0, 0, 1), (1, 1.0, 1, 1)],
    )
    lists = rank(ranker, served, available=EVERYTHING, policy=Policy(length=4))
    because = evidence(ranker, served, lists)
    reasons = [
        dict(zip(items.tolist(), found.tolist(), strict=True))
        for items, found in zip(lists.items, because, strict=True)
    ]
    assert reasons[0] == {0: 0, 1: 1, 2: 1, 3: NOBODY}
    assert reasons[1] == {0: 0, 1: 1, 2: 0, 3: NOBODY}


def test_popularity_is_the_reason_where_contacts_hardly_count():
    ranker = Ranker(base=base(0, 10, 0, 0), neighbours=weights(4, {(0, 1): 0.5, (0, 2): 0.5}))
    served = history([(0, 1.0, 0, 1)])
    lists = rank(ranker, served, available=EVERYTHING, policy=Policy(length=2))
    assert lists.items.tolist() == [[1, 2]]
    assert evidence(ranker, served, lists).tolist() == [[NOBODY, 0]]


@given(st.integers(0, 10_000))
def test_reasons_point_to_products_in_the_customers_history(seed):
    generator = np.random.default_rng(seed)
    served = history(
        *(
            [(int(i), 1.0, 0, int(generator.integers(2))) for i in generator.choice(12, 3, False)]
            for _ in range(5)
        )
    )
    ranker = Ranker(
        base=base(*generator.random(12)),
        neighbours=sparse.random(12, 12, 0.4, format="csr", dtype=np.float32, random_state=seed),
        repeat=0.3,
    )
    lists = rank(ranker, served, available=np.ones(12, dtype=bool), policy=SHORT)
    for row, because in enumerate(evidence(ranker, served, lists)):
        owned = served.items[served.offsets[row] : served.offsets[row + 1]].tolist()
        assert set(because.tolist()) <= {*owned, NOBODY}
