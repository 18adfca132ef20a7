"""Lifecycle: where each customer stands by the rhythm of their own purchases.

A state machine over days. Two things move a customer: a purchase, and a day without one.

| state | holds when |
|---|---|
| prospect | seen, never bought |
| new | one purchase day, and not overdue |
| active | came back, and not overdue |
| loyal | as active, with `LOYAL_PURCHASES` purchase days or more |
| reactivated | not overdue, and had lapsed before the last purchase |
| cooling | overdue: later than most of the customer's pauses |
| at_risk | later than nearly all of them |
| lapsed | later than any pause to be expected |

Overdue is measured in the customer's rhythm, the usual days from one purchase day to the next: the mean of the
customer's own pauses and one pause that is usual in the shop, at least a week. So a customer who bought once is judged
by the shop, one who bought twenty times by their own habit. Were purchases to come at random at that rhythm, 22 % of
the pauses would last until cooling, 8 % until at risk and 2 % until lapsed.

A purchase leads to new, active, loyal or, from lapsed, to reactivated; days without one lead from any of these to
cooling, at risk and lapsed, in this order. `MOVES` lists it all.
"""

from collections.abc import Mapping
from datetime import date

import polars as pl

from insight_assets.insights.segmentation.rfm import Segment
from insight_assets.insights.segmentation.small_groups import hidden_cells

PROSPECT = Segment("prospect", "潜在客户", "Prospect")
NEW = Segment("new", "新客户", "New")
ACTIVE = Segment("active", "活跃客户", "Active")
LOYAL = Segment("loyal", "忠诚客户", "Loyal")
REACTIVATED = Segment("reactivated", "回归客户", "Reactivated")
COOLING = Segment("cooling", "趋冷客户", "Cooling")
AT_RISK = Segment("at_risk", "流失风险客户", "At risk")
LAPSED = Segment("lapsed", "已流失客户", "Lapsed")

STATES = (LOYAL, ACTIVE, NEW, REACTIVATED, COOLING, AT_RISK, LAPSED, PROSPECT)
"""All states, from the closest customers to those who have yet to buy."""

LOYAL_PURCHASES = 4
"""Purchase days that make a customer loyal."""

COOLS_AFTER, AT_RISK_AFTER, LAPSES_AFTER = 1.5, 2.5, 4.0
"""Days since the last purchase, in units of the rhythm, after which a state ends."""

SHORTEST_RHYTHM = 7.0
"""Days: who buys every day rests at weekends, too."""

USUAL_RHYTHM = 30.0
"""Days between purchases in a shop in which nobody has come back yet."""

MOVES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "purchase": {
        "prospect": frozenset({"new"}),
        "new": frozenset({"active"}),
        "active": frozenset({"active", "loyal"}),
        "loyal": frozenset({"loyal"}),
        "reactivated": frozenset({"active", "loyal"}),
        "cooling": frozenset({"active", "loyal"}),
        "at_risk": frozenset({"active", "loyal"}),
        "lapsed": frozenset({"reactivated"}),
    },
    "day": {
        "prospect": frozenset({"prospect"}),
        "new": frozenset({"new", "cooling"}),
        "active": frozenset({"active", "cooling"}),
        "loyal": frozenset({"loyal", "cooling"}),
        "reactivated": frozenset({"reactivated", "cooling"}),
        "cooling": frozenset({"cooling", "at_risk"}),
        "at_risk": frozenset({"at_risk", "lapsed"}),
        "lapsed": frozenset({"lapsed"}),
    },
}
"""State to the states that may follow it, after a purchase and after a day without one, at an unchanged rhythm."""

# A product of days that should be whole must not fall short of it by a bit.
_TINY = 1e-9
_DIGITS = 6


def shop_rhythm(customer_features: pl.LazyFrame) -> float:
    """Give the usual days between purchases in the shop: the median over those who came back.

    Args:
        customer_features: rows of one as-of day with x_repeat_purchases and t_x_days.
    """
    came_back = customer_features.filter(pl.col("x_repeat_purchases") > 0)
    found = came_back.select((pl.col("t_x_days") / pl.col("x_repeat_purchases")).median()).collect().item()
    return USUAL_RHYTHM if found is None else float(found)


