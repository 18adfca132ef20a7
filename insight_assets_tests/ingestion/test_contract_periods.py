"""Two contracts of one source, each for its days: a column that was renamed on a date."""

from datetime import date
from pathlib import Path

import pytest

from insight_assets.contracts.sources import SourceContract, source_contracts
from insight_assets.contracts.types import ContractError
from insight_assets.ingestion.landing import Inventory
from insight_assets.ingestion.raw import RawLoader, raw_contract
from insight_assets.lake import DailyFrames, Lake
from insight_assets.validation.publishing import validate_day
from insight_assets_tests.deliveries import ORDERS_HEADER, lines, orders_row
from insight_assets_tests.validation.judging import PSEUDONYM

SHIPPED = source_contracts()["generic_orders_csv"]
OLD, NEW = "2025-05-31", "2025-06-01"
OLD_HEADER, NEW_HEADER = ORDERS_HEADER, ORDERS_HEADER.replace("unit_price", "price_each")


def write_contract(folder: Path, name: str, version: str, *, renamed: bool = False, **period: str) -> None:
    text = SHIPPED.path.read_text().replace("id: generic_orders_csv", f"id: {name}")
    text = text.replace("name: generic_orders_csv", f"name: {name}")
    text = text.replace(f"version: {SHIPPED.version}", f"version: {version}")
    given = {"source": "till"} | period
    properties = "".join(f'  - {{property: {key}, value: "{value}"}}\n' for key, value in given.items())
    text = text.replace("customProperties:\n", "customProperties:\n" + properties, 1)
    if renamed:
        text = text.replace("{name: unit_price,", "{name: unit_price, physicalName: price_each,", 1)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.odcs.yaml").write_text(text)


@pytest.fixture
def till(tmp_path) -> SourceContract:
    write_contract(tmp_path / "own", "till_first", "1.0.0", valid_to=OLD)
    write_contract(tmp_path / "own", "till", "2.0.0", renamed=True, valid_from=NEW)
    return source_contracts(tmp_path / "own")["till"]


def validated(root: Path, till: SourceContract, **files: str) -> dict[str, list[tuple]]:
    folder = root / "landing" / "till"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    inventory, lake = Inventory(root / "landing", shop_timezone="UTC", max_file_bytes=10**8), Lake(root / "lake")
    inventory.refresh(till)
    assert [file.reason for file in inventory.files() if file.reason] == []
    days = sorted({day for file in inventory.files() for day in file.days})
    of = raw_contract(till)
    list(lake.write(of, days, DailyFrames(RawLoader(till, inventory, lake).rows_of)))
    found: dict[str, list[tuple]] = {"sold": [], "quarantined": []}
    for day in days:
        raw = {"till": lake.scan(of, [day]).collect()}
        made = validate_day(day, raw, {"till": till}, pseudonym=PSEUDONYM, shop_timezone="UTC", budgets={})
        found["sold"] += made.tables["order_lines"].select("order_id", "unit_price").rows()
        found["quarantined"] += made.tables["quarantine"].select("rule", "contract_version").rows()
    return {key: [tuple(map(str, row)) for row in sorted(rows)] for key, rows in found.items()}


def test_files_of_each_period_are_read_by_its_contract(tmp_path, till):
    assert ([each.version for each in till.versions], till.name) == (["2.0.0", "1.0.0"], "till")
    found = validated(
        tmp_path, till,
        old=lines(OLD_HEADER, orders_row("o1", f"{OLD} 10:00:00")),
        new=lines(NEW_HEADER, orders_row("o2", f"{NEW} 10:00:00")),
    )  # fmt: skip
    assert found == {"sold": [("o1", "10.0000"), ("o2", "10.0000")], "quarantined": []}


def test_rows_of_a_period_whose_columns_their_file_lacks_are_quarantined_and_the_others_load(tmp_path, till):
    both = lines(OLD_HEADER, orders_row("o1", f"{OLD} 10:00:00"), orders_row("o2", f"{NEW} 10:00:00"))
    found = validated(tmp_path, till, both=both)
    assert found == {"sold": [("o1", "10.0000")], "quarantined": [("outside_contract_period", "1.0.0")]}


def test_rows_of_both_periods_load_where_the_file_fits_both(tmp_path, till):
    header = OLD_HEADER + ",price_each"
    rows = [orders_row(f"o{n}", f"{day} 10:00:00", unit_price="7") + ",8" for n, day in enumerate((OLD, NEW))]
    found = validated(tmp_path, till, both=lines(header, *rows))
    assert found == {"sold": [("o0", "7.0000"), ("o1", "8.0000")], "quarantined": []}


@pytest.mark.parametrize(
    ("ends", "begins"),
    [("2025-06-01", "2025-06-01"), ("2025-05-30", "2025-06-01"), (None, "2025-06-01"), ("2025-05-31", None)],
)
def test_periods_that_overlap_or_leave_a_gap_are_refused(tmp_path, ends, begins):
    write_contract(tmp_path / "own", "till_first", "1.0.0", **({"valid_to": ends} if ends else {}))
    write_contract(tmp_path / "own", "till", "2.0.0", **({"valid_from": begins} if begins else {}))
    with pytest.raises(ContractError, match="must follow on each other"):
        source_contracts(tmp_path / "own")


def test_a_period_is_written_in_days_and_versions_are_told_apart(tmp_path):
    write_contract(tmp_path / "own", "till", "2.0.0", valid_from="June")
    with pytest.raises(ContractError, match="valid_from is a day"):
        source_contracts(tmp_path / "own")
    write_contract(tmp_path / "own", "till", "2.0.0", valid_from=NEW)
    write_contract(tmp_path / "own", "till_first", "2.0.0", valid_to=OLD)
    with pytest.raises(ContractError, match="give each its own"):
        source_contracts(tmp_path / "own")


def test_a_contract_without_a_period_covers_every_day():
    assert SHIPPED.covers(date(1990, 1, 1))
    assert SHIPPED.covers(date(2099, 1, 1))
