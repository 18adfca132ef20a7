"""Every rule that guards the published tables is shown to catch something: one planted violation each."""

from itertools import product
from typing import Any

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import PRIMARY_KEY, ContractViolation, validate_frame
from insight_assets.contracts.types import Column, RowRule
from insight_assets_tests.monitoring.simulated_shop import PROFILED, simulate_shop

RULES = [(name, rule.name) for name in PROFILED for rule in contract(name).row_rules()]


@pytest.fixture(scope="module")
def good() -> dict[str, pl.DataFrame]:
    """Some rows of a simulated shop, as they are published."""
    shop = simulate_shop(customers=60, days=2)
    return {name: shop.tables[name].select(contract(name).polars_schema().names()).head(40) for name in PROFILED}


def tempting(column: Column) -> list[Any]:
    """Give values of a column's type that a contract may forbid."""
    if column.allowed is not None:
        return [None, "never heard of", *column.allowed]
    limits = (column.minimum, column.maximum, column.exclusive_minimum, column.exclusive_maximum)
    near = [limit + step for limit in limits if isinstance(limit, int) for step in (-1, 1)]
    by_type = {
        pl.String: [None, "", "?", "x" * 2_000], pl.Boolean: [None, True, False],
        pl.Float64: [None, float("inf"), -1.0, 2.0], pl.Date: [None],
    }  # fmt: skip
    if column.dtype.is_integer() or isinstance(column.dtype, pl.Decimal):
        # Of what a Decimal(18, 4) holds, and beyond every limit of a contract.
        return [None, -(10**13), -1, 0, 1, 7, 10**13, *near]
    if isinstance(column.dtype, pl.Datetime):
        return [None, pl.Series([0]).cast(column.dtype)[0]]
    return by_type[column.dtype.base_type()]


def violation_of(rule: RowRule, name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Change as many columns of a good row as the rule looks at, until it does not pass."""
    of = contract(name)
    columns = [of.column(column) for column in rule.passes.meta.root_names()]
    kept = [[rows[column.name][0], *tempting(column)] for column in columns]
    values = zip(*product(*kept), strict=True)
    series = (pl.Series(c.name, v, dtype=c.dtype, strict=False) for c, v in zip(columns, values, strict=True))
    tried = pl.DataFrame(list(series))
    spoilt = tried.filter(~rule.passes).head(1)
    assert spoilt.height, f"nothing tried breaks {rule.name}"
    row = rows.head(1).with_columns(spoilt[column.name].alias(column.name) for column in columns)
    return pl.concat([row, rows.slice(1)])


@pytest.mark.parametrize(("name", "rule"), RULES, ids=[f"{name}-{rule}" for name, rule in RULES])
def test_pandera_refuses_a_row_against_the_rule(good, name: str, rule: str) -> None:
    judged = next(each for each in contract(name).row_rules() if each.name == rule)
    with pytest.raises(ContractViolation) as refused:
        validate_frame(contract(name), violation_of(judged, name, good[name]))
    assert rule in {violation.rule for violation in refused.value.violations}


@pytest.mark.parametrize("name", PROFILED)
def test_pandera_lets_good_rows_pass_and_refuses_one_told_twice(good, name: str) -> None:
    assert validate_frame(contract(name), good[name]).height == good[name].height > 0
    with pytest.raises(ContractViolation) as refused:
        validate_frame(contract(name), pl.concat([good[name], good[name].head(1)]))
    assert {violation.rule for violation in refused.value.violations} == {PRIMARY_KEY}
