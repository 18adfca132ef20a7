"""Assets of the ledger: what was told of customers, what came of it, and who was champion when.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.features.labels import label_customers, label_view
from insight_assets.insights.churn import grading as churn
from insight_assets.insights.ledger.grades import broken_promises, grade_ledger, promises_of
from insight_assets.insights.ledger.history import champion_history as history_of
from insight_assets.insights.ledger.history import changes_of_champion, history_chart
from insight_assets.insights.ledger.lists import NEWCOMERS, RECOMMENDATION, grade_recorded_lists, record_lists
from insight_assets.insights.ledger.pictures import segment_table, verdict_table
from insight_assets.insights.ledger.predictions import PURCHASE, PURCHASE_DAYS, record_predictions
from insight_assets.insights.lifetime_value import grading as lifetime_value
from insight_assets.insights.propensity import grading as propensity
from insight_assets.insights.recommendation import grading as recommendation
from insight_assets.insights.recommendation.assets import POLICY
from insight_assets.insights.recommendation.interactions import purchases
from insight_assets.metadata import markdown_table, table_asset
from insight_assets.partitions import HISTORY, ONE_HORIZON_AGO
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED, as_people, as_people_before
from insight_assets.settings import settings

KEPT = "promises_are_kept"
RETRAIN = {
    "churn": "retrain_churn", "value": "retrain_lifetime_value", "orders": "retrain_lifetime_value",
    RECOMMENDATION: "retrain_recommendation", NEWCOMERS: "retrain_recommendation",
    **{PURCHASE.format(days): "retrain_intent" for days in PURCHASE_DAYS},
}  # fmt: skip
"""Task of the ledger to the job that trains its models anew."""

DECIDING = {
    churn.TASK: churn.PRIMARY,
    lifetime_value.TASK: lifetime_value.PRIMARY,
    recommendation.TASK: recommendation.primary_metric(POLICY),
    **dict.fromkeys(propensity.TASKS.values(), propensity.PRIMARY),
}
"""Task to the metric by which its champion is chosen."""

PAST_SCORECARDS = dg.AssetIn(partition_mapping=HISTORY, metadata={"allow_missing_partitions": True})
AT_THE_ORIGIN = dg.AssetIn(partition_mapping=ONE_HORIZON_AGO)

jobs = [
    dg.define_asset_job(
        f"retrain_{group}",
        selection=dg.AssetSelection.assets(f"{group}_models").downstream(depth=2) & dg.AssetSelection.groups(group),
        description=f"Trains {group} models as of a day and grades or publishes with them",
    )
    for group in ("churn", "intent", "lifetime_value", "recommendation", "propensity")
]


@dg.asset(**table_asset("prediction_ledger", layer="insight", purpose="analytics", code_version="2"))
def prediction_ledger(
    context: dg.AssetExecutionContext,
    churn_scores: pl.LazyFrame,
    lifetime_value_scores: pl.LazyFrame,
    intent_scores: pl.LazyFrame,
    rfm_segments: pl.LazyFrame,
) -> pl.DataFrame:
    ledger = record_predictions(churn_scores, lifetime_value_scores, intent_scores, rfm_segments).collect()
    by_task = ledger.group_by("task", "method", "grade", "closes").len("predictions").sort("task")
    context.add_output_metadata({"told": dg.MetadataValue.md(markdown_table(by_task))})
    return ledger


@dg.asset(**table_asset("recommendation_ledger", layer="insight", purpose="personalise"))
def recommendation_ledger(
    context: dg.AssetExecutionContext, recommendations: pl.LazyFrame, rfm_segments: pl.LazyFrame
) -> pl.DataFrame:
    ledger = record_lists(recommendations, rfm_segments).collect()
    by_method = ledger.group_by("method", "grade", "closes").len("customers").sort("method")
    context.add_output_metadata({"told": dg.MetadataValue.md(markdown_table(by_method))})
    return ledger


@dg.asset(
    **table_asset("ledger_grades", layer="insight", purpose="analytics", code_version="3"),
    ins={
        "prediction_ledger": AT_THE_ORIGIN,
        "customer_labels": AT_THE_ORIGIN,
        "recommendation_ledger": AT_THE_ORIGIN,
        "order_lines": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
        "customer_days": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "intent_scorecard": dg.AssetIn(
            partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}
        ),
        "churn_scorecard": PAST_SCORECARDS,
        "lifetime_value_scorecard": PAST_SCORECARDS,
        "recommendation_scorecard": PAST_SCORECARDS,
    },
    check_specs=[
        dg.AssetCheckSpec(
            KEPT,
            asset="ledger_grades",
            description=(
                "No published prediction turned out surely worse than its scorecard promised, nor than the naive rule"
            ),
        )
    ],
)
def ledger_grades(
    context: dg.AssetExecutionContext,
    prediction_ledger: pl.LazyFrame,
    customer_labels: pl.LazyFrame,
    recommendation_ledger: pl.LazyFrame,
    order_lines: pl.LazyFrame,
    identity_links: pl.LazyFrame,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    intent_scorecard: pl.LazyFrame,
    churn_scorecard: pl.LazyFrame,
    lifetime_value_scorecard: pl.LazyFrame,
    recommendation_scorecard: pl.LazyFrame,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    # What was promised of intent stands in the scorecard of the day on which it was told.
    of_intent = intent_scorecard.with_columns(as_of="origin")
    promises = promises_of([churn_scorecard, lifetime_value_scorecard, recommendation_scorecard, of_intent])
    how = {"as_of": as_of, "smallest_group": shop.k_anonymity, "seed": shop.seed}
    who = IdentityHistory(identity_links, identity_rules()).as_of
    origin = as_of - timedelta(days=shop.horizon_days)
    owned, bought = _bought(order_lines, who, origin=origin, closes=as_of)
    came = _came_back(
        customer_days, None if shop.refunded_orders_count else orders, who, origin=origin, horizon_days=shop.horizon_days
    )
    of = contract("ledger_grades")
    grades = pl.concat(
        [
            grade_ledger(prediction_ledger.collect(), customer_labels.collect(), promises, bought=came, **how),
            grade_recorded_lists(recommendation_ledger.collect(), bought, owned, promises, policy=POLICY, **how),
        ]
    ).sort(of.primary_key)
    metadata = {
        "what_came_of_it": dg.MetadataValue.md(markdown_table(verdict_table(grades))),
        "by_segment": dg.MetadataValue.md(markdown_table(segment_table(grades))),
    }
    yield dg.Output(grades, metadata=metadata)
    yield _kept(grades)


def _bought(
    order_lines: pl.LazyFrame, who: Callable[[date], pl.LazyFrame], *, origin: date, closes: date
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give what the people of an origin had bought by then, and what they turned out to buy within the horizon."""
    before, now = who(origin), who(closes)
    past, later = as_people(order_lines, before), as_people_before(as_people(order_lines, now), before=before, now=now)
    return (
        purchases(past, after=date.min, until=origin).collect(engine="streaming"),
        purchases(later, after=origin, until=closes).collect(engine="streaming"),
    )


