"""Proposals for unknown files: held against the contracts that people wrote for the same files."""

import json
from collections.abc import Collection
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from insight_assets.cli import app
from insight_assets.contracts.sources import SourceContract, load_source, source_contracts
from insight_assets.ingestion.readers import Delivery, FileRefused, read_delivery
from insight_assets.validation.proposals import Proposal, propose, source_name
from insight_assets.validation.unknown_files import look_into
from insight_assets.validation.usability import Usability, check_source
from insight_assets_tests.validation.judging import totals, validate

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


def propose_for(path: Path, folder: Path, *, linted: bool = True) -> tuple[Proposal, SourceContract]:
    proposal = propose(look_into(read_delivery(path, max_bytes=GB)), "proposed")
    written = folder / "proposed.odcs.yaml"
    written.write_text(proposal.text, encoding="utf-8")
    return proposal, load_source(written, linted=linted)


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


# States of orders, amounts beside goods, minor units, codes


def source_of(text: str, tmp_path: Path) -> tuple[Proposal, SourceContract]:
    """Propose a contract for a file, and load it as it is."""
    path = tmp_path / "shop.csv"
    path.write_text(text, encoding="utf-8")
    # Whether proposals obey the standard's schema is held against the files of shops above, which takes its time.
    return propose_for(path, tmp_path, linted=False)


def book(text: str, tmp_path: Path, *later: str) -> tuple[Proposal, pl.DataFrame]:
    """Give the ledger that a proposal makes of its own file, and of later ones."""
    proposal, source = source_of(text, tmp_path)
    days = validate(source, text, *later, shop="UTC")
    read, accepted, duplicate, quarantined = totals(days)
    assert read == accepted + duplicate + quarantined
    assert quarantined == 0, [day.tables["quarantine"]["rules"].to_list() for day in days.values()]
    return proposal, pl.concat([day.tables["order_lines"] for day in days.values()])


def state_rows(words: list[str], prices: list[str], numbers: bool) -> list[str]:
    return [
        (f"L{place}," if numbers else "")
        + f"o{place // 2},2025-03-05 10:{place // 2:02}:00,c{place % 5},p{place},{place % 3 + 1},"
        + f"{prices[place % len(prices)]},{word}"
        for place, word in enumerate(words)
    ]


WORDS = {
    "english": (["paid", "Refunded", "shipped", "cancelled", "returned", "Completed"], "status"),
    "shopify": (["paid", "refunded", "voided", "pending", "authorized"], "Financial Status"),
    "woo": (["processing", "completed", "on-hold", "cancelled", "refunded", "failed"], "order_status"),
    "olist": (["delivered", "shipped", "canceled", "unavailable", "invoiced"], "order_status"),
    "chinese": (["已付款", "已退款", "已取消", "交易成功", "退款成功", "交易关闭"], "订单状态"),
    "german": (["bezahlt", "storniert", "erstattet", "versendet"], "Bestellstatus"),
}
TAKEN_BACK = {
    "Refunded", "returned", "refunded", "cancelled", "voided", "failed", "canceled", "unavailable", "已退款", "已取消",
    "退款成功", "交易关闭", "storniert", "erstattet",
}  # fmt: skip


@pytest.mark.parametrize(("shop", "numbers"), [(shop, place % 2 == 0) for place, shop in enumerate(WORDS)])
def test_refunded_and_cancelled_lines_add_nothing_to_sales(shop, numbers, tmp_path):
    words, name = WORDS[shop]
    told = [words[place % len(words)] for place in range(24)]
    header = ("order_line_id," if numbers else "") + f"order_id,created_at,customer_id,sku,quantity,unit_price,{name}"
    rows = state_rows(told, ["10.50", "3.25", "7"], numbers)
    proposal, lines = book("\n".join([header, *rows, ""]), tmp_path)
    assert proposal.chosen["status"].column.path == name
    assert any("tells what became of a line" in question for question in proposal.questions)
    places = {f"p{place}" for place, word in enumerate(told) if word in TAKEN_BACK}
    money = lines.group_by("product_id").agg(pl.col("net").sum(), kinds=pl.col("kind").sort())
    for product, net, kinds in money.iter_rows():
        assert (net == 0) is (product in places)
        assert kinds in ((["cancellation", "sale"], ["refund", "sale"]) if product in places else (["sale"],))
    assert lines["order_line_id"].is_unique().all()


