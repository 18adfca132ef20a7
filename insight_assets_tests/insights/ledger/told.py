"""Predictions that were told, and what then happened, made up so that the right grade is known."""

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.churn.scoring import SHORTER_HORIZONS, WITHIN, WITHIN_BY_RULE, told_horizons
from insight_assets.insights.lifetime_value.scoring import WINDOWS
from insight_assets_tests.features.shop import table

ORIGIN, HORIZON = date(2025, 3, 31), 30
CLOSED = ORIGIN + timedelta(days=HORIZON)
BEFORE = ORIGIN - timedelta(days=HORIZON)
SEGMENTS = ("champions", "hibernating")


def people(count: int, *, seed: int = 1) -> pl.DataFrame:
    """Make customers with a true chance of leaving, and what they did.

    Returns:
        Columns `customer_key`, `segment`, `chance`, `churned`, `purchase_days`, `net`.
    """
    drawn = np.random.default_rng(seed)
    chance = drawn.uniform(0.05, 0.95, count)
    churned = drawn.random(count) < chance
    orders = np.where(churned, 0, 1 + drawn.poisson(2 * (1 - chance)))
    return pl.DataFrame(
        {
            "customer_key": np.arange(count) * 7 + 1,
            "segment": np.where(chance < 0.5, *SEGMENTS),
            "chance": chance,
            "churned": churned,
            "purchase_days": orders,
            "net": orders * 20.0 * (1 - chance),
        }
    )


def within(away: np.ndarray, share: float) -> np.ndarray:
    """Give the chance of staying away within a share of a horizon of which that chance is known."""
    return 1 - (1 - away) * share


def scores(
    customers: pl.DataFrame, churn: np.ndarray, rule: np.ndarray, *, horizon_days: int = HORIZON
) -> tuple[pl.LazyFrame, ...]:
    """Give what was published: churn as told, and value and purchases within 7 and 30 days that follow from it.

    Orders spread evenly over time, of shorter and longer horizons too.

    Args:
        customers: as `people` gives them.
        churn: told probabilities of leaving, shape (n,).
        rule: what the naive rule would have told, shape (n,).
        horizon_days: the shop's horizon.
    """
    n = customers.height
    said = {
        "as_of": ORIGIN, "model_version": "0123456789ab", "horizon_days": horizon_days, "grade": "A",
        "graded_origin": ORIGIN - timedelta(days=horizon_days),
    }  # fmt: skip
    literals = {name: pl.lit(value) for name, value in said.items()} | {"horizon_days": pl.lit(horizon_days, pl.Int32)}
    low, high = np.clip(churn - 0.1, 0, 1), np.clip(churn + 0.1, 0, 1)
    shorter = {
        name.format(days): pl.Series(within(whole, days / horizon_days))
        if days in told_horizons(horizon_days)
        else pl.lit(None, pl.Float64)
        for name, whole in ((WITHIN, churn), (f"{WITHIN}_low", low), (f"{WITHIN}_high", high), (WITHIN_BY_RULE, rule))
        for days in SHORTER_HORIZONS
    }
    base = customers.select("customer_key")
    told = base.with_columns(
        **literals, method=pl.lit("boosting"), churn_probability=churn, churn_probability_low=low,
        churn_probability_high=high, rule_probability=rule, **shorter,
    )  # fmt: skip
    columns = {}
    for name, of_churn, width in (("value", 60.0, 40.0), ("orders", 3.0, 2.0)):
        for window, days in (("horizon", horizon_days), *((f"{days}d", days) for days in WINDOWS)):
            point, of_rule = ((1 - away) * of_churn * days / horizon_days for away in (churn, rule))
            columns |= {
                f"expected_{name}_{window}": point, f"expected_{name}_{window}_low": np.maximum(point - width, 0),
                f"expected_{name}_{window}_high": point + width, f"rule_{name}_{window}": of_rule,
            }  # fmt: skip
    value = base.with_columns(**literals, method=pl.lit("ziln"), **{k: pl.Series(k, v) for k, v in columns.items()})
    assert told.height == value.height == n
    days = pl.DataFrame({"horizon_days": [7, 30]}, schema={"horizon_days": pl.Int32})
    buying = told.drop("horizon_days").join(days, how="cross").select(
        "customer_key", "as_of", "model_version", "grade", "graded_origin", "method", "horizon_days",
        purchase_probability=1 - pl.col("churn_probability"), purchase_probability_low=pl.lit(0.0),
        purchase_probability_high=pl.lit(1.0), rule_probability=1 - pl.col("rule_probability"),
    )  # fmt: skip
    return told.lazy(), value.lazy(), buying.lazy()


