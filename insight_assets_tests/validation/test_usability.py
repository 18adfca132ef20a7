"""Looking at a file before it is landed."""

import json

import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.validation.usability import Usability, check_source
from insight_assets_tests.bundles import LITTLE_OLIST, packed
from insight_assets_tests.deliveries import ORDERS_HEADER, UCI_HEADER, call, lines, orders_row, uci_row

SOURCES = source_contracts()
DAY = "2025-01-01"


@pytest.fixture
def look(tmp_path):
    def look(source: str, content: str | bytes) -> Usability:
        path = tmp_path / "file.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        before = sorted(tmp_path.iterdir())
        found = check_source(path, SOURCES[source], shop_timezone="UTC", max_file_bytes=1_000_000)
        assert sorted(tmp_path.iterdir()) == before
        return found

    return look


def test_a_good_file(look):
    found = look(
        "uci_online_retail",
        lines(UCI_HEADER, uci_row("1", f"{DAY} 10:00:00", CustomerID=""), uci_row("2", "2025-01-03 10:00:00")),
    )
    assert found.usable
    assert (found.rows, found.accepted, found.duplicate, found.quarantined) == (2, 2, 0, 0)
    assert (str(found.first), str(found.last)) == (DAY, "2025-01-03")
    assert found.missing["customer"] == 0.5
    told = "\n".join(found.lines())
    assert "column customer: 50.0% missing" in told
    assert "insight land uci_online_retail file.csv" in told


def test_broken_rules_are_counted_with_what_to_do(look):
    rows = [orders_row(f"o{n}", f"{DAY} 10:00") for n in range(8)]
    bad = [
        orders_row("b1", f"{DAY} 10:00", quantity="two"),
        orders_row("b2", f"{DAY} 10:00", currency="$"),
        "too,short",
        orders_row("b3", "never"),
    ]
    found = look("generic_orders_csv", lines(ORDERS_HEADER, *rows, rows[0], *bad))
    assert (found.rows, found.accepted, found.duplicate, found.quarantined) == (13, 8, 1, 4)
    assert {broken.rule: broken.rows for broken in found.broken} == {
        "quantity.type": 1, "currency.pattern": 1, "malformed": 1, "event_time.required": 1,
    }  # fmt: skip
    assert all(broken.fix and broken.meaning for broken in found.broken)
    assert found.refused_days == (DAY,)
    assert not found.usable
    told = "\n".join(found.lines())
    assert "not publishable: 2025-01-01" in told
    assert "time_format" in told


def test_money_given_back_twice_in_one_file_is_told_apart(look):
    rows = [orders_row("o", f"2025-01-0{day} 10:00", order_line_id="1", status="refunded") for day in (1, 2)]
    found = look("generic_orders_csv", lines(ORDERS_HEADER, *rows, rows[0]))
    assert (found.rows, found.accepted, found.duplicate, found.quarantined) == (3, 2, 1, 0)


def test_a_bundle_is_told_file_by_file(look):
    found = look("olist", packed(LITTLE_OLIST))
    assert (found.rows, found.quarantined) == (45, 4)
    assert found.missing["orders.approved_at"] == 1 / 7
    assert found.missing["items.order_id"] == 0
    assert not any(name.startswith("places.") for name in found.missing)
    assert {broken.rule: broken.rows for broken in found.broken} == {"orders.not_found": 3, "customers.not_found": 1}
    told = "\n".join(found.lines())
    assert "column products.category: 33.3% missing" in told
    assert "rule orders.not_found: 3 rows. what the row names is in the same bundle." in told


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x1f\x8b\x08\x00cut", "unreadable"),
        (lines(UCI_HEADER.replace("Quantity", "Menge"), uci_row("1", f"{DAY} 10:00:00")), "missing_column"),
        (lines(UCI_HEADER, uci_row("1", "01/01/2025")), "event_time"),
        (lines(UCI_HEADER, uci_row("1", f"{DAY} 10:00:00", Description="杯子")).encode("gbk"), "encoding"),
        (b"x" * 2_000_000, "too_large"),
    ],
)
def test_a_file_that_would_be_refused_says_why(look, content, reason):
    found = look("uci_online_retail", content)
    assert found.refused.startswith(reason)
    assert not found.usable
    assert next(found.lines()).startswith("file.csv: refused: ")


def test_an_empty_file_is_nothing_to_land(look):
    found = look("uci_online_retail", UCI_HEADER)
    assert (found.rows, found.usable) == (0, False)
    assert list(found.lines()) == ["file.csv: no rows; nothing to land"]


def test_the_report_is_plain_json(look):
    found = look("segment", lines(json.dumps(call("m", f"{DAY}T10:00:00Z")), "{"))
    told = json.loads(json.dumps(found.as_dict()))
    assert told["first"] == DAY
    assert told["broken"][0]["rule"] == "malformed"
    assert told["usable"] is False