def test_a_sale_and_its_refund_in_one_file_are_both_told_once(tmp_path):
    header = "order_line_id,order_id,created_at,customer_id,sku,quantity,unit_price,status"
    rows = [f"L{n},o{n},2025-03-05 10:{n:02}:00,c{n % 5},p{n % 4},2,10,paid" for n in range(20)]
    back = [f"L{n},o{n},2025-03-05 10:{n:02}:00,c{n % 5},p{n % 4},2,10,refunded" for n in range(5)]
    documents = [f"L{n},o{n},2025-03-06 10:{n:02}:00,c{n % 5},p{n % 4},1,10,refund" for n in range(5, 8)]
    _, lines = book("\n".join([header, *rows, *back, *documents, ""]), tmp_path)
    assert (lines["gross"].sum(), lines["refunded"].sum(), lines["net"].sum()) == (400, 130, 270)


@pytest.mark.parametrize("later", [False, True])
def test_states_that_the_sample_did_not_show_are_understood_later(later, tmp_path):
    header = "order_id,created_at,customer_id,sku,quantity,unit_price,status\n"
    first = header + "".join(f"o{n},2025-03-05 10:{n:02}:00,c{n % 5},p{n % 4},2,10,paid\n" for n in range(20))
    part = "o3,2025-03-05 10:03:00,c3,p3,2,10,Partially Refunded\n"
    second = header + part + "o9,2025-03-05 10:09:00,c4,p1,2,10,refunded\n"
    _, lines = book(first, tmp_path, *([second] if later else []))
    assert lines["net"].sum() == (380 if later else 400)


def test_a_state_that_moves_on_within_one_file_is_one_sale(tmp_path):
    header = "order_id,created_at,customer_id,sku,quantity,unit_price,status\n"
    words = ("pending", "paid", "shipped")
    rows = [f"o{n},2025-03-05 10:{n:02}:00,c{n % 5},p{n % 4},2,10,{word}\n" for n in range(8) for word in words]
    proposal, lines = book(header + "".join(rows), tmp_path)
    assert (lines.height, lines["net"].sum()) == (8, 160)
    assert not any("known by its place" in question for question in proposal.questions)


def test_states_of_orders_are_neither_types_nor_places():
    rows = [f"o{n},2025-03-05 10:{n:02}:00,c{n},p{n},1,10,{('CA', 'NY')[n % 2]},gift,paid" for n in range(12)]
    header = "order_id,created_at,customer_id,sku,quantity,unit_price,state,type,order_status"
    chosen = look("\n".join([header, *rows, ""])).chosen
    assert ("event" in chosen, chosen["status"].column.path) == (False, "order_status")
    assert "status" not in look("\n".join([header.replace("order_status", "note"), *rows, ""]).replace("paid", "x")).chosen


def test_states_that_nobody_knows_are_asked_about(tmp_path):
    header = "order_id,created_at,customer_id,sku,quantity,unit_price,status\n"
    words = ("X7", "part. odd")
    rows = [f"o{n},2025-03-05 10:{n:02}:00,c{n % 5},p{n % 4},2,10,{words[n % 2]}\n" for n in range(20)]
    proposal, lines = book(header + "".join(rows), tmp_path)
    assert any("20 rows have a status that is not known" in question for question in proposal.questions)
    assert lines["net"].sum() == 400
    assert "X7" not in proposal.text


