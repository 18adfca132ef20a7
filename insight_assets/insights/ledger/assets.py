"""Assets of the ledger: what was told of customers, what came of it, and who was champion when.

What each computes is in the pure modules beside this one; here they are wired to partitions. Everything told is graded
by the asset of its own horizon, on the day on which that closes: one asset cannot read a ledger of two days.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.features.labels import label_customers, label_view
from insight_assets.insights.churn import grading as churn
from insight_assets.insights.churn import horizons as churn_horizons
from insight_assets.insights.churn.scoring import told_horizons
from insight_assets.insights.churn.survival import asked_horizons
from insight_assets.insights.intent import grading as intent
from insight_assets.insights.ledger import visits
from insight_assets.insights.ledger.grades import (
    CHURN_WITHIN,
    GRADINGS,
    PURCHASES,
    VALUE_WITHIN,
    Grading,
    broken_promises,
    grade_ledger,
    promises_of,
)
from insight_assets.insights.ledger.history import champion_history as history_of
from insight_assets.insights.ledger.history import changes_of_champion, history_charts, verdicts
from insight_assets.insights.ledger.lists import NEWCOMERS, RECOMMENDATION, grade_recorded_lists, record_lists
from insight_assets.insights.ledger.pictures import segment_table, verdict_table
from insight_assets.insights.ledger.predictions import (
    CHURN,
    OF_CHURN,
    OF_VALUE,
    PURCHASE,
    VALUE,
    WITHIN,
    record_predictions,
    record_purchases,
)
from insight_assets.insights.ledger.propensities import grade_recorded_propensities, record_propensities
from insight_assets.insights.lifetime_value import grading as lifetime_value
from insight_assets.insights.lifetime_value.scoring import other_windows
from insight_assets.insights.propensity import grading as propensity
from insight_assets.insights.propensity.targets import bought_within, targets_sold
from insight_assets.insights.recommendation import grading as recommendation
from insight_assets.insights.recommendation.assets import POLICY
from insight_assets.insights.recommendation.interactions import purchases
from insight_assets.insights.segmentation import grading as clustering
from insight_assets.metadata import markdown_table, table_asset
from insight_assets.partitions import CLOSED_ORIGINS, HISTORY, ONE_HORIZON_AGO, TWO_HORIZONS_AGO, days_ago
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED, as_people, as_people_before
from insight_assets.settings import settings

KEPT = "promises_are_kept"
RETRAIN = {
    **{told.task: "retrain_churn" for told in OF_CHURN},
    **{told.task: "retrain_lifetime_value" for told in OF_VALUE},
    RECOMMENDATION: "retrain_recommendation", NEWCOMERS: "retrain_recommendation",
    **dict.fromkeys(propensity.TASKS.values(), "retrain_propensity"),
    **dict.fromkeys((*PURCHASES, *visits.TASKS), "retrain_intent"),
}  # fmt: skip
"""Task of the ledger to the job that trains its models anew."""

MODELS = {
    "churn": ("churn_models",),
    "intent": ("intent_models", "session_intent_models"),
    "lifetime_value": ("lifetime_value_models",),
    "recommendation": ("recommendation_models",),
    "propensity": ("propensity_models",),
}
"""Group to the models that its job trains anew."""

DECIDING = {
    churn.TASK: churn.PRIMARY,
    **{
        churn_horizons.TASK.format(days): churn_horizons.PRIMARY for days in asked_horizons(settings().horizon_days)
    },
    lifetime_value.TASK: lifetime_value.PRIMARY,
    recommendation.TASK: recommendation.primary_metric(POLICY),
    **dict.fromkeys(propensity.TASKS.values(), propensity.PRIMARY),
    **dict.fromkeys((*PURCHASES, *visits.TASKS), intent.PRIMARY),
    clustering.TASK: clustering.PRIMARY,
}
"""Task to the metric by which its champion is chosen."""

OF_THE_HORIZON = (
    "churn_scorecard", "churn_horizon_scorecard", "lifetime_value_scorecard", "recommendation_scorecard",
    "propensity_scorecard", "clustering_scorecard",
)  # fmt: skip
"""Scorecards of an origin, known when the shop's horizon has closed."""

OF_THE_DAY = ("intent_scorecard", "session_intent_scorecard")
"""Scorecards of the day on which they were known; of which origin each row is, it says itself."""

