from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.recommendation.grading import (
    grade_lists,
    hits,
    known_share,
    ndcg,
    recall,
    truth_of,
    without_repeats,
)
from insight_assets.insights.recommendation.interactions import (
    catalogue_of,
    history_of,
    interactions,
)
from insight_assets.insights.recommendation.listing import coverage
from insight_assets.insights.recommendation.methods import METHODS, available_products, fit
from insight_assets.insights.recommendation.ranking import NOBODY, Lists, Policy
from insight_assets.ml.referee import champion
from insight_assets_tests.insights.recommendation.shops import DAY, paired_shop, sales, vectors_of

LOG3 = np.log2(3)


def known(rows):
    contacts = interactions(sales(rows), as_of=DAY).collect()
    catalogue = catalogue_of(contacts, as_of=DAY)
    return catalogue, history_of(contacts, catalogue)


def bought(*pairs):
    return pl.DataFrame(
        pairs, schema={"customer_key": pl.Int64, "product_id": pl.String}, orient="row"
    )


def test_truth_keeps_products_that_nobody_could_know_in_the_sizes():
    catalogue, history = known([(1, "a", 1), (2, "b", 1), (4, "a", 2)])
    truth = truth_of(bought((4, "a"), (4, "unheard of"), (1, "b"), (9, "a")), history, catalogue)
    assert history.customers[truth.rows].tolist() == [1, 4]
    assert truth.sizes.tolist() == [1, 2]
    assert truth.bought.toarray().sum(axis=1).tolist() == [1, 1]
    assert known_share(truth) == pytest.approx(2 / 3, abs=1e-6)


def test_new_products_are_those_not_bought_before():
    catalogue, history = known([(1, "a", 1), (1, "b", 2), (2, "a", 1)])
    truth = truth_of(bought((1, "a"), (1, "b"), (2, "a"), (2, "b")), history, catalogue)
    fresh = without_repeats(truth, history)
    assert history.customers[fresh.rows].tolist() == [2]
    assert fresh.sizes.tolist() == [1]
    assert fresh.bought.toarray().tolist() == [[product == "b" for product in catalogue.products]]


def test_metrics_by_hand():
    catalogue, history = known([(1, "a", 1), (1, "b", 1), (1, "c", 1), (1, "d", 1)])
    assert catalogue.products == ("a", "b", "c", "d")
    truth = truth_of(bought((1, "a"), (1, "c"), (1, "unheard of")), history, catalogue)
    lists = Lists(items=np.array([[1, 2, NOBODY]]), scores=np.array([[2.0, 1.0, np.nan]]))
    found = hits(lists, truth)
    assert found.tolist() == [[False, True, False]]
    # One hit in place 2; the best list of three places would hit in all of them.
    assert ndcg(found, truth.sizes) == pytest.approx([(1 / LOG3) / (1 + 1 / LOG3 + 1 / 2)])
    assert recall(found, truth.sizes) == pytest.approx([1 / 3])
    assert coverage(lists, np.array([True, True, True, False])) == pytest.approx(2 / 3)


def test_a_perfect_list_scores_one_even_when_it_is_longer_than_the_truth():
    found = np.array([[True, False, False], [True, True, True]])
    assert ndcg(found, np.array([1, 7])).tolist() == [1.0, 1.0]


ALLOWED = Policy()


def grade(lines, *, policy=ALLOWED, origin=DAY):
    contacts = interactions(lines, as_of=origin).collect()
    fitted = fit(contacts, as_of=origin, vectors=vectors_of(contacts))
    history = history_of(contacts, fitted.catalogue)
    later = lines.filter(pl.col("event_day") > origin).select("customer_key", "product_id")
    return grade_lists(
        fitted.rankers,
        fitted.methods,
        history,
        truth_of(later.unique().collect(), history, fitted.catalogue),
        catalogue=fitted.catalogue,
        available=available_products(fitted.catalogue, as_of=origin, policy=policy),
        policy=policy,
        origin=origin,
        seed=1,
        model_version="0123456789ab",
    )


@pytest.fixture(scope="module")
def shop():
    return paired_shop()


def test_the_scorecard_obeys_its_contract(shop):
    scorecard = grade(shop.with_columns(event_day=pl.col("event_day").dt.offset_by("20d")))
    table = contract("recommendation_scorecard")
    assert scorecard.schema == table.polars_schema()
    for rule in table.row_rules():
        assert scorecard.select(rule.passes.all()).item(), rule.name
    assert scorecard.height == 8 * len(METHODS)
    assert not scorecard.select(table.primary_key).is_duplicated().any()
    shop_wide = scorecard.filter(pl.col("metric").is_in(["coverage", "exposure_gini"]))
    assert shop_wide["low"].null_count() == shop_wide.height == 2 * len(METHODS)
    gained = scorecard.filter(pl.col("gain").is_not_null())
    assert gained["metric"].unique().to_list() == ["ndcg_at_10"]


def test_a_method_that_learns_pairs_wins_where_purchases_are_new(shop):
    lines = shop.with_columns(event_day=pl.col("event_day").dt.offset_by("30d"))
    scorecard = grade(lines, policy=Policy(repeat_purchases=False))
    best = champion(scorecard)
    assert best in {"order_rules", "item_knn", "user_knn", "ease", "als", "blend"}
    assert scorecard.filter(pl.col("method") == best)["grade"].unique().to_list() == ["A"]
    value = {
        row["method"]: row["value"]
        for row in scorecard.filter(pl.col("metric") == "new_ndcg_at_10").iter_rows(named=True)
    }
    assert value[best] > 1.5 * value["popularity_recent"]
    assert min(value["item_knn"], value["ease"], value["order_rules"]) > 1.2 * value["popularity_recent"]


def test_nothing_is_surely_better_than_the_rule_where_purchases_are_chance():
    generator = np.random.default_rng(5)
    rows = [
        (customer, f"p{product}", ago)
        for customer in range(200)
        for ago in (60, 30, -5)
        for product in generator.choice(40, size=2, replace=False)
    ]
    scorecard = grade(sales(rows), policy=Policy(repeat_purchases=False))
    assert champion(scorecard) == METHODS[0].name


def test_habit_wins_where_everybody_buys_the_same_again():
    generator = np.random.default_rng(3)
    rows = []
    for customer in range(200):
        for product in generator.choice(60, size=4, replace=False):
            rows += [(customer, f"p{product}", ago) for ago in (60, 30, -5)]
    assert champion(grade(sales(rows))) == "bought_before"


def test_nobody_to_grade_gives_an_empty_scorecard():
    assert grade(sales([(1, "a", 5)]), origin=DAY).is_empty()
    only_strangers = sales([(1, "a", 5), (2, "a", -5)])
    assert grade(only_strangers, origin=date(2025, 3, 1)).is_empty()
