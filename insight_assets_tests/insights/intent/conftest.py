"""A small simulated shop, its intent assets run once for all tests of this folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.sessions import build_sessions
from insight_assets.insights.intent import assets
from insight_assets.partitions import DAYS
from insight_assets.resources import ModelStore
from insight_assets_tests.kept_frames import KeptFrames
from insight_assets_tests.monitoring.simulated_shop import simulate_shop
from insight_assets_tests.validation.judging import SHOP

CUSTOMERS, LENGTH, SEED = 240, 76, 5
ROWS = ("events", "orders", "customer_days", "identity_links", "customer_features")
CUSTOMERS_ASSETS = ("intent_examples", "intent_models", "intent_scorecard", "intent_scores")
VISITS_ASSETS = (
    "session_intent_examples", "session_intent_models", "session_intent_scorecard", "session_intent_scores",
)  # fmt: skip
INSTANCE = dg.DagsterInstance.ephemeral()


def nobody_linked(day: date) -> pl.LazyFrame:
    """The identities of a shop that knows of no links."""
    return contract("identities").empty().lazy()


@dataclass(frozen=True)
class Built:
    """A shop, what the assets made of it as of its last day, and how they ran."""

    tables: Mapping[str, pl.DataFrame]
    as_of: date
    lake: KeptFrames
    models: ModelStore
    result: dg.ExecuteInProcessResult

    def table(self, name: str) -> pl.DataFrame:
        return self.lake.frames[name, self.as_of.isoformat()]


def materialize(lake: KeptFrames, models: ModelStore, day: date, *names: str, **options):
    specs = [dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake") for name in ROWS]
    defined = [getattr(assets, name) for name in (*CUSTOMERS_ASSETS, *VISITS_ASSETS)]
    return dg.materialize(
        [*defined, *specs], partition_key=day.isoformat(), resources={"lake": lake, "models": models},
        selection=dg.AssetSelection.assets(*names), instance=INSTANCE, **options,
    )  # fmt: skip


@pytest.fixture(scope="package")
def built(tmp_path_factory) -> Built:
    simulated = simulate_shop(customers=CUSTOMERS, days=LENGTH, seed=SEED)
    first, as_of = simulated.days[0], simulated.days[-1]
    events, orders, lines = (simulated.tables[name].lazy() for name in ("events", "orders", "order_lines"))
    sessions = build_sessions(events, first=first, last=as_of).collect().lazy()
    days = build_customer_days(events, orders, lines, sessions, timezone=SHOP).collect()
    lake = KeptFrames()
    tables = {"customer_days": days, "events": simulated.tables["events"], "orders": simulated.tables["orders"]}
    for name, frame in tables.items():
        for (day,), rows in frame.group_by("event_day"):
            lake.frames[name, day.isoformat()] = rows
    features = build_customer_features(days.lazy().filter(pl.col("customer_key").is_not_null()), as_of=as_of)
    lake.put("customer_features", as_of, features)
    for day in simulated.days:
        INSTANCE.report_runless_asset_event(dg.AssetMaterialization("customer_days", partition=day.isoformat()))
    models = ModelStore(root=str(tmp_path_factory.mktemp("models")))
    result = materialize(lake, models, as_of, *CUSTOMERS_ASSETS, *VISITS_ASSETS)
    return Built(tables | {"sessions": sessions.collect()}, as_of, lake, models, result)
