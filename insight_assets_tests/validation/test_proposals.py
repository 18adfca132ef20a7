"""Proposals for unknown files: held against the contracts that people wrote for the same files."""

import json
from collections.abc import Collection
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from insight_assets.cli import app
from insight_assets.contracts.sources import SourceContract, load_source, source_contracts
from insight_assets.ingestion.readers import Delivery, FileRefused, read_delivery
from insight_assets.validation.proposals import Proposal, propose, source_name
from insight_assets.validation.unknown_files import look_into
from insight_assets.validation.usability import Usability, check_source

FOLDER = Path(__file__).with_name("sources")
FILES = {path.name.partition(".")[0]: path for path in sorted(FOLDER.iterdir())}
REAL = {
    "uci_online_retail": "uci_online_retail/by_day/2010-12-01.csv.gz",
    "rees46": "rees46_sample/2019-Oct_head17434.csv.gz",
    "taobao_user_behavior": "taobao_samples/UserBehavior_head.csv",
    "tianchi_mobile": "taobao_samples/tianchi_mobile_recommend_sample.csv",
    "yoochoose_sessions": "yoochoose_100k/yoochoose-clicks-100k_test.txt",
}
SOURCES = source_contracts()
GB = 1_000_000_000
FIELDS = {
    "customer": ("customer_id", "visitor_id"), "product": ("product_id",), "price": ("unit_price", "price"),
    "order": ("order_id",),
}  # fmt: skip
ENOUGH = 0.9


def look(text: str | bytes, name: str = "unknown") -> Proposal:
    data = text.encode() if isinstance(text, str) else text
    return propose(look_into(Delivery("Unknown file.csv", "hash", data)), name)


def propose_for(path: Path, folder: Path) -> tuple[Proposal, SourceContract]:
    proposal = propose(look_into(read_delivery(path, max_bytes=GB)), "proposed")
    written = folder / "proposed.odcs.yaml"
    written.write_text(proposal.text, encoding="utf-8")
    return proposal, load_source(written, linted=True)


def check(path: Path, source: SourceContract) -> Usability:
    return check_source(path, source, shop_timezone="Europe/London", max_file_bytes=GB)


def columns_read(source: SourceContract, fields: Collection[str], *, header: bool) -> set[str]:
    """Name the file's columns that a contract reads for canonical fields."""
    paths = {}
    for place, column in enumerate(source.delivered, start=1):
        paths[column.name] = column.path if header else f"column_{place}"
        paths |= {field.name: f"{column.path}[].{field.path}" for field in column.items}
    expressions = [
        mapping.expressions[field] for mapping in source.mappings for field in fields if field in mapping.expressions
    ]
    return {paths[name] for sql in expressions for name in pl.sql_expr(sql).meta.root_names() if name in paths}


def choices(name: str, path: Path, folder: Path) -> dict[str, bool]:
    """Tell for each field that the shipped contract reads whether the proposal reads it from the same columns."""
    shipped = SOURCES[name]
    proposal, proposed = propose_for(path, folder)
    header = proposal.file.header
    time_columns = [
        next(
            place if not header else column.path
            for place, column in enumerate(source.delivered)
            if column.name == source.time_column
        )
        for source in (shipped, proposed)
    ]
    same = {"time": time_columns[0] == time_columns[1]}
    for field, columns in FIELDS.items():
        wanted = columns_read(shipped, columns, header=header)
        found = columns_read(proposed, columns, header=header)
        if wanted:
            same[field] = bool(found) and found <= wanted
    return same


def test_proposals_choose_what_people_chose(tmp_path):
    found = {name: choices(name, path, tmp_path) for name, path in FILES.items()}
    same = [is_same for fields in found.values() for is_same in fields.values()]
    assert len(same) > 60
    assert sum(same) / len(same) >= ENOUGH, {name: fields for name, fields in found.items() if not all(fields.values())}
    assert all(fields["time"] and fields["customer"] for fields in found.values())


@pytest.mark.real
def test_proposals_choose_what_people_chose_for_real_files(real_data, tmp_path):
    found = {name: choices(name, real_data / path, tmp_path) for name, path in REAL.items()}
    same = [is_same for fields in found.values() for is_same in fields.values()]
    assert sum(same) / len(same) >= ENOUGH, found


@pytest.mark.parametrize("name", FILES)
def test_each_proposal_loads_and_reads_its_own_file(name, tmp_path):
    proposal, source = propose_for(FILES[name], tmp_path)
    report = check(FILES[name], source)
    assert (proposal.missing, report.refused) == ((), "")
    assert report.rows == report.accepted + report.duplicate + report.quarantined > 0
    assert proposal.text.count("# TODO: ") >= len(proposal.questions) > 0


@pytest.mark.parametrize(
    ("name", "least"),
    [("rees46", 7), ("retailrocket", 10), ("taobao_user_behavior", 11), ("yoochoose", 9), ("amazon_reviews", 7)],
)
def test_plain_files_are_usable_without_an_edit(name, least, tmp_path):
    report = check(FILES[name], propose_for(FILES[name], tmp_path)[1])
    assert report.accepted + report.duplicate >= least


