"""The shipped contracts load, obey the standard, and each of their rules can fail."""

import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import ModuleType

import polars as pl
import pytest

from insight_assets.contracts import catalogue
from insight_assets.contracts.catalogue import contract, contracts, shipped_folder
from insight_assets.contracts.loading import STAGES, load_table
from insight_assets.contracts.sources import load_source, source_contracts
from insight_assets.contracts.types import Column, ContractError

TABLES = contracts()


def test_every_file_is_a_contract() -> None:
    files = set(shipped_folder().rglob("*.odcs.yaml"))
    traffic = shipped_folder() / "traffic" / "traffic.odcs.yaml"
    assert files == {traffic, *(one.path for one in (*TABLES.values(), *source_contracts().values()))}
    assert not list(shipped_folder().rglob("*.yml"))


@pytest.mark.parametrize("name", TABLES)
def test_a_shipped_table_obeys_the_standard_and_builds_everything(name: str) -> None:
    table = load_table(contract(name).path, linted=True)
    assert table.stage == table.path.parent.name
    assert table.stage in STAGES
    empty = table.empty()
    assert table.conform(empty).collect().schema == table.polars_schema()
    table.pandera_schema().validate(empty)
    masks = empty.select(rule.passes.alias(rule.name) for rule in table.row_rules())
    assert set(masks.dtypes) <= {pl.Boolean()}


@pytest.mark.parametrize("name", source_contracts())
def test_a_shipped_source_obeys_the_standard(name: str) -> None:
    assert load_source(source_contracts()[name].path, linted=True) == source_contracts()[name]


def beyond(column: Column, kind: str) -> object:
    """Return a value of a column that breaks its rule of that kind."""
    bound = getattr(column, kind, None)
    step = {date: timedelta(days=1), datetime: timedelta(microseconds=1)}.get(type(bound), 1)
    match kind:
        case "required":
            return None
        case "finite":
            return float("nan")
        case "enum":
            return "no such value" if column.dtype == pl.String else 99
        case "pattern":
            return "\n"
        case "minimum":
            return bound - step
        case "maximum":
            return bound + (Decimal("0.0001") if column.dtype.is_decimal() else step)
        case "exclusive_minimum" | "exclusive_maximum":
            return bound
        case "min_length":
            return "x" * (bound - 1)
        case "max_length":
            return "x" * (bound + 1)
        case "min_items":
            return [None] * (bound - 1)
        case "max_items":
            return [None] * (bound + 1)
    raise AssertionError(kind)


@pytest.mark.parametrize("name", TABLES)
def test_each_column_rule_of_a_shipped_table_catches_a_planted_violation(name: str) -> None:
    table = contract(name)
    for rule in table.row_rules():
        if rule.column is not None:
            column = table.column(rule.column)
            bad = beyond(column, rule.name.removeprefix(f"{rule.column}."))
            frame = pl.DataFrame({column.name: [bad]}, schema={column.name: column.dtype})
            assert frame.select(rule.passes).item() is False, rule.name


def test_an_unknown_table_is_refused_with_the_nearest() -> None:
    with pytest.raises(ContractError, match=r"did you mean 'events'.* allowed: .*events"):
        contract("event")


def test_contracts_are_read_once() -> None:
    assert contract("events") is contract("events")


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """An installed package of contracts, in place of the checkout's."""
    folder = tmp_path / "insight_assets" / "contracts_data"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    package = ModuleType("insight_assets.contracts_data")
    package.__path__ = [str(folder)]
    package.__spec__ = __import__("importlib.util").util.spec_from_file_location(
        package.__name__, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    monkeypatch.setitem(sys.modules, package.__name__, package)
    caches = (catalogue.shipped_folder, catalogue._files, catalogue.contract)
    for cached in caches:
        cached.cache_clear()
    yield folder
    for cached in caches:
        cached.cache_clear()


def test_an_installed_package_is_read(own_folder) -> None:
    assert shipped_folder() == own_folder
    assert contracts() == {}


def test_a_table_has_one_contract_in_its_own_folder(own_folder) -> None:
    text = TABLES["events"].path.read_text(encoding="utf-8")
    for stage in ("features", "insights"):
        (own_folder / stage).mkdir()
        (own_folder / stage / "events.odcs.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ContractError, match="second contract"):
        contract("events")
    (own_folder / "insights" / "events.odcs.yaml").unlink()
    catalogue._files.cache_clear()
    with pytest.raises(ContractError, match="'validated' differs from the folder's, 'features'"):
        contract("events")


def test_limits_are_in_the_columns_own_type() -> None:
    events = contract("events")
    assert events.column("price").minimum == Decimal(0)
    assert events.column("event_time").minimum == datetime(1990, 1, 1, tzinfo=UTC)
