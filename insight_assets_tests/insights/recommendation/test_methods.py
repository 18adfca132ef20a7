from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from insight_assets.insights.recommendation import methods
from insight_assets.insights.recommendation.interactions import (
    history_of,
    interactions,
    purchases,
)
from insight_assets.insights.recommendation.methods import (
    DEFAULT_TUNINGS,
    METHODS,
    available_products,
    fit,
    log_popularity,
    tune,
)
from insight_assets.insights.recommendation.ranking import Policy, evidence, rank
from insight_assets_tests.insights.recommendation.shops import DAY, day, paired_shop, sales, vectors_of


@pytest.fixture(scope="module")
def shop():
    return paired_shop()


@pytest.fixture(scope="module")
def contacts(shop):
    return interactions(shop, as_of=DAY).collect()


def test_every_method_has_a_ranker(contacts):
    fitted = fit(contacts, as_of=DAY, vectors=vectors_of(contacts))
    assert set(fitted.rankers) == {method.name for method in METHODS}
    assert fitted.methods == METHODS
    without = fit(contacts, as_of=DAY)
    assert {method.name for method in METHODS} - {method.name for method in without.methods} == {"encoder"}
    assert [method.complexity for method in METHODS] == list(range(len(METHODS)))
    assert METHODS[0].kind == "rule"


def test_the_encoder_ranks_by_vectors_and_serves_who_has_none(contacts):
    vectors = vectors_of(contacts)
    fitted = fit(contacts, as_of=DAY, vectors=vectors)
    history = history_of(contacts, fitted.catalogue)
    encoder = fitted.rankers["encoder"]
    known = {key: np.array(vector) for key, vector in vectors.customers.select("customer_key", "vector").iter_rows()}
    of_products = dict(zip(vectors.products.products, vectors.products.vectors, strict=True))
    asked = known[history.customers[3]] + vectors.products.question
    expected = [
        12.0 * of_products[product] @ asked / np.linalg.norm(asked) + base
        for product, base in zip(fitted.catalogue.products, encoder.base, strict=True)
    ]
    np.testing.assert_allclose(encoder.scores(history, Policy())[3], expected, rtol=1e-5)
    some = fitted.knowing(vectors.customers.filter(pl.col("customer_key") != history.customers[3]).reverse())
    left = some.rankers["encoder"].scores(history, Policy())
    np.testing.assert_array_equal(left[3], encoder.base)
    others = np.arange(len(history)) != 3
    np.testing.assert_array_equal(left[others], encoder.scores(history, Policy())[others])
    # Vectors of an encoder that was taught again lie in another space, whatever their length.
    of_another = fitted.knowing(vectors.customers.with_columns(model_version=pl.lit("another")))
    assert (of_another.rankers["encoder"].scores(history, Policy()) == encoder.base).all()


def test_the_encoder_takes_part_in_the_blend_only_where_its_vectors_were_there(contacts, shop):
    later = purchases(shop, after=day(20), until=DAY).collect()
    earlier = interactions(shop, as_of=day(20)).collect()
    arguments = {"as_of": day(20), "policy": Policy(repeat_purchases=False)}
    found = tune(earlier, later, vectors=vectors_of(earlier), **arguments)
    assert "encoder" in found.methods
    assert set(tune(earlier, later, **arguments).methods) == set(found.methods) - {"encoder"}
    only = replace(found, blend={"encoder": 1.0, "ease": 1.0})
    vectors = vectors_of(contacts)
    fitted = fit(contacts, as_of=DAY, tunings=only, vectors=replace(vectors, customers=vectors.customers.clear()))
    history = history_of(contacts, fitted.catalogue)
    blank, told = (of.rankers["blend"].scores(history, Policy()) for of in (fitted, fitted.knowing(vectors.customers)))
    assert (blank != told).any()


def test_popularity_counts_buyers_and_not_looks():
    lines = sales([(1, "a", 3), (1, "a", 4), (2, "b", 3), (3, "b", 3), (4, "c", 90)])
    fitted = fit(interactions(lines, as_of=DAY).collect(), as_of=DAY)
    assert fitted.catalogue.products == ("b", "a", "c")
    assert fitted.rankers["popularity_recent"].base.tolist() == [2, 1, 0]
    assert fitted.rankers["popularity_all"].base.tolist() == [2, 1, 1]
    assert log_popularity(fitted.catalogue).tolist() == pytest.approx(
        [1.0, np.log(2) / np.log(3), 0.0]
    )


