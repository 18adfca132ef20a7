"""The whole graph through the command line: built once, built again, disturbed in every way the product must survive."""

import gzip
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.raw import raw_contract
from insight_assets.lake import Lake
from insight_assets.validation.key_ring import read_ring
from insight_assets.validation.vault import IDENTITY_VAULT, open_identifiers
from insight_assets_tests.canaries import CANARIES, WHO, WRITTEN, canaries_in, sightings
from insight_assets_tests.deliveries import call, order, product
from insight_assets_tests.flows.shop import CUSTOMERS, DAYS, FIRST_DAY, LAST_DAY, ROW_TABLES, SNAPSHOTS, Home

CANARY_DAYS = ("2025-01-10", "2025-01-25", "2025-02-10")
CONSOLE = "console.txt"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Home, dict]:
    place = tmp_path_factory.mktemp("built")
    home = Home(place / "shop")
    home.run("simulate", "--customers", str(CUSTOMERS), "--days", str(DAYS))
    plant_canaries(home.path / "landing" / "segment")
    done = home.run("build", "--json")
    (place / CONSOLE).write_text(done.stdout + done.stderr, encoding="utf-8")
    return home, json.loads(done.stdout)


def plant_canaries(folder: Path) -> None:
    """Add a customer with personal values wherever a row can hold them to the deliveries of some days."""
    named = {"email": CANARIES["email"], "phone": CANARIES["phone"], "name": CANARIES["name"]}
    for day in CANARY_DAYS:
        time, address = f"{day}T10:00:00Z", {"street": CANARIES["address"]}
        rows = [
            call(f"{day} seen", time, **WHO, properties=WRITTEN, context={"channel": "web", "traits": named}),
            call(f"{day} told", time, "Product Reviewed", **WHO, properties=WRITTEN | {"rating": 5, "review_id": day}),
            order(f"{day} order", time, product("p1"), **WHO, properties={"order_id": day, "shipping_address": address}),
            call(f"{day} bad", time, **WHO, properties=WRITTEN | {"price": CANARIES["email"]}),
        ]
        path = folder / f"segment-{day}.ndjson.gz"
        before = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(before + "".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))


def test_personal_values_are_nowhere_in_a_built_home_but_where_they_may_be(built):
    home, _ = built
    lake = Lake(home.path / "lake")
    # They came in, good and bad, and the customer was followed to the end.
    raw = lake.scan(raw_contract(source_contracts()["segment"])).collect()
    assert sightings(raw.write_json().encode()) == set(CANARIES)
    assert sightings(lake.scan(contract("quarantine")).collect().write_json().encode()) >= {"customer", "email"}
    ring = read_ring(home.path / "secrets" / "pseudonym.key")
    vault = open_identifiers(lake.scan(contract(IDENTITY_VAULT)).collect(), ring)
    keys = vault.filter(pl.col("identifier") == CANARIES["customer"])["pseudonym"]
    for table in ("events", "orders", "customer_features", "churn_scores", "customer_profiles"):
        held = lake.scan(contract(table)).filter(pl.col("customer_key").is_in(keys.implode())).collect()
        assert held.height > 0, table
    # What a home holds: models, pages, pictures and history of runs, and the logs of tables that may hold them.
    kinds = {path.suffix for path in home.path.rglob("*") if path.is_file()}
    assert kinds >= {".parquet", ".json", ".db", ".html", ".safetensors", ".skops", ".sqlite"}
    assert canaries_in(home.path, sources=["segment"], may_hold=["raw_segment", "quarantine"]) == {}
    # What people are told: of the build, of a customer, of the whole.
    told = [(home.path.parent / CONSOLE).read_text(encoding="utf-8"), home.run("profile", str(keys[0])).stdout]
    told.append(home.run("show", "events", "--as-of", CANARY_DAYS[0], "--limit", "5000").stdout)
    assert sightings("".join(told).encode()) == set()


@pytest.fixture
def copy(built, tmp_path) -> Home:
    shutil.copytree(built[0].path, tmp_path / "home")
    return Home(tmp_path / "home")


