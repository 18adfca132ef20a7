"""Row rules judge alike in every form: the Polars pass, Pandera and Great Expectations."""

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.contracts.expectations import run_expectations
from insight_assets.contracts.pandera_schemas import (
    PRIMARY_KEY,
    ContractViolation,
    validate_frame,
    violations_of,
)
from insight_assets.contracts.rules import duplicated, judge
from insight_assets.contracts.types import ContractError
from insight_assets_tests.contracts.kitchen import GOOD_ROW, VIOLATIONS, dishes, kitchen

KITCHEN = kitchen()

# Near-valid cells: each column's good values and those around its limits.
CELLS = {
    "dish_id": st.sampled_from(["a", "你好", "12345678", "123456789", "", None]),
    "cook_key": st.sampled_from([1, 2, 2**62, None]),
    "day": st.sampled_from([date(2020, 1, 1), date(2029, 12, 31), date(2030, 1, 1), None]),
    "served_at": st.sampled_from(
        [
            datetime(2020, 1, 1, tzinfo=UTC),
            datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
            datetime(2030, 1, 1, tzinfo=UTC),
            datetime(2031, 1, 1, tzinfo=UTC),
            None,
        ]
    ),
    "dish": st.sampled_from(["soup", "stew", "soup ", "", None]),
    "code": st.sampled_from(["S-1", "A-9", "S-1\n", "xS-1", "é-1", "", None]),
    "note": st.sampled_from(["salt", "less\nsalt please", "Salt", "", None]),
    "price": st.sampled_from([Decimal(0), Decimal("99.9"), Decimal("99.9001"), Decimal("-0.0001"), None]),
    "count_of": st.sampled_from([1, 100, 101, 0, -1, None]),
    "total": st.sampled_from([Decimal(0), Decimal("99.9"), Decimal("9990"), None]),
    "heat": st.sampled_from([-1.5, 299.9, 300.0, -1.6, float("nan"), float("inf"), float("-inf"), None]),
    "weight": st.sampled_from([0.0, 3.4e38, float("nan"), float("inf"), None]),
    "stars": st.sampled_from([1, 3, 4, -128, None]),
    "big": st.sampled_from([0, 2**53, 2**53 + 1, 2**53 + 2, None]),
    "vegan": st.sampled_from([True, False, None]),
    "tags": st.sampled_from([["a"], ["a", None, "c"], [], ["a", "b", "c", "d"], None]),
}
FRAMES = st.lists(st.fixed_dictionaries(CELLS), max_size=6).map(
    lambda rows: pl.DataFrame(rows, schema=KITCHEN.polars_schema())
)


def judged_counts(frame: pl.DataFrame) -> dict[str, int]:
    judged = judge(frame.lazy(), KITCHEN.row_rules()).collect()
    names = [name for told in judged["rules"].drop_nulls() for name in told.split(" ")]
    keys = frame.select(duplicated(KITCHEN.table_key).sum()).item()
    return dict(Counter(names)) | ({PRIMARY_KEY: keys} if keys else {})


def pandera_names(frame: pl.DataFrame) -> set[str]:
    from pandera.errors import SchemaErrors

    try:
        KITCHEN.pandera_schema().validate(frame, lazy=True)
    except SchemaErrors as errors:
        return {
            {
                "SERIES_CONTAINS_NULLS": f"{error.schema.name}.required",
                "DUPLICATES": PRIMARY_KEY,
            }.get(error.reason_code.name)
            or error.check.name
            for error in errors.schema_errors
        }
    return set()


def expectation_counts(frame: pl.DataFrame) -> dict[str, int]:
    report = run_expectations(KITCHEN, frame)
    rows = {one.name: one for one in report.outcomes}
    assert rows.pop("row_count").success == (1 <= frame.height <= 50)
    assert rows.pop("column_set").success
    assert report.success == (frame.height > 0 and all(one.success for one in rows.values()))
    return {name: one.unexpected_count for name, one in rows.items() if not one.success}


@given(frame=FRAMES)
@settings(max_examples=40, deadline=None)
def test_the_pass_the_guard_and_pandera_agree(frame: pl.DataFrame) -> None:
    counts = judged_counts(frame)
    assert {v.rule: v.rows for v in violations_of(KITCHEN, frame)} == counts
    assert pandera_names(frame) == set(counts)
    if counts:
        with pytest.raises(ContractViolation) as broken:
            validate_frame(KITCHEN, frame)
        assert {v.rule: v.rows for v in broken.value.violations} == counts
    else:
        assert_frame_equal(validate_frame(KITCHEN, frame), frame)


@given(frame=FRAMES)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_great_expectations_agrees(frame: pl.DataFrame) -> None:
    counts = judged_counts(frame)
    # Great Expectations leaves rows with a null in the key out, where they break `required` anyway.
    if frame.select(pl.any_horizontal(pl.col(KITCHEN.table_key).is_null()).any()).item():
        counts.pop(PRIMARY_KEY, None)
        told = expectation_counts(frame)
        told.pop(PRIMARY_KEY, None)
    else:
        told = expectation_counts(frame)
    assert told == counts


def test_great_expectations_catches_every_planted_violation() -> None:
    frame = dishes({}, *VIOLATIONS.values())
    # The row without a cook has a key of its own; none is equal to another.
    assert expectation_counts(frame) == judged_counts(frame)
    assert set(judged_counts(frame)) == set(VIOLATIONS)


