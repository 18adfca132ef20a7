"""A small simulated shop that the simulator's tests share."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from insight_assets.simulator.delivery import DELIVERED
from insight_assets.simulator.landing import Landed, write_landing
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop
from insight_assets.simulator.truth import customer_truth


@dataclass(frozen=True)
class DeliveredShop:
    """A plan, its delivered rows and its hidden truth."""

    plan: SimulationPlan
    landed: Landed
    rows: pl.DataFrame
    customers: pl.DataFrame
    products: pl.DataFrame

    def of(self, *names: str) -> pl.DataFrame:
        """Give the rows of some events, with their properties as columns."""
        chosen = self.rows.filter(pl.col("event").is_in(names))
        return chosen.unnest("properties", separator=".")


def read_rows(files: tuple[Path, ...]) -> pl.DataFrame:
    """Read NDJSON files with the day of the file and the day of the event beside each row."""
    frames = []
    for file in files:
        day = file.name.removeprefix("segment-")[:10]
        frames.append(
            pl.read_ndjson(file, schema=DELIVERED).with_columns(file_day=pl.lit(day).str.to_date())
        )
    moment = pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms")
    return pl.concat(frames).with_columns(time=moment.dt.replace_time_zone("UTC"))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> DeliveredShop:
    """A shop of 600 customers and 70 days without trouble."""
    plan = SimulationPlan(customers=600, days=70, products=150, seed=11)
    landed = write_landing(plan, tmp_path_factory.mktemp("landing"))
    rows = read_rows(landed.files)
    local = pl.col("time").dt.convert_time_zone(plan.timezone).dt.date()
    opened = open_shop(plan)
    return DeliveredShop(
        plan,
        landed,
        rows.with_columns(event_day=local),
        customer_truth(opened),
        opened.catalogue.truth(),
    )
