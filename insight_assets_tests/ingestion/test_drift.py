"""Columns that come and go: new ones are kept, told and proposed; a file without a required one holds its days back."""

import json

import pytest

from insight_assets.contracts.proposals import propose_columns
from insight_assets.contracts.sources import load_source, source_contracts
from insight_assets.ingestion.assets import NO_UNKNOWN_COLUMNS, PROPOSALS, READABLE
from insight_assets.validation.assets import EVERY_DAY_PUBLISHED
from insight_assets_tests.deliveries import ORDERS_HEADER, call, lines, orders_row
from insight_assets_tests.shop_home import failures

FIRST, SECOND, THIRD = "2025-01-01", "2025-01-02", "2025-01-03"
ORDERS = "generic_orders_csv"


def land_orders(
    home, name: str, *days: str, renamed: tuple[str, str] = ("", ""), more: str = "", value: str = ""
) -> None:
    rows = [orders_row(f"o{name}{n}", f"{day} 10:00:00") + (f",{value}" if more else "") for n, day in enumerate(days)]
    header = ORDERS_HEADER.replace(*renamed) if renamed[0] else ORDERS_HEADER
    home.land(ORDERS, name, lines(header + (f",{more}" if more else ""), *rows))


def check(result, name: str, asset: str):
    return next(
        each
        for each in result.get_asset_check_evaluations()
        if each.check_name == name and each.asset_key.to_user_string() == asset
    )


def test_a_new_column_is_kept_told_and_proposed(home):
    land_orders(home, "a.csv", FIRST, more="gift_wrap", value="secret")
    result = home.build(FIRST, sources=[ORDERS])
    assert json.loads(home.table(f"raw_{ORDERS}")["extra"][0]) == {"gift_wrap": "secret"}
    told = check(result, NO_UNKNOWN_COLUMNS, f"raw_{ORDERS}")
    assert (told.passed, told.severity.value, told.metadata["columns"].value) == (False, "WARN", "gift_wrap")
    assert home.table("orders").height == 1
    proposal = home.root / PROPOSALS / f"{ORDERS}.odcs.yaml"
    assert "secret" not in proposal.read_text() + str(told.metadata)
    proposed, known = load_source(proposal, linted=True), source_contracts()[ORDERS]
    assert [c.name for c in proposed.delivered] == [*(c.name for c in known.delivered), "gift_wrap"]
    assert [int(part) for part in proposed.version.split(".")] > [int(part) for part in known.version.split(".")]
    assert "text" in proposed.delivered[-1].description


def test_new_fields_of_json_are_told_by_their_outermost_name(home):
    home.land_calls("a.ndjson", [call("m1", f"{FIRST}T10:00:00Z", loyalty={"points": 5}, sentCount=3)])
    told = check(home.build(FIRST), NO_UNKNOWN_COLUMNS, "raw_segment")
    assert told.metadata["columns"].value == "loyalty, sentCount"
    proposal = (home.root / PROPOSALS / "segment.odcs.yaml").read_text()
    assert 'physicalName: "sentCount"' in proposal
    assert "looks like a number" in proposal


def test_known_columns_alone_propose_nothing(home):
    land_orders(home, "a.csv", FIRST)
    assert check(home.build(FIRST, sources=[ORDERS]), NO_UNKNOWN_COLUMNS, f"raw_{ORDERS}").passed
    assert not (home.root / PROPOSALS).exists()


@pytest.mark.parametrize("name", list(source_contracts()))
def test_a_proposal_for_any_contract_is_a_contract(name, tmp_path):
    source = source_contracts()[name]
    if source.members:
        pytest.skip("related files are described by their own objects")
    proposal = tmp_path / source.path.name
    proposal.write_text(propose_columns(source, {'od"d\\': "text", source.delivered[0].name.upper(): "a number"}))
    found = load_source(proposal, linted=True)
    assert len(found.delivered) == len(source.delivered) + 2
    assert found.mappings == source.mappings


@pytest.mark.parametrize("renamed", [("unit_price", "price"), ("unit_price", "")])
def test_a_file_without_a_required_column_holds_back_its_days_and_no_others(home, renamed):
    land_orders(home, "good.csv", FIRST, SECOND, THIRD)
    land_orders(home, "bad.csv", SECOND, renamed=renamed)
    result = home.build(FIRST, THIRD, sources=[ORDERS], check=False)
    assert not check(result, READABLE, f"raw_{ORDERS}").passed
    assert check(result, EVERY_DAY_PUBLISHED, "events").metadata["days"].value == SECOND
    assert set(home.table("orders")["event_day"].cast(str)) == {FIRST, THIRD}
    told = " ".join(failures(result))
    for part in (SECOND, f"{ORDERS}/bad.csv", "unit_price", "is missing", "Next:"):
        assert part in told
    # Taken away or mended, it holds nothing back any more.
    (home.folder(ORDERS) / "bad.csv").unlink()
    home.build(FIRST, THIRD, sources=[ORDERS])
    assert set(home.table("orders")["event_day"].cast(str)) == {FIRST, SECOND, THIRD}


def test_days_of_a_file_that_tells_no_time_are_taken_from_its_name(home):
    land_orders(home, "good.csv", FIRST, SECOND)
    home.land(ORDERS, f"bad-{SECOND.replace('-', '')}.csv.gz", b"\x1f\x8b\x08\x00cut")
    result = home.build(FIRST, SECOND, sources=[ORDERS], check=False)
    assert check(result, EVERY_DAY_PUBLISHED, "events").metadata["days"].value == SECOND


def test_a_header_alone_makes_an_empty_day_with_a_warning(home):
    home.land(ORDERS, f"orders-{SECOND}.csv", ORDERS_HEADER + "\n")
    home.inventory.refresh(source_contracts()[ORDERS])
    assert [str(day) for file in home.inventory.files() for day in file.days] == [SECOND]
    result = home.build(SECOND, sources=[ORDERS])
    assert home.states("events")[SECOND].rows == 0
    readable = check(result, READABLE, f"raw_{ORDERS}")
    assert readable.passed
    assert readable.metadata["empty"].value == f"orders-{SECOND}.csv"
