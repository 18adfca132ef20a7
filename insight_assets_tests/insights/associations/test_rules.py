"""What is published of a shop with planted associations, and of one without any."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.associations.baskets import basket_rows, baskets_of
from insight_assets.insights.associations.recounting import findings_by_chance, recount
from insight_assets.insights.associations.rules import associate, named
from insight_assets.insights.associations.shuffling import same_products, same_sizes
from insight_assets_tests.insights.associations.orders import DAY, order_lines, planted_orders

NAMES = pl.DataFrame({"product_id": ["bread", "butter"], "product_name": ["Rye bread", "Butter"]})


def orders_of(lines):
    return basket_rows(lines.lazy(), as_of=DAY, window_days=180).collect()


def found(lines, **arguments):
    return associate(baskets_of(orders_of(lines)), as_of=DAY, **({"smallest_group": 10} | arguments))


@pytest.fixture(scope="module")
def lines():
    return planted_orders()


@pytest.fixture(scope="module")
def associations(lines):
    return named(found(lines).rows, NAMES)


def test_rows_obey_their_contract(associations):
    table = contract("product_associations")
    assert associations.schema == table.polars_schema()
    for rule in table.row_rules():
        assert associations.select(rule.passes.all()).item(), rule.name
    assert associations["rank"].to_list() == list(range(1, associations.height + 1))
    assert associations["lift_low"].is_sorted(descending=True)


def test_planted_associations_are_found_and_no_others(associations):
    # What gin and tonic bring makes each of them go with lemon, and lemon tell of both.
    sets = {
        frozenset(filter(None, (row["product_id"], row["with_product_id"], row["then_product_id"])))
        for row in associations.iter_rows(named=True)
    }
    assert {frozenset({"bread", "butter"}), frozenset({"gin", "tonic", "lemon"})} <= sets
    planted = {"bread", "butter", "gin", "tonic", "lemon"}
    assert sum(not chosen <= planted for chosen in sets) <= 0.05 * max(len(sets), 20)
    to_lemon = associations.filter((pl.col("size") == 3) & (pl.col("then_product_id") == "lemon"))
    assert to_lemon.select("product_id", "with_product_id").rows() == [("gin", "tonic")]
    assert to_lemon["confidence"].item() == 1.0


def test_numbers_by_hand(associations, lines):
    row = associations.filter((pl.col("product_id") == "bread") & (pl.col("then_product_id") == "butter")).row(
        0, named=True
    )
    orders = lines.group_by("order_id").agg(pl.col("product_id"), pl.col("customer_key").first())
    holds = {name: orders["product_id"].list.contains(name) for name in ("bread", "butter")}
    both = orders.filter(holds["bread"] & holds["butter"])
    assert row["baskets"] == orders.height
    assert row["baskets_together"] == both.height
    assert row["customers"] == both["customer_key"].n_unique()
    assert row["support"] == pytest.approx(both.height / orders.height, abs=1e-6)
    assert row["confidence"] == pytest.approx(both.height / holds["bread"].sum(), abs=1e-6)
    assert row["lift"] == pytest.approx(row["confidence"] * orders.height / holds["butter"].sum(), abs=1e-4)
    assert (row["product_name"], row["then_product_name"]) == ("Rye bread", "Butter")


def test_what_few_customers_buy_is_not_shown(lines):
    alone = lines.with_columns(
        customer_key=pl.when(pl.col("product_id").is_in(["bread", "butter"]).any().over("order_id"))
        .then(7)
        .otherwise("customer_key")
    )
    kept = found(alone)
    assert kept.significant > 0
    assert "butter" not in kept.rows["then_product_id"].to_list()
    assert "butter" in found(alone, smallest_group=1).rows["then_product_id"].to_list()


def test_only_the_surest_sets_are_published_where_there_are_many(lines, associations):
    few = found(lines, most_sets=1).rows
    assert 1 <= few.height < associations.height
    assert few["lift_low"][0] == associations["lift_low"][0]


def test_rows_in_another_order_give_the_same_table(lines, associations):
    again = named(found(lines.sample(fraction=1.0, shuffle=True, seed=4)).rows, NAMES)
    assert_frame_equal(again, associations)


def test_a_window_holds_its_last_day_and_not_the_one_before_its_first():
    lines = order_lines([(1, "a", "x", 0), (1, "b", "y", 9), (1, "c", "z", 10), (None, "d", "w", 1), (1, "e", "v", -1)])
    robots = lines.with_columns(traffic=pl.lit("robot"), product_id=pl.lit("r"))
    refunds = lines.with_columns(kind=pl.lit("refund"), product_id=pl.lit("f"))
    rows = basket_rows(pl.concat([lines, robots, refunds]).lazy(), as_of=DAY, window_days=10).collect()
    assert sorted(rows["product_id"]) == ["x", "y"]


@pytest.mark.parametrize("rows", [[], [(1, "a", "x", 0)], [(1, "a", "x", 0), (1, "a", "y", 0)]])
def test_shops_with_hardly_any_order_have_no_association(rows):
    nothing = found(order_lines(rows))
    assert nothing.rows.is_empty()
    assert named(nothing.rows, NAMES).schema == contract("product_associations").polars_schema()


def test_chance_finds_nothing_in_shuffled_baskets(lines):
    """At most one shuffle in twenty may find anything; of forty, more than five would be seen in 1 of 100 cases."""
    baskets = baskets_of(orders_of(lines))
    generator = np.random.default_rng(6)
    mixed = [same_products(baskets.contents, generator) for _ in range(10)]
    mixed += [same_sizes(baskets.contents, generator, rounds=5) for _ in range(10)]
    for one in mixed:
        assert (
            np.bincount(one.indices, minlength=45).tolist()
            == np.bincount(baskets.contents.indices, minlength=45).tolist()
        )
        assert one.data.max() == 1
    assert np.diff(mixed[-1].indptr).tolist() == np.diff(baskets.contents.indptr).tolist()
    assert (mixed[-1] != baskets.contents).nnz > 0
    discoveries = [
        associate(type(baskets)(baskets.products, baskets.customers, one), as_of=DAY, smallest_group=1) for one in mixed
    ]
    assert sum(each.significant > 0 for each in discoveries) <= 3


def test_the_check_by_chance_would_see_a_search_that_finds_everything(lines):
    baskets = baskets_of(orders_of(lines))
    assert findings_by_chance(baskets, seed=1) <= 1
    assert findings_by_chance(baskets, seed=1, false_discoveries=1.0) == 5
    assert findings_by_chance(baskets_of(orders_of(order_lines([]))), seed=1) == 0


def test_the_recount_sees_wrong_counts(lines, associations):
    orders = orders_of(lines)
    assert recount(associations, orders).wrong == 0
    assert recount(associations, orders).rows == min(20, associations.height)
    wrong = associations.with_columns(pl.col("baskets_together") + 1)
    assert recount(wrong, orders).wrong == min(20, associations.height)
    assert recount(associations.with_columns(customers=pl.lit(1, pl.Int64)), orders).wrong > 0
    assert recount(associations.clear(), orders).rows == 0
