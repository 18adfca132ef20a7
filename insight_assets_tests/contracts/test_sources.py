"""Source contracts: what they hold, and that every refusal names file, line and choice."""

import shutil
from pathlib import Path

import pytest

from insight_assets.contracts.sources import load_source, source_contracts
from insight_assets.contracts.types import ContractError

STALL_FILE = Path(__file__).with_name("stall.odcs.yaml")
TEXT = STALL_FILE.read_text(encoding="utf-8")

REFUSALS = {
    "table contract": ("domain: sources", "domain: validated", ["'validated'", "sources"]),
    "no format": ("  - {property: format, value: ndjson}\n", "", ["'format' is missing"]),
    "unknown setting": ("property: timezone", "property: time_zone", ["did you mean 'timezone'?"]),
    "unknown format": ("value: ndjson", "value: jsonl", ["'jsonl'", "csv, ndjson, parquet"]),
    "unknown format of time": ('"%d.%m.%Y %H:%M"', "epoch", ["epoch_s, epoch_ms, epoch_us, iso"]),
    "carried down in json": ("{property: reject_budget, value: 0.1}", "{property: carry_down, value: {by: buyer, columns: []}}",
                             ["only rows of a csv"]),
    "carry without a group": ("{property: reject_budget, value: 0.1}", "{property: carry_down, value: [buyer]}", ["'by'"]),
    "no path": ("receipt.number", "receipt..number", ["is no path"]),
    "two shapes": ("{name: buyer,", "{name: buyer, physicalName: receipt,", ["'receipt'", "another shape"]),
    "unknown time column": ("value: sold_at", "value: sold", ["'sold'", "did you mean 'sold_at'?"]),
    "time column in a list": ("value: sold_at", "value: pence", ["'pence'"]),
    "unknown timezone": ("Europe/London", "Europe/Londres", ["'Europe/Londres'", "shop"]),
    "unknown known_at": ("value: sent_at", "value: sent", ["did you mean 'sent_at'?", "event_time"]),
    "budget above one": ("value: 0.1", "value: 10", ["a share from 0 to 1"]),
    "format of the time": ('"%d.%m.%Y %H:%M"', "7", ["iso or a strptime format"]),
    "delivered type": ("{name: buyer, logicalType: string", "{name: buyer, logicalType: integer",
                       ["'integer'", "string, array"]),
    "list within a list": ("{name: pence, logicalType: string", "{name: pence, logicalType: array",
                           ["'array'", "allowed: string"]),
    "delivered class": ("classification: personal", "classification: person",
                        ["did you mean 'personal'?"]),
    "column delivered twice": ("name: many", "name: buyer", ["'buyer' is taken"]),
    "column of the engine": ("name: buyer", "name: customer_key", ["'customer_key' is taken"]),
    "key of another column": ("name: many,", "name: many, primaryKey: true,", ["'primaryKey'"]),
    "unknown canonical table": ("- name: events", "- name: event", ["did you mean 'events'?"]),
    "unknown canonical column": ("{name: product_id,", "{name: product,",
                                 ["'product'", "did you mean 'product_id'?", "unit_price"]),
    "engine-filled column": ("{name: order_id,", "{name: event_day,", ["unknown column", "'event_day'"]),
    "column mapped twice": ("{name: refunded,", "{name: discount,", ["'discount' is taken"]),
    "required column unmapped": ('      - {name: currency, transformLogic: "\'GBP\'"}\n', "",
                                 ["required columns of order_lines unmapped: currency"]),
    "no expression": ("{name: kind, transformLogic: \"'sale'\"}", "{name: kind}",
                      ["'kind' has no transformLogic"]),
    "other logicalType": ("{name: channel, logicalType: string", "{name: channel, logicalType: number",
                          ["'number'", "allowed: string"]),
    "unknown list": ("value: things", "value: thing", ["did you mean 'things'?"]),
    "concluded by another column": ("[{property: rows, value: things}]",
                                    "[{property: rows, value: things}, {property: unless_told, value: receipt}]",
                                    ["'receipt'", "order_line_id, product_id"]),
    "concluded event": ("[{property: where, value: \"receipt LIKE 'R%'\"}]", "[{property: unless_told, value: product_id}]",
                        ["belongs to order_lines"]),
    "where that is no test": ("receipt LIKE 'R%'", "receipt", ["no test of a row"]),
    "SQL that does not parse": ("NULLIF(buyer, '')", "NULLIF(buyer", ["cannot be parsed"]),
    "unknown function": ("NULLIF(buyer, '')", "NULLIFY(buyer, '')", ["cannot be parsed"]),
    "unknown delivered column": ("NULLIF(buyer, '')", "NULLIF(bayer, '')",
                                 ["'bayer'", "did you mean 'buyer'?"]),
    "list field without rows": ("NULLIF(buyer, '')", "thing", ["unknown column in SQL 'thing'"]),
    "cast that raises": ("TRY_CAST(many AS BIGINT)\"", "CAST(many AS BIGINT)\"", ["use TRY_CAST"]),
    "text for a number": ("TRY_CAST(many AS BIGINT)\"", "many\"", ["quantity becomes String", "TRY_CAST it"]),
    "aggregate": ("NULLIF(buyer, '')", "MIN(buyer)", ["one row only"]),
    "window": ("NULLIF(buyer, '')", "FIRST_VALUE(buyer) OVER (ORDER BY receipt)", ["one row only"]),
    "rules": ("    customProperties: [{property: rows",
              "    quality: [{metric: rowCount, mustBe: 1}]\n    customProperties: [{property: rows",
              ["canonical table's contract"]),
}  # fmt: skip
ELSEWHERE = {"no format": 11, "required column unmapped": 44}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_names_file_line_and_choice(case: str, tmp_path: Path) -> None:
    old, new, told = REFUSALS[case]
    assert TEXT.count(old) == 1, case
    path = tmp_path / "stall.odcs.yaml"
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(ContractError) as refused:
        load_source(path)
    line = ELSEWHERE.get(case, TEXT[: TEXT.index(old)].count("\n") + 1)
    assert (refused.value.path, refused.value.line) == (path, line)
    for words in told:
        assert words in str(refused.value)


