"""Every refusal names file, line and the allowed values."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from insight_assets.contracts.loading import load_table
from insight_assets.contracts.types import Contract, ContractError, physical_type
from insight_assets_tests.contracts.kitchen import KITCHEN_FILE, VIOLATIONS, kitchen

TEXT = KITCHEN_FILE.read_text(encoding="utf-8")

REFUSALS = {
    "unknown key": ("team: {name", "taem: {name", ["'taem'", "did you mean 'team'?", "version"]),
    "unknown key of a column": (
        "classification: internal, logicalTypeOptions: {minL",
        "clasification: internal, logicalTypeOptions: {minL",
        ["'clasification'", "did you mean 'classification'?"],
    ),
    "key given twice": ("status: active", "status: active\nstatus: draft", ["'status'", "twice"]),
    "missing key": ("domain: validated\n", "", ["'domain' is missing"]),
    "no YAML": ("status: active", "status: [active", ["is no YAML"]),
    "wrong plain type": ("name: day, logicalType: date, physicalType: Date, required: true",
                         "name: day, logicalType: date, physicalType: Date, required: maybe",
                         ["required", "boolean"]),
    "old standard": ("apiVersion: v3.1.0", "apiVersion: v2.2.2", ["v2.2.2"]),
    "version": ("version: 1.2.3", 'version: "1.2"', ["'1.2' is not like 1.0.0"]),
    "other name than the file": ("\nname: kitchen", "\nname: kitchens", ["'kitchens'", "'kitchen'"]),
    "name that is no identifier": ("\nname: kitchen", "\nname: Kitchen-1", ["not snake_case"]),
    "unknown stage": ("domain: validated", "domain: valid", ["'valid'", "features"]),
    "no owner": ("team: {name: insight}\n", "", ["a team's name"]),
    "second schema": ("    quality:\n", "    quality:\n", None),
    "unknown physicalType": ("physicalType: Int8", "physicalType: int8",
                             ["'int8'", "did you mean 'Int8'?", "Decimal(precision,scale)"]),
    "unknown inner type": ('"List(String)"', '"List(Text)"', ["'List(Text)'", "List(type)"]),
    "logicalType that does not fit": ("logicalType: number, physicalType: Float64",
                                      "logicalType: integer, physicalType: Float64",
                                      ["'integer' does not fit Float64", "'number'"]),
    "unknown classification": ("classification: pseudonym", "classification: pseudonymous",
                               ["'pseudonymous'", "did you mean 'pseudonym'?", "free_text"]),
    "no description": (', description: "Cook"', "", ["'cook_key' has no description"]),
    "name not snake_case": ("name: vegan", "name: Vegan", ["'Vegan' is not snake_case"]),
    "duplicated column": ("name: vegan", "name: stars", ["'stars'"]),
    "key of a source contract": ('name: vegan,', 'name: vegan, physicalName: Vegan,',
                                 ["'physicalName' belongs in a source contract"]),
    "unknown custom property": ("property: window", "property: windows",
                                ["'windows'", "did you mean 'window'?"]),
    "custom property twice": ("property: window", "property: unit", ["'unit' is given twice"]),
    "option of another type": ("{minItems: 1", "{minLength: 1", ["'minLength'", "minItems"]),
    "limit of another type": ('minimum: "2020-01-01",', 'minimum: "2020-13-01",',
                              ["'2020-13-01' is no value of Date"]),
    "time without zone": ("01T00:00:00Z\", max", "01T00:00:00\", max", ["is no value of Datetime"]),
    "limit finer than the type": ("maximum: 99.9}", "maximum: 99.90001}", ["is no value of Decimal"]),
    "limit of a fraction": ("maximum: 100}", "maximum: 100.5}", ["is no value of Int32"]),
    "negative length": ("maxLength: 8", "maxLength: -8", ["-8 is not a count"]),
    "limits that cross": ("maxLength: 8", "maxLength: 0", ["no value can pass"]),
    "broken pattern": ("^[A-Z]-[0-9]$", "^[A-Z", ["no regular expression"]),
    "pattern that Polars does not know": ("^[A-Z]-[0-9]$", "(?=A)", ["no regular expression"]),
    "unknown metric": ("metric: invalidValues, arguments: {pattern",
                       "metric: invalidValue, arguments: {pattern",
                       ["'invalidValue'", "did you mean 'invalidValues'?"]),
    "unknown argument": ('arguments: {pattern: "salt"}', 'arguments: {patern: "salt"}',
                         ["'patern'", "did you mean 'pattern'?"]),
    "tolerant rule": ("[1, 2, 3]}, mustBe: 0", "[1, 2, 3]}, mustBeLessThan: 5", ["mustBe: 0"]),
    "allowed value of another type": ("[1, 2, 3]", "[1, 2, 300]", ["300 is no value of Int8"]),
    "allowed value twice": ("[1, 2, 3]", "[1, 2, 2]", ["names a value twice"]),
    "no allowed values": ("validValues: [1, 2, 3]", "validValues: []", ["no list"]),
    "unknown rule engine": ("engine: polars_sql, implementation: \"total", "engine: duckdb, implementation: \"total",
                            ["'duckdb'", "polars_sql"]),
    "unknown quality type": ("{name: adds_up, type: custom", "{name: adds_up, type: sql",
                             ["'sql'", "custom"]),
    "SQL that does not parse": ("total = price * count_of", "total = price *", ["cannot be parsed"]),
    "SQL over an unknown column": ("total = price * count_of", "total = prize * count_of",
                                   ["'prize'", "did you mean 'price'?"]),
    "SQL that is no test": ("total = price * count_of", "price * count_of", ["no test of a row"]),
    "SQL over several rows": ("total = price * count_of", "total < SUM(price)", ["one row only"]),
    "SQL over a window": ("total = price * count_of", "total < SUM(price) OVER (PARTITION BY dish)",
                          ["one row only"]),
    "rule named like a column": ("name: adds_up", "name: total", ["'total'"]),
    "unknown metric of a table": ("metric: rowCount", "metric: rows", ["'rows'", "rowCount"]),
    "row count that is no number": ("[1, 50]", "[1, 50.5]", ["whole number"]),
    "primary key with a gap": ("primaryKeyPosition: 2", "primaryKeyPosition: 3", ["positions"]),
    "primary key position taken": ("primaryKeyPosition: 2", "primaryKeyPosition: 1", ["is taken"]),
    "primary key without position": (", primaryKeyPosition: 2", "", ["belong together"]),
    "partition column of another type": (
        "name: vegan,", "name: vegan, partitioned: true, partitionKeyPosition: 1,", ["at most one"]),
    "partition without position": (", partitionKeyPosition: 1", "", ["partitionKeyPosition: 1"]),
    "retention in years": ("unit: d", "unit: y", ["'y'", "allowed: d"]),
}  # fmt: skip
del REFUSALS["second schema"]
# What is missing is reported where it should stand.
ELSEWHERE = {
    "missing key": 1,
    "key given twice": 7,
    "no YAML": 7,
    "no owner": 12,
    "primary key with a gap": 13,
}


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "kitchen.odcs.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_names_file_line_and_choice(case: str, written) -> None:
    old, new, told = REFUSALS[case]
    assert TEXT.count(old) == 1, case
    path = written(TEXT.replace(old, new))
    with pytest.raises(ContractError) as refused:
        load_table(path)
    line = ELSEWHERE.get(case, TEXT[: TEXT.index(old.lstrip("\n"))].count("\n") + 1)
    assert refused.value.path == path
    assert refused.value.line == line
    assert str(refused.value).startswith(f"{path}:{line}: ")
    for words in told:
        assert words in str(refused.value)


def test_what_the_standard_forbids_is_refused_for_unknown_files(written) -> None:
    path = written(TEXT.replace("status: active", "status: active\ntags: [a, 1]"))
    with pytest.raises(ContractError, match=":7: "):
        load_table(path, linted=True)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    for name, content in {"a": b"\xff\xfe", "b": b"- a list", "c": b""}.items():
        path = tmp_path / f"{name}.odcs.yaml"
        path.write_bytes(content)
        with pytest.raises(ContractError, match=str(path)):
            load_table(path)
    with pytest.raises(ContractError, match="cannot be read"):
        load_table(tmp_path / "missing.odcs.yaml")


def test_contract_holds_what_the_file_says() -> None:
    table = kitchen()
    assert (table.version, table.stage, table.owner) == ("1.2.3", "validated", "insight")
    assert table.primary_key == ("dish_id", "cook_key")
    assert table.table_key == ("dish_id", "cook_key", "day")
    assert table.partition_column == "day"
    assert table.rows == (1, 50)
    assert table.retention_days == 90
    assert (table.column("count_of").unit, table.column("count_of").window) == ("portions", "7 days")
    assert table.polars_schema()["served_at"] == pl.Datetime("us", "UTC")
    assert table.polars_schema()["price"] == pl.Decimal(18, 4)
    assert table.empty().schema == table.polars_schema()
    with pytest.raises(ContractError, match="no column 'spoon'"):
        table.column("spoon")


def test_every_rule_of_the_kitchen_has_a_planted_violation() -> None:
    assert {rule.name for rule in kitchen().row_rules()} == set(VIOLATIONS)


def test_equal_files_give_equal_hashable_contracts(tmp_path: Path) -> None:
    again: Contract = load_table(Path(shutil.copy(KITCHEN_FILE, tmp_path)))
    assert again.columns == kitchen().columns
    assert again.rules == kitchen().rules
    assert hash(kitchen()) == hash(kitchen())


@pytest.mark.parametrize("text", ["int64", "Decimal", "Decimal(4,5)", "Decimal(39,1)", "List()", ""])
def test_no_polars_type_is_guessed(text: str) -> None:
    assert physical_type(text) is None
