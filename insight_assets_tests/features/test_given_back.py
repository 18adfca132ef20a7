"""An order that was given back whole: no money anywhere, and a purchase or none by the shop's policy."""

from datetime import date

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import build_examples
from insight_assets.features.labels import label_customers, label_view
from insight_assets.features.money import without_void_orders
from insight_assets.insights.lifetime_value.customers import buyers
from insight_assets.insights.lifetime_value.forecasts import UNTAUGHT
from insight_assets.insights.lifetime_value.model import forecast_by_method, train
from insight_assets.purposes import as_people
from insight_assets_tests.features.shop import Shop, actor_days, document

AS_OF, ORIGIN, HORIZON = date(2025, 3, 31), date(2025, 3, 17), 14
KEPT, ONCE, KEPT_TWICE, TWICE, LATER = 101, 102, 103, 104, 105


def bought(customer: int, day: int, price: str = "40") -> tuple[dict, list[dict]]:
    return document("sale", f"o{customer}-{day}", f"2025-03-{day:02} 10:00", customer, ("tea", 1, price))


def gave_back(customer: int, day: int, on: int, price: str = "40") -> tuple[dict, list[dict]]:
    return document("refund", f"o{customer}-{day}", f"2025-03-{on:02} 10:00", customer, ("tea", 1, price))


def shop_of(*documents: tuple[dict, list[dict]]) -> Shop:
    return Shop([], [head for head, _ in documents], [line for _, lines in documents for line in lines])


def others() -> list[tuple[dict, list[dict]]]:
    """Twenty customers who buy now and then, for the models to learn from."""
    return [
        bought(customer, 1 + (customer * 3 + turn * step) % 28, str(20 + customer + 5 * turn))
        for customer in range(1, 21)
        for step in [3 + customer % 4]
        for turn in range(1 + customer % 4)
    ]


TWINS = shop_of(
    *others(),
    bought(KEPT, 3), bought(ONCE, 3), gave_back(ONCE, 3, on=12),
    bought(KEPT_TWICE, 3), bought(KEPT_TWICE, 20), bought(TWICE, 3), bought(TWICE, 20), gave_back(TWICE, 20, on=25),
    bought(LATER, 3), gave_back(LATER, 3, on=25),
)  # fmt: skip


def nobody_linked(_: date) -> pl.LazyFrame:
    return contract("identities").empty().lazy()


def orders_if(counted: bool) -> pl.LazyFrame | None:
    return None if counted else TWINS.tables()["orders"]


def features(counted: bool) -> pl.LazyFrame:
    days = as_people(actor_days(TWINS), nobody_linked(AS_OF))
    if not counted:
        days = without_void_orders(days, TWINS.tables()["orders"], as_of=AS_OF)
    return build_customer_features(days, as_of=AS_OF)


@pytest.mark.parametrize(("counted", "once", "twice"), [(True, 1, 2), (False, 0, 1)])
def test_money_is_nothing_and_frequency_follows_the_policy(counted, once, twice):
    built = features(counted).select("customer_key", "orders_lifetime", "net_lifetime").collect()
    found = {customer: row for customer, *row in built.rows()}
    assert found[ONCE] == [once, 0]
    assert found[TWICE] == [twice, 40]
    assert found[KEPT] == [1, 40]
    assert found[KEPT_TWICE] == [2, 80]


@pytest.mark.parametrize("counted", [True, False])
def test_what_orders_held_is_said_of_all_that_were_placed(counted):
    coupon = {"coupon": "SPRING"}
    sales = [document("sale", f"o1-{day}", f"2025-03-{day:02} 10:00", 1, ("tea", 2, "20"), **coupon) for day in (3, 20)]
    shop = shop_of(*sales, gave_back(1, 20, on=25))
    days = as_people(actor_days(shop), nobody_linked(AS_OF))
    if not counted:
        days = without_void_orders(days, shop.tables()["orders"], as_of=AS_OF)
    built = build_customer_features(days, as_of=AS_OF).collect().row(0, named=True)
    assert built["orders_365d"] == (2 if counted else 1)
    assert built["coupon_order_share_365d"] == 1
    assert built["mean_order_value_365d"] == 40
    assert built["units_per_order_lifetime"] == 2
    contract("customer_features").conform(pl.DataFrame([built], schema=contract("customer_features").polars_schema()).lazy())


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("method", [method.name for method in UNTAUGHT])
def test_who_gave_the_goods_back_is_worth_less_than_the_twin_who_kept_them(method, counted):
    customers = buyers(features(counted))
    expected = forecast_by_method(train(customers), customers, days=90, horizon_days=90)[method]
    value = dict(zip(customers.keys.tolist(), expected.value.tolist(), strict=True))
    assert value[KEPT] > 0
    # Who bought nothing that counts is no buyer, and has no value at all.
    assert (ONCE in value) == counted
    assert value.get(ONCE, 0) < value[KEPT]
    assert value[TWICE] < value[KEPT_TWICE]


def labels(counted: bool) -> dict[int, tuple]:
    past, horizon = label_view(
        actor_days(TWINS), nobody_linked, origin=ORIGIN, horizon_days=HORIZON, orders=orders_if(counted)
    )
    built = label_customers(past, horizon, origin=ORIGIN, horizon_days=HORIZON).collect()
    return {customer: row for customer, *row in built.select("customer_key", "purchases", "net", "churned").rows()}


@pytest.mark.parametrize(("counted", "again"), [(True, [1, 0.0, False]), (False, [0, 0.0, True])])
def test_a_return_that_was_given_back_is_a_return_by_the_policy(counted, again):
    found = labels(counted)
    assert found[TWICE] == again
    assert found[KEPT_TWICE] == [1, 40.0, False]


def test_who_gave_all_back_by_the_origin_has_a_label_by_the_policy():
    assert labels(counted=True)[ONCE] == [0, 0.0, True]
    assert ONCE not in labels(counted=False)
    # At the origin nobody knew that this order would come back.
    assert labels(counted=False)[LATER] == [0, -40.0, True]


@pytest.mark.parametrize("counted", [True, False])
def test_churn_examples_say_what_the_labels_say(counted):
    examples = build_examples(
        actor_days(TWINS), TWINS.tables()["events"], nobody_linked, as_of=AS_OF, horizon_days=HORIZON, spacing_days=7,
        min_history_days=7, max_origins=1, orders=orders_if(counted),
    )  # fmt: skip
    assert set(examples["origin"]) == {ORIGIN}
    expected = {customer: churned for customer, (_, _, churned) in labels(counted).items()}
    assert dict(examples.select("customer_key", "churned").rows()) == expected
    assert expected[TWICE] is not counted
    before = examples.filter(pl.col("customer_key") == LATER)
    assert before.select("orders_lifetime", "net_lifetime").rows() == [(1, 40.0)]
