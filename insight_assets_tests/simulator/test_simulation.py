"""What a simulated shop delivers: identities, funnels, money, time and words."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.simulator.customers import FADE_DAYS
from insight_assets.simulator.events import SHOP_SIDE, Events, Kind, join_events, make_events
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop, simulate_days

CENT = 0.005
BY_SHOP = [kind.title for kind in SHOP_SIDE]


def goods(lines: str = "properties.products") -> pl.Expr:
    """Give what the lines of a document are worth after discount."""
    line = pl.element().struct
    worth = line.field("price") * line.field("quantity") - line.field("discount")
    return pl.col(lines).list.eval(worth).list.sum()


def test_about_a_hundred_events_a_customer_in_the_small_shop():
    plan = SimulationPlan.sized("small")
    rows = sum(len(day) for day in simulate_days(plan))
    assert 75 < rows / plan.customers < 125


def test_every_row_is_identified(shop):
    assert shop.rows["messageId"].is_unique().all()
    assert shop.rows.filter(pl.col("userId").is_null() & pl.col("anonymousId").is_null()).is_empty()
    assert set(shop.rows["userId"].drop_nulls()) <= set(shop.customers["customer_id"])
    assert set(shop.rows["event"]) == {kind.title for kind in Kind} - {Kind.IDENTIFIED.title}
    assert set(shop.rows["type"]) == {"track"}


def test_a_file_holds_the_events_of_its_day_in_order_of_receipt(shop):
    assert (shop.rows["file_day"] == shop.rows["event_day"]).all()
    assert len(shop.landed.files) == shop.plan.days
    for _, rows in shop.rows.group_by("file_day"):
        assert rows.select("receivedAt", "messageId").equals(
            rows.select("receivedAt", "messageId").sort("receivedAt", "messageId")
        )


def test_times_obey_the_segment_rule(shop):
    moments = shop.rows.select(
        pl.col("originalTimestamp", "sentAt", "receivedAt", "timestamp").str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms"
        )
    )
    expected = pl.col("receivedAt") - (pl.col("sentAt") - pl.col("originalTimestamp"))
    assert moments.select((expected == pl.col("timestamp")).all()).item()
    assert moments.select((pl.col("receivedAt") >= pl.col("timestamp")).all()).item()
    assert shop.rows["timestamp"].str.contains(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").all()


def test_funnel_narrows(shop):
    counts = dict(shop.rows["event"].value_counts().iter_rows())
    funnel = [
        "Product Viewed",
        "Product Added",
        "Cart Viewed",
        "Checkout Started",
        "Payment Info Entered",
        "Order Completed",
        "Order Shipped",
        "Order Delivered",
    ]
    numbers = [counts[name] for name in funnel]
    assert numbers == sorted(numbers, reverse=True)
    visits = shop.rows.select(pl.col("properties").struct.field("session_id").n_unique()).item()
    assert 0.08 < counts["Order Completed"] / visits < 0.3
    assert 0 < counts["Order Cancelled"] < 0.06 * counts["Order Completed"]
    assert 0.03 < counts["Order Refunded"] / counts["Order Completed"] < 0.2
    assert counts["Support Ticket Closed"] <= counts["Support Ticket Opened"]


def test_steps_of_an_order_come_in_their_order(shop):
    steps = ["Checkout Started", "Payment Info Entered", "Order Completed"]
    times = (
        shop.of(*steps)
        .group_by("properties.session_id", "event")
        .agg(pl.col("time").min())
        .pivot("event", index="properties.session_id", values="time")
        .drop_nulls("Order Completed")
    )
    late = times.filter(pl.col("Checkout Started").is_not_null())
    assert len(late) > 0.95 * len(times)
    assert late.select((pl.col(steps[0]) < pl.col(steps[1])).all()).item()
    assert late.select((pl.col(steps[1]) < pl.col(steps[2])).all()).item()


def test_what_is_bought_was_added(shop):
    orders = shop.of("Order Completed").explode("properties.products")
    bought = orders.select(
        "properties.session_id",
        pl.col("properties.products").struct.field("product_id").alias("properties.product_id"),
    )
    added = shop.of("Product Added").select("properties.session_id", "properties.product_id")
    assert bought.join(added, on=bought.columns, how="anti").is_empty()


def test_order_money_adds_up_to_the_cent(shop):
    orders = shop.of("Order Completed")
    money = pl.col("properties.subtotal") - pl.col("properties.discount")
    paid = pl.col("properties.revenue") + pl.col("properties.shipping") + pl.col("properties.tax")
    line = pl.element().struct
    gross = pl.col("properties.products").list.eval(line.field("price") * line.field("quantity"))
    checks = orders.select(
        revenue=(money - pl.col("properties.revenue")).abs().max(),
        total=(paid - pl.col("properties.total")).abs().max(),
        lines=(goods() - pl.col("properties.revenue")).abs().max(),
        subtotal=(gross.list.sum() - pl.col("properties.subtotal")).abs().max(),
    )
    assert max(checks.row(0)) < CENT
    assert (orders["userId"].is_not_null()).all()
    assert orders["properties.order_id"].is_unique().all()
    assert (orders["properties.revenue"] > 0).all()
    coupon = orders.filter(pl.col("properties.discount") > 0)
    assert coupon["properties.coupon"].is_not_null().all()


def test_refunds_never_exceed_the_order(shop):
    orders = shop.of("Order Completed").select(
        "properties.order_id", "time", "properties.revenue", "properties.products"
    )
    back = shop.of("Order Refunded", "Order Cancelled")
    assert back["properties.order_id"].is_unique().all()
    assert back.select((goods() - pl.col("properties.total")).abs().max()).item() < CENT
    assert (back["properties.total"] > 0).all()
    joined = back.join(orders, on="properties.order_id", how="left", suffix=" of order")
    assert joined["time of order"].null_count() == 0
    assert joined.select((pl.col("time") > pl.col("time of order")).all()).item()
    excess = pl.col("properties.total") - pl.col("properties.revenue of order")
    assert joined.select(excess.max()).item() < CENT
    full = joined.filter(pl.col("event") == "Order Cancelled")
    assert full.select(excess.abs().max()).item() < CENT
    partial = joined.filter(pl.col("event") == "Order Refunded")
    assert 0.1 < partial.select((excess < -CENT).mean()).item() < 0.9
    later = partial.select((pl.col("time") - pl.col("time of order")).min()).item()
    assert later.days >= 2

    def lines(frame, name):
        return frame.select("properties.order_id", pl.col(name)).explode(name).unnest(name)

    sold = lines(orders, "properties.products")
    assert sold.select("properties.order_id", "product_id").is_unique().all()
    given = lines(back, "properties.products").join(
        sold, on=["properties.order_id", "product_id"], how="left", suffix="_sold"
    )
    assert given.select((pl.col("quantity") <= pl.col("quantity_sold")).all()).item()
    assert (given["price"] == given["price_sold"]).all()


def test_cancelled_orders_go_no_further(shop):
    cancelled = shop.of("Order Cancelled")["properties.order_id"]
    after = shop.of("Order Shipped", "Order Delivered", "Order Refunded", "Product Reviewed")
    assert not after["properties.order_id"].is_in(cancelled.to_list()).any()


def test_every_product_exists_as_delivered(shop):
    known = shop.products.select("product_id", "category", "brand")
    seen = shop.rows.unnest("properties").drop_nulls("product_id")
    assert seen.join(known, on=known.columns, how="anti").is_empty()
    names = seen.group_by("product_id").agg(pl.col("name").n_unique())
    assert names["name"].max() == 1
    assert (seen["price"] > 0).all()
    assert len(names) > 0.8 * len(known)


def test_nobody_acts_before_the_sign_up_or_after_the_dropout(shop):
    own = shop.rows.filter(~pl.col("event").is_in(BY_SHOP)).drop_nulls("userId")
    days = own.join(shop.customers, left_on="userId", right_on="customer_id", how="left")
    assert not days.select((pl.col("event_day") > pl.col("dropout_day")).any()).item()
    assert not days.select((pl.col("event_day") < pl.col("acquired_day")).any()).item()
    joined = shop.of("Signed Up").join(
        shop.customers, left_on="userId", right_on="customer_id", how="left"
    )
    assert joined["userId"].is_unique().all()
    expected = shop.customers["acquired_day"].drop_nulls()
    # A sign-up seconds before midnight may happen on the day after.
    assert len(joined) == len(expected)
    assert ((joined["event_day"] - joined["acquired_day"]).dt.total_days() <= 1).all()


def test_visits_fade_before_the_dropout():
    plan = SimulationPlan(customers=3_000, days=90, products=60, seed=2)
    hidden = open_shop(plan).customers
    visits = np.zeros(FADE_DAYS[1] + 40)
    fading = (hidden.fade_days >= 30) & (hidden.dropout < plan.days) & (hidden.dropout > 85)
    for index, day in enumerate(simulate_days(plan)):
        mine = day.events.take(day.events["kind"] == Kind.PAGE_VIEWED)
        who = mine["customer"][mine["customer"] >= 0]
        left = hidden.dropout[who[fading[who]]] - index
        visits += np.bincount(left, minlength=len(visits))[: len(visits)]
    assert visits[0] == 0
    assert visits[1:11].mean() < 0.5 * visits[50:80].mean()


def test_known_customers_mostly_sign_in_and_strangers_never(shop):
    seen = shop.rows.filter(~pl.col("event").is_in(BY_SHOP))
    share = seen["userId"].is_null().mean()
    assert 0.08 < share < 0.3
    devices = seen.group_by("anonymousId").agg(pl.col("userId").drop_nulls().n_unique())
    assert devices["userId"].max() == 1
    assert (devices["userId"] == 0).any()


def test_a_device_keeps_its_kind_and_language(shop):
    seen = shop.rows.drop_nulls("anonymousId").select("anonymousId", "context").unnest("context")
    kinds = seen.group_by("anonymousId").agg(pl.col("device", "locale", "channel").n_unique())
    assert kinds.select(pl.col("device", "locale", "channel").max()).row(0) == (1, 1, 1)


def test_anonymous_visits_come_before_some_sign_ups(shop):
    up = shop.of("Signed Up").select("anonymousId", pl.col("time").alias("up"))
    before = shop.rows.join(up, on="anonymousId").filter(
        (pl.col("time") < pl.col("up") - pl.duration(hours=1)) & pl.col("userId").is_null()
    )
    assert before["anonymousId"].n_unique() > 0.05 * len(up)


def test_personal_fields_only_for_who_is_signed_in(shop):
    context = shop.rows.select("event", "userId", "context").unnest("context").unnest("traits")
    known = context["userId"].is_not_null()
    assert (context["email"].is_not_null() == known).all()
    assert (context["phone"].is_not_null() == known).all()
    by_shop = context["event"].is_in(BY_SHOP)
    assert (context["ip"].is_null() == by_shop).all()
    assert set(context["channel"]) == {"web", "app", "mini_program"}


def test_reviews_agree_with_quality_and_language(shop):
    reviews = shop.of("Product Reviewed").join(
        shop.products, left_on="properties.product_id", right_on="product_id"
    )
    correlation = reviews.select(pl.corr("properties.rating", "quality")).item()
    assert correlation > 0.4
    assert set(reviews["properties.rating"]) == {1, 2, 3, 4, 5}
    chinese = reviews["properties.review_body"].str.contains(r"\p{Han}")
    locale = reviews["context"].struct.field("locale")
    assert (chinese == (locale == "zh-CN")).all()
    assert 0.5 < chinese.mean() < 0.95
    bought = shop.of("Order Completed").select("properties.order_id")
    assert reviews.join(bought, on="properties.order_id", how="anti").is_empty()


def test_customers_return_to_their_tastes(shop):
    viewed = shop.of("Product Viewed").drop_nulls("userId")
    top = viewed.group_by("userId", "properties.category").len().sort("len", descending=True)
    shares = top.group_by("userId").agg(pl.col("len").max() / pl.col("len").sum())
    overall = viewed["properties.category"].value_counts(normalize=True)["proportion"].max()
    assert shares["len"].mean() > overall + 0.15


def test_bought_together_is_not_by_chance(shop):
    lines = (
        shop.of("Order Completed")
        .select("properties.order_id", "properties.products")
        .explode("properties.products")
        .unnest("properties.products")
        .select("properties.order_id", "product_id")
    )
    pairs = lines.join(lines, on="properties.order_id", suffix="_other").filter(
        pl.col("product_id") != pl.col("product_id_other")
    )
    partners = shop.products.select("product_id", "complements").explode("complements")
    hits = pairs.join(
        partners, left_on=["product_id", "product_id_other"], right_on=partners.columns, how="semi"
    )
    assert len(hits) / len(pairs) > 0.1


def test_campaigns_and_weekends_bring_visits():
    plan = SimulationPlan(customers=2_000, days=45, products=60, start=date(2025, 6, 1))
    counts = {day.day: len(day) for day in simulate_days(plan)}
    usual = np.mean([rows for day, rows in counts.items() if not 11 < day.day < 21])
    campaign = np.mean(
        [rows for day, rows in counts.items() if day.month == 6 and 12 <= day.day <= 20]
    )
    assert campaign > 1.25 * usual
    weekend = np.mean([rows for day, rows in counts.items() if day.weekday() >= 5])
    assert weekend > np.mean([rows for day, rows in counts.items() if day.weekday() < 4])


@pytest.mark.parametrize("zone", ["America/New_York", "UTC"])
def test_days_are_the_shops_days(zone):
    plan = SimulationPlan(customers=150, days=4, products=60, start=date(2025, 3, 8), timezone=zone)
    for day in simulate_days(plan):
        times = day.frame().select(
            pl.col("timestamp")
            .str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ")
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone(zone)
            .dt.date()
        )
        assert set(times["timestamp"]) == {day.day}


def test_identify_calls_are_sent_on_demand():
    plan = SimulationPlan(customers=200, days=5, products=60, identify_calls=True)
    rows = pl.concat(day.frame() for day in simulate_days(plan))
    calls = rows.filter(pl.col("type") == "identify")
    assert len(calls) == rows.filter(pl.col("event") == "Signed Up").height > 0
    assert calls["event"].null_count() == len(calls)
    assert calls["userId"].null_count() == 0


def test_a_shop_with_one_customer_and_one_day_works():
    days = list(simulate_days(SimulationPlan(customers=1, days=1, products=60)))
    assert len(days) == 1
    assert days[0].frame().height == len(days[0])


def test_joining_events_keeps_each_basket_once():
    lines = {
        "basket": np.array([4, 4, 8]),
        "product": np.array([1, 2, 3]),
        "price": np.array([100, 200, 300]),
        "quantity": np.array([1, 1, 2]),
        "discount": np.array([0, 0, 0]),
    }
    events = make_events(2, lines, time=np.array([1, 2]), basket=np.array([4, 8]))
    again = join_events([events.take(slice(0, 1)), events, events.take(slice(1, 2))])
    assert len(again) == 4
    assert again.lines["product"].tolist() == [1, 2, 3]
    assert isinstance(join_events([]), Events)


def test_unknown_columns_are_refused():
    with pytest.raises(ValueError, match="colour"):
        make_events(1, colour=np.array([1]))