PROMISING = ("churn_scorecard", "lifetime_value_scorecard", "recommendation_scorecard", "propensity_scorecard")
OPTIONAL = {"allow_missing_partitions": True}
AT_THE_ORIGIN = dg.AssetIn(partition_mapping=ONE_HORIZON_AGO)
LINKS = dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake")
DAYS_DELIVERED = dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED)
ROWS_DELIVERED = dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED)

jobs = [
    dg.define_asset_job(
        f"retrain_{group}",
        selection=dg.AssetSelection.assets(*models).downstream(depth=2) & dg.AssetSelection.groups(group),
        description=f"Trains {group} models as of a day and grades or publishes with them",
    )
    for group, models in MODELS.items()
]


@dg.asset(**table_asset("prediction_ledger", layer="insight", purpose="analytics", code_version="4"))
def prediction_ledger(
    context: dg.AssetExecutionContext,
    churn_scores: pl.LazyFrame,
    lifetime_value_scores: pl.LazyFrame,
    rfm_segments: pl.LazyFrame,
) -> pl.DataFrame:
    ledger = record_predictions(churn_scores, lifetime_value_scores, rfm_segments).collect()
    context.add_output_metadata(_told(ledger, "task"))
    return ledger


@dg.asset(**table_asset("intent_ledger", layer="insight", purpose="analytics"))
def intent_ledger(
    context: dg.AssetExecutionContext, intent_scores: pl.LazyFrame, rfm_segments: pl.LazyFrame
) -> pl.DataFrame:
    ledger = record_purchases(intent_scores, rfm_segments).collect()
    context.add_output_metadata(_told(ledger, "task"))
    return ledger


@dg.asset(
    **table_asset("session_intent_ledger", layer="insight", purpose="analytics"),
    ins={"session_intent_scores": dg.AssetIn(metadata=LEFT_AS_DELIVERED)},
)
def session_intent_ledger(
    context: dg.AssetExecutionContext, session_intent_scores: pl.LazyFrame
) -> pl.DataFrame:
    ledger = visits.record_visits(session_intent_scores).collect()
    context.add_output_metadata(_told(ledger, "events_seen"))
    return ledger


@dg.asset(**table_asset("propensity_ledger", layer="insight", purpose="personalise"))
def propensity_ledger(
    context: dg.AssetExecutionContext, propensity_scores: pl.LazyFrame, rfm_segments: pl.LazyFrame
) -> pl.DataFrame:
    ledger = record_propensities(propensity_scores, rfm_segments).collect()
    context.add_output_metadata(_told(ledger, "kind"))
    return ledger


@dg.asset(**table_asset("recommendation_ledger", layer="insight", purpose="personalise"))
def recommendation_ledger(
    context: dg.AssetExecutionContext, recommendations: pl.LazyFrame, rfm_segments: pl.LazyFrame
) -> pl.DataFrame:
    ledger = record_lists(recommendations, rfm_segments).collect()
    by_method = ledger.group_by("method", "grade", "closes").len("customers").sort("method")
    context.add_output_metadata({"told": dg.MetadataValue.md(markdown_table(by_method))})
    return ledger


def _told(ledger: pl.DataFrame, of: str) -> Mapping[str, dg.MetadataValue]:
    counts = ledger.group_by(of, "method", "grade", "closes").len("predictions").sort(of)
    return {"told": dg.MetadataValue.md(markdown_table(counts))}


def _check_spec(name: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        KEPT,
        asset=name,
        description=(
            "No published prediction turned out surely worse than its scorecard promised, nor than the naive rule"
        ),
    )