@pytest.mark.parametrize("rule", VIOLATIONS)
def test_each_rule_catches_its_planted_violation(rule: str) -> None:
    frame = dishes({}, VIOLATIONS[rule], {})
    judged = judge(frame.lazy(), KITCHEN.row_rules()).collect()
    column = rule.split(".")[0] if "." in rule else None
    # What is not finite lies beyond a limit too.
    broken = "heat.finite heat.minimum" if rule == "heat.finite" else rule
    assert judged.select("rule", "column", "rules").rows() == [
        (None, None, None),
        (rule, column, broken),
        (None, None, None),
    ]
    assert pandera_names(frame) == set(broken.split())
    with pytest.raises(ContractViolation, match=rf"{rule} \(1 rows\)"):
        validate_frame(KITCHEN, frame)


def test_judge_names_the_first_and_all_broken_rules() -> None:
    frame = dishes({"heat": float("nan"), "stars": 9, "total": Decimal(9)}, {})
    judged = judge(frame.lazy(), KITCHEN.row_rules()).collect()
    assert judged.columns == [*frame.columns, "rule", "column", "rules"]
    assert judged.row(0)[-3:] == (
        "heat.finite",
        "heat",
        "heat.finite heat.exclusive_maximum stars.enum adds_up",
    )
    assert judged.row(1)[-3:] == (None, None, None)


def test_judge_of_no_rows_and_of_no_rules() -> None:
    empty = judge(KITCHEN.empty().lazy(), KITCHEN.row_rules()).collect()
    assert empty.height == 0
    unruled = judge(dishes({}).lazy(), ()).collect()
    assert unruled.select("rule", "column", "rules").rows() == [(None, None, None)]
    assert unruled.schema == empty.schema


def test_no_violation_tells_a_value() -> None:
    frame = dishes({"dish_id": "CANARY-9"}, {"dish_id": "CANARY-9", "cook_key": 0, "stars": 77})
    with pytest.raises(ContractViolation) as broken:
        validate_frame(KITCHEN, frame)
    assert str(broken.value) == ("table kitchen breaks its contract: stars.enum (1 rows); primary_key (2 rows)")
    assert broken.value.__cause__ is None
    assert broken.value.__context__ is None


def test_a_guard_that_the_environment_switches_off_still_guards(monkeypatch) -> None:
    from pandera.config import CONFIG

    monkeypatch.setattr(CONFIG, "validation_enabled", False)
    with pytest.raises(ContractViolation):
        validate_frame(KITCHEN, dishes({"stars": 77}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.drop("stars"), "column_missing stars"),
        (lambda f: f.with_columns(spoon=1), "column_unknown spoon"),
        (lambda f: f.cast({"stars": pl.Int64}), "type stars"),
        (lambda f: f.cast({"price": pl.Decimal(18, 2)}), "type price"),
        (lambda f: f.cast({"price": pl.Float64}), "type price"),
        (lambda f: f.cast({"served_at": pl.Datetime("ms", "UTC")}), "type served_at"),
        (lambda f: f.cast({"served_at": pl.Datetime("us", "Asia/Shanghai")}), "type served_at"),
        (lambda f: f.cast({"tags": pl.List(pl.Categorical)}), "type tags"),
    ],
)
def test_other_columns_and_types_are_violations(change, told: str) -> None:
    with pytest.raises(ContractViolation, match=told):
        validate_frame(KITCHEN, change(dishes({})))


def test_pandera_alone_would_let_a_lazy_frame_pass() -> None:
    """The trap for which `validate_frame` takes frames only."""
    KITCHEN.pandera_schema().validate(dishes({"stars": 77}).lazy(), lazy=True)


def test_conform_selects_orders_casts_and_fills() -> None:
    frame = (
        dishes({})
        .drop("weight")
        .with_columns(spoon=1, stars=pl.lit(3, pl.Int64), big=None, dish=pl.lit("soup").cast(pl.Categorical))
        .cast({"served_at": pl.Datetime("ms", "Asia/Shanghai"), "price": pl.Int64})
        .select(pl.all().reverse())
    )
    conformed = KITCHEN.conform(frame.select(sorted(frame.columns))).collect()
    assert conformed.schema == KITCHEN.polars_schema()
    told = conformed.row(0, named=True)
    assert (told["stars"], told["weight"], told["price"]) == (3, None, Decimal(1))
    assert told["served_at"] == GOOD_ROW["served_at"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.drop("cook_key"), "required column 'cook_key' is missing"),
        (lambda f: f.cast({"stars": pl.String}), "'stars' is String"),
        (lambda f: f.cast({"count_of": pl.Float64}), "'count_of' is Float64"),
        (lambda f: f.cast({"served_at": pl.Datetime("us")}), "'served_at' is Datetime"),
        (lambda f: f.cast({"tags": pl.List(pl.Binary)}), "'tags' is List"),
    ],
)
def test_conform_never_parses_rounds_or_guesses(change, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        KITCHEN.conform(change(dishes({})).lazy())


def test_conform_never_wraps_an_overflow() -> None:
    wide = dishes({}).with_columns(stars=pl.lit(300, pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError):
        KITCHEN.conform(wide).collect()
