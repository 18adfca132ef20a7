"""Assets of the behaviour encoder: the encoder as of a day, and the vector of every customer.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

import shutil
from datetime import date, timedelta

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.features.sequences import with_bought_products
from insight_assets.insights.behaviour import pictures
from insight_assets.insights.behaviour.model_card import model_card
from insight_assets.insights.behaviour.teaching import read_behaviour, teach, vectors_of_products
from insight_assets.metadata import GPU_POOL, making_of, model_asset, observing, table_asset
from insight_assets.ml.model_card import card_text, write_card
from insight_assets.partitions import HISTORY
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS, VECTORS = "behaviour_encoder", "behaviour_vectors"
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
    **table_asset(VECTORS, layer="insight", purpose="analytics", kinds={"pytorch"}, deps=[MODELS]),
    ins={"order_lines": BOUGHT_SO_FAR},
)
def behaviour_vectors(
    context: dg.AssetExecutionContext, event_sequences: pl.LazyFrame, order_lines: pl.LazyFrame, models: ModelStore
) -> pl.DataFrame:
    from insight_assets.insights.behaviour import model_files

    as_of = date.fromisoformat(context.partition_key)
    behaviour = model_files.load(models.reading(MODELS, as_of))
    sequences = with_bought_products(event_sequences.collect(), order_lines, as_of=as_of)
    vectors = read_behaviour(behaviour, sequences)
    context.add_output_metadata({"customers": len(vectors), "width": vectors.shape[1]})
    return contract(VECTORS).conform(
        sequences.lazy().select(
            "customer_key",
            pl.lit(as_of).alias("as_of"),
            pl.Series("vector", vectors.tolist(), dtype=pl.List(pl.Float32)),
            pl.col("times").list.last().alias("last_event_at"),
            pl.col("times").list.len().clip(upper_bound=behaviour.settings.positions).cast(pl.Int32).alias("events_read"),
            pl.lit(models.version(MODELS, as_of)).alias("model_version"),
        )
    ).collect()
