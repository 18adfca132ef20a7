"""Assets of the recommendation capability: models, scorecard and published lists.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

from dataclasses import asdict
from datetime import date, timedelta

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.features.labels import HorizonOpenError, horizon_of
from insight_assets.insights.associations.baskets import basket_rows
from insight_assets.insights.behaviour.assets import MODELS as BEHAVIOUR
from insight_assets.insights.behaviour.assets import products_encoded
from insight_assets.insights.recommendation import grading, methods, model_files, pictures
from insight_assets.insights.recommendation.interactions import (
    history_of,
    interactions,
    purchases,
)
from insight_assets.insights.recommendation.model_card import model_card
from insight_assets.insights.recommendation.order_rules import ORDER_DAYS
from insight_assets.insights.recommendation.publishing import (
    publication,
    reason_shares,
    recommend,
)
from insight_assets.insights.recommendation.ranking import Policy
from insight_assets.metadata import making_of, markdown_table, model_asset, published_days, table_asset
from insight_assets.ml.model_card import card_text, write_card
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.partitions import CLOSED_HORIZON, HISTORY, ONE_HORIZON_AGO
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED, as_people, as_people_before
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS = "recommendation_models"

POLICY = Policy(repeat_purchases=settings().repeat_recommendations)
"""What lists may hold: by default what the customer has not bought yet, which is what a list can add."""

HISTORY_AND_HORIZON = dg.TimeWindowPartitionMapping(
    start_offset=HISTORY.start_offset, end_offset=CLOSED_HORIZON.end_offset
)
"""Every day up to the end of the horizon: an asset cannot read one table under two mappings."""


def _contacts(
    order_lines: pl.LazyFrame, events: pl.LazyFrame, identities: pl.LazyFrame, *, as_of: date
) -> pl.DataFrame:
    """Give what people had to do with products up to a day, people being who was known then."""
    people = (as_people(rows, identities) for rows in (order_lines, events))
    return interactions(*people, as_of=as_of).collect(engine="streaming")


def _orders(order_lines: pl.LazyFrame, identities: pl.LazyFrame, *, as_of: date) -> pl.DataFrame:
    """Give the orders of people up to a day that rules are learned from."""
    rows = basket_rows(as_people(order_lines, identities), as_of=as_of, window_days=ORDER_DAYS)
    return rows.collect(engine="streaming")


def _known_then(models: ModelStore, before: date, customers: pl.DataFrame) -> methods.Vectors | None:
    """Give what the encoder of an earlier day says; None where its customers are not there, or of another version."""
    if customers.is_empty():
        return None
    of = products_encoded(models, before)
    same = customers.filter(pl.col("model_version") == of.version)
    return None if same.is_empty() else methods.Vectors(of, same)


DESCRIBED = ("product_id", "category", "brand", "price", "currency", "first_seen", "last_seen")
"""What is read of products."""


@dg.asset(
    **model_asset(
        MODELS,
        code_version="4",
        deps=[BEHAVIOUR],
        purpose="personalise",
        kinds={"numpy", "scipy"},
        description=(
            "Popularity, likeness of products, rules, neighbours, the item-item ridge (EASE), factors (ALS), the "
            "behaviour encoder and their blend as fitted on all contacts up to the as-of day, settings chosen on the "
            "horizon that closes with it; holds products and weights between them, no customer"
        ),
    ),
    ins={
        "order_lines": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "events": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY),
        "behaviour_vectors": dg.AssetIn(
            partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}
        ),
    },
)
def recommendation_models(
    context: dg.AssetExecutionContext,
    order_lines: pl.LazyFrame,
    events: pl.LazyFrame,
    identity_links: pl.LazyFrame,
    products: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    models: ModelStore,
) -> dg.MaterializeResult:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    before = as_of - timedelta(days=shop.horizon_days)
    who = IdentityHistory(identity_links, identity_rules()).as_of
    lines = as_people_before(as_people(order_lines, who(as_of)), before=who(before), now=who(as_of))
    bought = purchases(lines, after=before, until=as_of).collect(engine="streaming")
    described = products.select(DESCRIBED).collect()
    tunings = methods.tune(
        _contacts(order_lines, events, who(before), as_of=before),
        bought,
        as_of=before,
        policy=POLICY,
        products=described.filter(pl.col("first_seen") <= before).with_columns(
            last_seen=pl.min_horizontal("last_seen", pl.lit(before))
        ),
        orders=_orders(order_lines, who(before), as_of=before),
        vectors=_known_then(models, before, behaviour_vectors.collect()),
    )
    contacts = _contacts(order_lines, events, who(as_of), as_of=as_of)
    fitted = methods.fit(
        contacts,
        as_of=as_of,
        tunings=tunings,
        products=described,
        orders=_orders(order_lines, who(as_of), as_of=as_of),
        vectors=methods.Vectors(products_encoded(models, as_of), contract("behaviour_vectors").empty()),
    )
    told = model_card(fitted, contacts, bought, before=before, policy=POLICY, smallest_group=shop.k_anonymity)
    card = card_text(told, making_of(context, MODELS, shop))
    with models.writing(MODELS, as_of) as writing:
        model_files.save(fitted, writing.directory)
        write_card(card, writing.directory)
    return dg.MaterializeResult(
        metadata={
            "model_card": dg.MetadataValue.md(card),
            "products": len(fitted.catalogue),
            "products_without_contact": fitted.catalogue.cold,
            "customers": contacts["customer_key"].n_unique(),
            "contacts": contacts.height,
            "settings": {name: asdict(tuning) for name, tuning in tunings.methods.items()},
            "blend": dict(tunings.blend),
        },
        data_version=dg.DataVersion(writing.manifest.content_hash),
    )


@dg.asset(
    **table_asset("recommendation_scorecard", layer="insight", purpose="personalise", kinds={"polars"}, deps=[MODELS]),
    ins={
        "order_lines": dg.AssetIn(partition_mapping=HISTORY_AND_HORIZON, metadata=LEFT_AS_DELIVERED),
        "events": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY_AND_HORIZON),
    },
)
def recommendation_scorecard(
    context: dg.AssetExecutionContext,
    order_lines: pl.LazyFrame,
    events: pl.LazyFrame,
    identity_links: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    origin = date.fromisoformat(context.partition_key)
    horizon = horizon_of(origin, settings().horizon_days)
    if open_days := tuple(sorted(set(horizon) - published_days(context.instance, "order_lines"))):
        raise HorizonOpenError(origin=origin, closes=horizon[-1], missing=open_days)
    fitted = model_files.load(models.reading(MODELS, origin)).knowing(behaviour_vectors.collect())
    who = IdentityHistory(identity_links, identity_rules()).as_of
    contacts = _contacts(order_lines, events, who(origin), as_of=origin)
    history = history_of(contacts, fitted.catalogue)
    later = as_people_before(as_people(order_lines, who(horizon[-1])), before=who(origin), now=who(horizon[-1]))
    bought = purchases(later, after=origin, until=horizon[-1]).collect(engine="streaming")
    truth = grading.truth_of(bought, history, fitted.catalogue)
    scorecard = grading.grade_lists(
        fitted.rankers,
        fitted.methods,
        history,
        truth,
        catalogue=fitted.catalogue,
        available=methods.available_products(fitted.catalogue, as_of=origin, policy=POLICY),
        policy=POLICY,
        origin=origin,
        seed=settings().seed,
        model_version=models.version(MODELS, origin),
    )
    metadata: dict[str, object] = {
        "scorecard": dg.MetadataValue.md(scorecard_markdown(grading.accuracy(scorecard))),
        "share_of_purchases_known_at_origin": grading.known_share(truth),
    }
    if not scorecard.is_empty():
        chart = pictures.comparison_chart(scorecard, metric=grading.primary_metric(POLICY))
        metadata["beside_accuracy"] = dg.MetadataValue.md(markdown_table(grading.beside_accuracy(scorecard)))
        metadata["methods"] = dg.MetadataValue.md(chart_markdown(chart))
    context.add_output_metadata(metadata)
    return scorecard


@dg.asset(
    **table_asset("recommendations", layer="insight", purpose="personalise", kinds={"polars"}, deps=[MODELS]),
    ins={
        "order_lines": dg.AssetIn(partition_mapping=HISTORY),
        "events": dg.AssetIn(partition_mapping=HISTORY),
        "recommendation_scorecard": dg.AssetIn(
            partition_mapping=ONE_HORIZON_AGO, metadata={"allow_missing_partitions": True}
        ),
    },
)
def recommendations(
    context: dg.AssetExecutionContext,
    order_lines: pl.LazyFrame,
    events: pl.LazyFrame,
    products: pl.LazyFrame,
    customer_features: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    recommendation_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    fitted = model_files.load(models.reading(MODELS, as_of)).knowing(behaviour_vectors.collect())
    contacts = interactions(order_lines, events, as_of=as_of).collect(engine="streaming")
    publish = publication(recommendation_scorecard.collect())
    lists = recommend(
        fitted,
        history_of(contacts, fitted.catalogue),
        products.select("product_id", "product_name").collect(),
        publish=publish,
        policy=POLICY,
        horizon_days=settings().horizon_days,
        model_version=models.version(MODELS, as_of),
        newcomers=customer_features.select("customer_key").collect()["customer_key"].to_numpy(),
    )
    shares = reason_shares(lists)
    context.add_output_metadata(
        {
            "method": publish.method,
            "grade": publish.grade,
            "graded_origin": str(publish.origin),
            "customers": lists["customer_key"].n_unique(),
            "customers_without_history": lists.filter(
                ~pl.col("customer_key").is_in(contacts["customer_key"].unique().implode())
            )["customer_key"].n_unique(),
            "products": lists["product_id"].n_unique(),
            "evidence": dg.MetadataValue.md(markdown_table(shares)),
            **(
                {"reasons": dg.MetadataValue.md(chart_markdown(pictures.evidence_chart(shares)))}
                if shares.height
                else {}
            ),
        }
    )
    return lists