def test_everything_is_built_and_accounted_for(built):
    home, report = built
    assert report["failures"] == []
    assert (report["first"], report["last"]) == (FIRST_DAY, LAST_DAY)
    hashes = home.hashes(*ROW_TABLES, *SNAPSHOTS, "quarantine")
    assert {table: len(days) for table, days in hashes.items() if table in ROW_TABLES} == dict.fromkeys(ROW_TABLES, DAYS)
    assert all(LAST_DAY in hashes[table] for table in SNAPSHOTS)
    lake = Lake(home.path / "lake")
    delivered = sum(
        len(gzip.decompress(path.read_bytes()).splitlines()) for path in (home.path / "landing" / "segment").glob("*.gz")
    )
    accepted = lake.scan(contract("events")).filter(pl.col("file_hash") != "derived").select(pl.len()).collect().item()
    quarantined = lake.scan(contract("quarantine")).select(pl.len()).collect().item()
    assert delivered == accepted + quarantined


def test_row_stages_of_a_fresh_shop_are_one_run(built):
    home, _ = built
    made = home.made_at(*ROW_TABLES)
    import dagster as dg

    with home.instance() as instance:
        runs = {
            record.run_id
            for table in ROW_TABLES
            for record in instance.fetch_materializations(dg.AssetKey(table), limit=1000).records
        }
    assert len(runs) == 1
    assert all(len(days) == DAYS for days in made.values())


def test_building_again_makes_nothing(copy):
    before = copy.hashes(*ROW_TABLES, *SNAPSHOTS)
    report = copy.build()
    assert report["runs"] == 0
    assert copy.hashes(*ROW_TABLES, *SNAPSHOTS) == before


def test_one_profile_a_customer_and_the_profile_can_be_read(built):
    home, _ = built
    lake = Lake(home.path / "lake")
    profiles = lake.scan(contract("customer_profiles")).collect()
    features = lake.scan(contract("customer_features")).filter(pl.col("as_of") == pl.lit(LAST_DAY).str.to_date()).collect()
    assert profiles["customer_key"].is_unique().all()
    assert set(profiles["customer_key"]) == set(features["customer_key"])
    key = str(profiles["customer_key"][0])
    assert json.loads(home.run("profile", key, "--json").stdout)["customer_key"] == key
    home.run("profile", "nobody", expect=1)
    alike = json.loads(home.run("similar", key, "--limit", "3", "--json").stdout)
    assert len(alike) == 3
    assert {row["customer_key"] for row in alike} < set(profiles["customer_key"].cast(pl.String)) - {key}
    home.run("similar", "nobody", expect=1)


def test_the_same_content_under_another_name_adds_no_row(copy):
    landing = copy.path / "landing" / "segment"
    (landing / "again.ndjson").write_bytes(gzip.decompress((landing / "segment-2025-02-01.ndjson.gz").read_bytes()))
    before = copy.hashes(*ROW_TABLES)
    assert copy.build()["runs"] == 0
    assert copy.hashes(*ROW_TABLES) == before


def test_late_rows_rebuild_their_day_and_what_depends_on_it(copy):
    landing = copy.path / "landing" / "segment"
    rows = [json.loads(line) for line in gzip.decompress((landing / "segment-2025-02-10.ndjson.gz").read_bytes()).splitlines()]
    late = next(row for row in rows if row["event"] == "Product Viewed" and row.get("userId"))
    late |= {"messageId": "late-1"}
    (landing / "late.ndjson").write_text(json.dumps(late) + "\n", encoding="utf-8")
    before = copy.made_at(*ROW_TABLES, "customer_features")
    hashes = copy.hashes("events", "customer_features")
    copy.build()
    after = copy.made_at(*ROW_TABLES, "customer_features")
    rebuilt = {table: {day for day in days if days[day] != before[table][day]} for table, days in after.items()}
    # Whether later days repeat the late row is looked up in them; only its own day holds something else.
    assert min(rebuilt["events"]) == "2025-02-10"
    assert rebuilt["events"] == rebuilt["orders"]
    assert rebuilt["product_days"] == {"2025-02-10"}
    assert rebuilt["sessions"] <= {"2025-02-10", "2025-02-11"}
    assert rebuilt["customer_days"] <= {"2025-02-10", "2025-02-11"}
    assert LAST_DAY in rebuilt["customer_features"]
    changed = copy.hashes("events")["events"]
    assert {day for day in changed if changed[day] != hashes["events"][day]} == {"2025-02-10"}


