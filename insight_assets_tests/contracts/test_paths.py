"""Paths into nested rows: what they take, and what is no path."""

import json

import polars as pl
import pytest

from insight_assets.contracts.paths import field_at, parse_path, shape_of

CALL = {
    "user": {"id": "u1"},
    "event_params": [
        {"key": "page", "value": {"string_value": "/tea", "int_value": None}},
        {"key": "session", "value": {"string_value": None, "int_value": "7"}},
    ],
    "items": [{"sku": "p1", "tags": ["new", "green"]}, {"sku": "p2", "tags": []}],
    "discounts": [{"amount": "1.10"}, {"amount": "2"}, {"amount": None}],
}
TAKEN = {
    "user.id": "u1",
    "event_params[key=page].value.string_value": "/tea",
    "event_params[key=session].value.int_value": "7",
    "event_params[key=nothing].value.int_value": None,
    "items[0].sku": "p1",
    "items[1].sku": "p2",
    "items[2].sku": None,
    "items[0].tags[1]": "green",
    "discounts[sum].amount": "3.1000",
}


def take(path: str, *rows: object) -> list[str | None]:
    shape = shape_of(dict.fromkeys([*TAKEN, path]))
    texts = pl.Series([json.dumps(row) for row in rows])
    return texts.str.json_decode(shape).to_frame("row").select(field_at(pl.col("row"), path)).to_series().to_list()


@pytest.mark.parametrize("path", TAKEN)
def test_a_path_takes_its_value(path):
    assert take(path, CALL) == [TAKEN[path]]


@pytest.mark.parametrize("path", TAKEN)
def test_a_path_finds_nothing_where_its_objects_are_absent(path):
    assert take(path, None, {}, dict.fromkeys(CALL)) == [None, None, None]


def test_an_empty_list_sums_to_nothing():
    assert take("discounts[sum].amount", {"discounts": []}) == ["0.0000"]


def test_a_sum_with_something_that_is_no_number_is_no_number():
    assert take("discounts[sum].amount", {"discounts": [{"amount": "1"}, {"amount": "x"}]}) == ["1+x"]


@pytest.mark.parametrize("path", ["", ".", "a..b", "a.", ".a", "a[", "a[]", "a[x]", "a[-1]", "a[0]b", "a[k=]"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="is no path"):
        parse_path(path)


@pytest.mark.parametrize(
    "paths",
    [["a", "a.b"], ["a.b", "a"], ["a[0].b", "a.b"], ["a[0]", "a[0].b"], ["a", "a[k=x].b"]],
    ids=" and ".join,
)
def test_paths_that_contradict_each_other_have_no_shape(paths):
    with pytest.raises(ValueError, match="another shape"):
        shape_of(dict.fromkeys(paths))


def test_a_list_may_be_read_whole_and_by_its_first_element():
    shape = shape_of({"items": {"sku": None}, "items[0].price": None})
    assert shape == pl.Struct({"items": pl.List(pl.Struct({"sku": pl.String, "price": pl.String}))})
