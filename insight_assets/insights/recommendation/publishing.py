"""From ranked lists to the published table: names, scores and a reason for every place.

The reasons are stated in English and Chinese here and nowhere else.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from insight_assets.insights.recommendation.attributes import UNKNOWN
from insight_assets.insights.recommendation.interactions import (
    CAME_BACK,
    POPULARITY_DAYS,
    History,
    without_contacts,
)
from insight_assets.insights.recommendation.methods import METHODS, Fitted, available_products
from insight_assets.insights.recommendation.ranking import NOBODY, Ground, Policy, rank
from insight_assets.ml.publication import UNGRADED, Publication, publishable

FOR_NEWCOMERS = "popularity_segment"
"""Method of the lists of customers who had to do with no product yet. No scorecard judges it: nobody without a history
is graded."""


@dataclass(frozen=True)
class _Words:
    """How a kind of evidence is said, `{}` being the product that speaks for the recommended one.

    Attributes:
        code: its name in the column `evidence`.
        bought: in English, where the customer bought that product.
        viewed: in English, where the customer only looked at it.
        bought_zh: the same in Chinese.
        viewed_zh: the same in Chinese.
    """

    code: str
    bought: str
    viewed: str
    bought_zh: str
    viewed_zh: str


WORDS = {
    Ground.CONTACT: _Words(
        "bought_together",
        "bought with {}",
        "goes with {}, looked at lately",
        "常与“{}”一起购买",
        "与最近浏览的“{}”相配",
    ),
    Ground.ORDER: _Words(
        "one_order",
        "often in one order with {}",
        "often in one order with {}, looked at lately",
        "常与“{}”同单购买",
        "常与最近浏览的“{}”同单购买",
    ),
    Ground.CATEGORY: _Words(
        "same_category",
        "of the category of {}",
        "of the category of {}, looked at lately",
        "与“{}”同类",
        "与最近浏览的“{}”同类",
    ),
    Ground.BRAND: _Words(
        "same_brand",
        "of the brand of {}",
        "of the brand of {}, looked at lately",
        "与“{}”同品牌",
        "与最近浏览的“{}”同品牌",
    ),
    Ground.PRICE: _Words(
        "same_price_range",
        "of the category and price range of {}",
        "of the category and price range of {}, looked at lately",
        "与“{}”同类且价位相近",
        "与最近浏览的“{}”同类且价位相近",
    ),
    Ground.ALIKE: _Words(
        "similar_customers",
        "chosen by similar customers, who know {} too",
        "chosen by similar customers, who know {} too, looked at lately",
        "同样关注“{}”的相似顾客之选",
        "同样关注最近浏览的“{}”的相似顾客之选",
    ),
    Ground.TASTE: _Words(
        "taste",
        "suits the taste that {} shows",
        "suits the taste that {}, looked at lately, shows",
        "符合“{}”所显示的喜好",
        "符合最近浏览的“{}”所显示的喜好",
    ),
}


def publication(scorecard: pl.DataFrame) -> Publication:
    """Say what the newest closed scorecard allows to be published.

    Args:
        scorecard: Scorecard of the origin one horizon before; empty when there is none.

    Returns:
        The champion; the naive rule, ungraded, when nothing was graded.
    """
    return publishable(scorecard, known=[method.name for method in METHODS], rule=METHODS[0].name)


def recommend(
    fitted: Fitted,
    history: History,
    products: pl.DataFrame,
    *,
    publish: Publication,
    policy: Policy,
    horizon_days: int,
    model_version: str,
    newcomers: np.ndarray | None = None,
) -> pl.DataFrame:
    """Make the published lists of all customers.

    Customers with whom no product can be tied get what their segment buys, whatever the champion: there is nothing
    that it could go by.

    Args:
        fitted: Methods fitted as of the day of the lists.
        history: The customers to serve, over the fitted catalogue.
        products: Columns product_id and product_name as of that day.
        publish: The method that may be published, and its grade.
        policy: The shop's rules for lists.
        horizon_days: Horizon over which the method was graded.
        model_version: Version of the fitted models; left out where the naive rule is published.
        newcomers: Keys of known customers who may have no history, in any order; those that have one
            are served by it.

    Returns:
        The columns of the contract `recommendations`, sorted by customer and rank; ranks are
        1, 2, ... without a gap.
    """
    parts = [(publish, history)]
    without = np.setdiff1d(newcomers, history.customers) if newcomers is not None else np.empty(0, dtype=np.int64)
    if len(without):
        parts.append((Publication(method=FOR_NEWCOMERS, grade=UNGRADED, origin=None), without_contacts(without)))
    return pl.concat(
        [
            _lists(fitted, served, everybody=history, products=products, publish=chosen, policy=policy).select(
                "customer_key",
                pl.lit(fitted.as_of, pl.Date).alias("as_of"),
                "rank",
                "product_id",
                "product_name",
                "score",
                "reason",
                "reason_zh",
                "evidence",
                "because_product_id",
                "rule_product_id",
                pl.lit(chosen.method).alias("method"),
                pl.lit(None if chosen.method == METHODS[0].name else model_version, pl.String).alias("model_version"),
                pl.lit(horizon_days, pl.Int32).alias("horizon_days"),
                pl.lit(chosen.grade).alias("grade"),
                pl.lit(chosen.origin, pl.Date).alias("graded_origin"),
            )
            for chosen, served in parts
        ]
    ).sort("customer_key", "rank")


def _lists(
    fitted: Fitted,
    history: History,
    *,
    everybody: History,
    products: pl.DataFrame,
    publish: Publication,
    policy: Policy,
) -> pl.DataFrame:
    """Lists of one method with their reasons: one row a place."""
    ranker = fitted.rankers[publish.method].among(everybody)
    available = available_products(fitted.catalogue, as_of=fitted.as_of, policy=policy)
    lists = rank(ranker, history, available=available, policy=policy)
    # As many places as the list has: which products are allowed does not depend on the method.
    of_rule = (
        lists
        if publish.method == METHODS[0].name
        else rank(fitted.rankers[METHODS[0].name], history, available=available, policy=policy)
    )
    said = ranker.reasons(history, lists)
    places = lists.items.shape[1]
    stages, categories = fitted.rankers[FOR_NEWCOMERS].named(history)
    table = pl.DataFrame(
        {
            "customer_key": np.repeat(history.customers, places),
            "rank": np.tile(np.arange(1, places + 1, dtype=np.int32), len(history)),
            "item": lists.items.ravel(),
            "score": np.round(lists.scores.ravel().astype(np.float64), 6),
            "because": said.because.ravel(),
            "rule": of_rule.items.ravel(),
            "because_bought": _bought(history, said.because).ravel(),
            "ground": said.ground.ravel(),
            "stage": np.repeat(stages, places),
            "category": np.repeat(categories, places),
        }
    ).filter(pl.col("item") != NOBODY)
    return _explained(table, fitted, products, everybody=publish.method == "popularity_all")


def reason_shares(recommendations: pl.DataFrame) -> pl.DataFrame:
    """Count places by what speaks for them; shows no customer.

    Args:
        recommendations: Result of `recommend`.

    Returns:
        Columns evidence (text) and places (UInt32), most frequent first.
    """
    return (
        recommendations.group_by("evidence")
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
    catalogue = fitted.catalogue
    cold = np.arange(len(catalogue)) >= len(catalogue) - catalogue.cold
    named = (
        catalogue.positions()
        .with_columns(
            recent=pl.Series(catalogue.recent_buyers, dtype=pl.Int64),
            buyers=pl.Series(catalogue.buyers, dtype=pl.Int64),
            cold=pl.Series(cold, dtype=pl.Boolean),
        )
        .join(products.select("product_id", "product_name"), on="product_id", how="left")
        .with_columns(label=pl.coalesce("product_name", "product_id"))
    )
    liked = pl.DataFrame(
        {
            "category": pl.Series(np.arange(len(catalogue.attributes.categories)), dtype=pl.Int64),
            "category_name": pl.Series(catalogue.attributes.categories, dtype=pl.String),
        }
    )
    joined = (
        table.join(named, on="item", how="left")
        .join(
            named.select(because="item", because_product_id="product_id", because_label="label"),
            on="because",
            how="left",
        )
        .join(catalogue.positions().select(rule="item", rule_product_id="product_id"), on="rule", how="left")
        .join(liked, on="category", how="left")
    )
    return joined.with_columns(
        evidence=_worded(
            own_bought="own_purchase",
            own_viewed="own_look",
            segment=pl.lit("segment"),
            by_ground={ground: (pl.lit(words.code), pl.lit(words.code)) for ground, words in WORDS.items()},
            popular=_popular(everybody=everybody, now="popular_now", always="popular", looked="looked_at", new="new"),
        ),
        reason=_worded(
            own_bought="bought before",
            own_viewed="looked at lately",
            segment=_segment_words(
                ("popular with new customers", "popular with regular customers"), "{} who like {}"
            ),
            by_ground=_with_product({ground: (words.bought, words.viewed) for ground, words in WORDS.items()}),
            popular=_popular(
                everybody=everybody,
                now=f"popular in the last {POPULARITY_DAYS} days",
                always="popular with all customers",
                looked="looked at by other customers",
                new="new in the shop",
            ),
        ),
        reason_zh=_worded(
            own_bought="曾经购买",
            own_viewed="最近浏览过",
            segment=_segment_words(("新顾客中热销", "老顾客中热销"), "偏好“{1}”的{0}"),
            by_ground=_with_product({ground: (words.bought_zh, words.viewed_zh) for ground, words in WORDS.items()}),
            popular=_popular(
                everybody=everybody,
                now=f"最近 {POPULARITY_DAYS} 天热销",
                always="深受众多顾客喜爱",
                looked="有其他顾客浏览",
                new="新品上架",
            ),
        ),
    ).sort("customer_key", "rank")


def _worded(
    *,
    own_bought: str,
    own_viewed: str,
    segment: pl.Expr,
    by_ground: dict[Ground, tuple[pl.Expr, pl.Expr]],
    popular: pl.Expr,
) -> pl.Expr:
    """What speaks for a place, in the words given."""
    own = pl.col("because") == pl.col("item")
    said = (
        pl.when(pl.col("because") == NOBODY)
        .then(pl.when(pl.col("ground") == int(Ground.SEGMENT)).then(segment).otherwise(popular))
        .when(own & pl.col("because_bought"))
        .then(pl.lit(own_bought))
        .when(own)
        .then(pl.lit(own_viewed))
    )
    for ground, (bought, viewed) in by_ground.items():
        here = pl.col("ground") == int(ground)
        said = said.when(here & pl.col("because_bought")).then(bought).when(here).then(viewed)
    return said


def _with_product(words: dict[Ground, tuple[str, str]]) -> dict[Ground, tuple[pl.Expr, pl.Expr]]:
    label = pl.col("because_label")
    return {
        ground: (pl.format(bought, label), pl.format(viewed, label)) for ground, (bought, viewed) in words.items()
    }


def _segment_words(stages: tuple[str, str], liking: str) -> pl.Expr:
    """Name a segment by its stage and, where it has one, its category: `{0}` and `{1}` of `liking`."""
    new, regular = stages
    stage = pl.when(pl.col("stage") == CAME_BACK).then(pl.lit(regular)).otherwise(pl.lit(new))
    # Polars fills placeholders in their order.
    order = [stage, pl.col("category_name")]
    if "{1}" in liking:
        order = order[::-1]
    spelt = liking.replace("{0}", "{}").replace("{1}", "{}")
    return pl.when(pl.col("category") == UNKNOWN).then(stage).otherwise(pl.format(spelt, *order))


def _popular(*, everybody: bool, now: str, always: str, looked: str, new: str) -> pl.Expr:
    return (
        pl.when((pl.col("recent") > 0) & (not everybody))
        .then(pl.lit(now))
        .when(pl.col("buyers") > 0)
        .then(pl.lit(always))
        .when(pl.col("cold"))
        .then(pl.lit(new))
        .otherwise(pl.lit(looked))
    )
