from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.recommendation.interactions import history_of, interactions
from insight_assets.insights.recommendation.methods import METHODS, fit
from insight_assets.insights.recommendation.publishing import (
    Publication,
    publication,
    reason_shares,
    recommend,
)
from insight_assets.insights.recommendation.ranking import Policy
from insight_assets.ml.referee import SCORECARD_SCHEMA, Method, grade_methods
from insight_assets_tests.insights.recommendation.shops import DAY, looks, paired_shop, sales, vectors_of

ORIGIN = date(2025, 1, 30)


ALLOWED = Policy()


def publish(lines, events=None, *, method="ease", policy=ALLOWED, names=None):
    contacts = interactions(lines, events, as_of=DAY).collect()
    fitted = fit(contacts, as_of=DAY, vectors=vectors_of(contacts))
    products = pl.DataFrame(
        {"product_id": list(names or {}), "product_name": list((names or {}).values())},
        schema={"product_id": pl.String, "product_name": pl.String},
    )
    return recommend(
        fitted,
        history_of(contacts, fitted.catalogue),
        products,
        publish=Publication(method, "A", ORIGIN),
        policy=policy,
        horizon_days=30,
        model_version="0123456789ab",
    )


@pytest.fixture(scope="module")
def shop():
    return paired_shop(customers=120)


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_lists_obey_their_contract(shop, method):
    lists = publish(shop, method=method)
    table = contract("recommendations")
    assert lists.schema == table.polars_schema()
    for rule in table.row_rules():
        assert lists.select(rule.passes.all()).item(), rule.name
    ranks = lists.group_by("customer_key").agg(
        pl.col("rank").sort(), products=pl.col("product_id").n_unique()
    )
    assert (ranks["products"] == 10).all()
    assert ranks["rank"].to_list() == [list(range(1, 11))] * ranks.height
    falling = pl.col("score").diff().over("customer_key").fill_null(0.0)
    assert lists.select((falling <= 0).all()).item()


def test_lists_do_not_depend_on_the_order_of_rows(shop):
    shuffled = shop.collect().sample(fraction=1.0, shuffle=True, seed=5).lazy()
    assert_frame_equal(publish(shop), publish(shuffled))


def test_nothing_after_the_as_of_day_changes_lists(shop):
    later = sales([(1, f"a{i}", -3) for i in range(9)] + [(999, "unheard of", -1)])
    assert_frame_equal(publish(shop), publish(pl.concat([shop, later])))


def test_reasons_in_english_and_chinese():
    others = [(c, p, 40) for c in range(10, 40) for p in ("cup", "saucer")]
    others += [(c, f"p{c % 3}", 10) for c in range(50, 90)]
    others += [(c, p, 12) for c in range(100, 130) for p in ("lamp", "bulb")]
    lines = sales([(1, "cup", 3), *others])
    events = looks([(1, "lamp", 1, "product_added")])
    lists = publish(lines, events, names={"cup": "Blue cup", "saucer": "Saucer"})
    of_1 = {row["product_id"]: row for row in lists.filter(customer_key=1).iter_rows(named=True)}

    assert of_1["cup"]["reason"] == "bought before"
    assert of_1["cup"]["reason_zh"] == "曾经购买"
    assert of_1["cup"]["because_product_id"] == "cup"
    assert of_1["saucer"]["reason"] == "bought with Blue cup"
    assert of_1["saucer"]["reason_zh"] == "常与“Blue cup”一起购买"
    assert of_1["saucer"]["because_product_id"] == "cup"
    assert of_1["lamp"]["reason"] == "looked at lately"
    # A product that never had a name is called by its id.
    assert of_1["bulb"]["reason"] == "goes with lamp, looked at lately"
    assert of_1["bulb"]["product_name"] is None
    assert of_1["p0"]["reason"] == "popular in the last 28 days"
    assert of_1["p0"]["reason_zh"] == "最近 28 天热销"
    assert of_1["p0"]["because_product_id"] is None


def test_reasons_of_popularity_lists():
    lines = sales([(1, "new", 3), (2, "old", 100), (3, "old", 100)])
    recent = publish(lines, method="popularity_recent")
    assert recent["reason"].unique().sort().to_list() == [
        "popular in the last 28 days",
        "popular with all customers",
    ]
    assert recent["model_version"].null_count() == recent.height
    always = publish(lines, method="popularity_all")
    assert always["reason"].unique().to_list() == ["popular with all customers"]
    assert always["product_id"].head(2).to_list() == ["old", "new"]


def test_every_reason_names_a_product_of_the_customer(shop):
    lists = publish(shop).filter(pl.col("because_product_id").is_not_null())
    owned = (
        interactions(shop, as_of=DAY)
        .collect()
        .select("customer_key", because_product_id="product_id")
    )
    assert lists.join(owned, on=["customer_key", "because_product_id"], how="anti").is_empty()


def test_products_bought_before_can_be_left_out(shop):
    lists = publish(shop, policy=Policy(repeat_purchases=False))
    owned = interactions(shop, as_of=DAY).collect()
    assert lists.join(owned, on=["customer_key", "product_id"], how="semi").is_empty()
    assert "bought before" not in lists["reason"].to_list()


def test_shares_of_reasons_count_every_place(shop):
    lists = publish(shop)
    assert reason_shares(lists)["places"].sum() == lists.height


def test_the_naive_rule_is_published_until_a_horizon_has_closed():
    assert publication(SCORECARD_SCHEMA.to_frame()) == Publication(
        "popularity_recent", "ungraded", None
    )


def test_the_champion_of_the_scorecard_is_published():
    scorecard = grade_methods(
        task="recommendation",
        origin=ORIGIN,
        methods=[Method("popularity_recent", "rule", 0), Method("ease", "model", 1)],
        truth=np.ones(50),
        predictions={"popularity_recent": np.zeros(50), "ease": np.linspace(0.1, 0.9, 50)},
        metrics={"ndcg_at_10": lambda _, values: float(values.mean())},
        primary="ndcg_at_10",
        higher_is_better={"ndcg_at_10": True},
        seed=1,
    )
    assert publication(scorecard) == Publication("ease", "A", ORIGIN)
