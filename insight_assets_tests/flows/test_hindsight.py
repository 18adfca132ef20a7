"""Two axes of time: tables of a day as they were published, and made anew of what was known at a moment."""

import json
import os
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from deltalake import DeltaTable

from insight_assets.contracts.catalogue import contract
from insight_assets.hindsight import prepare_home
from insight_assets.lake import DailyFrames, Lake
from insight_assets.settings import Settings
from insight_assets.validation.rate_files import RATES, known_quotes
from insight_assets_tests.deliveries import order, product
from insight_assets_tests.flows.shop import ROW_TABLES, Home
from insight_assets_tests.shop_home import ShopHome

FIRST, SECOND, THIRD = "2025-01-01", "2025-01-02", "2025-01-03"
MONEY = ("currency_rates", "order_lines", "orders")
TABLES = (*ROW_TABLES, "customer_features", "rfm_segments", "customer_profiles")


def deliver(home: Home, name: str, calls: list[dict]) -> None:
    folder = home.path / "landing" / "segment"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in calls), encoding="utf-8")


def purchase(number: int, day: str, *, known: str | None = None) -> dict:
    """An order of one of three customers; known on the day itself unless said otherwise."""
    return order(
        f"m{number}", f"{day}T10:00:00Z", product(price=5 + number), userId=f"c{number % 3}",
        properties={"order_id": f"o{number}"}, receivedAt=known or f"{day}T10:00:01Z",
    )  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> tuple[Home, dict, dict]:
    """A home that was built in time, and again when a late order and a mended file had come in."""
    home = Home(tmp_path_factory.mktemp("now") / "home", {"INSIGHT_SETTLE_SECONDS": "0"})
    deliver(home, "first.ndjson", [purchase(1, FIRST), purchase(2, SECOND), purchase(3, THIRD)])
    home.build()
    in_time = home.hashes(*TABLES)
    deliver(home, "late.ndjson", [purchase(4, FIRST, known="2025-01-04T08:00:00Z")])
    assert home.build()["failures"] == []
    return home, in_time, home.hashes(*TABLES)


def test_a_late_order_changes_the_days_that_it_touches(shop):
    _, in_time, now = shop
    changed = {table: {day for day in hashes if now[table][day] != hashes[day]} for table, hashes in in_time.items()}
    assert changed["orders"] == {FIRST}
    assert changed["customer_days"] == {FIRST}
    assert changed["customer_features"] == {THIRD}
    assert changed["customer_profiles"] == {THIRD}


def test_a_rebuild_with_the_knowledge_of_a_time_gives_what_that_time_had(shop, tmp_path):
    home, in_time, _ = shop
    home.run("as-known", "2025-01-03T23:00+00:00", "--into", str(tmp_path / "then"))
    then = Home(tmp_path / "then")
    assert then.hashes(*TABLES) == in_time
    # The two homes do not meet: what is looked back on stays as it is.
    assert home.build()["partitions"] == 0


def test_a_moment_before_the_first_row_is_refused(shop, tmp_path):
    done = shop[0].run("as-known", "2024-12-31T00:00+00:00", "--into", str(tmp_path / "none"), expect=2)
    assert "no row was known by 2024-12-31" in done.stderr
    assert not (tmp_path / "none").exists()


RATE_HEADER = "date,currency,base_currency,rate\n"


def test_a_rebuild_of_several_currencies_counts_with_the_rates_of_its_time(tmp_path):
    instance = dg.DagsterInstance.ephemeral()
    home = ShopHome(tmp_path / "now", instance, base_currency="EUR")
    first = home.land(RATES, "first.csv", f"{RATE_HEADER}{FIRST},CNY,EUR,0.125\n{SECOND},CNY,EUR,0.13\n")
    landed = datetime(2025, 1, 2, 8, tzinfo=UTC)
    os.utime(first, (landed.timestamp(), landed.timestamp()))
    home.land_calls("a.ndjson", [purchase(1, FIRST), purchase(2, SECOND)])
    home.build(FIRST, SECOND)
    in_time = {table: {day: each.content_hash for day, each in home.states(table).items()} for table in MONEY}
    # The rates of a later day, and a word of today on that of the first.
    home.land(RATES, "later.csv", f"{RATE_HEADER}{FIRST},CNY,EUR,0.2\n{THIRD},CNY,EUR,0.15\n")
    home.build(FIRST, SECOND)
    assert home.states("orders")[FIRST].content_hash != in_time["orders"][FIRST]

    moment = datetime(2025, 1, 2, 15, tzinfo=UTC)
    prepare_home(Settings(home=home.root), tmp_path / "then", moment)
    then = ShopHome(tmp_path / "then", dg.DagsterInstance.ephemeral(), base_currency="EUR")
    (known,) = (tmp_path / "then" / "landing" / RATES).iterdir()
    assert known.read_text() == f"{RATE_HEADER}{FIRST},CNY,EUR,0.12500000\n{SECOND},CNY,EUR,0.13000000\n"
    shutil.copy(home.root / "pseudonym.key", then.root / "pseudonym.key")
    then.build(FIRST, SECOND, sources=[])
    assert {table: {day: each.content_hash for day, each in then.states(table).items()} for table in MONEY} == in_time


def test_rates_whose_history_was_delivered_later_count_from_their_own_date(tmp_path):
    folder = tmp_path / "landing" / RATES
    folder.mkdir(parents=True)
    (folder / "all.csv").write_text(f"{RATE_HEADER}{FIRST},CNY,EUR,0.125\n{THIRD},CNY,EUR,0.15\n")
    known = known_quotes(folder, datetime(2025, 1, 2, tzinfo=UTC))
    assert known.rows() == [(date(2025, 1, 1), "CNY", "EUR", Decimal("0.125"))]
    assert known_quotes(tmp_path / "none", datetime(2025, 1, 2, tzinfo=UTC)).is_empty()


def test_a_table_is_read_as_it_was_published_at_a_moment(tmp_path):
    of, lake = contract("products"), Lake(tmp_path)
    day = datetime(2025, 1, 1, tzinfo=UTC).date()

    def publish(name: str) -> datetime:
        row = pl.DataFrame({"product_id": "p", "as_of": day, "product_name": name, "first_seen": day, "last_seen": day})
        list(lake.write(of, [day], DailyFrames(lambda _: row)))
        return newest_commit(tmp_path / of.name)

    first, second = publish("kettle"), publish("teapot")
    assert lake.scan(of, [day], published_by=first).collect()["product_name"].to_list() == ["kettle"]
    assert lake.scan(of, [day], published_by=second).collect()["product_name"].to_list() == ["teapot"]
    assert lake.scan(of, [day]).collect()["product_name"].to_list() == ["teapot"]
    assert lake.scan(of, [day], published_by=datetime(2020, 1, 1, tzinfo=UTC)).collect().is_empty()


def newest_commit(table: Path) -> datetime:
    return datetime.fromtimestamp(DeltaTable(str(table)).history(1)[0]["timestamp"] / 1000, tz=UTC)
