"""From ranked lists to the published table: names, scores and a reason for every place.

The reasons are stated in English and Chinese here and nowhere else.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.recommendation.interactions import POPULARITY_DAYS, History
from insight_assets.insights.recommendation.methods import METHODS, Fitted, available_products
from insight_assets.insights.recommendation.ranking import NOBODY, Policy, evidence, rank
from insight_assets.ml.referee import champion, champion_grade

UNGRADED = "ungraded"
"""Grade of lists made by a method that no scorecard has judged yet."""


@dataclass(frozen=True)
class Publication:
    """What may be published.

    Attributes:
        method: Name of the method.
        grade: Its grade against the naive rule, or `UNGRADED`.
        origin: Origin of the scorecard that gave the grade; None when ungraded.
    """

    method: str
    grade: str
    origin: date | None


def publication(scorecard: pl.DataFrame) -> Publication:
    """Say what the newest closed scorecard allows to be published.

    Args:
        scorecard: Scorecard of the origin one horizon before; empty when there is none.

    Returns:
        The champion; the naive rule, ungraded, when nothing was graded.
    """
    if scorecard.is_empty():
        return Publication(method=METHODS[0].name, grade=UNGRADED, origin=None)
    return Publication(
        method=champion(scorecard),
        grade=champion_grade(scorecard),
        origin=scorecard["as_of"][0],
    )


def recommend(
    fitted: Fitted,
    history: History,
    products: pl.DataFrame,
    *,
    publish: Publication,
    policy: Policy,
    horizon_days: int,
    model_version: str,
) -> pl.DataFrame:
    """Make the published lists of all customers.

    Args:
        fitted: Methods fitted as of the day of the lists.
        history: The customers to serve, over the fitted catalogue.
        products: Columns product_id and product_name as of that day.
        publish: The method that may be published, and its grade.
        policy: The shop's rules for lists.
        horizon_days: Horizon over which the method was graded.
        model_version: Version of the fitted models; left out where the naive rule is published.

    Returns:
        The columns of the contract `recommendations`, sorted by customer and rank; ranks are
        1, 2, ... without a gap.
    """
    ranker = fitted.rankers[publish.method]
    available = available_products(fitted.catalogue, as_of=fitted.as_of, policy=policy)
    lists = rank(ranker, history, available=available, policy=policy)
    because = evidence(ranker, history, lists)
    places = lists.items.shape[1]
    table = pl.DataFrame(
        {
            "customer_key": np.repeat(history.customers, places),
            "rank": np.tile(np.arange(1, places + 1, dtype=np.int32), len(history)),
            "item": lists.items.ravel(),
            "score": np.round(lists.scores.ravel().astype(np.float64), 6),
            "because": because.ravel(),
            "because_bought": _bought(history, because).ravel(),
        }
    ).filter(pl.col("item") != NOBODY)
    return _explained(table, fitted, products, everybody=publish.method == "popularity_all").select(
        "customer_key",
        pl.lit(fitted.as_of, pl.Date).alias("as_of"),
        "rank",
        "product_id",
        "product_name",
        "score",
        "reason",
        "reason_zh",
        "because_product_id",
        pl.lit(publish.method).alias("method"),
        pl.lit(None if publish.method == METHODS[0].name else model_version, pl.String).alias(
            "model_version"
        ),
        pl.lit(horizon_days, pl.Int32).alias("horizon_days"),
        pl.lit(publish.grade).alias("grade"),
        pl.lit(publish.origin, pl.Date).alias("graded_origin"),
    )


def reason_shares(recommendations: pl.DataFrame) -> pl.DataFrame:
    """Count places by what speaks for them; shows no customer.

    Args:
        recommendations: Result of `recommend`.

    Returns:
        Columns evidence (text) and places (UInt32), most frequent first.
    """
    own = pl.col("because_product_id") == pl.col("product_id")
    return (
        recommendations.select(
            evidence=pl.when(pl.col("because_product_id").is_null())
            .then(pl.lit("popular"))
            .when(own)
            .then(pl.lit("the customer's own contact with it"))
            .otherwise(pl.lit("another product in the customer's history"))
        )
        .group_by("evidence")
        .agg(places=pl.len())
        .sort("places", "evidence", descending=[True, False])
    )


def _bought(history: History, because: np.ndarray) -> np.ndarray:
    """Whether the product that speaks for each place was bought, rather than only looked at."""
    items = int(max(because.max(initial=0), history.items.max(initial=0))) + 1
    owned = history.matrix((history.purchase_days > 0).astype(np.int8), items)
    rows = np.repeat(np.arange(len(history)), because.shape[1])
    if not len(rows):
        return np.zeros(because.shape, dtype=bool)
    found = np.asarray(owned[rows, np.maximum(because, 0).ravel()]).reshape(because.shape)
    return found.astype(bool)


def _explained(
    table: pl.DataFrame, fitted: Fitted, products: pl.DataFrame, *, everybody: bool
) -> pl.DataFrame:
    named = (
        fitted.catalogue.positions()
        .with_columns(recent=pl.Series(fitted.catalogue.recent_buyers, dtype=pl.Int64))
        .join(products.select("product_id", "product_name"), on="product_id", how="left")
        .with_columns(label=pl.coalesce("product_name", "product_id"))
    )
    joined = table.join(named, on="item", how="left").join(
        named.select(because="item", because_product_id="product_id", because_label="label"),
        on="because",
        how="left",
    )
    own = pl.col("because") == pl.col("item")
    because = pl.col("because_label")

    def worded(
        *, bought: str, viewed: str, own_bought: str, own_viewed: str, now: str, always: str
    ) -> pl.Expr:
        return (
            pl.when(pl.col("because") == NOBODY)
            .then(
                pl.when((pl.col("recent") > 0) & (not everybody))
                .then(pl.lit(now))
                .otherwise(pl.lit(always))
            )
            .when(own & pl.col("because_bought"))
            .then(pl.lit(own_bought))
            .when(own)
            .then(pl.lit(own_viewed))
            .when(pl.col("because_bought"))
            .then(pl.format(bought, because))
            .otherwise(pl.format(viewed, because))
        )

    return joined.with_columns(
        reason=worded(
            bought="bought with {}",
            viewed="goes with {}, looked at lately",
            own_bought="bought before",
            own_viewed="looked at lately",
            now=f"popular in the last {POPULARITY_DAYS} days",
            always="popular with all customers",
        ),
        reason_zh=worded(
            bought="常与“{}”一起购买",
            viewed="与最近浏览的“{}”相配",
            own_bought="曾经购买",
            own_viewed="最近浏览过",
            now=f"最近 {POPULARITY_DAYS} 天热销",
            always="深受众多顾客喜爱",
        ),
    ).sort("customer_key", "rank")