@dg.asset(
    **table_asset("ledger_grades", layer="insight", purpose="analytics", code_version="4"),
    ins={
        "prediction_ledger": AT_THE_ORIGIN,
        "customer_labels": AT_THE_ORIGIN,
        "recommendation_ledger": AT_THE_ORIGIN,
        "propensity_ledger": AT_THE_ORIGIN,
        "order_lines": ROWS_DELIVERED,
        "identity_links": LINKS,
        "customer_days": DAYS_DELIVERED,
        **dict.fromkeys(PROMISING, dg.AssetIn(partition_mapping=TWO_HORIZONS_AGO, metadata=OPTIONAL)),
    },
    check_specs=[_check_spec("ledger_grades")],
)
def ledger_grades(
    context: dg.AssetExecutionContext,
    prediction_ledger: pl.LazyFrame,
    customer_labels: pl.LazyFrame,
    recommendation_ledger: pl.LazyFrame,
    propensity_ledger: pl.LazyFrame,
    order_lines: pl.LazyFrame,
    identity_links: pl.LazyFrame,
    customer_days: pl.LazyFrame,
    churn_scorecard: pl.LazyFrame,
    lifetime_value_scorecard: pl.LazyFrame,
    recommendation_scorecard: pl.LazyFrame,
    propensity_scorecard: pl.LazyFrame,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    promises = promises_of(
        [churn_scorecard, lifetime_value_scorecard, recommendation_scorecard, propensity_scorecard]
    )
    how = _how(as_of)
    who = IdentityHistory(identity_links, identity_rules()).as_of
    origin = as_of - timedelta(days=shop.horizon_days)
    owned, bought = _bought(order_lines, who, origin=origin, closes=as_of)
    past, later = label_view(customer_days, who, origin=origin, horizon_days=shop.horizon_days)
    cuts, targets = targets_sold(past, as_of=origin)
    reached = bought_within(later, cuts, origin=origin, horizon_days=shop.horizon_days)
    grades = [
        grade_ledger(_told_of(prediction_ledger, GRADINGS), customer_labels.collect(), promises, **how),
        grade_recorded_lists(recommendation_ledger.collect(), bought, owned, promises, policy=POLICY, **how),
        grade_recorded_propensities(propensity_ledger.collect(), reached, targets, promises, **how),
    ]
    yield from _graded("ledger_grades", pl.concat(grades).sort(contract("ledger_grades").primary_key))


def _told_of(ledger: pl.LazyFrame, gradings: Mapping[str, Grading]) -> pl.DataFrame:
    return ledger.filter(pl.col("task").is_in(list(gradings))).collect()


def grades_within(
    days: int,
    name: str,
    *,
    ledger: str,
    gradings: Mapping[str, Grading],
    scorecard: dg.AssetIn | None = None,
    everybody: bool = False,
) -> dg.AssetsDefinition:
    """Make the asset that grades what was told of a horizon of its own, on the day on which that closes.

    Args:
        days: the horizon.
        name: of the asset.
        ledger: name of the table that holds what was told.
        gradings: how each task is graded.
        scorecard: the scorecard that promised it; None where none did.
        everybody: whether customers were told of who had not bought yet.
    """

    @dg.asset(
        **table_asset(name, layer="insight", purpose="analytics"),
        ins={
            "ledger": dg.AssetIn(ledger, partition_mapping=days_ago(days)),
            "customer_days": DAYS_DELIVERED,
            "orders": ROWS_DELIVERED,
            "identity_links": LINKS,
            **({} if scorecard is None else {"scorecard": scorecard}),
        },
        check_specs=[_check_spec(name)],
    )
    def grades_of(
        context: dg.AssetExecutionContext,
        ledger: pl.LazyFrame,
        customer_days: pl.LazyFrame,
        orders: pl.LazyFrame,
        identity_links: pl.LazyFrame,
        **promising: pl.LazyFrame,
    ) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
        as_of = date.fromisoformat(context.partition_key)
        origin = as_of - timedelta(days=days)
        who = IdentityHistory(identity_links, identity_rules()).as_of
        void = None if settings().refunded_orders_count else orders
        past, later = label_view(customer_days, who, origin=origin, horizon_days=days, orders=void)
        labels = label_customers(past, later, origin=origin, horizon_days=days, everybody=everybody)
        promises = promises_of(list(promising.values()))
        grades = grade_ledger(
            _told_of(ledger, gradings), labels.collect(), promises, gradings=gradings, **_how(as_of)
        )
        yield from _graded(name, grades)

    return grades_of


def _purchase_grades(days: int) -> dg.AssetsDefinition:
    task = PURCHASE.format(days)
    # What was promised stands in the scorecard of the day on which it was told.
    scorecard = dg.AssetIn("intent_scorecard", partition_mapping=days_ago(days), metadata=OPTIONAL)
    return grades_within(
        days, f"{task}_grades", ledger="intent_ledger", gradings={task: PURCHASES[task]}, scorecard=scorecard,
        everybody=True,
    )  # fmt: skip


def _churn_grades(days: int) -> dg.AssetsDefinition:
    # What was promised stands in the scorecard of one of the shop's horizons before the day on which it was told.
    promised_on = days_ago(days + settings().horizon_days)
    scorecard = dg.AssetIn("churn_horizon_scorecard", partition_mapping=promised_on, metadata=OPTIONAL)
    return grades_within(
        days, f"{WITHIN.format(CHURN, days)}_grades", ledger="prediction_ledger", gradings=CHURN_WITHIN[days],
        scorecard=scorecard,
    )  # fmt: skip


def _value_grades(days: int) -> dg.AssetsDefinition:
    name = f"{WITHIN.format(VALUE, days)}_grades"
    return grades_within(days, name, ledger="prediction_ledger", gradings=VALUE_WITHIN[days])


purchase_7d_grades = _purchase_grades(7)
purchase_30d_grades = _purchase_grades(30)
beside_the_horizon = [
    *(_churn_grades(days) for days in told_horizons(settings().horizon_days)),
    *(_value_grades(days) for days in other_windows(settings().horizon_days)),
]
"""Grades of what is published of other horizons than the shop's; which these are follows from the shop's."""


@dg.asset(
    **table_asset("session_intent_grades", layer="insight", purpose="analytics"),
    ins={
        "session_intent_ledger": dg.AssetIn(
            partition_mapping=days_ago(visits.KNOWN_AFTER_DAYS), metadata=LEFT_AS_DELIVERED
        ),
        "session_intent_scorecard": dg.AssetIn(
            partition_mapping=days_ago(visits.KNOWN_AFTER_DAYS), metadata=OPTIONAL
        ),
        "session_intent_examples": dg.AssetIn(metadata=LEFT_AS_DELIVERED),
    },
    check_specs=[_check_spec("session_intent_grades")],
)
def session_intent_grades(
    context: dg.AssetExecutionContext,
    session_intent_ledger: pl.LazyFrame,
    session_intent_scorecard: pl.LazyFrame,
    session_intent_examples: pl.LazyFrame,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    grades = visits.grade_recorded_visits(
        session_intent_ledger.collect(),
        session_intent_examples.collect(),
        promises_of([session_intent_scorecard]),
        **_how(date.fromisoformat(context.partition_key)),
    )
    yield from _graded("session_intent_grades", grades)


def _how(as_of: date) -> Mapping[str, object]:
    return {"as_of": as_of, "smallest_group": settings().k_anonymity, "seed": settings().seed}


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


def _graded(name: str, grades: pl.DataFrame) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    """Publish grades, whatever they say, and say whether promises were kept."""
    metadata = {
        "what_came_of_it": dg.MetadataValue.md(markdown_table(verdict_table(grades))),
        "by_segment": dg.MetadataValue.md(markdown_table(segment_table(grades))),
    }
    yield dg.Output(grades, metadata=metadata)
    yield _kept(name, grades)


def _kept(name: str, grades: pl.DataFrame) -> dg.AssetCheckResult:
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
        check_name=KEPT, asset_key=name, passed=broken.is_empty(), severity=dg.AssetCheckSeverity.WARN, metadata=told
    )


@dg.asset(
    **table_asset("champion_history", layer="insight", purpose="operations", code_version="2"),
    ins={
        **dict.fromkeys(OF_THE_HORIZON, dg.AssetIn(partition_mapping=CLOSED_ORIGINS, metadata=OPTIONAL)),
        **dict.fromkeys(OF_THE_DAY, dg.AssetIn(partition_mapping=HISTORY, metadata=OPTIONAL)),
    },
)
def champion_history(
    context: dg.AssetExecutionContext,
    churn_scorecard: pl.LazyFrame,
    churn_horizon_scorecard: pl.LazyFrame,
    lifetime_value_scorecard: pl.LazyFrame,
    recommendation_scorecard: pl.LazyFrame,
    propensity_scorecard: pl.LazyFrame,
    clustering_scorecard: pl.LazyFrame,
    intent_scorecard: pl.LazyFrame,
    session_intent_scorecard: pl.LazyFrame,
) -> pl.DataFrame:
    cards = (
        churn_scorecard, churn_horizon_scorecard, lifetime_value_scorecard, recommendation_scorecard,
        propensity_scorecard, clustering_scorecard, intent_scorecard, session_intent_scorecard,
    )  # fmt: skip
    known = [verdicts(card, known_after_days=settings().horizon_days) for card in cards]
    history = history_of(
        pl.concat(known, how="diagonal"), deciding=DECIDING, as_of=date.fromisoformat(context.partition_key)
    )
    context.add_output_metadata(
        {
            "origins": history.select("task", "origin").n_unique(),
            "changes": dg.MetadataValue.md(markdown_table(changes_of_champion(history))),
            **{
                f"picture_{number}": dg.MetadataValue.md(chart_markdown(chart))
                for number, chart in enumerate(history_charts(history), start=1)
            },
        }
    )
    return history
