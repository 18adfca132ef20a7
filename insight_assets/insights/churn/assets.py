"""Assets of the churn capability: examples, models, scorecard and published scores.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

import shutil
from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.features.examples import build_examples
from insight_assets.insights.churn import pictures
from insight_assets.insights.churn.grading import (
    GradedChurn,
    grade_churn,
    labels_plausible,
    shuffled_at_half,
    too_good,
)
from insight_assets.insights.churn.models import (
    ChurnModels,
    load_churn_models,
    train_churn_models,
)
from insight_assets.insights.churn.scoring import choose_method, score_churn
from insight_assets.metadata import markdown_table, model_asset, table_asset
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.partitions import HISTORY, ONE_HORIZON_AGO
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS = "churn_models"
SCORECARD = "churn_scorecard"
TOO_GOOD_CHECK = "not_too_good_to_be_true"
SHUFFLED_CHECK = "shuffled_labels_are_not_foretold"
LABELS_CHECK = "labels_are_plausible"


@dg.asset(
    **table_asset("churn_examples", layer="feature", purpose="analytics", needs_closed_origin=True),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "events": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
    },
)
def churn_examples(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    events: pl.LazyFrame,
    identity_links: pl.LazyFrame,
) -> pl.DataFrame:
    shop = settings()
    examples = build_examples(
        customer_days,
        events,
        IdentityHistory(identity_links, identity_rules()).as_of,
        as_of=date.fromisoformat(context.partition_key),
        horizon_days=shop.horizon_days,
        spacing_days=shop.origin_spacing_days,
        min_history_days=shop.min_history_days,
        orders=None if shop.refunded_orders_count else orders,
    )
    if examples.is_empty():
        return contract("churn_examples").empty()
    counts = examples.group_by("origin", "role").agg(
        pl.len().alias("customers"), pl.col("churned").mean().alias("churn rate")
    )
    context.add_output_metadata(
        {"origins": dg.MetadataValue.md(markdown_table(counts.sort("origin", "role")))}
    )
    return examples


@dg.asset(
    **model_asset(
        MODELS,
        purpose="analytics",
        kinds={"pytorch", "scikitlearn"},
        description=(
            "Recency rule, logistic regression, gradient boosting and sequence network for churn, "
            "trained on all origins whose horizon had closed by the as-of day, and calibrated on "
            "customers that none of them learnt from"
        ),
    ),
)
def churn_models(
    context: dg.AssetExecutionContext, churn_examples: pl.LazyFrame, models: ModelStore
) -> dg.MaterializeResult:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    work = models.work_folder(MODELS, as_of)
    with models.writing(MODELS, as_of) as writing:
        trained = train_churn_models(
            churn_examples.collect(),
            directory=writing.directory,
            work_directory=work,
            horizon_days=shop.horizon_days,
            seed=shop.seed,
            max_epochs=shop.max_epochs,
            log=context.log.info,
        )
    shutil.rmtree(work)
    return dg.MaterializeResult(
        metadata=_training_metadata(trained),
        data_version=dg.DataVersion(writing.manifest.content_hash),
    )


@dg.asset(
    **table_asset(SCORECARD, layer="insight", purpose="analytics", kinds={"polars"}, deps=[MODELS]),
    check_specs=[
        dg.AssetCheckSpec(
            TOO_GOOD_CHECK,
            asset=SCORECARD,
            description="The champion's AUC is at most 0.90; above it a leak is likelier",
        ),
        dg.AssetCheckSpec(
            SHUFFLED_CHECK,
            asset=SCORECARD,
            description="Trained on shuffled labels, AUC on unseen customers is one half",
        ),
        dg.AssetCheckSpec(
            LABELS_CHECK,
            asset=SCORECARD,
            description="There are labels, and between 2 % and 98 % of customers churned",
        ),
    ],
)
def churn_scorecard(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    event_sequences: pl.LazyFrame,
    customer_labels: pl.LazyFrame,
    models: ModelStore,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    origin = date.fromisoformat(context.partition_key)
    trained = load_churn_models(models.reading(MODELS, origin))
    graded = grade_churn(
        trained,
        customer_features.collect(),
        event_sequences.collect(),
        customer_labels.collect(),
        origin=origin,
        seed=settings().seed,
        model_version=models.version(MODELS, origin),
    )
    yield dg.Output(graded.scorecard, metadata=_grading_metadata(graded, trained))
    yield from _checks(graded, trained)


@dg.asset(
    **table_asset("churn_scores", layer="insight", purpose="analytics", kinds={"polars"}, deps=[MODELS]),
    ins={
        SCORECARD: dg.AssetIn(
            partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}
        )
    },
)
def churn_scores(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    event_sequences: pl.LazyFrame,
    churn_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    trained = load_churn_models(models.reading(MODELS, as_of))
    publication = choose_method(trained, churn_scorecard.collect())
    scores = score_churn(
        trained,
        customer_features.collect(),
        event_sequences.collect(),
        publication,
        as_of=as_of,
        model_version=models.version(MODELS, as_of),
    )
    context.add_output_metadata(
        {
            "method": publication.method,
            "grade": publication.grade,
            "graded_origin": str(publication.graded_origin),
            "expected_churn_rate": round(float(scores["churn_probability"].mean() or 0), 4),
        }
    )
    return scores


def _training_metadata(trained: ChurnModels) -> dict[str, object]:
    metadata: dict[str, object] = {
        "methods": ", ".join(method.name for method in trained.methods),
        "rows": sum(count["rows"] for count in trained.config["examples"]),
    }
    if epochs := trained.config.get("epochs"):
        metadata["loss"] = dg.MetadataValue.md(chart_markdown(pictures.loss_chart(epochs)))
    return metadata


def _grading_metadata(graded: GradedChurn, trained: ChurnModels) -> dict[str, object]:
    metadata: dict[str, object] = {
        "scorecard": dg.MetadataValue.md(scorecard_markdown(graded.scorecard))
    }
    for metric in ("auc", "calibration_error"):
        if (value := graded.champion_metric(metric)) is not None:
            metadata[metric] = value
    table = pictures.reliability_table(
        graded.truth, graded.predictions, smallest_group=settings().k_anonymity
    )
    if not table.is_empty():
        metadata["reliability"] = dg.MetadataValue.md(
            chart_markdown(pictures.reliability_chart(table))
        )
    if epochs := trained.config.get("epochs"):
        metadata["loss"] = dg.MetadataValue.md(chart_markdown(pictures.loss_chart(epochs)))
    return metadata


def _checks(graded: GradedChurn, trained: ChurnModels) -> Iterator[dg.AssetCheckResult]:
    control = trained.config.get("shuffled_labels")
    outcomes = {
        TOO_GOOD_CHECK: (not too_good(graded), {"auc": graded.champion_metric("auc")}),
        SHUFFLED_CHECK: (shuffled_at_half(control), control or {}),
        LABELS_CHECK: (
            labels_plausible(graded),
            {"customers": len(graded.truth), "churn_rate": graded.base_rate},
        ),
    }
    for name, (passed, metadata) in outcomes.items():
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=SCORECARD,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={key: value for key, value in metadata.items() if value is not None},
        )
