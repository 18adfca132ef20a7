"""Data cards say what their contracts say, and of a partition what was in it."""

from collections import Counter

import pytest

from insight_assets.contracts.catalogue import contract, contracts
from insight_assets.contracts.data_cards import ABOUT_PEOPLE, partition_card, people_left_out, table_card

ORDERS = contract("orders")


@pytest.mark.parametrize("name", list(contracts()))
def test_a_card_tells_its_contract(name):
    of, card = contract(name), table_card(contract(name), "operations")
    assert card.startswith(of.description)
    assert card == table_card(of, "operations")
    assert f"| contract | {name} {of.version}, {of.stage} |" in card
    assert f"`{of.partition_column}`, {of.column(of.partition_column).description}" in card.replace("\\|", "|")
    people = [column for column in of.columns if column.classification in ABOUT_PEOPLE]
    for column in people:
        assert f"`{column.name}` ({column.classification})" in card
    assert ("| of people | no column |" in card) is not bool(people)
    for rule in of.rules:
        assert (f"- `{rule.name}`: {rule.description}" in card) is (rule.column is None)


def test_columns_nulls_and_rules_are_counted():
    card = table_card(ORDERS, "operations")
    classes = Counter(column.classification for column in ORDERS.columns)
    assert f"| columns | {classes['internal']} internal, {classes['pseudonym']} pseudonym |" in card
    may_lack = sum(not column.required for column in ORDERS.columns)
    assert f"{len(ORDERS.columns) - may_lack} columns have a value in every row, {may_lack} may lack one |" in card
    minima = sum(rule.column is not None and rule.name.endswith(".minimum") for rule in ORDERS.rules)
    assert f"{minima} minimum" in card
    assert "| a row is named by | `order_id`, `kind`, `source`, `event_day` |" in card
    assert "`known_at`, When the shop could have known it, UTC" in card
    assert "| kept for | no limit is set |" in card


def test_a_purpose_that_people_may_refuse_is_told():
    assert "| purpose | operations |" in table_card(ORDERS, "operations")
    assert "| purpose | analytics, which people may refuse |" in table_card(contract("churn_scores"), "analytics")


def card_of(rows: int, nulls: dict[str, int], **options) -> str:
    return partition_card(ORDERS, partition="2025-03-01", rows=rows, nulls=nulls, smallest_group=10, **options)


def test_a_partition_is_told_by_its_rows_and_gaps():
    card = card_of(2000, {"coupon": 1820, "country": 9, "channel": 0, "actor_key": 2000})
    kept = f"{len(ORDERS.rules)} rules of orders {ORDERS.version}."
    assert card.startswith(f"2,000 rows of 2025-03-01; all keep the {kept}")
    assert "`actor_key` all, `coupon` 91.0%, `country` in few rows;" in card
    assert f"{len(ORDERS.columns) - 3} columns are full." in card
    assert "9" not in card.split("`country`")[1].split(";")[0]
    assert card_of(5, {}).endswith("Every column has a value in every row.")
    assert "value" not in card_of(0, {})


def test_of_many_columns_with_gaps_the_emptiest_are_named():
    nulls = {column.name: 10 + place for place, column in enumerate(ORDERS.columns[:12])}
    card = card_of(1000, nulls)
    assert card.count("%") == 8
    assert "and 4 more" in card
    assert f"`{ORDERS.columns[11].name}`" in card
    assert f"`{ORDERS.columns[0].name}`" not in card


def test_who_is_left_out_is_told_unless_they_are_few():
    assert people_left_out(12, "analytics", 10) == "12 people had refused analytics; they are not in it."
    assert people_left_out(3, "analytics", 10).startswith("Fewer than 10 people")
    assert people_left_out(0, "analytics", 10) == "Nobody had refused analytics."
    assert people_left_out(None, "marketing", 10) == "Only people who agreed to marketing are in it."
    assert card_of(5, {}, left_out="Nobody had refused analytics.").endswith(" Nobody had refused analytics.")