def lifecycle_states(
    customer_features: pl.LazyFrame, *, as_of: date, usual_rhythm: float | None = None
) -> pl.LazyFrame:
    """Give the state of every customer.

    Args:
        customer_features: rows of one as-of day, in any order.
        as_of: that day.
        usual_rhythm: usual days between purchases in the shop; by default what `shop_rhythm` finds.

    Returns:
        Rows of the contract `lifecycle_states`, ascending by key. `since` is the day since which the state follows from
        the last purchase: that of the purchase itself, or the one on which the customer became overdue. `moves_on` is
        the first day on which the customer will be in the next state unless a purchase comes first.
    """
    usual = shop_rhythm(customer_features) if usual_rhythm is None else usual_rhythm
    pauses, paused = pl.col("x_repeat_purchases").fill_null(0), pl.col("t_x_days").fill_null(0)
    names = pl.LazyFrame(
        {
            "state": [state.code for state in STATES],
            "state_en": [state.en for state in STATES],
            "state_zh": [state.zh for state in STATES],
        }
    )
    idle = pl.col("days_since_last_order")
    last_pause = pl.col("last_gap_days")
    bought = idle.is_not_null()
    rhythm = _rhythm(paused, pauses, usual)
    rhythm_before = _rhythm(paused - last_pause, pauses - 1, usual)
    ends = {
        "cooling": _days(COOLS_AFTER * pl.col("rhythm")),
        "at_risk": _days(AT_RISK_AFTER * pl.col("rhythm")),
        "lapsed": _days(LAPSES_AFTER * pl.col("rhythm")),
    }
    # Whoever came back on a day had been idle for one day less at the end of the day before.
    had_lapsed = (last_pause - 1 > _days(LAPSES_AFTER * rhythm_before)).fill_null(False)
    overdue = pl.col("state").is_in(list(ends))
    began = pl.coalesce(pl.when(pl.col("state") == state).then(after + 1) for state, after in ends.items())
    following = pl.coalesce(
        pl.when(pl.col("state") == "cooling").then(ends["at_risk"]),
        pl.when(pl.col("state") == "at_risk").then(ends["lapsed"]),
        pl.when(~overdue).then(ends["cooling"]),
    )
    last_purchase = pl.lit(as_of) - pl.duration(days=idle)
    return (
        customer_features.with_columns(rhythm=pl.when(bought).then(rhythm))
        .with_columns(
            state=pl.when(~bought)
            .then(pl.lit("prospect"))
            .when(idle > ends["lapsed"])
            .then(pl.lit("lapsed"))
            .when(idle > ends["at_risk"])
            .then(pl.lit("at_risk"))
            .when(idle > ends["cooling"])
            .then(pl.lit("cooling"))
            .when(had_lapsed)
            .then(pl.lit("reactivated"))
            .when(pl.col("purchase_days_lifetime") >= LOYAL_PURCHASES)
            .then(pl.lit("loyal"))
            .when(pl.col("purchase_days_lifetime") > 1)
            .then(pl.lit("active"))
            .otherwise(pl.lit("new"))
        )
        .join(names, on="state", how="left")
        .select(
            "customer_key",
            pl.lit(as_of).alias("as_of"),
            "state",
            "state_en",
            "state_zh",
            pl.when(~bought)
            .then("first_seen_day")
            .otherwise(last_purchase + pl.duration(days=began.fill_null(0)))
            .cast(pl.Date)
            .alias("since"),
            pl.when(bought & (pl.col("state") != "lapsed"))
            .then(last_purchase + pl.duration(days=following + 1))
            .cast(pl.Date)
            .alias("moves_on"),
            pl.col("rhythm").round(_DIGITS).alias("rhythm_days"),
            pauses.cast(pl.Int32).alias("own_pauses"),
            pl.col("purchase_days_lifetime").cast(pl.Int32).alias("purchase_days"),
            (pl.lit(as_of) - pl.duration(days="age_days")).dt.truncate("1mo").cast(pl.Date).alias("cohort_month"),
        )
        .sort("customer_key")
    )


def state_sizes(states: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Count the customers of each state, in the named order; safe to show.

    Args:
        states: rows of one as-of day.
        smallest_group: smallest number of customers that may be spoken of; a smaller state, but not an empty one, is
            shown without its numbers, and one more where these could be computed.

    Returns:
        Columns state_en, state_zh, customers and share; all eight states.
    """
    sizes = states.group_by("state").agg(pl.len().cast(pl.Int64).alias("customers"))
    counted = pl.DataFrame(
        {
            "state": [state.code for state in STATES],
            "state_en": [state.en for state in STATES],
            "state_zh": [state.zh for state in STATES],
        }
    ).join(sizes, on="state", how="left", maintain_order="left")
    counts = counted["customers"].fill_null(0)
    hidden = hidden_cells(counts.to_list(), [range(len(STATES))], smallest_group=smallest_group)
    shown = pl.when(~pl.Series(hidden))
    return counted.select(
        "state_en",
        "state_zh",
        shown.then(counts).alias("customers"),
        shown.then(counts / max(states.height, 1)).alias("share"),
    )


def _rhythm(paused: pl.Expr, pauses: pl.Expr, usual: float) -> pl.Expr:
    """Mean of the own pauses and one usual pause, in days."""
    return ((paused + usual) / (pauses + 1)).clip(lower_bound=SHORTEST_RHYTHM)


def _days(span: pl.Expr) -> pl.Expr:
    return (span + _TINY).floor().cast(pl.Int32)
