"""A source of one's own: one YAML file in the folder that INSIGHT_SOURCES names, and no Python."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import source_contracts
from insight_assets.contracts.types import ContractError
from insight_assets.ingestion.raw import raw_contract
from insight_assets.lake import Lake

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: till
name: till
version: 1.0.0
status: active
domain: sources
description: {purpose: "One row is one receipt line of the tills of our stores"}
team: {name: stores}
customProperties:
  - {property: format, value: csv}
  - {property: delimiter, value: ";"}
  - {property: encoding, value: latin-1}
  - {property: time_column, value: wann}
  - {property: time_format, value: "%d.%m.%Y %H:%M"}
  - {property: timezone, value: Europe/Berlin}
schema:
  - name: delivered
    logicalType: object
    properties:
      - {name: bon, physicalName: Bon, logicalType: string, required: true, classification: internal, description: "Receipt"}
      - {name: zeile, physicalName: Zeile, logicalType: string, required: true, classification: internal, description: "Line"}
      - {name: wann, physicalName: Wann, logicalType: string, required: true, classification: internal, description: "Time"}
      - {name: kunde, physicalName: Kunde, logicalType: string, classification: personal, description: "E-mail of the card"}
      - {name: artikel, physicalName: Artikel, logicalType: string, required: true, classification: public, description: "SKU"}
      - {name: menge, physicalName: Menge, logicalType: string, required: true, classification: internal, description: "Units"}
      - {name: preis, physicalName: Preis, logicalType: string, required: true, classification: public, description: "Price"}
  - name: order_lines
    logicalType: object
    properties:
      - {name: order_line_id, transformLogic: "bon || ':' || zeile"}
      - {name: order_id, transformLogic: "bon"}
      - {name: kind, transformLogic: "'sale'"}
      - {name: customer_id, transformLogic: "kunde"}
      - {name: product_id, transformLogic: "artikel"}
      - {name: is_product, transformLogic: "TRUE"}
      - {name: quantity, transformLogic: "TRY_CAST(menge AS BIGINT)"}
      - {name: unit_price, transformLogic: "TRY_CAST(REPLACE(preis, ',', '.') AS DECIMAL(18,4))"}
      - {name: gross, transformLogic: "TRY_CAST(menge AS BIGINT) * TRY_CAST(REPLACE(preis, ',', '.') AS DECIMAL(18,4))"}
      - {name: discount, transformLogic: "0"}
      - {name: refunded, transformLogic: "0"}
      - {name: net, transformLogic: "TRY_CAST(menge AS BIGINT) * TRY_CAST(REPLACE(preis, ',', '.') AS DECIMAL(18,4))"}
      - {name: currency, transformLogic: "'EUR'"}
      - {name: channel, transformLogic: "'store'"}
"""
ROWS = """\
Bon;Zeile;Wann;Kunde;Artikel;Menge;Preis
B1;1;05.03.2025 09:30;anna@example.com;Tee grün;2;3,50
B1;2;05.03.2025 09:30;anna@example.com;Becher;1;12,00
B2;1;06.03.2025 00:10;;Tee grün;1;3,50
"""


