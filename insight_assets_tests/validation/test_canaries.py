"""Personal values planted in good and bad rows are found nowhere but in raw, in quarantine and, sealed, in the vault.

A home is filled with rows that fail in every way that rows can, and built with a Dagster instance on disk. Then every
byte it wrote is looked through, Parquet also by what its pages hold.
"""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from insight_assets.cli import app
from insight_assets.contracts.catalogue import contracts
from insight_assets.contracts.sources import PSEUDO_COLUMNS
from insight_assets.discretion import UntoldError, without_values
from insight_assets.ingestion.assets import SOURCES
from insight_assets.ingestion.raw import PREFIX, raw_contract
from insight_assets.ingestion.readers import text_columns
from insight_assets.validation import assets as validation
from insight_assets.validation.key_ring import read_ring
from insight_assets.validation.vault import IDENTITY_VAULT, open_identifiers
from insight_assets_tests.canaries import CANARIES, SAID, WHO, WRITTEN, canaries_in, sightings
from insight_assets_tests.deliveries import ORDERS_HEADER, REES46_HEADER, call, lines, order, orders_row, product
from insight_assets_tests.shop_home import ShopHome, failures

DAY, NEXT = "2025-01-01", "2025-01-02"
TIME = f"{DAY}T10:00:00Z"
MAY_HOLD = ("quarantine", *(PREFIX + source for source in SOURCES))
def good_rows(day: str) -> list[dict]:
    time = f"{day}T10:00:00Z"
    named = {"email": CANARIES["email"], "phone": CANARIES["phone"]}
    return [
        call(f"{day} good", time, **WHO, properties=WRITTEN, context={"channel": "web", "traits": named}),
        order(f"{day} order", time, product(), **WHO),
        *(call(f"{day} {n}", time, userId=f"u{n}") for n in range(90)),
    ]


def bad_rows() -> list[str]:
    """Give rows that fail each in its own way, with canaries in whatever they are made of."""
    rows = [
        call("price", TIME, **WHO, properties=WRITTEN | {"price": CANARIES["email"]}),
        call("event", TIME, CANARIES["name"], **WHO),
        call("time", CANARIES["phone"], **WHO),
        call("late", "1971-01-01T00:00:00Z", **WHO),
        call(
            "rating",
            TIME,
            "Product Reviewed",
            **WHO,
            properties=WRITTEN | {"rating": CANARIES["phone"], "review_id": "r"},
        ),
        call("channel", TIME, **WHO, context={"channel": CANARIES["name"]}),
        call(None, TIME, **WHO, properties=WRITTEN),
        order("currency", TIME, product(), **WHO, properties={"currency": CANARIES["name"]}),
        call("quantity", TIME, **WHO, properties={"quantity": CANARIES["name"]}),
        call("shape", TIME, **WHO) | {"properties": [SAID]},
    ]
    malformed = ['{"messageId": "cut", "userId": "' + CANARIES["email"], SAID, json.dumps([SAID])]
    return [*(json.dumps(row) for row in rows), *malformed]


@pytest.fixture
def kept_home(tmp_path) -> Iterator[ShopHome]:
    """A home whose instance is on disk, as that of a shop is."""
    place = tmp_path / "dagster"
    place.mkdir()
    with dg.DagsterInstance.local_temp(str(place)) as instance:
        yield ShopHome(tmp_path, instance)