@pytest.mark.real
def test_the_proposal_for_uci_takes_all_rows_of_a_day(real_data, tmp_path):
    path = real_data / REAL["uci_online_retail"]
    proposal, source = propose_for(path, tmp_path)
    report = check(path, source)
    assert (report.rows, report.accepted, report.duplicate) == (3_108, 3_108, 0)
    assert {role: found.column.path for role, found in proposal.chosen.items()} == {
        "time": "InvoiceDate", "customer": "CustomerID", "order": "InvoiceNo", "product": "StockCode",
        "product_name": "Description", "price": "UnitPrice", "quantity": "Quantity", "country": "Country",
    }  # fmt: skip


def test_german_columns_are_understood():
    rows = "".join(
        f"B{n};{n % 9 + 1:02}.03.2025 10:{n:02};K{n % 7};A-{n % 5};Tee;{n % 3 + 1};4.50\n" for n in range(40)
    )
    proposal = look("Bestellnummer;Bestelldatum;Kundennummer;Artikelnummer;Bezeichnung;Menge;Einzelpreis\n" + rows)
    assert {role: found.column.path for role, found in proposal.chosen.items()} == {
        "time": "Bestelldatum", "customer": "Kundennummer", "order": "Bestellnummer", "product": "Artikelnummer",
        "product_name": "Bezeichnung", "price": "Einzelpreis", "quantity": "Menge",
    }  # fmt: skip
    assert (proposal.file.delimiter, proposal.chosen["time"].column.time_format) == (";", "%d.%m.%Y %H:%M")


def test_chinese_columns_are_understood_in_their_own_encoding(tmp_path):
    rows = "".join(f"D{n},2025-03-05 10:{n:02}:00,用户{n % 7},SP{n % 5},绿茶,{n % 3 + 1},45.5\n" for n in range(40))
    path = tmp_path / "订单.csv"
    path.write_bytes(("订单号,下单时间,用户id,商品编号,商品名称,数量,单价\n" + rows).encode("gb18030"))
    proposal, source = propose_for(path, tmp_path)
    assert proposal.file.encoding == "gb18030"
    assert set(proposal.chosen) == {"time", "customer", "order", "product", "product_name", "price", "quantity"}
    report = check(path, source)
    assert (report.rows, report.accepted) == (40, 40)


@pytest.mark.parametrize(("day_first", "asked"), [(True, False), (False, False), (None, True)])
def test_a_date_that_reads_both_ways_is_asked_about(day_first, asked):
    days = [date(2025, 3, 1) + timedelta(days=n) for n in range(12 if day_first is None else 31)]
    written = [day.strftime("%d/%m/%Y" if day_first else "%m/%d/%Y") for day in days]
    proposal = look(
        "order_id,order_date,customer_id,sku,price\n"
        + "".join(f"o{n},{day},c{n},s,1.5\n" for n, day in enumerate(written))
    )
    found = proposal.chosen["time"].column.time_format
    assert any("either way" in question for question in proposal.questions) is asked
    if day_first is not None:
        assert found == ("%d/%m/%Y" if day_first else "%m/%d/%Y")


def test_what_is_missing_is_told_and_nothing_is_written():
    proposal = look("reviewText,Positive\nfine,1\nbad,0\n")
    assert proposal.text == ""
    assert any(missing.startswith("a time") for missing in proposal.missing)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"PK\x03\x04rest", b"\x00\x01\x02\x00", b"[1, 2]", b"{}{"])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(FileRefused):
        look(data)


def test_no_value_of_a_file_is_told():
    canary = "canary@example.com"
    proposal = look(f"id,mail,when,sku,price\n1,{canary},2025-01-01,s1,2\n2,{canary}x,2025-01-02,s2,3\n")
    told = "\n".join([proposal.text, *proposal.lines(), json.dumps(proposal.as_dict())])
    assert "canary" not in told
    assert "classification: personal" in proposal.text


def test_names_of_sources_come_from_names_of_files():
    names = {
        "Orders 2025-03-01.csv.gz": "orders",
        "OrderExport.json": "order_export",
        "订单.csv": "my_source",
        "2010-12-01.csv": "my_source",
    }
    assert {name: source_name(name) for name in names} == names


def test_the_command_line_proposes_for_a_file_alone(tmp_path):
    run = CliRunner().invoke(
        app, ["check-source", str(FILES["rees46"]), "--out", str(tmp_path), "--home", str(tmp_path / "home")]
    )
    assert run.exit_code == 0, run.output
    assert "price: price" in run.output
    assert "accepted 6, duplicate 1, quarantined 2" in run.output
    assert load_source(tmp_path / "rees46.odcs.yaml", linted=True).delivered[0].path == "event_time"
    again = CliRunner().invoke(
        app, ["check-source", str(FILES["rees46"]), "--out", str(tmp_path), "--home", str(tmp_path / "home")]
    )
    assert (again.exit_code, "exists already" in again.output) == (2, True)