@pytest.mark.parametrize("name", ["item_knn", "ease", "order_rules"])
def test_a_planted_association_is_recovered_with_its_reason(contacts, name):
    fitted = fit(contacts, as_of=DAY)
    products = fitted.catalogue.products
    weights = fitted.rankers[name].neighbours.toarray()
    for pair in range(10):
        first, second = products.index(f"a{pair}"), products.index(f"b{pair}")
        assert weights[first].argmax() == second
        assert weights[second].argmax() == first
    # Whoever has the first half only is told of the second one because of the first.
    lines = sales([(1, "a3", 5)])
    history = history_of(interactions(lines, as_of=DAY).collect(), fitted.catalogue)
    ranker = methods.Ranker(
        base=np.zeros(len(products), dtype=np.float32), neighbours=fitted.rankers[name].neighbours
    )
    available = np.ones(len(products), dtype=bool)
    lists = rank(ranker, history, available=available, policy=Policy(repeat_purchases=False))
    assert products[lists.items[0, 0]] == "b3"
    assert products[evidence(ranker, history, lists)[0, 0]] == "a3"


def test_fitting_does_not_depend_on_the_order_of_rows(contacts):
    one = fit(contacts, as_of=DAY)
    other = fit(contacts.sample(fraction=1.0, shuffle=True, seed=3), as_of=DAY)
    assert one.catalogue.products == other.catalogue.products
    history = history_of(contacts, one.catalogue)
    for name in one.rankers:
        lists, again = (
            rank(
                each.rankers[name].among(history),
                history,
                available=np.ones(len(one.catalogue), dtype=bool),
                policy=Policy(),
            )
            for each in (one, other)
        )
        np.testing.assert_array_equal(lists.items, again.items, err_msg=name)
        np.testing.assert_array_equal(lists.scores, again.scores, err_msg=name)


def test_a_long_tail_goes_around_the_ridge(contacts):
    fitted = fit(contacts, as_of=DAY, dense_items=20)
    weights = fitted.rankers["ease"].neighbours
    assert weights.shape == (50, 50)
    least = np.lexsort((np.arange(50), -fitted.catalogue.buyers))[20:]
    assert weights[least].nnz > 0


def test_settings_are_chosen_on_the_closed_horizon_alone(shop):
    earlier = interactions(shop, as_of=day(40)).collect()
    bought = purchases(shop, after=day(40), until=DAY).collect()
    found = tune(earlier, bought, as_of=day(40), policy=Policy(repeat_purchases=False))
    assert found == tune(
        earlier.sample(fraction=1.0, shuffle=True, seed=1),
        bought.sample(fraction=1.0, shuffle=True, seed=2),
        as_of=day(40),
        policy=Policy(repeat_purchases=False),
    )
    # Nobody buys one of these products twice, so own purchases earn nothing under any policy.
    assert tune(earlier, bought, as_of=day(40), policy=Policy()).methods["ease"].repeat == 0.0


def test_too_few_customers_leave_the_default_settings():
    lines = sales([(customer, "a", ago) for customer in range(20) for ago in (50, 5)])
    earlier = interactions(lines, as_of=day(40)).collect()
    bought = purchases(lines, after=day(40), until=DAY).collect()
    assert tune(earlier, bought, as_of=day(40), policy=Policy()) == DEFAULT_TUNINGS


def test_a_product_without_contact_for_long_is_taken_for_gone():
    lines = sales([(1, "gone", 180), (1, "here", 179)])
    fitted = fit(interactions(lines, as_of=DAY).collect(), as_of=DAY)
    found = available_products(fitted.catalogue, as_of=DAY, policy=Policy(available_days=180))
    assert dict(zip(fitted.catalogue.products, found.tolist(), strict=True)) == {
        "gone": False,
        "here": True,
    }


def test_a_shop_without_any_contact_can_be_fitted():
    fitted = fit(interactions(sales([]), as_of=DAY).collect(), as_of=DAY)
    assert len(fitted.catalogue) == 0
    nothing = pl.DataFrame(schema={"customer_key": pl.Int64, "product_id": pl.String})
    earlier = interactions(sales([]), as_of=day(40)).collect()
    assert tune(earlier, nothing, as_of=day(40), policy=Policy()) == DEFAULT_TUNINGS