@settings(max_examples=4, deadline=None)
@given(
    prices=st.lists(st.integers(1, 90_000), min_size=8, max_size=12),
    name=st.sampled_from(["price_cents", "unit_price_minor", "amountInCents"]),
    words=st.lists(st.sampled_from(["paid", "refunded", "cancelled", "refund"]), min_size=3, max_size=3),
    discounted=st.booleans(),
)
def test_money_in_cents_is_the_money_in_units(prices, name, words, discounted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cents")

    def ledger(title: str, write) -> pl.DataFrame:
        off = f"discount{title.removeprefix('price').removeprefix('unit_price').removeprefix('amount')}"
        header = f"order_id,created_at,customer_id,sku,quantity,{title},{off if discounted else 'note'},status"
        rows = [
            f"o{n},2025-03-05 10:{n:02}:00,c{n % 5},p{n},{n % 3 + 1},{write(price)},"
            f"{write(price // 4) if discounted else 'x'},{words[n % 3]}"
            for n, price in enumerate(prices)
        ]
        proposal, lines = book("\n".join([header, *rows, ""]), folder)
        assert ("divided by 100" in proposal.text) is (write is str)
        money = ("kind", "unit_price", "gross", "discount", "refunded", "cancelled", "net")
        return lines.sort("order_line_id").select(money)

    whole = ledger("price", lambda cents: f"{Decimal(cents) / 100:.2f}")
    assert ledger(name, str).equals(whole)


@pytest.mark.parametrize(
    ("name", "values", "currency", "divided", "asked"),
    [
        ("unit_amount", [1999, 2499, 500], "EUR", True, True),
        ("amount", [1999, 2499, 1500], "EUR", True, True),
        ("amount", [19, 24, 15], "EUR", False, False),
        ("unit_amount", [1999, 2499, 500], "JPY", False, False),
        ("price", [1999, 2499, 1595], "EUR", False, True),
        ("price", [1980, 2500, 3000], "CNY", False, False),
        ("price_cents", [5, 7, 9], "EUR", True, True),
        ("price_cents", ["5.5", "7.25", "9.0"], "EUR", False, False),
    ],
)
def test_minor_units_are_told_by_name_and_value(name, values, currency, divided, asked):
    rows = "".join(f"o{n},2025-03-05 10:{n:02}:00,c{n % 5},p{n},{values[n % 3]},{currency}\n" for n in range(12))
    proposal = look(f"order_id,created_at,customer_id,sku,{name},currency\n" + rows)
    assert proposal.chosen["price"].column.path == name
    assert (" / 100" in proposal.text) is divided
    assert any("minor units" in question for question in proposal.questions) is asked


def beside(*names: str, rows: list[str]) -> str:
    return "\n".join([",".join(["order_id,created_at,customer_id,sku,quantity,unit_price", *names]), *rows, ""])


def test_tax_shipping_and_discount_of_lines_and_of_orders_are_told_apart(tmp_path):
    # Two lines an order of 10 and 20; what is the same in both is of the order.
    rows = [
        f"o{n // 2},2025-03-05 10:{n // 2:02}:00,c{n // 2},p{n},1,{10 + 10 * (n % 2)},{1 + n % 2},5,{n % 2}.50,paid"
        for n in range(12)
    ]
    proposal, lines = book(beside("tax", "shipping", "discount", "status", rows=rows), tmp_path)
    assert {name: f"name: {name}," in proposal.text for name in ("tax", "order_shipping", "discount", "order_tax")} == {
        "tax": True, "order_shipping": True, "discount": True, "order_tax": False,
    }  # fmt: skip
    assert lines.select(pl.col("tax", "shipping", "discount", "net").sum()).row(0) == (18, 30, 12, 168)
    by_name = [row.rsplit(",", 4)[0] + f",{3 + n // 2},4,2" for n, row in enumerate(rows)]
    proposal, lines = book(beside("order_tax", "shipping_total", "total_discount", rows=by_name), tmp_path)
    assert lines.select(pl.col("tax", "shipping", "discount", "net").sum()).row(0) == (33, 24, 12, 168)


def test_an_order_taken_back_whole_leaves_no_tax_shipping_or_discount(tmp_path):
    words = ("paid", "refunded", "cancelled")
    rows = [
        f"o{n // 2},2025-03-05 10:{n // 2:02}:00,c{n // 2},p{n},1,{10 + 10 * (n % 2)},{3 + n // 2},4,2,"
        + words[n // 2 % 3]
        for n in range(12)
    ]
    _, lines = book(beside("order_tax", "shipping_total", "total_discount", "status", rows=rows), tmp_path)
    money = lines.group_by("order_id").agg(pl.col("net", "tax", "shipping").sum()).sort("order_id")
    assert money.rows() == [(f"o{n}", *((28, 3 + n, 4) if n % 3 == 0 else (0, 0, 0))) for n in range(6)]


def test_what_nothing_tells_of_amounts_is_asked(tmp_path):
    rows = [f"o{n},2025-03-05 10:{n:02}:00,c{n},p{n},1,10,2,5,19" for n in range(12)]
    proposal, lines = book(beside("tax", "shipping", "MwSt", rows=rows), tmp_path)
    assert sum("whole order" in question for question in proposal.questions) == 2
    assert any("prices_include_tax" in question for question in proposal.questions)
    assert proposal.chosen["tax"].column.path == "tax"
    assert lines["tax"].sum() == 24
    of_rates = [f"o{n},2025-03-05 10:{n:02}:00,c{n},p{n},1,10,{(19, 7)[n % 2]}" for n in range(12)]
    assert "tax" not in look(beside("vat", rows=of_rates)).chosen


@pytest.mark.parametrize(
    ("codes", "column", "bought", "read"),
    [
        ("1111223141", "behavior_type", 1, ("product_viewed", "product_added_to_wishlist", "product_added")),
        ("00001302", "action_type", 1, ("product_viewed", "product_added", "", "product_added_to_wishlist")),
        ("55567", "behavior_type", 0, ()),
        ("44441", "behavior_type", 0, ()),
    ],
)
def test_coded_events_are_read_with_a_note(codes, column, bought, read, tmp_path):
    rows = "".join(f"{n % 3},{n},{code},2025-03-05 10:{n:02}:00\n" for n, code in enumerate(codes))
    proposal, source = source_of(f"user_id,item_id,{column},time\n" + rows, tmp_path)
    assert any("REVIEW: the codes of" in question for question in proposal.questions) is bool(read)
    assert proposal.text.count("# TODO: REVIEW: the codes") == bool(read)
    report = check(tmp_path / "shop.csv", source)
    assert report.quarantined == (0 if read else len(codes))
    if read:
        days = validate(source, (tmp_path / "shop.csv").read_text(), shop="UTC")
        (day,) = days.values()
        told = day.tables["events"].filter(pl.col("file_hash") != "derived")["event"].value_counts()
        first = int(min(codes))
        counts = {event: codes.count(str(code)) for code, event in enumerate(read, start=first) if event}
        assert dict(told.iter_rows()) == counts
        assert day.tables["orders"].height == bought


def test_states_of_nested_orders_take_back_their_lines(tmp_path):
    goods = [{"product_id": f"p{place}", "quantity": place + 1, "price": "4.00"} for place in range(2)]
    usual = {"currency": "EUR", "total_tax": "1.50", "line_items": goods}
    states = ["completed", "refunded", "cancelled", "processing"] * 2
    orders = [
        usual
        | {"id": f"o{n}", "date_created": f"2025-03-05T10:{n:02}:00Z", "customer_id": f"c{n}", "status": status}
        for n, status in enumerate(states)
    ]
    proposal, lines = book("".join(json.dumps(each) + "\n" for each in orders), tmp_path)
    assert proposal.chosen["status"].column.path == "status"
    money = lines.group_by("order_id").agg(pl.col("net", "tax").sum()).sort("order_id")
    assert money["net"].to_list() == [12, 0, 0, 12] * 2
    assert money["tax"].to_list() == [Decimal("1.5"), 0, 0, Decimal("1.5")] * 2
