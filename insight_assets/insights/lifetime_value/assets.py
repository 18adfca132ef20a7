"""Assets of the lifetime value capability: models, scorecard and published scores.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

import shutil
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.checks import guard_results
from insight_assets.insights.lifetime_value import grading, pictures, scoring
from insight_assets.insights.lifetime_value.bg_nbd import expected_repeats
from insight_assets.insights.lifetime_value.customers import Buyers, buyers
from insight_assets.insights.lifetime_value.model import LifetimeValueModel, load, save, train
from insight_assets.insights.lifetime_value.model_card import model_card
from insight_assets.insights.lifetime_value.season import horizon_of_last_year
from insight_assets.metadata import GPU_POOL, making_of, model_asset, table_asset
from insight_assets.ml.guards import Verdict
from insight_assets.ml.model_card import card_text, write_card
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.partitions import HISTORY, ONE_HORIZON_AGO
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS = "lifetime_value_models"
REPEATS_CHECK = "repeats_as_observed"
_REPEATS_TOLERANCE = 0.2


@dg.asset(
    **model_asset(
        MODELS,
        purpose="analytics",
        code_version="4",
        kinds={"scipy", "scikitlearn", "pytorch"},
        description=(
            "BG/NBD, Pareto/NBD and Gamma-Gamma as fitted on all purchases up to the as-of day, by maximum a "
            "posteriori with weak priors; gradient boosting and a value network trained on all origins "
            "whose horizon had closed by then, and how far to believe each method, this season's horizon of a "
            "year ago among it; time in days, value net of refunds"
        ),
    ),
    ins={
        "churn_examples": dg.AssetIn(metadata={"allow_missing_partitions": True}),
        "customer_days": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
    },
    check_specs=[
        dg.AssetCheckSpec(
            REPEATS_CHECK,
            asset=MODELS,
            description=(
                "The fitted model expects as many repeat purchases as there were, to a fifth"
            ),
        )
    ],
    pool=GPU_POOL,
)
def lifetime_value_models(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    churn_examples: pl.LazyFrame,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    identity_links: pl.LazyFrame,
    models: ModelStore,
) -> dg.MaterializeResult:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    customers, work = buyers(customer_features), models.work_folder(MODELS, as_of)
    examples = churn_examples.collect()
    last_year = horizon_of_last_year(
        customer_days,
        IdentityHistory(identity_links, identity_rules()).as_of,
        as_of=as_of,
        horizon_days=shop.horizon_days,
        orders=None if shop.refunded_orders_count else orders,
    )
    model = train(
        customers,
        examples,
        horizon_days=shop.horizon_days,
        last_year=last_year,
        work_directory=work,
        seed=shop.seed,
        max_epochs=shop.max_epochs,
        log=context.log.info,
    )
    verdicts = [_repeats_as_observed(model, customers)]
    told = model_card(model, examples, horizon_days=shop.horizon_days, smallest_group=shop.k_anonymity)
    card = card_text(told, making_of(context, MODELS, shop), verdicts)
    with models.writing(MODELS, as_of) as writing:
        save(model, writing.directory)
        write_card(card, writing.directory)
    shutil.rmtree(work)
    purchase, value = model.purchase, model.value
    metadata: dict[str, object] = {
        "model_card": dg.MetadataValue.md(card),
        "customers": purchase.customers,
        "repeat_customers": purchase.repeat_customers,
        "customers_with_value": value.customers,
        "bg_nbd": {name: round(number, 6) for name, number in vars(purchase.model).items()},
        "pareto_nbd": {name: round(number, 6) for name, number in vars(model.rival.model).items()},
        "gamma_gamma": {name: round(number, 6) for name, number in vars(value.model).items()},
        "methods": ", ".join(method.name for method in model.methods),
        "buyers_a_year_ago": last_year.height,
        "totals_scaled_by": {name: of.value_scale for name, of in model.calibrations.items()},
        "mean_value_of_a_purchase_day": round(value.model.population_mean, 4),
        "log_likelihood": round(purchase.log_likelihood, 4),
    }
    table = pictures.frequency_table(
        purchase.model,
        customers,
        smallest_group=settings().k_anonymity,
        seed=settings().seed,
    )
    if not table.is_empty():
        metadata["repeat_purchases"] = dg.MetadataValue.md(
            chart_markdown(pictures.frequency_chart(table))
        )
    return dg.MaterializeResult(
        metadata=metadata,
        data_version=dg.DataVersion(writing.manifest.content_hash),
        check_results=guard_results(MODELS, verdicts, severity=dg.AssetCheckSeverity.WARN),
    )


def _repeats_as_observed(model: LifetimeValueModel, customers: Buyers) -> Verdict:
    observed = float(customers.histories.repeats.sum())
    expected = float(expected_repeats(model.purchase.model, customers.histories.age).sum())
    # A handful of purchases says nothing about a fit, whatever their ratio.
    enough = observed >= settings().k_anonymity
    passed = not enough or abs(expected / observed - 1) <= _REPEATS_TOLERANCE
    return Verdict(REPEATS_CHECK, passed, {"observed": observed, "expected": round(expected, 4)} if enough else {})


@dg.asset(
    **table_asset("lifetime_value_scorecard", layer="insight", purpose="analytics", kinds={"polars"}, code_version="2", deps=[MODELS]),
)
def lifetime_value_scorecard(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    customer_labels: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    origin = date.fromisoformat(context.partition_key)
    graded = grading.grade(
        load(models.reading(MODELS, origin)),
        buyers(customer_features),
        customer_labels,
        origin=origin,
        horizon_days=settings().horizon_days,
        seed=settings().seed,
        model_version=models.version(MODELS, origin),
    )
    metadata: dict[str, object] = {
        "scorecard": dg.MetadataValue.md(scorecard_markdown(graded.scorecard))
    }
    table = pictures.calibration_table(graded, smallest_group=settings().k_anonymity)
    if not table.is_empty():
        metadata["calibration"] = dg.MetadataValue.md(
            chart_markdown(pictures.calibration_chart(table))
        )
    context.add_output_metadata(metadata)
    return graded.scorecard


@dg.asset(
    **table_asset(
        "lifetime_value_scores", layer="insight", purpose="analytics", kinds={"polars"}, code_version="2", deps=[MODELS]
    ),
    ins={
        "lifetime_value_scorecard": dg.AssetIn(
            partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}
        )
    },
)
def lifetime_value_scores(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    lifetime_value_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    model = load(models.reading(MODELS, as_of))
    publish = grading.publication(
        lifetime_value_scorecard.collect(), available=[method.name for method in model.methods]
    )
    scores = scoring.score(
        model,
        buyers(customer_features),
        publish,
        as_of=as_of,
        horizon_days=settings().horizon_days,
        model_version=models.version(MODELS, as_of),
        seed=settings().seed,
    )
    context.add_output_metadata(
        {
            "method": publish.method,
            "grade": publish.grade,
            "graded_origin": str(publish.origin),
            "intervals": scores["interval_method"][0] if scores.height else None,
            "expected_value_90d": round(float(scores["expected_value_90d"].sum()), 4),
            "expected_orders_90d": round(float(scores["expected_orders_90d"].sum()), 4),
        }
    )
    return scores