class Shop:
    def __init__(self, home: Path, sources: Path) -> None:
        self.home, self.sources = home, sources

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("INSIGHT_", "DAGSTER_"))}
        environment = kept | {
            "INSIGHT_HOME": str(self.home), "INSIGHT_SOURCES": str(self.sources), "INSIGHT_TIMEZONE": "Europe/Berlin",
            "INSIGHT_SETTLE_SECONDS": "0",
            "INSIGHT_END_DATE": "2025-03-10",
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-m", "insight_assets.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def content(self, table: str) -> list[tuple]:
        """Give what a table says, leaving out which file said it."""
        of = contract(table)
        rows = Lake(self.home / "lake").scan(of).drop("file_hash", strict=False).collect()
        return rows.sort(name for name in of.primary_key if name in rows.columns).rows()


@pytest.fixture
def shop(tmp_path) -> Shop:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "till.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    return Shop(tmp_path / "home", tmp_path / "sources")


def test_one_yaml_file_makes_a_source(shop, tmp_path):
    assert "till" in {each["source"] for each in json.loads(shop.run("sources", "--json").stdout)}
    file = tmp_path / "kasse.csv"
    file.write_text(ROWS, encoding="latin-1")
    usable = json.loads(shop.run("check-source", "till", str(file), "--json").stdout)
    assert (usable["rows"], usable["accepted"], usable["usable"]) == (3, 3, True)
    shop.run("land", "till", str(file))
    # All validated tables are made by one step, whichever of them is asked for.
    built = json.loads(shop.run("build", "--json", "--select", "key:raw_till or key:orders").stdout)
    assert built["failures"] == []
    lake = Lake(shop.home / "lake")
    lines = lake.scan(contract("order_lines")).sort("order_line_id").collect()
    assert lines["product_id"].to_list() == ["Tee grün", "Becher", "Tee grün"]
    assert lines["gross"].to_list() == [Decimal("7"), Decimal("12"), Decimal("3.5")]
    assert lines["event_time"][0] == datetime(2025, 3, 5, 8, 30, tzinfo=UTC)
    assert lines["event_day"].to_list() == [date(2025, 3, 5), date(2025, 3, 5), date(2025, 3, 6)]
    assert lines["customer_key"].is_null().to_list() == [False, False, True]
    till = source_contracts(shop.sources)["till"]
    assert lake.scan(raw_contract(till)).collect()["preis"].sort().to_list() == ["12,00", "3,50", "3,50"]


def test_a_cast_within_an_expression_makes_no_null_of_what_was_written(shop, tmp_path):
    file = tmp_path / "kasse.csv"
    file.write_text(ROWS.replace("12,00", "zwölf"), encoding="latin-1")
    told = json.loads(shop.run("check-source", "till", str(file), "--json", expect=1).stdout)
    assert {each["rule"]: each["rows"] for each in told["broken"]} == {"preis.type": 1}
    assert (told["accepted"], told["quarantined"], told["refused_days"]) == (2, 1, ["2025-03-05"])


def test_a_mistake_in_the_contract_is_told_with_its_line(shop):
    path = shop.sources / "till.odcs.yaml"
    path.write_text(
        CONTRACT.replace('TRY_CAST(menge AS BIGINT)"}\n      - {name: unit', 'menge"}\n      - {name: unit'),
        encoding="utf-8",
    )
    done = shop.run("sources", expect=2)
    assert "till.odcs.yaml:" in done.stderr.replace("\n", "")
    assert "quantity" in done.stderr


def test_a_mended_contract_replays_what_was_quarantined(shop, tmp_path):
    """The tills begin to write a currency sign; the day is refused, the contract is mended, nothing is sent again."""
    written, clean = tmp_path / "kasse.csv", Shop(tmp_path / "clean", shop.sources)
    written.write_text(ROWS.replace("3,50", "EUR 3,50"), encoding="latin-1")
    shop.run("land", "till", str(written))
    rows = ("build", "--json", "--select", "key:raw_till or group:validated")
    failures = json.loads(shop.run(*rows, expect=1).stdout)["failures"]
    assert "preis.type" in failures[0]["message"]
    assert "Next:" in failures[0]["message"]
    held = Lake(shop.home / "lake").scan(contract("quarantine")).collect()
    assert held["rule"].to_list() == ["preis.type", "preis.type"]
    assert held["contract_version"].to_list() == ["1.0.0", "1.0.0"]
    assert not shop.content("order_lines")
    mended = CONTRACT.replace("REPLACE(preis, ',', '.')", "REPLACE(REPLACE(preis, 'EUR ', ''), ',', '.')")
    (shop.sources / "till.odcs.yaml").write_text(mended.replace("1.0.0", "1.0.1"), encoding="utf-8")
    assert json.loads(shop.run(*rows).stdout)["failures"] == []
    assert Lake(shop.home / "lake").scan(contract("quarantine")).collect().is_empty()

    written.write_text(ROWS, encoding="latin-1")
    clean.home.mkdir()
    shutil.copytree(shop.home / "secrets", clean.home / "secrets")
    clean.run("land", "till", str(written))
    clean.run(*rows)
    for table in ("order_lines", "orders", "events", "product_history"):
        assert shop.content(table) == clean.content(table) != []


@pytest.mark.parametrize("name", ["extra", "broken", "payload", "file_name", "malformed"])
def test_names_that_ingestion_needs_are_refused(shop, name):
    text = CONTRACT.replace("name: zeile", f"name: {name}").replace("|| zeile", f"|| {name}")
    (shop.sources / "till.odcs.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ContractError, match=f"column '{name}' is taken already"):
        source_contracts(shop.sources)