def land_canaries(home: ShopHome) -> None:
    home.land_calls("good.ndjson", [*good_rows(DAY), *good_rows(NEXT)])
    home.land("segment", "bad.ndjson", lines(*bad_rows()))
    csv = [orders_row(f"o{n}", f"{DAY} 10:00", currency="CNY", customer_id=CANARIES["email"]) for n in range(40)]
    home.land(
        "generic_orders_csv",
        "orders.csv",
        lines(
            ORDERS_HEADER + ",note",
            *(row + "," for row in csv),
            orders_row("bad", f"{DAY} 10:00", quantity=CANARIES["phone"]) + "," + CANARIES["email"],
            csv[0] + ",too,many," + CANARIES["name"],
        ),
    )
    home.land("generic_orders_csv", "no-header.csv", lines(csv[0].replace("o0", CANARIES["phone"]), csv[1]))
    home.land(
        "generic_orders_csv", "no-column.csv", lines("order_id,customer_id", f"{CANARIES['phone']},{CANARIES['email']}")
    )
    home.land(
        "rees46",
        "r.csv",
        lines(
            REES46_HEADER,
            f"{DAY} 00:00:00 UTC,view,p,c,,b,1.0,{CANARIES['customer']},s",
            f"{DAY} 00:00:00 UTC,purchase,p,c,,b,{CANARIES['email']},{CANARIES['customer']},",
        ),
    )


def found_in(home: ShopHome) -> dict[str, set[str]]:
    """Look through everything a home holds but what was landed, and the rows of raw and quarantine."""
    return canaries_in(home.root, sources=SOURCES, may_hold=MAY_HOLD)


def test_canaries_are_found_only_in_raw_and_quarantine(kept_home, capfd, monkeypatch):
    monkeypatch.setenv("INSIGHT_REJECT_BUDGETS", '{"segment": 0.5, "generic_orders_csv": 0.5, "rees46": 1}')
    land_canaries(kept_home)
    kept_home.build(DAY, NEXT, sources=["segment", "generic_orders_csv", "rees46"])
    # The canaries did arrive: in raw as they were landed, in quarantine with rules of many kinds, in the vault sealed.
    raw = "\n".join(kept_home.table(PREFIX + each).write_json() for each in ("segment", "generic_orders_csv", "rees46"))
    assert sightings(raw.encode()) == set(CANARIES)
    quarantine = kept_home.table("quarantine")
    assert quarantine["rule"].n_unique() >= 6
    assert sightings(quarantine.write_json().encode()) >= {"email", "customer", "device", "phone", "name"}
    vault = open_identifiers(kept_home.table(IDENTITY_VAULT), read_ring(kept_home.root / "pseudonym.key"))
    assert {CANARIES["customer"], CANARIES["device"], CANARIES["email"]} <= set(vault["identifier"])
    said = kept_home.table("events").filter(pl.col("event_id") == f"{DAY} good").row(0, named=True)["review_text"]
    assert said == (
        "Hello, my name is [name], I live at [address], order number [order] is late; "
        "call [phone] or write to [email], card [bank_card]"
    )
    # And nowhere else.
    assert found_in(kept_home) == {}
    assert sightings("".join(capfd.readouterr()).encode()) == set()
    assert [path.name for path in (kept_home.root / "dagster").rglob("*") if path.suffix in {".db", ".err", ".out"}]


def test_a_refused_day_tells_no_canary(kept_home, capfd):
    land_canaries(kept_home)
    result = kept_home.build(DAY, NEXT, sources=["segment", "generic_orders_csv", "rees46"], check=False)
    assert not result.success
    assert sightings("".join(failures(result)).encode()) == set()
    assert found_in(kept_home) == {}
    assert sightings("".join(capfd.readouterr()).encode()) == set()


@pytest.mark.parametrize("stage", ["validate_day", "seal_identifiers"])
def test_a_defect_that_quotes_a_row_tells_its_place_only(kept_home, capfd, monkeypatch, stage):
    def fall_over(*_, **__):
        int(SAID)

    monkeypatch.setattr(validation, stage, fall_over)
    land_canaries(kept_home)
    result = kept_home.build(DAY, sources=["segment"], check=False)
    told = "".join(failures(result))
    assert "validating failed with ValueError at validation/assets.py:" in told
    assert sightings(told.encode()) == set()
    assert found_in(kept_home) == {}
    assert sightings("".join(capfd.readouterr()).encode()) == set()