def _came_back(
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame | None,
    who: Callable[[date], pl.LazyFrame],
    *,
    origin: date,
    horizon_days: int,
) -> dict[str, pl.DataFrame]:
    """Say of everybody known at an origin whether they bought within each horizon of intent that has closed."""
    found = {}
    for days in PURCHASE_DAYS:
        if days <= horizon_days:
            past, later = label_view(customer_days, who, origin=origin, horizon_days=days, orders=orders)
            labels = label_customers(past, later, origin=origin, horizon_days=days, everybody=True)
            found[PURCHASE.format(days)] = labels.collect()
    return found


def _kept(grades: pl.DataFrame) -> dg.AssetCheckResult:
    broken = broken_promises(grades)
    told = {"graded": grades["task"].n_unique(), "broken": broken.height}
    if broken.height:
        jobs_to_run = sorted({RETRAIN[task] for task in broken["task"]})
        told |= {
            "which": dg.MetadataValue.md(
                markdown_table(broken.select("task", "metric", "method", "value", "high", "promised", "rule_value"))
            ),
            "next": (
                f"run the job {' and '.join(jobs_to_run)} as of the newest day, and look at by_segment for where it "
                "fails"
            ),
        }
    return dg.AssetCheckResult(
        check_name=KEPT, asset_key="ledger_grades", passed=broken.is_empty(), severity=dg.AssetCheckSeverity.WARN,
        metadata=told,
    )


@dg.asset(
    **table_asset("champion_history", layer="insight", purpose="operations"),
    ins=dict.fromkeys(
        ("churn_scorecard", "lifetime_value_scorecard", "recommendation_scorecard", "propensity_scorecard"),
        PAST_SCORECARDS,
    ),
)
def champion_history(
    context: dg.AssetExecutionContext,
    churn_scorecard: pl.LazyFrame,
    lifetime_value_scorecard: pl.LazyFrame,
    recommendation_scorecard: pl.LazyFrame,
    propensity_scorecard: pl.LazyFrame,
) -> pl.DataFrame:
    cards = pl.concat(
        [churn_scorecard, lifetime_value_scorecard, recommendation_scorecard, propensity_scorecard], how="diagonal"
    )
    history = history_of(
        cards,
        deciding=DECIDING,
        as_of=date.fromisoformat(context.partition_key),
        horizon_days=settings().horizon_days,
    )
    context.add_output_metadata(
        {
            "origins": history.select("task", "origin").n_unique(),
            "changes": dg.MetadataValue.md(markdown_table(changes_of_champion(history))),
            **({"picture": dg.MetadataValue.md(chart_markdown(history_chart(history)))} if history.height else {}),
        }
    )
    return history
