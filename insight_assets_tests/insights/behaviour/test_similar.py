"""What lies near what, by plain cosines."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.insights.behaviour import similar
from insight_assets.insights.behaviour.product_vectors import ProductVectors
from insight_assets.insights.behaviour.similar import category_lift, similar_customers, similar_products


def products(vectors) -> ProductVectors:
    unit = np.asarray(vectors, dtype=np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    names = tuple(f"p{number:03}" for number in range(len(unit)))
    return ProductVectors(names, unit, np.zeros(unit.shape[1], dtype=np.float32), "v1")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 1_000))
def test_the_nearest_are_those_of_all_cosines(count, most, seed):
    of = products(np.random.default_rng(seed).integers(-2, 3, (count, 3)) + 0.5)
    found = similar_products(of, [None] * count, most=most)
    cosines = (of.vectors @ of.vectors.T).astype(np.float64).round(5)
    expected = [
        (of.products[one], rank, of.products[other], cosines[one, other], None)
        for one in range(count)
        for rank, other in enumerate(
            sorted((o for o in range(count) if o != one), key=lambda o: (-cosines[one, o], o))[:most], start=1
        )
    ]
    assert found.rows() == expected


def test_the_number_looked_at_together_changes_nothing(monkeypatch):
    of = products(np.random.default_rng(3).normal(size=(50, 4)))
    whole = similar_products(of, [None] * 50)
    monkeypatch.setattr(similar, "AT_ONCE", 7)
    assert similar_products(of, [None] * 50).equals(whole)


def test_products_of_one_category_are_counted_against_chance():
    apart = np.repeat(np.eye(4), 5, axis=0) + 0.01 * np.random.default_rng(1).normal(size=(20, 4))
    categories = [f"c{number // 5}" for number in range(20)]
    told = similar_products(products(apart), categories, most=4)
    assert told["same_category"].all()
    assert category_lift(told, categories) == pytest.approx(1 / (4 / 19))
    mixed = np.random.default_rng(2).permutation(categories).tolist()
    assert category_lift(similar_products(products(apart), mixed, most=4), mixed) < 2
    assert category_lift(told, ["one"] * 20) is None
    some = [None, *categories[1:]]
    assert similar_products(products(apart), some, most=4).filter(product_id="p000")["same_category"].null_count() == 4


def test_customers_who_differ_alike_from_the_mean_are_alike():
    generator = np.random.default_rng(4)
    kinds = np.repeat(np.eye(3), 10, axis=0)
    vectors = 5.0 + kinds + 0.05 * generator.normal(size=kinds.shape)
    told = pl.DataFrame({"customer_key": range(100, 130), "vector": vectors.astype(np.float32).tolist()})
    mixed = told.sample(fraction=1, shuffle=True, seed=1)
    found = similar_customers(mixed, 115, most=9)
    assert set(found["customer_key"]) == set(range(110, 120)) - {115}
    assert found["cosine"].is_sorted(descending=True)
    assert similar_customers(told, 115, most=100).height == 29
    with pytest.raises(ValueError, match="customer 7 has no vector"):
        similar_customers(told, 7)
