import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from insight_assets.insights.recommendation import neighbours
from insight_assets.insights.recommendation.neighbours import (
    cosine_neighbours,
    ease,
    ease_with_tail,
)

CONTACTS = arrays(np.float64, (8, 5), elements=st.sampled_from([0.0, 0.0, 0.1, 0.3, 1.0]))


def textbook_ease(contacts: np.ndarray, ridge: float) -> np.ndarray:
    """Steck 2019, figure 1: the algorithm in four lines of NumPy."""
    gram = contacts.T @ contacts
    gram[np.diag_indices(len(gram))] += ridge
    precision = np.linalg.inv(gram)
    weights = precision / (-np.diag(precision))
    weights[np.diag_indices(len(weights))] = 0.0
    return weights


@given(CONTACTS, st.sampled_from([0.5, 10.0, 200.0]))
def test_ease_is_the_textbook_formula(contacts, ridge):
    found = ease(sparse.csr_matrix(contacts), ridge=ridge, keep=5).toarray()
    np.testing.assert_allclose(found, textbook_ease(contacts, ridge), atol=2e-6)


def test_ease_minimises_its_objective():
    generator = np.random.default_rng(1)
    contacts = (generator.random((40, 6)) < 0.4).astype(float)
    ridge = 3.0
    weights = ease(sparse.csr_matrix(contacts), ridge=ridge, keep=6).toarray().astype(float)

    def loss(candidate):
        return ((contacts - contacts @ candidate) ** 2).sum() + ridge * (candidate**2).sum()

    best = loss(weights)
    for _ in range(50):
        step = 1e-2 * generator.standard_normal(weights.shape)
        np.fill_diagonal(step, 0.0)
        assert loss(weights + step) > best


def test_ease_does_not_depend_on_the_blocks_it_is_worked_in(monkeypatch):
    contacts = sparse.csr_matrix((np.random.default_rng(2).random((30, 9)) < 0.3).astype(float))
    whole = ease(contacts, ridge=5.0, keep=4)
    monkeypatch.setattr(neighbours, "BLOCK_CELLS", 20)
    assert (ease(contacts, ridge=5.0, keep=4) != whole).nnz == 0


@given(CONTACTS)
def test_neighbours_without_shrinkage_are_the_dense_cosine(contacts):
    norms = np.linalg.norm(contacts, axis=0)
    expected = contacts.T @ contacts / np.maximum(np.outer(norms, norms), 1e-12)
    np.fill_diagonal(expected, 0.0)
    found = cosine_neighbours(sparse.csr_matrix(contacts), shrink=0.0, keep=5).toarray()
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_shrinkage_weakens_pairs_seen_seldom():
    # Items 0 and 1 were bought together by two customers, items 2 and 3 by one.
    contacts = sparse.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=float))
    found = cosine_neighbours(contacts, shrink=1.0, keep=4).toarray()
    assert found[0, 1] == pytest.approx(2 / 3)
    assert found[2, 3] == pytest.approx(1 / 2)


def test_only_the_strongest_weights_of_a_row_are_kept():
    generator = np.random.default_rng(3)
    contacts = sparse.csr_matrix((generator.random((60, 12)) < 0.4).astype(float))
    whole = ease(contacts, ridge=2.0, keep=12).toarray()
    kept = ease(contacts, ridge=2.0, keep=3)
    assert np.diff(kept.indptr).tolist() == [3] * 12
    for row, found in zip(whole, kept.toarray(), strict=True):
        strongest = np.sort(np.abs(row))[-3:]
        np.testing.assert_allclose(np.sort(np.abs(found[found != 0])), strongest)


def test_products_outside_the_ridge_keep_cosine_weights_on_its_scale():
    generator = np.random.default_rng(4)
    contacts = sparse.csr_matrix((generator.random((80, 7)) < 0.4).astype(float))
    dense = np.array([0, 2, 3, 5])
    cosine = cosine_neighbours(contacts, shrink=5.0, keep=7)
    found = ease_with_tail(contacts, cosine, ridge=4.0, keep=7, dense_items=dense).toarray()
    core = ease(contacts[:, dense].tocsr(), ridge=4.0, keep=7).toarray()
    np.testing.assert_allclose(found[np.ix_(dense, dense)], core)
    tail = np.setdiff1d(np.arange(7), dense)
    ratio = (
        found[tail][cosine.toarray()[tail] > 0] / cosine.toarray()[tail][cosine.toarray()[tail] > 0]
    )
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_an_empty_matrix_has_no_neighbours():
    nothing = sparse.csr_matrix((0, 0))
    assert cosine_neighbours(nothing, shrink=1.0, keep=3).shape == (0, 0)
    assert ease(nothing, ridge=1.0, keep=3).shape == (0, 0)


def test_a_ridge_must_be_positive():
    with pytest.raises(ValueError, match="above 0"):
        ease(sparse.csr_matrix(np.eye(2)), ridge=0.0, keep=2)
