"""A contract that holds every kind of column and rule, good rows for it, and a violation of each."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl

from insight_assets.contracts.loading import load_table
from insight_assets.contracts.types import Contract

KITCHEN_FILE = Path(__file__).with_name("kitchen.odcs.yaml")

GOOD_ROW = {
    "dish_id": "a",
    "cook_key": 1,
    "day": date(2024, 5, 1),
    "served_at": datetime(2024, 5, 1, 12, tzinfo=UTC),
    "dish": "soup",
    "code": "S-1",
    "note": "no salt",
    "price": Decimal("1.5"),
    "count_of": 2,
    "total": Decimal("3.0"),
    "heat": 80.5,
    "weight": 1.5,
    "stars": 3,
    "big": 2**53 + 1,
    "vegan": True,
    "tags": ["hot"],
}

VIOLATIONS = {
    "dish_id.required": {"dish_id": None},
    "dish_id.min_length": {"dish_id": ""},
    "dish_id.max_length": {"dish_id": "123456789"},
    "cook_key.required": {"cook_key": None},
    "day.required": {"day": None},
    "day.minimum": {"day": date(2019, 12, 31)},
    "day.exclusive_maximum": {"day": date(2030, 1, 1)},
    "served_at.exclusive_minimum": {"served_at": datetime(2020, 1, 1, tzinfo=UTC)},
    "served_at.maximum": {"served_at": datetime(2030, 1, 1, 0, 0, 0, 1, tzinfo=UTC)},
    "dish.enum": {"dish": "Soup"},
    "code.pattern": {"code": "S-1\n"},
    "note.pattern": {"note": "pepper"},
    "price.minimum": {"price": Decimal("-0.0001"), "total": Decimal("-0.0002")},
    "price.maximum": {"price": Decimal("99.9001"), "total": Decimal("199.8002")},
    "count_of.required": {"count_of": None},
    "count_of.exclusive_minimum": {"count_of": 0, "total": Decimal(0)},
    "count_of.maximum": {"count_of": 101, "total": Decimal("151.5")},
    "heat.required": {"heat": None},
    "heat.finite": {"heat": float("-inf")},
    "heat.minimum": {"heat": -1.6},
    "heat.exclusive_maximum": {"heat": 300.0},
    "weight.finite": {"weight": float("nan")},
    "stars.enum": {"stars": 4},
    "big.maximum": {"big": 2**53 + 2},
    "tags.min_items": {"tags": []},
    "tags.max_items": {"tags": ["a", "b", "c", "d"]},
    "adds_up": {"total": Decimal("3.0001")},
    "salt_has_dish": {"dish": None},
}


def kitchen() -> Contract:
    """Return the contract."""
    return load_table(KITCHEN_FILE, linted=True)


def dishes(*changes: dict[str, object]) -> pl.DataFrame:
    """Return one good row a change, with that change, each with its own key."""
    rows = [GOOD_ROW | {"cook_key": i} | change for i, change in enumerate(changes)]
    return pl.DataFrame(rows, schema=kitchen().polars_schema())
