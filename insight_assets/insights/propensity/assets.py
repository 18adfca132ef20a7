"""Assets of the propensity capability: models, scorecard and published propensities.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.checks import guard_results, guard_specs, report_guards
from insight_assets.features.labels import HorizonOpenError, horizon_of, label_view
from insight_assets.insights.behaviour.assets import MODELS as BEHAVIOUR
from insight_assets.insights.behaviour.assets import VECTORS, products_encoded
from insight_assets.insights.propensity import pictures
from insight_assets.insights.propensity.examples import build_pair_examples
from insight_assets.insights.propensity.grading import PRIMARY, GradedPropensity, grade_propensity
from insight_assets.insights.propensity.guards import (
    MODEL_GUARDS,
    SCORECARD_CHECKS,
    judge_examples,
    judge_models,
    judge_scorecard,
)
from insight_assets.insights.propensity.model_card import model_card
from insight_assets.insights.propensity.models import (
    PropensityModels,
    load_propensity_models,
    train_propensity_models,
)
from insight_assets.insights.propensity.nearness import Nearness
from insight_assets.insights.propensity.pairs import know
from insight_assets.insights.propensity.scoring import choose_methods, score_propensity
from insight_assets.insights.propensity.targets import bought_within
from insight_assets.metadata import making_of, markdown_table, model_asset, published_days, table_asset
from insight_assets.ml.model_card import card_text, write_card
from insight_assets.ml.referee import champion, scorecard_markdown
from insight_assets.partitions import CLOSED_HORIZON, HISTORY, ONE_HORIZON_AGO, YEAR
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS = "propensity_models"
SCORECARD = "propensity_scorecard"

HISTORY_AND_HORIZON = dg.TimeWindowPartitionMapping(
    start_offset=HISTORY.start_offset, end_offset=CLOSED_HORIZON.end_offset
)
"""Every day up to the end of the horizon: an asset cannot read one table under two mappings."""


@dg.asset(
    **model_asset(
        MODELS,
        code_version="3",
        purpose="personalise",
        kinds={"scikitlearn"},
        description=(
            "Popularity rule, habit rule, logistic regression, gradient boosting, and both with the behaviour encoder, "
            "that foretell whether a customer buys something of a category, of a band of price, or a product: one "
            "model a kind for all its targets, trained on all origins whose horizon had closed by the as-of day, and "
            "calibrated on customers that none of them learnt from"
        ),
    ),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "events": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
        VECTORS: dg.AssetIn(partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}),
    },
    check_specs=guard_specs(MODELS, MODEL_GUARDS),
)
def propensity_models(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    events: pl.LazyFrame,
    identity_links: pl.LazyFrame,
    products: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    models: ModelStore,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    examples = build_pair_examples(
        customer_days,
        events,
        products,
        IdentityHistory(identity_links, identity_rules()).as_of,
        as_of=as_of,
        horizon_days=shop.horizon_days,
        spacing_days=shop.origin_spacing_days,
        min_history_days=shop.min_history_days,
        orders=None if shop.refunded_orders_count else orders,
        nearness=_nearness(models, as_of - timedelta(days=shop.horizon_days), behaviour_vectors),
    )
    verdicts = judge_examples(
        examples,
        as_of=as_of,
        horizon_days=shop.horizon_days,
        published=published_days(context.instance, "customer_days"),
    )
    # A guard that fails leaves the block by an error: the models of before, if any, stay where they are.
    with models.writing(MODELS, as_of) as writing:
        trained = train_propensity_models(
            examples,
            directory=writing.directory,
            horizon_days=shop.horizon_days,
            seed=shop.seed,
            log=context.log.info,
        )
        verdicts += judge_models(trained)
        told = model_card(trained, smallest_group=shop.k_anonymity)
        card = card_text(told, making_of(context, MODELS, shop), verdicts)
        write_card(card, writing.directory)
        yield from report_guards(MODELS, verdicts)
    yield dg.MaterializeResult(
        metadata=_training_metadata(trained) | {"model_card": dg.MetadataValue.md(card)},
        data_version=dg.DataVersion(writing.manifest.content_hash),
    )


@dg.asset(
    **table_asset(
        SCORECARD, layer="insight", purpose="personalise", kinds={"polars"}, code_version="2", deps=[MODELS, BEHAVIOUR]
    ),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY_AND_HORIZON, metadata=LEFT_AS_DELIVERED),
        "events": dg.AssetIn(partition_mapping=YEAR, input_manager_key="lake"),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY_AND_HORIZON, input_manager_key="lake"),
    },
    check_specs=guard_specs(SCORECARD, SCORECARD_CHECKS, blocking=False),
)
def propensity_scorecard(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    events: pl.LazyFrame,
    identity_links: pl.LazyFrame,
    customer_features: pl.LazyFrame,
    products: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    models: ModelStore,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    origin, shop = date.fromisoformat(context.partition_key), settings()
    horizon = horizon_of(origin, shop.horizon_days)
    if open_days := tuple(sorted(set(horizon) - published_days(context.instance, "customer_days"))):
        raise HorizonOpenError(origin=origin, closes=horizon[-1], missing=open_days)
    who = IdentityHistory(identity_links, identity_rules()).as_of
    past, later = label_view(customer_days, who, origin=origin, horizon_days=shop.horizon_days)
    nearness = _nearness(models, origin, behaviour_vectors)
    known = know(
        past, events, customer_features, products, as_of=origin, horizon_days=shop.horizon_days, nearness=nearness
    )
    graded = grade_propensity(
        load_propensity_models(models.reading(MODELS, origin)),
        known,
        bought_within(later, known.cuts, origin=origin, horizon_days=shop.horizon_days),
        seed=shop.seed,
        model_version=models.version(MODELS, origin),
    )
    yield dg.Output(graded.scorecard, metadata=_grading_metadata(graded))
    yield from guard_results(SCORECARD, judge_scorecard(graded), severity=dg.AssetCheckSeverity.WARN)


@dg.asset(
    **table_asset(
        "propensity_scores", layer="insight", purpose="personalise", kinds={"polars"}, code_version="2",
        deps=[MODELS, BEHAVIOUR],
    ),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=YEAR),
        "events": dg.AssetIn(partition_mapping=YEAR, input_manager_key="lake"),
        SCORECARD: dg.AssetIn(partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}),
    },
)
def propensity_scores(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    events: pl.LazyFrame,
    customer_features: pl.LazyFrame,
    products: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    propensity_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    trained = load_propensity_models(models.reading(MODELS, as_of))
    publications = choose_methods(trained, propensity_scorecard.collect())
    scores = score_propensity(
        trained,
        know(
            customer_days, events, customer_features, products, as_of=as_of, horizon_days=trained.horizon_days,
            nearness=_nearness(models, as_of, behaviour_vectors),
        ),
        products.select("product_id", "product_name").collect(),
        publications,
        model_version=models.version(MODELS, as_of),
    )
    shares = scores.group_by("kind", "evidence").agg(places=pl.len().cast(pl.Int64)).sort("kind", "evidence")
    told = [
        {"kind": kind, "method": each.method, "grade": each.grade, "graded_origin": str(each.origin)}
        for kind, each in publications.items()
    ]
    metadata: dict[str, object] = {
        "customers": scores["customer_key"].n_unique(),
        "published": dg.MetadataValue.md(markdown_table(pl.DataFrame(told))),
        "evidence": dg.MetadataValue.md(markdown_table(shares)),
    }
    if shares.height:
        metadata["reasons"] = dg.MetadataValue.md(chart_markdown(pictures.evidence_chart(shares)))
    context.add_output_metadata(metadata)
    return scores


def _nearness(models: ModelStore, day: date, vectors: pl.LazyFrame) -> Nearness | None:
    """What the behaviour encoder of a day says; None where its vectors are not there."""
    told = vectors.collect()
    if told.is_empty():
        return None
    return Nearness.of(products_encoded(models, day), told, horizon_days=settings().horizon_days)


def _training_metadata(trained: PropensityModels) -> dict[str, object]:
    rows = [
        {"kind": kind, **{name: count[name] for name in ("origin", "role", "customers", "rows")}}
        | {"bought": count["bought"]}
        for kind, each in trained.kinds.items()
        for count in each.config["examples"]
    ]
    metadata: dict[str, object] = {
        "methods": dg.MetadataValue.md(
            markdown_table(
                pl.DataFrame(
                    [
                        {"kind": kind, "methods": ", ".join(method.name for method in each.methods)}
                        for kind, each in trained.kinds.items()
                    ]
                )
            )
        )
    }
    if rows:
        metadata["examples"] = dg.MetadataValue.md(markdown_table(pl.DataFrame(rows)))
    if trained.costs:
        costs = [
            {"step": name, "seconds": cost.wall_seconds, "CPU seconds": cost.cpu_seconds,
             "peak memory, MB more": cost.peak_megabytes}
            for name, cost in trained.costs.items()
        ]  # fmt: skip
        metadata["costs"] = dg.MetadataValue.md(markdown_table(pl.DataFrame(costs)))
    return metadata


def _grading_metadata(graded: GradedPropensity) -> dict[str, object]:
    metadata: dict[str, object] = {}
    cards = graded.scorecard.group_by(["task"], maintain_order=True)
    champions = {str(task).removesuffix("_propensity"): champion(card) for (task,), card in cards}
    for (task,), card in graded.scorecard.group_by(["task"], maintain_order=True):
        metadata[str(task)] = dg.MetadataValue.md(scorecard_markdown(card))
    for kind in champions:
        if (reached := graded.champion_metric(kind, PRIMARY)) is not None:
            metadata[f"{kind}_{PRIMARY}"] = reached
    if graded.scorecard.height:
        chart = pictures.methods_chart(graded.scorecard, metric=PRIMARY)
        metadata["methods"] = dg.MetadataValue.md(chart_markdown(chart))
    table = pictures.kinds_reliability(
        graded.truth,
        {kind: graded.predictions[kind][method] for kind, method in champions.items()},
        smallest_group=settings().k_anonymity,
    )
    if table.height:
        metadata["reliability"] = dg.MetadataValue.md(chart_markdown(pictures.reliability_chart(table)))
    return metadata
