"""Assets of the churn capability: examples, models, scorecard and published scores.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.checks import guard_specs, report_guards
from insight_assets.contracts.catalogue import contract
from insight_assets.features.examples import FIT, build_examples, feature_names
from insight_assets.insights.behaviour.orders import known_chances, with_order_chances
from insight_assets.insights.churn import pictures
from insight_assets.insights.churn.grading import (
    GradedChurn,
    grade_churn,
    labels_plausible,
    shuffled_at_half,
    too_good,
)
from insight_assets.insights.churn.guards import LABEL_GUARDS, judge_labels, judge_training
from insight_assets.insights.churn.horizons import grade_horizons
from insight_assets.insights.churn.model_card import model_card
from insight_assets.insights.churn.models import (
    RECENCY,
    ChurnModels,
    load_churn_models,
    stored_methods,
    train_churn_models,
)
from insight_assets.insights.churn.scoring import choose_method, score_churn
from insight_assets.insights.churn.slices import SLICES_SCHEMA, grade_slices
from insight_assets.metadata import (
    GPU_POOL,
    making_of,
    markdown_table,
    model_asset,
    observing,
    published_days,
    table_asset,
)
from insight_assets.ml.feature_selection import grade_options, judge_features
from insight_assets.ml.guards import MODEL_GUARDS
from insight_assets.ml.model_card import card_text, write_card
from insight_assets.ml.origins import Origin
from insight_assets.ml.pictures import reliability_chart, reliability_table
from insight_assets.ml.referee import SCORECARD_SCHEMA, champion, scorecard_markdown
from insight_assets.partitions import HISTORY, ONE_HORIZON_AGO
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS = "churn_models"
SCORECARD = "churn_scorecard"
FEATURE_SELECTION = "churn_feature_selection"
HORIZON_SCORECARD = "churn_horizon_scorecard"
TOO_GOOD_CHECK = "not_too_good_to_be_true"
SHUFFLED_CHECK = "shuffled_labels_are_not_foretold"
LABELS_CHECK = "labels_are_plausible"
_SHOWN_FEATURES = 20


@dg.asset(
    **table_asset("churn_examples", layer="feature", purpose="analytics", needs_closed_origin=True),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "events": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
    },
    check_specs=guard_specs("churn_examples", LABEL_GUARDS),
)
def churn_examples(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    events: pl.LazyFrame,
    identity_links: pl.LazyFrame,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    examples = build_examples(
        customer_days,
        events,
        IdentityHistory(identity_links, identity_rules()).as_of,
        as_of=as_of,
        horizon_days=shop.horizon_days,
        spacing_days=shop.origin_spacing_days,
        min_history_days=shop.min_history_days,
        orders=None if shop.refunded_orders_count else orders,
    )
    verdicts = judge_labels(
        examples,
        as_of=as_of,
        horizon_days=shop.horizon_days,
        published=published_days(context.instance, "customer_days"),
        buyers=0 if examples.height else _labelled_buyers(customer_days, as_of),
    )
    yield from report_guards("churn_examples", verdicts)
    if examples.is_empty():
        yield dg.Output(contract("churn_examples").empty())
        return
    counts = examples.group_by("origin", "role").agg(
        pl.len().alias("customers"), pl.col("churned").mean().alias("churn rate")
    )
    yield dg.Output(
        examples, metadata={"origins": dg.MetadataValue.md(markdown_table(counts.sort("origin", "role")))}
    )


@dg.asset(**table_asset(FEATURE_SELECTION, layer="insight", purpose="analytics", kinds={"scikitlearn"}))
def churn_feature_selection(context: dg.AssetExecutionContext, churn_examples: pl.LazyFrame) -> pl.DataFrame:
    # Nobody who stops or calibrates a training, or who is graded, is looked at.
    examples = churn_examples.filter((pl.col("role") == FIT) & (pl.col("origin") == pl.col("origin").max())).collect()
    truth, customers = (examples[name].cast(pl.Int64).to_numpy() for name in ("churned", "customer_key"))
    names, seed = feature_names(examples), settings().seed
    judged = judge_features(examples, truth, customers, names=names, seed=seed)
    if judged.is_empty():
        return judged.with_columns(as_of=pl.lit(None, dtype=pl.Date))
    options, columns = grade_options(
        examples, truth, customers, names=names, origin=examples["origin"][0], seed=seed
    )
    told = judged.sort("importance", "feature", descending=[True, False]).head(_SHOWN_FEATURES)
    context.add_output_metadata(
        {
            "verdicts": dg.MetadataValue.md(markdown_table(judged["verdict"].value_counts().sort("verdict"))),
            "tell_most": dg.MetadataValue.md(
                markdown_table(told.select("feature", "importance", "mutual_information", "q_value", "verdict"))
            ),
            "fewer_columns": dg.MetadataValue.md(scorecard_markdown(options)),
            "columns_learnt_from": {name: round(width, 1) for name, width in columns.items()},
        }
    )
    return judged.with_columns(as_of=pl.lit(date.fromisoformat(context.partition_key)))


@dg.asset(
    **model_asset(
        MODELS,
        purpose="analytics",
        kinds={"pytorch", "scikitlearn"},
        description=(
            "Recency rule, naive Bayes, logistic regression, decision tree, support vector machine, random "
            "forest, gradient boosting, sequence network, behaviour encoder and their blend for churn, trained on "
            "all origins whose horizon had closed by the as-of day, and calibrated on customers that none of them "
            "learnt from"
        ),
        code_version="4",
    ),
    ins={
        "behaviour_vectors": dg.AssetIn(
            partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}
        )
    },
    check_specs=guard_specs(MODELS, MODEL_GUARDS),
    pool=GPU_POOL,
)
def churn_models(
    context: dg.AssetExecutionContext,
    churn_examples: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    models: ModelStore,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    work = models.work_folder(MODELS, as_of)
    # A guard that fails leaves the block by an error: the models of before, if any, stay where they are.
    with models.writing(MODELS, as_of) as writing:
        trained = train_churn_models(
            churn_examples.collect(),
            directory=writing.directory,
            work_directory=work,
            horizon_days=shop.horizon_days,
            seed=shop.seed,
            max_epochs=shop.max_epochs,
            with_lightgbm=shop.lightgbm,
            chances=known_chances(behaviour_vectors, horizon_days=shop.horizon_days).collect(),
            log=context.log.info,
            watch=observing(context, MODELS, rows="examples"),
        )
        verdicts = judge_training(trained.config)
        told = model_card(trained, smallest_group=shop.k_anonymity)
        card = card_text(told, making_of(context, MODELS, shop), verdicts)
        write_card(card, writing.directory)
        yield from report_guards(MODELS, verdicts)
    shutil.rmtree(work)
    yield dg.MaterializeResult(
        metadata=_training_metadata(trained) | {"model_card": dg.MetadataValue.md(card)},
        data_version=dg.DataVersion(writing.manifest.content_hash),
    )


@dg.asset(
    **table_asset(
        SCORECARD, layer="insight", purpose="analytics", kinds={"polars"}, code_version="3", deps=[MODELS]
    ),
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
    behaviour_vectors: pl.LazyFrame,
    event_sequences: pl.LazyFrame,
    customer_labels: pl.LazyFrame,
    models: ModelStore,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    origin = date.fromisoformat(context.partition_key)
    trained = load_churn_models(models.reading(MODELS, origin))
    graded = grade_churn(
        trained,
        _beside_chances(customer_features, behaviour_vectors),
        event_sequences.collect(),
        customer_labels.collect(),
        origin=origin,
        seed=settings().seed,
        model_version=models.version(MODELS, origin),
    )
    yield dg.Output(graded.scorecard, metadata=_grading_metadata(graded, trained))
    yield from _checks(graded, trained)


@dg.asset(
    **table_asset(
        "churn_slices", layer="insight", purpose="analytics", kinds={"polars"}, code_version="2", deps=[MODELS]
    )
)
def churn_slices(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    event_sequences: pl.LazyFrame,
    customer_labels: pl.LazyFrame,
    churn_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    origin, scorecard = date.fromisoformat(context.partition_key), churn_scorecard.collect()
    if scorecard.is_empty():
        return pl.DataFrame(schema=SLICES_SCHEMA)
    method, buyers = champion(scorecard), customer_features.filter(pl.col("orders_lifetime") > 0)
    features = _beside_chances(buyers, behaviour_vectors)
    trained = load_churn_models(models.reading(MODELS, origin), only=[method])
    slices = grade_slices(
        features,
        customer_labels.collect(),
        trained.predict(features, event_sequences.collect(), only=[method])[method],
        origin=origin,
        method=method,
        model_version=models.version(MODELS, origin),
        smallest_group=settings().k_anonymity,
    )
    shown = slices.drop("as_of", "method", "model_version")
    context.add_output_metadata({"method": method, "slices": dg.MetadataValue.md(markdown_table(shown))})
    return slices


@dg.asset(
    **table_asset(
        HORIZON_SCORECARD, layer="insight", purpose="analytics", kinds={"polars"}, code_version="2", deps=[MODELS]
    )
)
def churn_horizon_scorecard(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    event_sequences: pl.LazyFrame,
    customer_labels: pl.LazyFrame,
    churn_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    origin, scorecard = date.fromisoformat(context.partition_key), churn_scorecard.collect()
    if scorecard.is_empty():
        return pl.DataFrame(schema=SCORECARD_SCHEMA)
    method = champion(scorecard)
    horizons = grade_horizons(
        load_churn_models(models.reading(MODELS, origin), only=[method]),
        _beside_chances(customer_features, behaviour_vectors),
        event_sequences.collect(),
        customer_labels.collect(),
        method=method,
        origin=origin,
        seed=settings().seed,
        model_version=models.version(MODELS, origin),
    )
    for (task,), card in horizons.group_by(["task"], maintain_order=True):
        context.add_output_metadata({str(task): dg.MetadataValue.md(scorecard_markdown(card))})
    return horizons


@dg.asset(
    **table_asset(
        "churn_scores", layer="insight", purpose="analytics", kinds={"polars"}, code_version="5", deps=[MODELS]
    ),
    ins={
        name: dg.AssetIn(partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True})
        for name in (SCORECARD, HORIZON_SCORECARD)
    },
)
def churn_scores(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    event_sequences: pl.LazyFrame,
    churn_scorecard: pl.LazyFrame,
    churn_horizon_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    folder = models.reading(MODELS, as_of)
    publication = choose_method(stored_methods(folder), churn_scorecard.collect(), churn_horizon_scorecard.collect())
    trained = load_churn_models(folder, only=[publication.method, RECENCY.name])
    scores = score_churn(
        trained,
        _beside_chances(customer_features, behaviour_vectors),
        event_sequences.collect(),
        publication,
        as_of=as_of,
        model_version=models.version(MODELS, as_of),
    )
    context.add_output_metadata(
        {
            "method": publication.method,
            "grade": publication.grade,
            "graded_origin": str(publication.origin),
            "expected_churn_rate": round(float(scores["churn_probability"].mean() or 0), 4),
        }
    )
    return scores


def _beside_chances(features: pl.LazyFrame, vectors: pl.LazyFrame) -> pl.DataFrame:
    return with_order_chances(features, vectors, horizon_days=settings().horizon_days)


def _labelled_buyers(customer_days: pl.LazyFrame, as_of: date) -> int:
    """Customers who had bought by the newest closed origin; 0 when there is none with enough history."""
    shop = settings()
    newest = Origin(as_of - timedelta(days=shop.horizon_days), shop.horizon_days)
    first, buyers = (
        customer_days.select(
            pl.col("event_day").min(),
            pl.col("customer_key").filter((pl.col("orders") > 0) & (pl.col("event_day") <= newest.as_of)).n_unique(),
        )
        .collect()
        .row(0)
    )
    enough = first is not None and (newest.as_of - first).days + 1 >= shop.min_history_days
    return int(buyers) if enough else 0


def _training_metadata(trained: ChurnModels) -> dict[str, object]:
    metadata: dict[str, object] = {
        "methods": ", ".join(method.name for method in trained.methods),
        "rows": sum(count["rows"] for count in trained.config["examples"]),
        "data_hash": trained.config["data_hash"],
        "training_code_version": trained.config["code_version"],
    }
    if trained.costs:
        costs = pl.DataFrame(
            [
                {"method": name, "seconds": cost.wall_seconds, "CPU seconds": cost.cpu_seconds,
                 "peak memory, MB more": cost.peak_megabytes}
                for name, cost in trained.costs.items()
            ]
        )  # fmt: skip
        metadata["costs"] = dg.MetadataValue.md(markdown_table(costs))
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
    table = reliability_table(
        graded.truth, graded.predictions, smallest_group=settings().k_anonymity
    )
    if not table.is_empty():
        metadata["reliability"] = dg.MetadataValue.md(
            chart_markdown(reliability_chart(table, of="churn"))
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