def test_what_happens_after_a_day_changes_nothing_as_of_it(copy):
    landing = copy.path / "landing" / "segment"
    rows = gzip.decompress((landing / f"segment-{LAST_DAY}.ndjson.gz").read_bytes()).decode()
    day_after = rows.replace("2025-02-14T", "2025-02-15T").replace("2025-02-13T", "2025-02-14T")
    day_after = day_after.replace('"messageId":"', '"messageId":"after-')
    (landing / "after.ndjson").write_text(day_after, encoding="utf-8")
    before, made = copy.hashes(*SNAPSHOTS), copy.made_at(*SNAPSHOTS)
    report = copy.build("--as-of", LAST_DAY)
    assert report["failures"] == []
    assert report["last"] == "2025-02-15"
    assert copy.hashes(*SNAPSHOTS) == before
    assert copy.made_at(*SNAPSHOTS) == made


def test_a_spoilt_day_is_refused_and_leaves_the_rest_untouched(copy):
    landing = copy.path / "landing" / "segment"
    rows = [json.loads(line) for line in gzip.decompress((landing / "segment-2025-02-10.ndjson.gz").read_bytes()).splitlines()]
    spoilt = [row | {"messageId": f"spoilt-{number}", "event": "Produkt Viewed"} for number, row in enumerate(rows)]
    (landing / "spoilt.ndjson").write_text("\n".join(json.dumps(row) for row in spoilt), encoding="utf-8")
    before = copy.hashes(*ROW_TABLES, *SNAPSHOTS)
    report = copy.build(expect=1)
    message = report["failures"][0]["message"]
    assert "segment on 2025-02-10" in message
    assert "events.enum" in message or "event.enum" in message
    assert "Next:" in message
    assert copy.hashes(*ROW_TABLES, *SNAPSHOTS) == before
    quarantine = copy.show("quarantine", "--as-of", "2025-02-10", "--limit", "5")
    assert {row["rule"] for row in quarantine} == {"event.enum"}
    assert {row["file_name"] for row in quarantine} == {"spoilt.ndjson"}
    assert all(row["line"] >= 1 and row["contract_version"] for row in quarantine)


def test_a_killed_build_is_completed_by_the_next(tmp_path, built):
    home = Home(tmp_path / "killed")
    shutil.copytree(built[0].path / "landing", home.path / "landing")
    shutil.copy(built[0].path / "insight.env", home.path)
    shutil.copytree(built[0].path / "secrets", home.path / "secrets")
    process = subprocess.Popen(home.command("build"), env=home.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (home.path / "lake" / "customer_days").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert home.build()["failures"] == []
    tables = (*ROW_TABLES, *SNAPSHOTS)
    assert home.hashes(*tables) == built[0].hashes(*tables)


def test_a_second_build_at_the_same_time_is_refused(copy):
    from insight_assets.building import exclusive

    with exclusive(copy.path):
        done = copy.run("build", expect=3)
    assert "another `insight build`" in done.stderr


def test_days_in_reverse_order_give_the_same_hashes(built, tmp_path):
    home = Home(tmp_path / "reverse")
    shutil.copytree(built[0].path / "landing", home.path / "landing")
    shutil.copy(built[0].path / "insight.env", home.path)
    shutil.copytree(built[0].path / "secrets", home.path / "secrets")
    days = ["2025-02-05", "2025-02-04", "2025-02-03"]
    for day in days:
        home.build("--from", day, "--to", day, "--select", "group:raw or group:validated or group:features")
    tables = ("events", "order_lines", "orders", "product_history", "product_days")
    reverse, forward = home.hashes(*tables), built[0].hashes(*tables)
    assert reverse == {table: {day: forward[table][day] for day in days} for table in tables}
    # A session's start is looked up in the day before, which the first of the three days did not have.
    late = home.build("--from", "2025-02-03", "--to", "2025-02-05", "--select", "group:features")
    assert late["failures"] == []
    for table in ("sessions", "customer_days"):
        assert {d: h for d, h in home.hashes(table)[table].items() if d != "2025-02-03"} == {
            d: built[0].hashes(table)[table][d] for d in days if d != "2025-02-03"
        }