def test_the_search_sees_what_an_unguarded_error_leaves_behind(kept_home, monkeypatch):
    monkeypatch.setattr(validation, "validate_day", lambda *_, **__: int(SAID))
    monkeypatch.setattr(validation, "without_values", lambda _: nullcontext())
    land_canaries(kept_home)
    kept_home.build(DAY, sources=["segment"], check=False)
    places = {Path(each).suffix: seen for each, seen in found_in(kept_home).items()}
    assert set(places) == {".db", ".err"}
    assert places[".db"] >= {"email", "phone", "card"}


def test_a_frame_that_breaks_its_contract_is_refused_without_its_values(kept_home, capfd, monkeypatch):
    validate_day = validation.validate_day

    def spoil(*arguments, **named):
        day = validate_day(*arguments, **named)
        day.tables["events"] = day.tables["events"].with_columns(channel=pl.lit(CANARIES["email"]), event=pl.lit(SAID))
        return day

    monkeypatch.setattr(validation, "validate_day", spoil)
    land_canaries(kept_home)
    monkeypatch.setenv("INSIGHT_REJECT_BUDGETS", '{"segment": 1}')
    result = kept_home.build(DAY, sources=["segment"], check=False)
    assert "channel.enum" in "".join(failures(result))
    assert found_in(kept_home) == {}
    assert sightings("".join(capfd.readouterr()).encode()) == set()


def test_a_proposed_contract_quotes_no_value(tmp_path, kept_environment):
    said = SAID.replace(",", ";")
    rows = [
        f"{number},{DAY} 10:{number:02},{CANARIES['email']},{CANARIES['phone']},{CANARIES['name']},{said},9.50"
        for number in range(30)
    ]
    path = tmp_path / "unknown.csv"
    path.write_text(lines("order,ordered at,e-mail,telephone,name of buyer,remark,price", *rows))
    for place, more in enumerate(([], ["--json"])):
        folder = tmp_path / str(place)
        folder.mkdir()
        options = ["--home", str(tmp_path / "home"), "--out", str(folder), *more]
        told = CliRunner().invoke(app, ["check-source", str(path), *options]).output
        written = (folder / "unknown.odcs.yaml").read_text()
        assert "telephone" in written
        assert sightings((told + written).encode()) == set()


def test_errors_of_files_keep_their_words_and_others_lose_them():
    with pytest.raises(PermissionError, match="chmod 600"), without_values("reading"):
        raise PermissionError("run: chmod 600 key")
    with pytest.raises(UntoldError, match="reading failed with ComputeError at") as told, without_values("reading"):
        raise pl.exceptions.ComputeError(f"could not parse {SAID}")
    assert sightings(str(told.value).encode()) == set()
    assert told.value.__suppress_context__


def test_personal_columns_are_only_where_they_may_be():
    personal = {of.name for of in contracts().values() for column in of.columns if column.classification == "personal"}
    assert personal == {"quarantine", IDENTITY_VAULT}
    raw = {name: raw_contract(source) for name, source in SOURCES.items()}
    for name, source in SOURCES.items():
        declared = {column.name for column in source.delivered if column.classification == "personal"}
        kept = {column.name for column in raw[name].columns if column.classification == "personal"}
        # Of a row that is kept whole all is personal.
        assert kept >= ({"payload"} if "payload" in text_columns(source) else {"extra", *declared}), name


def test_no_shipped_contract_maps_a_personal_column_to_anything_but_an_identifier():
    leaks = []
    for name, source in SOURCES.items():
        columns = [each for column in source.delivered for each in (column, *column.items)]
        personal = {each.name for each in columns if each.classification == "personal"}
        for mapping in source.mappings:
            for column, sql in mapping.expressions.items():
                hidden = column in PSEUDO_COLUMNS or column.endswith("_id") or column == "delivered_session"
                if not hidden and personal & set(pl.sql_expr(sql).meta.root_names()):
                    leaks.append(f"{name}.{mapping.table}.{column}")
    assert leaks == []