def labels(customers: pl.DataFrame) -> pl.DataFrame:
    """Give rows of `customer_labels` of the origin."""
    of = contract("customer_labels")
    rows = customers.select("customer_key", "churned", "purchase_days", "net").with_columns(
        as_of=pl.lit(ORIGIN), horizon_days=HORIZON, purchases="purchase_days", gross="net", returned=~pl.col("churned")
    )
    return of.conform(rows.lazy()).collect()


def days_of(customers: pl.DataFrame) -> pl.LazyFrame:
    """Give rows of `customer_days`: all bought a rug before the origin, and who stays buys one three days after it."""
    rug = {
        "orders": 1, "bought_categories": ["rugs"], "bought_category_units": [1],
        "bought_category_gross": [Decimal(20)],
    }  # fmt: skip
    rows = [{"actor_key": key, "customer_key": key, "event_day": BEFORE} | rug for key in customers["customer_key"]]
    rows += [
        {"actor_key": key, "customer_key": key, "event_day": ORIGIN + timedelta(days=3)} | rug
        for key in customers.filter(pl.col("purchase_days") > 0)["customer_key"]
    ]
    return table("customer_days", rows)


def orders_after(customers: pl.DataFrame, *after: int) -> pl.LazyFrame:
    """Give rows of `customer_days`: all bought before the origin, and each for 20 on some of given days after it.

    Args:
        customers: as `people` gives them; the first buys on the first of the days, the next on the first two, and so
            on, and after them one who never comes back.
        after: days after the origin, ascending.
    """
    rows = []
    for number, key in enumerate(customers["customer_key"]):
        days = [BEFORE, *(ORIGIN + timedelta(days=day) for day in after[: (number + 1) % (len(after) + 1)])]
        bought = {"actor_key": key, "customer_key": key, "orders": 1, "gross": Decimal(20), "net": Decimal(20)}
        rows += [bought | {"event_day": day} for day in days]
    return table("customer_days", rows)


def targets_of(customers: pl.DataFrame) -> pl.DataFrame:
    """Give rows of `propensity_ledger`: one category that nobody buys, and the rule's, which everybody does."""
    rows = customers.select("customer_key", "segment").with_columns(
        as_of=pl.lit(ORIGIN), closes=pl.lit(CLOSED), horizon_days=HORIZON, kind=pl.lit("category"),
        rank=pl.lit(1, pl.Int32), target=pl.lit("lamps"), rule_target=pl.lit("rugs"), prediction=pl.lit(0.5),
        low=pl.lit(0.4), high=pl.lit(0.6),
        rule_prediction=pl.lit(0.5), method=pl.lit("logistic"), model_version=pl.lit("0123456789ab"), grade=pl.lit("A"),
        graded_origin=pl.lit(BEFORE),
    )  # fmt: skip
    return contract("propensity_ledger").conform(rows.lazy()).collect()


def lists_of(customers: pl.DataFrame) -> pl.DataFrame:
    """Give rows of `recommendation_ledger`: lists with nothing that anybody buys."""
    rows = customers.select("customer_key", "segment").with_columns(
        as_of=pl.lit(ORIGIN), closes=pl.lit(CLOSED), horizon_days=HORIZON, product_ids=pl.lit(["lamp"]),
        rule_product_ids=pl.lit(["mug"]), method=pl.lit("ease"), model_version=pl.lit("0123456789ab"),
        grade=pl.lit("A"), graded_origin=pl.lit(BEFORE),
    )  # fmt: skip
    return contract("recommendation_ledger").conform(rows.lazy()).collect()


def lines_of(customers: pl.DataFrame) -> pl.DataFrame:
    """Give the columns of `order_lines` that say who bought what: each customer a rug on the day the horizon closes."""
    return customers.select(
        "customer_key", actor_key="customer_key", product_id=pl.lit("rug"), event_day=pl.lit(CLOSED),
        kind=pl.lit("sale"), is_product=pl.lit(value=True), traffic=pl.lit("person"),
    )  # fmt: skip


def card(task: str, method: str, metric: str, value: float, *, origin: date = BEFORE) -> pl.DataFrame:
    """Give one row of a scorecard: the champion under its deciding metric."""
    row = {
        "as_of": origin, "task": task, "method": method, "kind": "model", "complexity": 3, "metric": metric, "value": value,
        "low": value - 0.02, "high": value + 0.02, "gain": 0.1, "gain_low": 0.05, "gain_high": 0.15, "customers": 100,
        "is_champion": True, "grade": "A", "model_version": "0123456789ab",
    }  # fmt: skip
    return pl.DataFrame([row], schema_overrides={"complexity": pl.Int32})
