"""What intent models of customers learn from: everybody known at closed origins, and whether they bought after.

Who has which role, which people an origin knows, and the features are those of `features.examples`; here only the
origins and the labels of the two horizons are chosen.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import date, timedelta

import polars as pl

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import MAX_CUSTOMERS, customer_roles, customers_known, past_and_horizon
from insight_assets.features.labels import label_customers
from insight_assets.ml.guards import BASE_RATE, WINDOWS_OBSERVED, Verdict, judge_base_rate, judge_windows
from insight_assets.ml.origins import Origin
from insight_assets.purposes import as_people

HORIZONS = (7, 30)
"""Days within which a purchase is foretold."""

ORIGINS_AGO = (7, 14, 30, 60, 90)
"""Days from an origin to the as-of day. Each horizon is graded at the newest origin at which it has closed; those that
teach the graded models lie at least another horizon before it."""

LABEL = "bought_{}d"
LABELS_OBEY = "only_closed_horizons_are_labelled"
SOMEONE_TO_LEARN_FROM = "someone_is_labelled"

LABEL_GUARDS: Mapping[str, str] = {
    SOMEONE_TO_LEARN_FROM: "Where somebody was known by a closed origin, there are labels",
    LABELS_OBEY: "Every customer has a label at each horizon that had closed by the as-of day, and none at the others",
    WINDOWS_OBSERVED: "All label windows had closed by the as-of day and each of their days is published",
    BASE_RATE: "Neither nearly all nor nearly none of the labels say that somebody bought",
}


def intent_origins(as_of: date, *, first_day: date, min_history_days: int) -> list[date]:
    """List the origins that can be learnt from or graded at as of a day, oldest first.

    Args:
        as_of: As-of day.
        first_day: First day with data.
        min_history_days: Days of data that an origin needs, counting itself.
    """
    origins = [as_of - timedelta(days=ago) for ago in sorted(ORIGINS_AGO, reverse=True)]
    return [origin for origin in origins if (origin - first_day).days + 1 >= min_history_days]


def closed_horizons(origin: date, as_of: date) -> list[Origin]:
    """Give the horizons of an origin whose labels are known at the end of a day."""
    return [found for days in HORIZONS if (found := Origin(origin, days)).is_closed_by(as_of)]


def build_intent_examples(
    customer_days: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    *,
    as_of: date,
    min_history_days: int,
    max_customers: int = MAX_CUSTOMERS,
    orders: pl.LazyFrame | None = None,
) -> pl.DataFrame:
    """Put together what can be learnt from and graded as of a day.

    Args:
        customer_days: Rows of the contract `customer_days`, actors as delivered; days after `as_of` are ignored.
        identities: Gives the rows of the contract `identities` as of a day; each origin sees the people known then.
        as_of: As-of day.
        min_history_days: Days of data that an origin needs.
        max_customers: Most customers used; above it a fixed part of them, drawn from the keys.
        orders: Rows of the contract `orders`, actors as delivered, where an order that was given back whole is no
            purchase; None where it counts.

    Returns:
        Rows of the contract `intent_examples`, by origin and customer; none while no origin has a closed horizon and
        enough history.
    """
    past = customer_days.filter(pl.col("event_day") <= as_of)
    first_day = past.select(pl.col("event_day").min()).collect().item()
    origins = [] if first_day is None else intent_origins(as_of, first_day=first_day, min_history_days=min_history_days)
    if not origins:
        return pl.DataFrame()
    newest = origins[-1]
    known = customers_known(as_people(past, identities(newest)), newest, only_buyers=False)
    roles = customer_roles(known, max_customers=max_customers).lazy()
    return (
        pl.concat([_examples_at(origin, as_of, past, identities, roles, orders) for origin in origins])
        .with_columns(as_of=pl.lit(as_of))
        .sort("origin", "customer_key")
    )


def _examples_at(
    origin: date,
    as_of: date,
    past: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    roles: pl.LazyFrame,
    orders: pl.LazyFrame | None,
) -> pl.DataFrame:
    labelled: list[pl.LazyFrame] = []
    for window in closed_horizons(origin, as_of):
        history, horizon = past_and_horizon(window, past, identities, roles=roles, orders=orders)
        labels = label_customers(
            history, horizon, origin=origin, horizon_days=window.horizon_days, everybody=True
        )
        labelled.append(labels.select("customer_key", pl.col("returned").alias(LABEL.format(window.horizon_days))))
    # What is known of the past is the same whatever the horizon.
    rows = build_customer_features(history, as_of=origin).drop("as_of").join(roles, on="customer_key")
    for labels in labelled:
        rows = rows.join(labels, on="customer_key", how="left")
    names = rows.collect_schema().names()
    open_ones = [name for name in (LABEL.format(days) for days in HORIZONS) if name not in names]
    return rows.with_columns(
        *(pl.lit(None, pl.Boolean).alias(name) for name in open_ones), origin=pl.lit(origin)
    ).select(sorted([*names, *open_ones, "origin"])).collect()


def judge_labels(
    examples: pl.DataFrame, *, as_of: date, published: Collection[date], known: int
) -> list[Verdict]:
    """Hold examples against what labels must obey.

    Args:
        examples: Rows of the contract `intent_examples`; may be empty.
        as_of: As-of day of the examples.
        published: Days of `customer_days` that are published.
        known: Customers who were known by the newest closed origin; 0 when there is no such origin.

    Returns:
        A verdict for each of `LABEL_GUARDS`.
    """
    someone = Verdict(
        SOMEONE_TO_LEARN_FROM, bool(examples.height or not known), {"rows": examples.height, "known": known}
    )
    if examples.is_empty():
        return [someone, *(Verdict(guard, passed=True) for guard in LABEL_GUARDS if guard != SOMEONE_TO_LEARN_FROM)]
    closed = [
        (pl.col("origin") + pl.duration(days=days) <= pl.lit(as_of)) == pl.col(LABEL.format(days)).is_not_null()
        for days in HORIZONS
    ]
    wrong = examples.filter(~pl.all_horizontal(closed)).height
    windows = [each for origin in examples["origin"].unique().sort() for each in closed_horizons(origin, as_of)]
    rate = float(examples[LABEL.format(HORIZONS[-1])].mean() or examples[LABEL.format(HORIZONS[0])].mean() or 0)
    return [
        someone,
        Verdict(LABELS_OBEY, wrong == 0, {"rows": examples.height, "rows_with_a_wrong_label": wrong}),
        judge_windows(windows, as_of=as_of, published=published),
        judge_base_rate(examples.height, rate, named="rate_of_buying"),
    ]
