"""Small shops whose truth is known: churn, value and kinds of customers are recovered, beside what could be known.

The simulator's orders and days of visits become rows of the contracts directly, without what was looked at, so that the
tests are fast: what is asked is less than `benchmarks.bench_recovery` reaches on whole histories.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import CALIBRATE, build_examples, feature_names
from insight_assets.features.labels import label_customers
from insight_assets.insights.churn.rivals import recency_score
from insight_assets.insights.lifetime_value.customers import buyers
from insight_assets.insights.lifetime_value.forecasts import BG_NBD, HISTORY, fit_probabilistic, probabilistic_forecast
from insight_assets.insights.lifetime_value.grading import spearman
from insight_assets.insights.segmentation import scaling
from insight_assets.insights.segmentation.clusters import cluster_customers
from insight_assets.insights.segmentation.k_means import K_MEANS
from insight_assets.ml.classifiers import LOGISTIC, fit_classifier, make_folds
from insight_assets.ml.metrics import auc
from insight_assets.ml.tabular import fit_feature_matrix
from insight_assets.simulator.customers import TYPES
from insight_assets.simulator.events import Kind
from insight_assets.simulator.oracles import foretell
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop, simulate_days
from insight_assets.simulator.truth import expected_order_net
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.simulated_histories import PLANTED

PLAN = SimulationPlan(customers=1_500, days=150, products=60, seed=11)
HORIZON, SEED = 30, 20250101
DAY = PLAN.days - 1 - HORIZON
ORIGIN = PLAN.day(DAY)


def simulated(plan, types=TYPES):
    """Orders of a shop, customers by position + 1, and the visits of each customer on each day."""
    visits, orders = np.zeros((plan.customers, plan.days), dtype=np.int16), []
    for index, day in enumerate(simulate_days(plan, types)):
        events = day.events
        who = events["customer"][(events["kind"] == Kind.PAGE_VIEWED) & (events["customer"] >= 0)]
        visits[:, index] = np.bincount(who, minlength=plan.customers)
        bought = events.take(events["kind"] == Kind.ORDER_COMPLETED)
        noon = datetime(2025, 1, 1, 12, tzinfo=UTC) + timedelta(days=index)
        orders.append(
            pl.DataFrame({"customer_key": bought["customer"].astype(np.int64) + 1, "value": bought["revenue"] / 100})
            .with_columns(event_day=pl.lit(plan.day(index)), event_time=pl.lit(noon), product_id=pl.lit("p"))
        )  # fmt: skip
    return pl.concat(orders).filter(pl.col("value") > 0), visits


def days_with_visits(orders: pl.DataFrame, visits: np.ndarray, plan: SimulationPlan) -> pl.LazyFrame:
    """Rows of `customer_days` that tell of orders, and of the visits that the oracle sees as well."""
    customer, day = np.nonzero(visits)
    at = pl.lit(datetime(2025, 1, 1, 11, tzinfo=UTC)) + pl.duration(days="index")
    seen = pl.DataFrame(
        {"customer_key": customer + 1, "index": day, "page_views": visits[customer, day].astype(np.int64)}
    ).select(
        "customer_key", "page_views", event_day=pl.lit(plan.start) + pl.duration(days="index"), seen_at=at,
    )  # fmt: skip
    bought = shop.customer_days_of(orders).collect()
    both = bought.drop("page_views").join(seen, on=["customer_key", "event_day"], how="full", coalesce=True)
    views = pl.col("page_views").fill_null(0)
    known = both.select(
        pl.col("customer_key", "event_day", "page_views"),
        actor_key="customer_key",
        events=pl.col("events").fill_null(0) + views,
        events_morning=pl.col("events_morning").fill_null(0) + views,
        events_web=pl.col("events_web").fill_null(0) + views,
        sessions=pl.lit(1),
        first_event_at=pl.min_horizontal("first_event_at", "seen_at"),
        last_event_at=pl.max_horizontal("last_event_at", "seen_at"),
        **{
            name: pl.col(name).fill_null(0)
            for name in ("orders", "order_lines", "units", "gross", "net")
        },
        **{name: pl.col(name).fill_null([]) for name in ("bought_products", "currencies")},
        max_order_value="max_order_value",
        last_order_at="last_order_at",
    )
    return shop._filled(known.with_columns(pl.col("page_views").fill_null(0)), "customer_days").lazy()


@pytest.fixture(scope="module")
def known():
    """Orders, days, features, labels and oracles of a shop at its origin; arrays in the order of the labels."""
    orders, visits = simulated(PLAN)
    days = days_with_visits(orders, visits, PLAN)
    features = build_customer_features(days.filter(pl.col("event_day") <= ORIGIN), as_of=ORIGIN).collect()
    labels = label_customers(days, days, origin=ORIGIN, horizon_days=HORIZON).collect().sort("customer_key")
    opened, place = open_shop(PLAN), labels["customer_key"].to_numpy() - 1
    told = {
        name: foretell(PLAN, opened.customers, day=DAY, horizon=HORIZON, knowing=name, visits=visits)
        for name in ("past", "state")
    }
    chance = {name: of.no_order[place] for name, of in told.items()}
    ahead = told["past"].orders[place]
    features = features.join(labels, on="customer_key", how="semi").sort("customer_key")
    return orders, days, features, labels, chance, (ahead, ahead * expected_order_net(opened)[place])


def test_churn_is_foretold_nearly_as_well_as_it_can_be(known):
    orders, days, features, labels, chance, _ = known
    examples = build_examples(
        days, shop.events_of(orders), shop.nobody_linked, as_of=ORIGIN, horizon_days=HORIZON,
        spacing_days=14, min_history_days=30,
    )  # fmt: skip
    # No label of what is learnt lies after the origin that is graded.
    assert (examples["origin"] + timedelta(days=HORIZON)).max() <= ORIGIN
    learnt = examples.filter(pl.col("role") != CALIBRATE)
    names = feature_names(learnt)
    matrix, truth = fit_feature_matrix(learnt, names=names), learnt["churned"].cast(pl.Float64).to_numpy()
    raw, keys = matrix.raw(learnt), learnt["customer_key"].to_numpy()
    model = fit_classifier(
        LOGISTIC, raw=raw, scaled=matrix.scale(raw), truth=truth, groups=keys,
        folds=make_folds(learnt, truth, keys, names=names), seed=SEED,
    )  # fmt: skip
    judged = matrix.raw(labels.select("customer_key").join(features, on="customer_key", maintain_order="left"))
    churned = labels["churned"].to_numpy()
    reached = auc(churned, model.log_odds(judged, matrix.scale(judged)))
    rule = auc(churned, recency_score(features["days_since_last_order"].to_numpy(), horizon_days=HORIZON))
    most = auc(churned, chance["past"])
    assert rule + 0.02 < reached < most < auc(churned, chance["state"])
    assert reached >= 0.88 * most


def test_value_is_foretold_without_bias_and_in_order(known):
    _, _, features, labels, _, (ahead, worth) = known
    customers = buyers(features.lazy())
    assert customers.keys.tolist() == labels["customer_key"].to_list()
    model = fit_probabilistic(customers, with_rival=False)
    expected, rule = (
        probabilistic_forecast(model, customers, name, days=HORIZON, horizon_days=HORIZON)
        for name in (BG_NBD.name, HISTORY.name)
    )
    # In orders, for nothing comes back here and the oracle's money is net of what does. Nobody told the model that May
    # is a quiet month; totals are calibrated on closed horizons, which takes no part here.
    assert expected.orders.sum() == pytest.approx(ahead.sum(), rel=0.25)
    assert rule.orders.sum() > 1.3 * ahead.sum()
    came = labels["net"].to_numpy()
    # Orders alone: the oracle sees every visit as well.
    assert spearman(came, rule.value) < spearman(came, expected.value) < spearman(came, worth)
    assert spearman(came, expected.value) >= 0.7 * spearman(came, worth)
    assert spearman(worth, expected.value) > spearman(worth, rule.value) + 0.1


def test_kinds_of_customers_that_differ_are_told_apart():
    plan = SimulationPlan(customers=500, days=120, products=60, seed=4)
    orders, _ = simulated(plan, PLANTED)
    features = build_customer_features(shop.customer_days_of(orders), as_of=plan.last_day)
    customers = scaling.buyers(features)
    planted = open_shop(plan, PLANTED).customers.type[customers["customer_key"].to_numpy() - 1]
    found = cluster_customers(customers, method=K_MEANS, smallest_group=10, seed=SEED)
    from sklearn.metrics import adjusted_rand_score

    assert found.chosen.k == len(PLANTED)
    assert adjusted_rand_score(planted, found.labels) >= 0.9
