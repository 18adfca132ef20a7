"""Assets of the behaviour encoder: the encoder as of a day, the vector of every customer, and which products are alike.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.features.sequences import with_bought_products
from insight_assets.insights.behaviour import pictures
from insight_assets.insights.behaviour.model_card import model_card
from insight_assets.insights.behaviour.orders import ORDER_CHANCE, foretell_orders
from insight_assets.insights.behaviour.product_vectors import ProductVectors, load_product_vectors
from insight_assets.insights.behaviour.similar import category_lift
from insight_assets.insights.behaviour.similar import similar_products as list_similar_products
from insight_assets.insights.behaviour.teaching import read_behaviour, teach, vectors_of_products
from insight_assets.metadata import GPU_POOL, making_of, model_asset, observing, table_asset
from insight_assets.ml.model_card import card_text, write_card
from insight_assets.partitions import HISTORY
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS, VECTORS, SIMILAR = "behaviour_encoder", "behaviour_vectors", "similar_products"
MORE_ALIKE = "more_alike_than_chance"
BOUGHT_SO_FAR = dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake")
DESCRIBED = ("product_id", "category", "brand", "price")


@dg.asset(
    **model_asset(
        MODELS,
        purpose="analytics",
        kinds={"pytorch"},
        description=(
            "A causal transformer over each customer's last events and purchases, taught by what came next: the "
            "product, the kind of event, its price and the time until it and until the next order; holds weights and "
            "products, no customer"
        ),
    ),
    ins={"order_lines": BOUGHT_SO_FAR},
    pool=GPU_POOL,
)
def behaviour_encoder(
    context: dg.AssetExecutionContext,
    event_sequences: pl.LazyFrame,
    order_lines: pl.LazyFrame,
    products: pl.LazyFrame,
    models: ModelStore,
) -> dg.MaterializeResult:
    from insight_assets.insights.behaviour import model_files

    as_of, shop = date.fromisoformat(context.partition_key), settings()
    work = models.work_folder(MODELS, as_of)
    behaviour = teach(
        with_bought_products(event_sequences.collect(), order_lines, as_of=as_of),
        products.filter(pl.col("first_seen") <= as_of).select(DESCRIBED).collect(),
        as_of=as_of,
        horizon_days=shop.horizon_days,
        timezone=shop.timezone,
        size=shop.encoder_size,
        most_tokens=shop.encoder_events,
        batch_tokens=shop.encoder_batch,
        max_epochs=shop.max_epochs,
        seed=shop.seed,
        work_directory=work,
        log=context.log.info,
        watch=observing(context, MODELS, rows="events"),
    )
    before = as_of - timedelta(days=shop.horizon_days)
    told = model_card(behaviour, before=before, as_of=as_of, smallest_group=shop.k_anonymity)
    card = card_text(told, making_of(context, MODELS, shop))
    with models.writing(MODELS, as_of) as writing:
        model_files.save(behaviour, writing.directory)
        write_card(card, writing.directory)
    shutil.rmtree(work)
    taught = behaviour.taught
    metadata: dict[str, object] = {
        "model_card": dg.MetadataValue.md(card),
        "customers": behaviour.customers,
        "events": behaviour.events,
        "products": len(behaviour.vocabulary.products),
        "passes_before_window": len(taught.epochs),
        "passes_over_all": taught.passes_over_all,
        "loss_left": {task: round(share, 4) for task, share in taught.left.items()},
    }
    if taught.epochs:
        left = [epoch.validation_loss for epoch in taught.epochs]
        metadata["learning"] = dg.MetadataValue.md(chart_markdown(pictures.left_chart(left)))
    if len(behaviour.vocabulary.products) > 1:
        drawn = pictures.product_map(vectors_of_products(behaviour), behaviour.vocabulary.traits_of["category"])
        metadata["product_map"] = dg.MetadataValue.md(chart_markdown(drawn))
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(writing.manifest.content_hash))


@dg.asset(
    **table_asset(
        VECTORS, layer="insight", purpose="analytics", kinds={"pytorch"}, code_version="2", deps=[MODELS]
    ),
    ins={"order_lines": BOUGHT_SO_FAR},
)
def behaviour_vectors(
    context: dg.AssetExecutionContext, event_sequences: pl.LazyFrame, order_lines: pl.LazyFrame, models: ModelStore
) -> pl.DataFrame:
    from insight_assets.insights.behaviour import model_files

    as_of, shop = date.fromisoformat(context.partition_key), settings()
    behaviour = model_files.load(models.reading(MODELS, as_of))
    sequences = with_bought_products(event_sequences.collect(), order_lines, as_of=as_of)
    vectors = read_behaviour(behaviour, sequences)
    foretold = foretell_orders(
        behaviour, sequences, vectors, as_of=as_of, timezone=shop.timezone, horizon_days=shop.horizon_days
    )
    context.add_output_metadata(
        {
            "customers": len(vectors),
            "width": vectors.shape[1],
            "mean_order_chance": round(float(foretold[ORDER_CHANCE].mean() or 0), 4),
        }
    )
    return contract(VECTORS).conform(
        sequences.hstack(foretold).lazy().select(
            "customer_key",
            pl.lit(as_of).alias("as_of"),
            pl.Series("vector", vectors.tolist(), dtype=pl.List(pl.Float32)),
            *foretold.columns,
            pl.lit(shop.horizon_days).cast(pl.Int32).alias("horizon_days"),
            pl.col("times").list.last().alias("last_event_at"),
            pl.col("times").list.len().clip(upper_bound=behaviour.settings.positions).cast(pl.Int32).alias("events_read"),
            pl.lit(models.version(MODELS, as_of)).alias("model_version"),
        )
    ).collect()


@dg.asset(
    **table_asset(SIMILAR, layer="insight", purpose="analytics", kinds={"numpy"}, deps=[MODELS]),
    check_specs=[
        dg.AssetCheckSpec(
            MORE_ALIKE,
            asset=SIMILAR,
            description="Similar products share a category more often than two products at random",
        )
    ],
)
def similar_products(
    context: dg.AssetExecutionContext, products: pl.LazyFrame, models: ModelStore
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of = date.fromisoformat(context.partition_key)
    encoded = products_encoded(models, as_of)
    category_of = dict(products.select("product_id", "category").collect().iter_rows())
    categories = [category_of.get(product) for product in encoded.products]
    similar = list_similar_products(encoded, categories)
    lift = category_lift(similar, categories)
    told = {} if lift is None else {"same_category_lift": round(lift, 3)}
    rows = similar.with_columns(as_of=pl.lit(as_of), model_version=pl.lit(encoded.version))
    yield dg.Output(contract(SIMILAR).conform(rows.lazy()).collect(), metadata={"products": len(categories), **told})
    yield dg.AssetCheckResult(
        check_name=MORE_ALIKE,
        asset_key=SIMILAR,
        passed=lift is None or lift > 1,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=told or {"categories": "fewer than two are known"},
    )


def products_encoded(models: ModelStore, as_of: date) -> ProductVectors:
    """Give what the encoder of a day says of products."""
    return load_product_vectors(models.reading(MODELS, as_of), version=models.version(MODELS, as_of))