def test_source_holds_what_the_file_says() -> None:
    stall = load_source(STALL_FILE, linted=True)
    assert (stall.name, stall.version, stall.format, stall.delimiter) == ("stall", "1.0.0", "ndjson", ",")
    assert (stall.encoding, stall.header, stall.reject_budget) == ("auto", True, 0.1)
    assert (stall.time_column, stall.timezone, stall.known_at) == ("sold_at", "Europe/London", "sent_at")
    assert [(c.name, c.path, c.required) for c in stall.delivered][:2] == [
        ("receipt", "receipt.number", True),
        ("sold_at", "sold_at", True),
    ]
    assert [(c.name, c.path) for c in stall.delivered[-1].items] == [
        ("thing", "code"),
        ("pence", "pence"),
        ("many", "many"),
    ]
    events, lines = stall.mappings
    assert (events.table, events.where, events.rows) == ("events", "receipt LIKE 'R%'", None)
    assert (lines.table, lines.where, lines.rows) == ("order_lines", None, "things")
    assert lines.expressions["quantity"] == "TRY_CAST(many AS BIGINT)"


def test_a_users_source_stands_beside_the_shipped_ones(tmp_path: Path) -> None:
    shutil.copy(STALL_FILE, tmp_path)
    assert set(source_contracts(tmp_path)) == {*source_contracts(), "stall"}


def test_a_users_source_replaces_a_shipped_one_by_a_higher_version_only(tmp_path: Path) -> None:
    shipped = source_contracts()["uci_online_retail"]
    path = Path(shutil.copy(shipped.path, tmp_path))
    with pytest.raises(ContractError, match="higher version") as refused:
        source_contracts(tmp_path)
    assert refused.value.path == path
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"version: {shipped.version}", "version: 10.0.0", 1), encoding="utf-8")
    assert source_contracts(tmp_path)["uci_online_retail"].version == "10.0.0"


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="does not exist"):
        source_contracts(tmp_path / "nowhere")
