"""Labels are purchases of closed horizons; who teaches never calibrates; nothing after the day is seen."""

from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from insight_assets.insights.propensity.examples import build_pair_examples, empty_examples
from insight_assets.insights.propensity.guards import APART, WINDOWS_OBSERVED, judge_examples
from insight_assets.insights.propensity.targets import KINDS, PRODUCT
from insight_assets_tests.features import test_given_back as given_back
from insight_assets_tests.features.shop import actor_days
from insight_assets_tests.insights.propensity import shop
from insight_assets_tests.insights.propensity.conftest import HORIZON, ORIGIN, examples_of


def test_labels_say_whether_the_target_was_bought_within_the_horizon(trained):
    rows = trained.examples[PRODUCT]
    bought = set(trained.lines.filter("bought").select("customer_key", "product_id", "event_day").rows())
    some = rows.select("customer_key", "target", "origin", "bought").sample(300, seed=1)
    for key, target, origin, label in some.rows():
        days = (origin + timedelta(days=ahead) for ahead in range(1, HORIZON + 1))
        assert label == any((key, target, day) in bought for day in days)


def test_origins_are_closed_and_calibration_stands_apart(trained):
    for rows in trained.examples.values():
        assert rows["origin"].max() == ORIGIN - timedelta(days=HORIZON)
        sides = rows.select("customer_key", apart=pl.col("role") == "calibrate").unique()
        assert sides["customer_key"].is_unique().all()
        assert rows.filter(role="calibrate")["origin"].n_unique() == 1
    days = {ORIGIN - timedelta(days=back) for back in range(200)}
    verdicts = judge_examples(trained.examples, as_of=ORIGIN, horizon_days=HORIZON, published=days)
    assert [verdict.passed for verdict in verdicts] == [True, True]


def test_an_open_window_an_unseen_day_and_a_customer_on_both_sides_are_refused(trained):
    def passed(examples, as_of=ORIGIN, days=range(200)) -> dict[str, bool]:
        published = {ORIGIN - timedelta(days=back) for back in days}
        verdicts = judge_examples(examples, as_of=as_of, horizon_days=HORIZON, published=published)
        return {verdict.guard: verdict.passed for verdict in verdicts}

    assert not passed(trained.examples, as_of=ORIGIN - timedelta(days=1))[WINDOWS_OBSERVED]
    assert not passed(trained.examples, days=range(3, 200))[WINDOWS_OBSERVED]
    rows = trained.examples[PRODUCT]
    mixed = pl.concat([rows, rows.filter(role="fit").head(1).with_columns(role=pl.lit("calibrate"))])
    assert not passed({PRODUCT: mixed})[APART]


def test_events_after_the_day_change_nothing(trained):
    past = trained.lines.filter(pl.col("event_day") <= ORIGIN)
    later = past.sample(200, seed=3).with_columns(event_day=pl.lit(ORIGIN) + pl.duration(days=1), price=pl.lit(99.0))
    before, after = (examples_of(lines, max_origins=1) for lines in (past, pl.concat([past, later])))
    for kind in KINDS:
        assert_frame_equal(before[kind], after[kind])


def test_of_many_pairs_all_purchases_teach_and_whole_customers_calibrate(trained):
    few = examples_of(trained.lines, learnt_pairs=400, calibrating_pairs=120)[PRODUCT]
    all_pairs = trained.examples[PRODUCT]
    teach = few.filter(pl.col("role") != "calibrate")
    assert teach["bought"].sum() == all_pairs.filter(pl.col("role") != "calibrate")["bought"].sum()
    assert (~teach["bought"]).sum() == pytest.approx(400, rel=0.25)
    apart = few.filter(role="calibrate")
    assert apart.height <= 120
    targets = all_pairs.filter(role="calibrate").group_by("customer_key").len()["len"].max()
    assert apart.group_by("customer_key").len()["len"].unique().to_list() == [targets]
    keys = ["origin", "customer_key", "target"]
    assert few.join(all_pairs, on=keys, how="anti").is_empty()


def test_without_a_closed_origin_there_is_nothing_to_learn():
    lines = shop.simulate_lines(20, days=20)
    for rows in examples_of(lines, as_of=shop.day(25)).values():
        assert_frame_equal(rows, empty_examples())
    nothing = build_pair_examples(
        shop.customer_days_of(lines).clear(), shop.events_of(lines), shop.products_on(ORIGIN), shop.nobody_linked,
        as_of=ORIGIN, horizon_days=HORIZON, spacing_days=14, min_history_days=14,
    )  # fmt: skip
    assert all(rows.is_empty() for rows in nothing.values())


@pytest.mark.parametrize(("counted", "purchases"), [(True, 1), (False, 0)])
def test_an_order_that_was_given_back_counts_by_the_policy_and_its_goods_were_bought(counted, purchases):
    day = given_back.AS_OF
    rows = build_pair_examples(
        actor_days(given_back.TWINS), given_back.TWINS.tables()["events"], shop.products_on(day), shop.nobody_linked,
        as_of=day, horizon_days=given_back.HORIZON, spacing_days=7, min_history_days=14,
        orders=given_back.orders_if(counted),
    )[PRODUCT]  # fmt: skip
    once = rows.filter(pl.col("customer_key") == given_back.ONCE).row(0, named=True)
    assert once["purchase_days_lifetime"] == purchases
    assert once["own_days_365d"] == 1
