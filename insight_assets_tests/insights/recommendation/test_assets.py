from datetime import date, time, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features.labels import HorizonOpenError
from insight_assets.insights.behaviour import assets as behaviour
from insight_assets.insights.recommendation import assets
from insight_assets.insights.recommendation.model_files import load
from insight_assets.insights.recommendation.ranking import Policy
from insight_assets.io_managers import LakeIOManager
from insight_assets.lake import Lake
from insight_assets.metadata import HASH_KEY, table_asset
from insight_assets.ml.model_card import CARD_FILE
from insight_assets.resources import ModelStore
from insight_assets.settings import settings
from insight_assets_tests.model_cards import demand_sound, facts, in_one_line, number, section, tables

HORIZON = settings().horizon_days
START = settings().start_date
ORIGIN = START + timedelta(days=HORIZON + 20)
AS_OF = ORIGIN + timedelta(days=HORIZON)
PASSER_BY = 9_999
ENCODED = ("event_sequences", "behaviour_encoder", "behaviour_vectors")
DAYS = [START + timedelta(days=n) for n in range((AS_OF - START).days + 1)]


def lines_of_a_shop() -> pl.DataFrame:
    """Ledger lines of 150 customers with habits: three products each, bought about monthly."""
    generator = np.random.default_rng(11)
    rows = []
    for customer in range(150):
        habit = generator.choice(25, size=3, replace=False)
        visits = generator.choice(len(DAYS), size=len(DAYS) // 25, replace=False)
        rows += [(customer, f"p{product:02d}", DAYS[at]) for at in visits for product in habit]
    frame = pl.DataFrame(
        rows,
        schema={"customer_key": pl.Int64, "product_id": pl.String, "event_day": pl.Date},
        orient="row",
    )
    at = pl.col("event_day").dt.combine(time(12)).dt.replace_time_zone("UTC")
    price = pl.lit("4.5000").cast(pl.Decimal(18, 4))
    nothing = pl.lit("0").cast(pl.Decimal(18, 4))
    amounts = dict.fromkeys(("discount", "tax", "shipping", "refunded", "cancelled"), nothing)
    amounts |= {"gross": price, "net": price}
    return frame.with_row_index("line").select(
        order_line_id=pl.format("l{}", "line"),
        source=pl.lit("shop"),
        order_id=pl.format("o{}", "line"),
        kind=pl.lit("sale"),
        event_day="event_day",
        event_time=at,
        known_at=at,
        customer_key="customer_key",
        actor_key="customer_key",
        product_id="product_id",
        is_product=pl.lit(True),
        quantity=pl.lit(1, pl.Int64),
        unit_price=price,
        **amounts,
        **{f"{name}_base": amount for name, amount in amounts.items()},
        currency=pl.lit("EUR"),
        traffic=pl.lit("person"),
        base_currency=pl.lit("EUR"),
        exchange_rate=pl.lit("1").cast(contract("order_lines").column("exchange_rate").dtype),
        channel=pl.lit("web"),
        file_hash=pl.lit("0" * 32),
        line=pl.col("line").cast(pl.Int64) + 1,
    )


def products_of(lines: pl.DataFrame, as_of) -> pl.DataFrame:
    return (
        lines.filter(pl.col("event_day") <= as_of)
        .group_by("product_id")
        .agg(first_seen=pl.col("event_day").min(), last_seen=pl.col("event_day").max())
        .with_columns(
            as_of=pl.lit(as_of),
            product_name=pl.format("Product {}", "product_id"),
            category=pl.format("kind {}", pl.col("product_id").str.slice(-1)),
            brand=pl.lit("Own"),
            price=pl.lit("4.5000").cast(pl.Decimal(18, 4)),
            currency=pl.lit("EUR"),
        )
    )


def features_of(lines: pl.DataFrame, as_of) -> pl.DataFrame:
    """Everybody who bought, and one customer who only came by; of the features, what is required alone."""
    known = lines.filter(pl.col("event_day") <= as_of).select("customer_key").unique()
    keys = pl.concat([known, pl.DataFrame({"customer_key": [PASSER_BY]})])
    of = contract("customer_features")
    values = {
        column.name: _nothing(column.dtype) if column.required else pl.lit(None, dtype=column.dtype)
        for column in of.columns
        if column.name not in {"customer_key", "as_of"}
    }
    return keys.with_columns(as_of=pl.lit(as_of), **values)


def _nothing(dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.lit(pl.Series([[]], dtype=dtype)).first()
    return pl.lit(0).cast(dtype)


class Shop:
    """A lake with the tables that recommendations read, and a Dagster instance that knows them."""

    def __init__(self, home, *, shuffled: bool = False) -> None:
        lines = lines_of_a_shop()
        if shuffled:
            lines = lines.sample(fraction=1.0, shuffle=True, seed=1)
        self.instance = dg.DagsterInstance.ephemeral()
        self.resources = {
            "lake": LakeIOManager(root=str(home / "lake")),
            "models": ModelStore(root=str(home / "models")),
        }
        single_run = dg.BackfillPolicy.single_run()

        @dg.asset(**table_asset("order_lines", layer="validated", purpose="operations"), backfill_policy=single_run)
        def order_lines() -> pl.DataFrame:
            return lines

        # Never materialized: a shop without events.
        @dg.asset(**table_asset("events", layer="validated", purpose="operations"), backfill_policy=single_run)
        def events() -> pl.DataFrame:
            return contract("events").empty()

        @dg.asset(**table_asset("identity_links", layer="validated", purpose="operations"), backfill_policy=single_run)
        def identity_links() -> pl.DataFrame:
            return contract("identity_links").empty()

        @dg.asset(**table_asset("products", layer="validated", purpose="operations"))
        def products(context: dg.AssetExecutionContext) -> pl.DataFrame:
            return products_of(lines, date.fromisoformat(context.partition_key))

        @dg.asset(**table_asset("customer_features", layer="feature", purpose="personalise"))
        def customer_features(context: dg.AssetExecutionContext) -> pl.DataFrame:
            return features_of(lines, date.fromisoformat(context.partition_key))

        @dg.asset(**table_asset("event_sequences", layer="feature", purpose="operations"))
        def event_sequences() -> pl.DataFrame:
            return contract("event_sequences").empty()

        self.tables = [order_lines, events, identity_links, products, customer_features, event_sequences]
        self.insights = [
            behaviour.behaviour_encoder,
            behaviour.behaviour_vectors,
            assets.recommendation_models,
            assets.recommendation_scorecard,
            assets.recommendations,
        ]

    def run(self, names, **arguments):
        return dg.materialize(
            [*self.tables, *self.insights],
            selection=names,
            instance=self.instance,
            resources=self.resources,
            **arguments,
        )

    def deliver(self, first: date, last: date) -> None:
        self.run(
            ["order_lines"],
            tags={
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            },
        )

    def stored(self, table, day) -> pl.DataFrame:
        root = Path(self.resources["lake"].root)
        return Lake(root).scan(contract(table), [day]).collect()


def content(result: dg.ExecuteInProcessResult, name: str) -> str:
    """Content hash of the rows that a run published."""
    return result.asset_materializations_for_node(name)[0].metadata[HASH_KEY].value


def version(result: dg.ExecuteInProcessResult, name: str) -> str:
    """Content hash of the model that a run wrote."""
    return result.asset_materializations_for_node(name)[0].tags["dagster/data_version"]


@pytest.fixture(scope="module", autouse=True)
def habits_may_be_recommended():
    """The shop here lives by habits, so what was bought before may be named again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "POLICY", Policy(repeat_purchases=True))
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    built = Shop(tmp_path_factory.mktemp("shop"))
    built.deliver(START, AS_OF)
    return built


@pytest.fixture(scope="module")
def graded(shop):
    return shop.run(
        ["products", *ENCODED, "recommendation_models", "recommendation_scorecard"], partition_key=ORIGIN.isoformat()
    )


@pytest.fixture(scope="module")
def published(shop, graded):
    return shop.run(
        ["products", *ENCODED, "customer_features", "recommendation_models", "recommendations"],
        partition_key=AS_OF.isoformat(),
    )


def test_the_scorecard_names_the_champion_of_a_shop_of_habits(shop, graded):
    scorecard = shop.stored("recommendation_scorecard", ORIGIN)
    champion = scorecard.filter("is_champion")
    assert champion["method"].unique().to_list() in (["bought_before"], ["item_knn"], ["ease"], ["encoder"], ["blend"])
    assert champion["grade"].unique().to_list() == ["A"]
    assert scorecard.filter(pl.col("kind") == "rule")["model_version"].is_null().all()
    metadata = graded.asset_materializations_for_node("recommendation_scorecard")[0].metadata
    assert "| method |" in metadata["scorecard"].value
    assert metadata["methods"].value.startswith("![chart](data:image/png;base64,")


def test_lists_carry_the_champion_of_the_newest_closed_horizon(shop, published):
    everybody = shop.stored("recommendations", AS_OF)
    lists = everybody.filter(pl.col("customer_key") != PASSER_BY)
    scorecard = shop.stored("recommendation_scorecard", ORIGIN)
    assert published.success
    assert lists["customer_key"].n_unique() == 150
    assert lists["rank"].max() == 10
    champion = scorecard.filter("is_champion")
    assert lists["method"].unique().to_list() == champion["method"].unique().to_list()
    assert lists["grade"].unique().to_list() == ["A"]
    assert lists["graded_origin"].unique().to_list() == [ORIGIN]
    assert lists["product_name"].str.starts_with("Product p").all()
    # Everybody has three habits, and they come first.
    own = pl.col("because_product_id") == pl.col("product_id")
    assert lists.filter(pl.col("rank") <= 3).select(own.all()).item()
    # Who had to do with no product gets what new customers buy, and nobody graded that.
    passer_by = everybody.filter(pl.col("customer_key") == PASSER_BY)
    assert passer_by["rank"].to_list() == list(range(1, 11))
    published_by = passer_by.select("method", "grade", "graded_origin").unique().rows()
    assert published_by == [("popularity_segment", "ungraded", None)]


def test_the_encoder_is_graded_and_its_card_tells_how_it_learnt(shop, graded):
    scorecard = shop.stored("recommendation_scorecard", ORIGIN)
    assert "encoder" in scorecard["method"].to_list()
    vectors = shop.stored("behaviour_vectors", ORIGIN)
    assert vectors["customer_key"].n_unique() == vectors.height == 150
    assert vectors["vector"].list.len().unique().to_list() == [64]
    metadata = graded.asset_materializations_for_node("behaviour_encoder")[0].metadata
    card = metadata["model_card"].value
    demand_sound(card, range(150), asset="behaviour_encoder", told={"as of": str(ORIGIN), "code version": "1"})
    assert metadata["customers"].value == 150
    assert set(metadata["loss_left"].value) > {"next_product", "next_order"}
    assert max(metadata["loss_left"].value.values()) < 1.5
    for picture in ("learning", "product_map"):
        assert metadata[picture].value.startswith("![chart](data:image/png;base64,")


def test_metadata_of_lists_names_no_customer(published):
    metadata = published.asset_materializations_for_node("recommendations")[0].metadata
    assert metadata["customers"].value == 151
    assert set(metadata) >= {"method", "grade", "evidence", "reasons"}
    assert "customer_key" not in metadata["evidence"].value


def test_the_card_tells_contacts_settings_and_rules_of_lists(shop, graded):
    metadata = graded.asset_materializations_for_node("recommendation_models")[0].metadata
    card, folder = metadata["model_card"].value, shop.resources["models"].reading(assets.MODELS, ORIGIN)
    assert card == (folder / CARD_FILE).read_text(encoding="utf-8")
    seen = {"as of": str(ORIGIN), "code version": "4"}
    demand_sound(card, range(150), asset=assets.MODELS, told=seen)
    assert facts(card)["seed"].startswith("none of the settings")
    learnt = {row["learnt from"]: row["number"] for row in tables(section(card, "Taught by"))[0]}
    assert number(learnt["customers"]) == metadata["customers"].value == 150
    assert number(learnt["contacts of a customer and a product"]) == metadata["contacts"].value
    assert number(learnt["products"]) == metadata["products"].value
    lines = lines_of_a_shop().filter(pl.col("event_day").is_between(ORIGIN - timedelta(days=HORIZON - 1), ORIGIN))
    assert number(learnt["customers who bought in the closed horizon"]) == lines["customer_key"].n_unique()
    settings_of = {row["method"]: row["settings"] for row in tables(section(card, "Methods"))[0]}
    fitted = load(folder)
    assert settings_of["ease"] == in_one_line(vars(fitted.tunings.methods["ease"]))
    assert settings_of["blend"] == in_one_line(fitted.tunings.blend)
    assert "repeat_purchases True" in section(card, "Methods")


def test_without_a_closed_horizon_the_naive_rule_is_published(shop):
    early = START + timedelta(days=40)
    shop.run(
        ["products", *ENCODED, "customer_features", "recommendation_models", "recommendations"], partition_key=early.isoformat()
    )
    lists = shop.stored("recommendations", early).filter(pl.col("customer_key") != PASSER_BY)
    assert lists["method"].unique().to_list() == ["popularity_recent"]
    assert lists["grade"].unique().to_list() == ["ungraded"]
    assert lists["model_version"].null_count() == lists.height
    card = shop.resources["models"].reading(assets.MODELS, early) / CARD_FILE
    assert "Settings are the usual ones" in card.read_text(encoding="utf-8")


def test_an_open_horizon_is_not_graded(shop):
    with pytest.raises(HorizonOpenError, match="not published"):
        shop.run(
            ["products", *ENCODED, "recommendation_models", "recommendation_scorecard"],
            partition_key=(ORIGIN + timedelta(days=1)).isoformat(),
        )


def test_rows_in_another_order_delivered_later_give_the_same_content(
    shop, graded, published, tmp_path
):
    other = Shop(tmp_path, shuffled=True)
    other.deliver(START, ORIGIN)
    models = other.run(["products", *ENCODED, "recommendation_models"], partition_key=ORIGIN.isoformat())
    other.deliver(ORIGIN + timedelta(days=1), AS_OF)
    scorecard = other.run(["recommendation_scorecard"], partition_key=ORIGIN.isoformat())
    lists = other.run(
        ["products", *ENCODED, "customer_features", "recommendation_models", "recommendations"],
        partition_key=AS_OF.isoformat(),
    )
    assert version(models, "behaviour_encoder") == version(graded, "behaviour_encoder")
    assert content(models, "behaviour_vectors") == content(graded, "behaviour_vectors")
    assert version(models, "recommendation_models") == version(graded, "recommendation_models")
    for name, again, before in (
        ("recommendation_scorecard", scorecard, graded),
        ("recommendations", lists, published),
    ):
        assert content(again, name) == content(before, name)
