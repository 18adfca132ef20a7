from datetime import timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.insights.recommendation.interactions import (
    ADDED_WEIGHT,
    INTEREST_DAYS,
    VIEWED_WEIGHT,
    catalogue_of,
    history_of,
    interactions,
    purchases,
)
from insight_assets_tests.insights.recommendation.shops import DAY, LINE, day, looks, sales

KEY = ["customer_key", "product_id"]


def test_one_row_per_customer_and_product_with_the_strongest_contact():
    lines = sales([(1, "tea", 9), (1, "tea", 4), (1, "tea", 4), (2, "tea", 30)])
    events = looks(
        [
            (1, "tea", 2, "product_viewed"),
            (1, "cup", 3, "product_viewed"),
            (1, "cup", 5, "product_added"),
            (2, "cup", 1, "product_viewed"),
            (2, "cup", 1, "product_shared"),
        ]
    )
    found = interactions(lines, events, as_of=DAY).sort(KEY).collect()
    assert_frame_equal(
        found,
        pl.DataFrame(
            {
                "customer_key": [1, 1, 2, 2],
                "product_id": ["cup", "tea", "cup", "tea"],
                "last_day": [day(3), day(2), day(1), day(30)],
                "last_bought": [None, day(4), None, day(30)],
                "purchase_days": [0, 2, 0, 1],
                "weight": [ADDED_WEIGHT, 1.0, VIEWED_WEIGHT, 1.0],
            },
            schema_overrides={"purchase_days": pl.get_index_type(), "weight": pl.Float32},
        ),
    )


def test_leaves_out_guests_services_refunds_and_old_interest():
    lines = pl.LazyFrame(
        [
            (None, "tea", DAY, "sale", True, "person"),
            (1, "postage", DAY, "sale", False, "person"),
            (1, "tea", DAY, "refund", True, "person"),
            (1, "tea", DAY, "cancellation", True, "person"),
        ],
        schema=LINE,
        orient="row",
    )
    events = looks(
        [
            (None, "tea", 0, "product_viewed"),
            (1, None, 0, "product_added"),
            (1, "tea", INTEREST_DAYS, "product_viewed"),
        ]
    )
    assert interactions(lines, events, as_of=DAY).collect().is_empty()
    kept = looks([(1, "tea", INTEREST_DAYS - 1, "product_viewed")])
    assert interactions(lines, kept, as_of=DAY).collect().height == 1


def test_purchases_of_a_horizon_exclude_its_first_and_include_its_last_day():
    lines = sales([(1, "tea", 0), (1, "cup", -1), (1, "cup", -2), (1, "pot", -5), (1, "jug", -6)])
    found = purchases(lines, after=DAY, until=DAY + timedelta(days=5)).collect()
    assert set(found.rows()) == {(1, "cup"), (1, "pot")}


def test_catalogue_orders_by_recent_buyers_then_all_buyers_then_id():
    lines = sales(
        [
            *[(c, "old", 40) for c in range(5)],
            *[(c, "older", 40) for c in range(5)],
            (1, "new", 3),
            (2, "new", 3),
            (1, "b", 27),
            (2, "a", 27),
            (3, "edge", 28),
        ]
    )
    contacts = interactions(lines, as_of=DAY).collect()
    catalogue = catalogue_of(contacts, as_of=DAY)
    assert catalogue.products == ("new", "a", "b", "old", "older", "edge")
    assert catalogue.recent_buyers.tolist() == [2, 1, 1, 0, 0, 0]
    assert catalogue.buyers.tolist() == [2, 1, 1, 5, 5, 1]


def test_history_counts_age_in_later_days_of_activity():
    lines = sales([(7, "a", 30), (7, "b", 30), (7, "c", 20), (7, "d", 1), (3, "a", 90)])
    contacts = interactions(lines, as_of=DAY).collect()
    catalogue = catalogue_of(contacts, as_of=DAY)
    history = history_of(contacts, catalogue)
    assert history.customers.tolist() == [3, 7]
    of_7 = slice(history.offsets[1], history.offsets[2])
    names = [catalogue.products[i] for i in history.items[of_7]]
    ages = dict(zip(names, history.ages[of_7].tolist(), strict=True))
    assert ages == {"a": 2, "b": 2, "c": 1, "d": 0}
    assert history.ages[: history.offsets[1]].tolist() == [0]


def test_history_keeps_the_most_recent_contacts_of_a_long_one():
    lines = sales([(1, f"p{ago:02d}", ago) for ago in range(30)])
    contacts = interactions(lines, as_of=DAY).collect()
    catalogue = catalogue_of(contacts, as_of=DAY)
    history = history_of(contacts, catalogue, longest=4)
    assert {catalogue.products[i] for i in history.items} == {"p00", "p01", "p02", "p03"}


def test_taking_customers_keeps_their_contacts():
    lines = sales([(1, "a", 1), (2, "a", 1), (2, "b", 2), (3, "c", 1)])
    contacts = interactions(lines, as_of=DAY).collect()
    history = history_of(contacts, catalogue_of(contacts, as_of=DAY))
    part = history.take(np.array([1, 2]))
    assert part.customers.tolist() == [2, 3]
    assert part.offsets.tolist() == [0, 2, 3]
    assert part.items.tolist() == history.items[1:].tolist()
    assert part.owners().tolist() == [0, 0, 1]


ROWS = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from("abcdef"), st.integers(-20, 60)), max_size=40
)


@given(ROWS, st.randoms(use_true_random=False))
def test_arrays_do_not_depend_on_the_order_of_rows(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    arrays = []
    for given_rows in (rows, shuffled):
        contacts = interactions(sales(given_rows), as_of=DAY).collect()
        catalogue = catalogue_of(contacts, as_of=DAY)
        history = history_of(contacts, catalogue, longest=3)
        arrays.append((catalogue.products, *(v.tolist() for v in vars(history).values())))
    assert arrays[0] == arrays[1]


@given(ROWS)
def test_nothing_after_the_as_of_day_is_seen(rows):
    everything = interactions(sales(rows), as_of=DAY).sort(KEY).collect()
    past = interactions(sales([r for r in rows if r[2] >= 0]), as_of=DAY).sort(KEY).collect()
    assert_frame_equal(everything, past)
