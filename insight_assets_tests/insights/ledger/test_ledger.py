"""What was told is put down as it was, graded once it can be, and a broken promise is named with what to do."""

from dataclasses import replace
from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract, contracts
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.definitions import COUNTING_PURCHASES, HIDING_SMALL_GROUPS, build_defs
from insight_assets.insights.churn.scoring import told_horizons
from insight_assets.insights.churn.survival import asked_horizons
from insight_assets.insights.ledger import assets
from insight_assets.insights.ledger.grades import (
    EVERYBODY,
    LEAST_SEGMENT,
    PURCHASES,
    VALUE_WITHIN,
    broken_promises,
    grade_ledger,
    promises_of,
)
from insight_assets.insights.ledger.history import champion_history, changes_of_champion, history_charts, verdicts
from insight_assets.insights.ledger.predictions import NO_SEGMENT, record_predictions, record_purchases
from insight_assets.insights.lifetime_value.scoring import other_windows
from insight_assets.insights.propensity.grading import TASKS
from insight_assets.insights.recommendation.assets import POLICY
from insight_assets.insights.recommendation.grading import primary_metric
from insight_assets.ml.metrics import auc, normalised_gini
from insight_assets.partitions import DAYS
from insight_assets.picture import read_nodes
from insight_assets.planning import Made, need_snapshots
from insight_assets.settings import settings as shop
from insight_assets_tests.insights.ledger.told import (
    BEFORE,
    CLOSED,
    HORIZON,
    ORIGIN,
    SEGMENTS,
    card,
    days_of,
    labels,
    lines_of,
    lists_of,
    orders_after,
    people,
    scores,
    targets_of,
    within,
)

CUSTOMERS = people(600)
PROPENSITIES = set(TASKS.values())
DEFS = build_defs()
BESIDE = {asset.key.path[-1]: asset for asset in assets.beside_the_horizon}
GRADES = ("ledger_grades", "purchase_7d_grades", "purchase_30d_grades", "session_intent_grades", *BESIDE)
LEDGERS = ("prediction_ledger", "recommendation_ledger", "propensity_ledger", "intent_ledger", "session_intent_ledger")
CHANCE = CUSTOMERS["chance"].to_numpy()
NOBODY_KNOWS = np.full(len(CHANCE), 0.5)


def ledger_of(
    churn: np.ndarray, rule: np.ndarray = NOBODY_KNOWS, customers: pl.DataFrame = CUSTOMERS, *, horizon_days: int = HORIZON
) -> pl.DataFrame:
    of_churn, of_value, _ = scores(customers, churn, rule, horizon_days=horizon_days)
    return record_predictions(of_churn, of_value, customers.lazy()).collect()


def purchases_of(churn: np.ndarray, rule: np.ndarray = NOBODY_KNOWS) -> pl.DataFrame:
    return record_purchases(scores(CUSTOMERS, churn, rule)[-1], CUSTOMERS.lazy()).collect()


def graded(
    ledger: pl.DataFrame, promises: pl.DataFrame | None = None, truth: pl.DataFrame | None = None
) -> pl.DataFrame:
    promises = card("churn", "boosting", "auc", 0.8) if promises is None else promises
    truth = labels(CUSTOMERS) if truth is None else truth
    return grade_ledger(ledger, truth, promises, as_of=CLOSED, smallest_group=10, seed=3, resamples=60)


def row(grades: pl.DataFrame, task: str, metric: str, segment: str = EVERYBODY) -> dict:
    found = grades.filter(pl.col("task") == task, pl.col("metric") == metric, pl.col("segment") == segment)
    return found.row(0, named=True)


def test_every_published_number_is_put_down_with_the_rule_beside_it():
    ledger = ledger_of(CHANCE, rule=CHANCE / 2)
    validate_frame(contract("prediction_ledger"), ledger)
    windows = {f"{what}_{days}d": days for what in ("value", "orders") for days in (90, 365)}
    told = dict.fromkeys(("churn", "value", "orders"), HORIZON) | windows
    assert ledger.height == len(told) * CUSTOMERS.height
    closes = dict(ledger.select("task", "closes").unique().rows())
    assert closes == {task: ORIGIN + timedelta(days=days) for task, days in told.items()}
    churn = ledger.filter(pl.col("task") == "churn")
    assert np.allclose(churn["prediction"], CHANCE)
    assert np.allclose(churn["rule_prediction"], CHANCE / 2)
    assert churn["segment"].to_list() == CUSTOMERS["segment"].to_list()


@pytest.mark.parametrize(
    ("horizon_days", "told"),
    [
        (15, {"value_90d": 90, "orders_90d": 90, "value_365d": 365, "orders_365d": 365}),
        (90, {"churn_30d": 30, "churn_60d": 60, "value_365d": 365, "orders_365d": 365}),
        (365, {"churn_30d": 30, "churn_60d": 60, "value_90d": 90, "orders_90d": 90}),
    ],
)
def test_what_is_told_of_other_horizons_is_a_task_of_its_own(horizon_days, told):
    ledger = ledger_of(CHANCE, rule=CHANCE / 2, horizon_days=horizon_days)
    validate_frame(contract("prediction_ledger"), ledger)
    whole = dict.fromkeys(("churn", "value", "orders"), horizon_days)
    assert dict(ledger.select("task", "horizon_days").unique().rows()) == whole | told
    assert ledger.filter(closes=pl.col("as_of") + pl.duration(days="horizon_days")).equals(ledger)
    assert ledger.group_by("task").len()["len"].to_list() == [CUSTOMERS.height] * 7
    for task, days in told.items():
        some, share = ledger.filter(task=task), days / horizon_days
        if task.startswith("churn"):
            expected, by_rule = within(CHANCE, share), within(CHANCE / 2, share)
            assert np.allclose(some["low"], within(np.clip(CHANCE - 0.1, 0, 1), share))
            assert np.allclose(some["high"], within(np.clip(CHANCE + 0.1, 0, 1), share))
        else:
            each = share * {"value": 60, "orders": 3}[task.partition("_")[0]]
            expected, by_rule = (1 - CHANCE) * each, (1 - CHANCE / 2) * each
            assert np.allclose(some["high"] - some["prediction"], {"value": 40, "orders": 2}[task.partition("_")[0]])
        assert np.allclose(some["prediction"], expected)
        assert np.allclose(some["rule_prediction"], by_rule)


def test_what_was_not_published_is_not_put_down():
    of_churn, of_value, _ = scores(CUSTOMERS, CHANCE, NOBODY_KNOWS, horizon_days=90)
    nothing = pl.lit(None, pl.Float64)
    of_churn = of_churn.with_columns(churn_probability_60d=nothing, rule_probability_60d=nothing)
    ledger = record_predictions(of_churn, of_value, CUSTOMERS.lazy()).collect()
    assert {task for task in ledger["task"].unique() if task.startswith("churn")} == {"churn", "churn_30d"}
    assert ledger["prediction"].null_count() == 0
    one = of_churn.with_columns(
        pl.when(customer_key=CUSTOMERS["customer_key"][0]).then("churn_probability_30d").alias("churn_probability_30d")
    )
    alone = record_predictions(one, of_value, CUSTOMERS.lazy()).collect().filter(task="churn_30d")
    assert alone["customer_key"].to_list() == [CUSTOMERS["customer_key"][0]]


@pytest.mark.parametrize(
    ("horizon_days", "shorter", "windows"),
    [(15, (), (90, 365)), (30, (), (90, 365)), (31, (30,), (90, 365)), (90, (30, 60), (365,)), (365, (30, 60), (90,))],
)
def test_which_other_horizons_are_told_of_follows_from_the_shops(horizon_days, shorter, windows):
    assert (told_horizons(horizon_days), other_windows(horizon_days)) == (shorter, windows)


def test_chances_of_a_purchase_close_each_on_a_day_of_its_own():
    ledger = purchases_of(CHANCE, rule=CHANCE / 2)
    validate_frame(contract("intent_ledger"), ledger)
    assert ledger.height == 2 * CUSTOMERS.height
    closes = dict(ledger.select("task", "closes").unique().rows())
    assert closes == {"purchase_7d": ORIGIN + timedelta(days=7), "purchase_30d": ORIGIN + timedelta(days=30)}
    soon = ledger.filter(task="purchase_7d")
    assert np.allclose(soon["prediction"], 1 - CHANCE)
    assert np.allclose(soon["rule_prediction"], 1 - CHANCE / 2)


def test_who_has_no_segment_is_put_down_all_the_same():
    few = CUSTOMERS.head(3)
    of_churn, of_value, _ = scores(few, CHANCE[:3], NOBODY_KNOWS[:3])
    ledger = record_predictions(of_churn, of_value, few.head(1).lazy()).collect()
    assert ledger.filter(pl.col("task") == "churn")["segment"].to_list() == [few["segment"][0], NO_SEGMENT, NO_SEGMENT]


def test_true_chances_keep_their_promise_and_beat_a_rule_that_knows_nothing():
    grades = graded(ledger_of(CHANCE))
    validate_frame(contract("ledger_grades"), grades)
    found = row(grades, "churn", "auc")
    assert found["value"] > 0.75
    assert found["rule_value"] == 0.5
    assert found["gain_low"] > 0
    assert (found["promised"], found["kept"]) == (0.8, True)
    assert row(grades, "churn", "total_ratio")["value"] == pytest.approx(1, abs=0.1)
    assert row(grades, "churn", "brier")["value"] < row(grades, "churn", "brier")["rule_value"]
    assert broken_promises(grades).is_empty()


def test_numbers_that_turned_out_to_be_noise_break_their_promise():
    noise = np.random.default_rng(5).permutation(CHANCE)
    broken = broken_promises(graded(ledger_of(noise)))
    # Nothing was promised of orders, but a rule that knows nothing errs less than noise.
    assert broken.select("task", "metric", "kept").rows() == [("churn", "auc", False), ("orders", "mae", None)]


def test_a_method_that_is_surely_worse_than_the_rule_is_named_though_nothing_was_promised():
    grades = graded(ledger_of(1 - CHANCE, rule=CHANCE), card("churn", "another", "auc", 0.8))
    assert {"churn", "value", "orders"} == set(broken_promises(grades)["task"])
    assert grades["kept"].null_count() == grades.height


def test_segments_have_figures_of_their_own_unless_they_are_small():
    grades = graded(ledger_of(CHANCE))
    for segment in SEGMENTS:
        size = CUSTOMERS.filter(pl.col("segment") == segment).height
        assert row(grades, "churn", "brier", segment)["customers"] == size
    few = CUSTOMERS.head(LEAST_SEGMENT - 1)
    small = graded(ledger_of(CHANCE[: few.height], NOBODY_KNOWS[: few.height], few), truth=labels(few))
    assert set(small["segment"]) == {EVERYBODY}


def test_the_share_of_outcomes_inside_their_intervals_is_told():
    found = row(graded(ledger_of(CHANCE)), "orders", "interval_coverage")
    inside = (CUSTOMERS["purchase_days"] - (1 - CHANCE) * 3).abs() <= 2
    assert found["value"] == pytest.approx(inside.mean(), abs=1e-6)


@settings(max_examples=10)
@given(seed=st.integers(0, 100))
def test_neither_the_order_of_rows_nor_strangers_change_a_grade(seed):
    ledger, truth = ledger_of(CHANCE), labels(CUSTOMERS)
    strangers = labels(people(40, seed=9).with_columns(pl.col("customer_key") + 10**9))
    again = graded(
        ledger.sample(fraction=1, shuffle=True, seed=seed),
        truth=pl.concat([strangers, truth]).sample(fraction=1, shuffle=True, seed=seed),
    )
    assert again.equals(graded(ledger))


def test_nothing_is_graded_before_it_can_be():
    assert graded(ledger_of(CHANCE), truth=labels(CUSTOMERS.clear())).is_empty()
    assert graded(ledger_of(CHANCE).clear()).is_empty()


def history_of(cards: list[pl.DataFrame], *, as_of=CLOSED, deciding=assets.DECIDING) -> pl.DataFrame:
    known = [verdicts(each.lazy(), known_after_days=HORIZON) for each in cards]
    return champion_history(pl.concat(known, how="diagonal"), deciding=deciding, as_of=as_of)


def test_history_shows_only_verdicts_known_by_the_day_and_when_the_champion_changed():
    cards = [
        card("churn", method, "auc", 0.7, origin=ORIGIN + timedelta(days=7 * week))
        for week, method in enumerate(["recency", "recency", "boosting", "boosting"])
    ]
    cards.append(card("churn", "recency", "brier", 0.2))
    history = history_of(cards, as_of=CLOSED + timedelta(days=14))
    validate_frame(contract("champion_history"), history)
    assert history["origin"].to_list() == [ORIGIN + timedelta(days=7 * week) for week in range(3)]
    changes = changes_of_champion(history).select("origin", "champion", "before").rows()
    assert changes == [(ORIGIN, "recency", None), (ORIGIN + timedelta(days=14), "boosting", "recency")]
    (chart,) = history_charts(history)
    assert chart.to_dict()["facet"]["row"]["field"] == "task"
    assert history_charts(history.clear()) == []


def test_each_verdict_is_known_on_a_day_of_its_own():
    def of_the_day(task: str, known_on: date, days: int) -> pl.DataFrame:
        return card(task, "boosting", "auc", 0.7, origin=known_on).with_columns(
            origin=pl.lit(known_on - timedelta(days=days))
        )

    ago = {"purchase_7d": 7, "purchase_30d": 30, "order_after_3_events": 8}
    cards = [of_the_day(task, CLOSED, days) for task, days in ago.items()]
    cards += [
        of_the_day("purchase_7d", CLOSED + timedelta(days=1), 7),
        card("churn", "boosting", "auc", 0.7, origin=ORIGIN),
    ]
    history = history_of(cards)
    validate_frame(contract("champion_history"), history)
    told = {row["task"]: (row["origin"], row["known_on"]) for row in history.iter_rows(named=True)}
    assert told == {task: (CLOSED - timedelta(days=days), CLOSED) for task, days in ago.items()} | {
        "churn": (ORIGIN, CLOSED)
    }
    # What is known a day later is history a day later, and changes nothing before.
    after = history_of(cards, as_of=CLOSED + timedelta(days=1))
    assert after.height == history.height + 1
    assert after.filter(pl.col("known_on") <= CLOSED).drop("as_of").equals(history.drop("as_of"))
    assert history_of([each.sample(fraction=1, shuffle=True) for each in reversed(cards)]).equals(history)


def test_a_year_of_champions_of_every_task_makes_small_pictures():
    drawn = np.random.default_rng(2)
    cards = [
        card(task, f"{task}_{week // 4 % 5}", metric, float(drawn.random()), origin=ORIGIN - timedelta(days=7 * week))
        for task, metric in assets.DECIDING.items()
        for week in range(5, 52)
    ]
    history = history_of(cards)
    assert history.height == 47 * len(assets.DECIDING)
    pictures = [chart_markdown(chart) for chart in history_charts(history)]
    assert all(picture.startswith("![chart](data:image/png;base64,") for picture in pictures)
    assert sum(map(len, pictures)) < 100_000


@pytest.mark.parametrize(("repeats", "metric"), [(False, "new_ndcg_at_10"), (True, "ndcg_at_10")])
def test_the_metric_that_decides_is_the_one_that_decided(repeats, metric):
    policy = replace(POLICY, repeat_purchases=repeats)
    cards = [card("recommendation", "ease", name, 0.1) for name in ("ndcg_at_10", "new_ndcg_at_10")]
    history = history_of(cards, deciding={"recommendation": primary_metric(policy)})
    assert history["metric"].to_list() == [metric]


def test_every_scorecard_that_names_a_champion_is_in_the_history():
    with_champion = {name for name, of in contracts().items() if "is_champion" in of.polars_schema()} - {
        "champion_history"
    }
    read = {key.path[-1] for key in assets.champion_history.keys_by_input_name.values()}
    assert read == with_champion == {*assets.OF_THE_HORIZON, *assets.OF_THE_DAY}
    dated = {name for name in with_champion if "origin" in contract(name).polars_schema()}
    assert dated == set(assets.OF_THE_DAY)
    of_churn = {f"churn_{days}d" for days in asked_horizons(shop().horizon_days)}
    visits = {f"order_after_{seen}_events" for seen in (1, 3, 5, 10)}
    assert set(assets.DECIDING) == {
        "churn", *of_churn, "lifetime_value", "recommendation", *PROPENSITIES, "purchase_7d", "purchase_30d",
        *visits, "clustering",
    }  # fmt: skip


def test_a_promise_is_broken_only_beyond_its_own_interval():
    found = row(graded(ledger_of(CHANCE)), "churn", "auc")
    # Promised surely more than came, but not more than the promise itself was sure of.
    near = card("churn", "boosting", "auc", found["high"] + 0.01)
    assert row(graded(ledger_of(CHANCE), near), "churn", "auc")["kept"]
    far = card("churn", "boosting", "auc", found["high"] + 0.03)
    assert not row(graded(ledger_of(CHANCE), far), "churn", "auc")["kept"]


def test_less_promised_of_an_error_is_more():
    told = ledger_of(CHANCE)
    found = row(graded(told), "orders", "mae")
    for value, kept in ((found["low"] - 0.03, False), (found["low"] - 0.01, True)):
        promise = card("lifetime_value", "ziln", "mae_orders", value)
        assert row(graded(told, promise), "orders", "mae")["kept"] is kept


class Frames(dg.InMemoryIOManager):
    """Gives inputs by name."""

    def __init__(self, frames: dict[str, pl.LazyFrame]) -> None:
        super().__init__()
        self.frames, self.written = frames, {}

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        self.written[context.asset_key.path[-1]] = obj

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        return self.frames[context.asset_key.path[-1]]


def graded_by(
    asset: dg.AssetsDefinition, frames: dict[str, pl.LazyFrame], as_of: date
) -> tuple[pl.DataFrame, dg.AssetCheckEvaluation]:
    """Run an asset that grades; give what it wrote and what its check said."""
    lake, name = Frames(frames), asset.key.path[-1]
    specs = [
        dg.AssetSpec(each, partitions_def=DAYS).with_io_manager_key("lake")
        for each in (*frames, "identities", "consents")
    ]
    result = dg.materialize([asset, *specs], partition_key=str(as_of), resources={"lake": lake}, selection=[asset])
    (check,) = result.get_asset_check_evaluations()
    validate_frame(contract(name), contract(name).conform(lake.written[name].lazy()).collect())
    return lake.written[name], check


def test_a_broken_promise_names_the_job_that_trains_anew():
    noise, few = np.random.default_rng(5).permutation(CHANCE), CUSTOMERS.head(60)
    value_card = card("lifetime_value", "ziln", "normalised_gini", 0.9)
    closes = ORIGIN + timedelta(days=shop().horizon_days)
    frames = {
        "prediction_ledger": ledger_of(noise).lazy(), "customer_labels": labels(CUSTOMERS).lazy(),
        "churn_scorecard": card("churn", "boosting", "auc", 0.8).lazy(), "lifetime_value_scorecard": value_card.lazy(),
        "recommendation_scorecard": card("recommendation", "ease", "new_ndcg_at_10", 0.5).lazy(),
        "propensity_scorecard": card("category_propensity", "logistic", "likeliest_bought", 0.5).lazy(),
        "recommendation_ledger": lists_of(few).lazy(), "propensity_ledger": targets_of(CUSTOMERS).lazy(),
        "order_lines": lines_of(few).lazy(), "identity_links": contract("identity_links").empty().lazy(),
        "customer_days": days_of(CUSTOMERS),
    }  # fmt: skip
    grades, check = graded_by(assets.ledger_grades, frames, closes)
    assert not check.passed
    assert check.metadata["next"].value.startswith(
        "run the job retrain_churn and retrain_lifetime_value and retrain_propensity and retrain_recommendation"
    )
    found = row(grades, "recommendation", "new_ndcg_at_10")
    assert (found["customers"], found["value"], found["kept"]) == (few.height, 0.0, False)
    # Who bought, bought a rug: the rule said so, and the lamps that were published were nobody's.
    likeliest = row(grades, "category_propensity", "likeliest_bought")
    assert (likeliest["customers"], likeliest["value"], likeliest["rule_value"]) == (
        (~CUSTOMERS["churned"]).sum(),
        0.0,
        1.0,
    )
    assert (likeliest["promised"], likeliest["kept"], likeliest["gain_high"]) == (0.5, False, -1.0)
    assert row(grades, "category_propensity", "brier")["value"] == 0.25
    # What happens later changes nothing that was closed, and neither does the order of rows.
    later = days_of(CUSTOMERS).with_columns(event_day=closes + timedelta(days=1), bought_categories=pl.lit(["lamps"]))
    more = frames | {
        "customer_days": pl.concat([later, days_of(CUSTOMERS)]),
        "order_lines": pl.concat(
            [lines_of(few), lines_of(few).with_columns(product_id=pl.lit("lamp"), event_day=closes + timedelta(days=1))]
        ).lazy(),
    }
    shuffled = {name: frame.collect().sample(fraction=1, shuffle=True, seed=2).lazy() for name, frame in more.items()}
    assert graded_by(assets.ledger_grades, shuffled, closes)[0].equals(grades)


@pytest.mark.parametrize(("days", "asset"), [(7, assets.purchase_7d_grades), (30, assets.purchase_30d_grades)])
def test_purchase_intent_is_graded_when_its_own_horizon_closes_and_names_its_job(days, asset):
    noise, task = np.random.default_rng(5).permutation(CHANCE), f"purchase_{days}d"
    promise = card(task, "boosting", "auc", 0.8, origin=ORIGIN).with_columns(origin=BEFORE)
    known = days_of(CUSTOMERS)
    frames = {
        "intent_ledger": purchases_of(noise).lazy(), "intent_scorecard": promise.lazy(), "customer_days": known,
        "orders": contract("orders").empty().lazy(), "identity_links": contract("identity_links").empty().lazy(),
    }  # fmt: skip
    closes = ORIGIN + timedelta(days=days)
    grades, check = graded_by(asset, frames, closes)
    assert not check.passed
    assert check.metadata["next"].value.startswith("run the job retrain_intent as of the newest day")
    assert set(grades["task"]) == {task}
    found = row(grades, task, "auc")
    assert (found["customers"], found["promised"], found["kept"], found["rule_value"]) == (
        CUSTOMERS.height,
        0.8,
        False,
        0.5,
    )
    bought = (CUSTOMERS["purchase_days"] > 0).to_numpy()
    assert found["value"] == pytest.approx(auc(bought, 1 - noise), abs=1e-6)
    assert row(grades, task, "total_ratio")["value"] == pytest.approx((1 - noise).sum() / bought.sum(), abs=1e-6)
    assert set(grades["origin"]) == {ORIGIN}
    # Who buys on the day after has not bought within the horizon, and the order of rows says nothing.
    later = known.filter(pl.col("event_day") == BEFORE).with_columns(event_day=closes + timedelta(days=1))
    shuffled = pl.concat([later, known]).collect().sample(fraction=1, shuffle=True, seed=4).lazy()
    again = frames | {
        "customer_days": shuffled,
        "intent_ledger": purchases_of(noise).sample(fraction=1, shuffle=True, seed=5).lazy(),
    }
    assert graded_by(asset, again, closes)[0].equals(grades)


AFTER = (10, 45, 80, 200)
"""Days after the origin on which customers buy, one of each horizon and one beyond."""


def frames_beside(horizon_days: int, churn: np.ndarray = CHANCE) -> dict[str, pl.LazyFrame]:
    """Give what grades of other horizons than the shop's read, all but scorecards."""
    return {
        "prediction_ledger": ledger_of(churn, CHANCE / 2, horizon_days=horizon_days).lazy(),
        "customer_days": orders_after(CUSTOMERS, *AFTER), "orders": contract("orders").empty().lazy(),
        "identity_links": contract("identity_links").empty().lazy(),
    }  # fmt: skip


def bought_within(days: int) -> np.ndarray:
    """Give on how many days each customer of `orders_after` bought within a horizon."""
    turns = (np.arange(CUSTOMERS.height) + 1) % (len(AFTER) + 1)
    return np.minimum(turns, sum(day <= days for day in AFTER))


def as_if_later(frames: dict[str, pl.LazyFrame], closes: date) -> dict[str, pl.LazyFrame]:
    """Give the same with another order of rows, and with orders of everybody on the day after a horizon closed."""
    known = frames["customer_days"]
    later = known.filter(pl.col("event_day") == BEFORE).with_columns(event_day=closes + timedelta(days=1))
    more = frames | {"customer_days": pl.concat([later, known])}
    return {name: frame.collect().sample(fraction=1, shuffle=True, seed=4).lazy() for name, frame in more.items()}


@pytest.mark.parametrize("days", [30, 60])
def test_churn_within_a_shorter_horizon_is_graded_when_that_closes_and_held_to_its_own_promise(days):
    task, asset, horizon = f"churn_{days}d", BESIDE[f"churn_{days}d_grades"], shop().horizon_days
    closes, allowed = ORIGIN + timedelta(days=days), ORIGIN - timedelta(days=horizon)
    truth, told, by_rule = bought_within(days) == 0, within(CHANCE, days / horizon), within(CHANCE / 2, days / horizon)
    brier = ((told - truth) ** 2).mean()
    promises = [
        card(task, "published", "brier", brier - 0.5, origin=allowed),
        # Of another horizon, another origin, and of what was not published.
        card("churn", "published", "brier", 0.0, origin=allowed), card(task, "published", "brier", 0.0),
        card(task, "everybody", "brier", 0.0, origin=allowed),
    ]  # fmt: skip
    frames = frames_beside(horizon) | {"churn_horizon_scorecard": pl.concat(promises).lazy()}
    grades, check = graded_by(asset, frames, closes)
    assert set(grades.select("task", "origin", "horizon_days").rows()) == {(task, ORIGIN, days)}
    found = row(grades, task, "brier")
    assert (found["customers"], found["promised"]) == (CUSTOMERS.height, pytest.approx(brier - 0.5))
    assert found["value"] == pytest.approx(brier, abs=1e-6)
    assert found["rule_value"] == pytest.approx(((by_rule - truth) ** 2).mean(), abs=1e-6)
    assert row(grades, task, "auc")["value"] == pytest.approx(auc(truth, told), abs=1e-6)
    assert row(grades, task, "total_ratio")["value"] == pytest.approx(told.sum() / truth.sum(), abs=1e-6)
    assert "interval_coverage" not in set(grades["metric"])
    assert not found["kept"]
    assert not check.passed
    assert check.metadata["next"].value.startswith("run the job retrain_churn as of the newest day")
    assert graded_by(asset, as_if_later(frames, closes), closes)[0].equals(grades)
    kept = frames | {"churn_horizon_scorecard": card(task, "published", "brier", brier, origin=allowed).lazy()}
    assert row(graded_by(asset, kept, closes)[0], task, "brier")["kept"]


@pytest.mark.parametrize(("days", "horizon_days"), [(90, 30), (365, 90)])
def test_value_within_another_window_is_graded_when_that_closes_though_nothing_was_promised(days, horizon_days):
    name, closes = f"value_{days}d_grades", ORIGIN + timedelta(days=days)
    # A window as long as the shop's horizon has no asset; here the horizon is another.
    asset = BESIDE.get(name) or assets.grades_within(
        days, name, ledger="prediction_ledger", gradings=VALUE_WITHIN[days]
    )
    frames = frames_beside(horizon_days)
    grades, check = graded_by(asset, frames, closes)
    assert set(grades["task"]) == {f"value_{days}d", f"orders_{days}d"}
    assert set(grades.select("origin", "horizon_days").rows()) == {(ORIGIN, days)}
    orders, share = bought_within(days), days / horizon_days
    told, by_rule = (1 - CHANCE) * 3 * share, (1 - CHANCE / 2) * 3 * share
    found = row(grades, f"orders_{days}d", "mae")
    assert found["value"] == pytest.approx(np.abs(told - orders).mean(), abs=1e-6)
    assert found["rule_value"] == pytest.approx(np.abs(by_rule - orders).mean(), abs=1e-6)
    inside = np.abs(told - orders) <= 2
    assert row(grades, f"orders_{days}d", "interval_coverage")["value"] == pytest.approx(inside.mean(), abs=1e-6)
    found = row(grades, f"value_{days}d", "normalised_gini")
    assert found["value"] == pytest.approx(normalised_gini(20.0 * orders, 20 * told), abs=1e-6)
    assert row(grades, f"value_{days}d", "total_ratio")["value"] == pytest.approx(told.sum() / orders.sum(), abs=1e-6)
    assert grades["promised"].null_count() == grades["kept"].null_count() == grades.height
    assert graded_by(asset, as_if_later(frames, closes), closes)[0].equals(grades)
    # Noise is told apart from the rule all the same.
    noise = np.random.default_rng(5).permutation(CHANCE)
    known = 1 - bought_within(days) / len(AFTER)
    ledger = ledger_of(noise, known, horizon_days=horizon_days)
    grades, check = graded_by(asset, frames | {"prediction_ledger": ledger.lazy()}, closes)
    assert not check.passed
    assert check.metadata["next"].value.startswith("run the job retrain_lifetime_value as of the newest day")


def test_true_chances_of_a_purchase_keep_their_promise():
    task = "purchase_7d"
    grades = grade_ledger(
        purchases_of(CHANCE), labels(CUSTOMERS), card(task, "boosting", "auc", 0.8), as_of=CLOSED, smallest_group=10,
        seed=3, gradings={task: PURCHASES[task]}, resamples=60,
    )  # fmt: skip
    assert set(grades["task"]) == {task}
    assert row(grades, task, "auc")["kept"]
    assert broken_promises(grades).is_empty()


def test_every_task_names_a_job_and_every_job_trains_what_it_says():
    assert {job.name for job in assets.jobs} == set(assets.RETRAIN.values())
    tasks, graded = set(), {name for name in contracts() if name.endswith("_grades")}
    assert set(GRADES) <= graded
    for name in graded:
        of = {column.name: column for column in contract(name).columns}
        tasks |= set(of["task"].allowed)
        assert contract(name).polars_schema() == contract("ledger_grades").polars_schema()
    assert tasks == set(assets.RETRAIN)
    graph = DEFS.resolve_asset_graph()
    trained = {
        job.name: {key.path[-1] for key in job.selection.resolve(graph)}
        & {name for models in assets.MODELS.values() for name in models}
        for job in assets.jobs
    }
    assert trained == {f"retrain_{group}": set(models) for group, models in assets.MODELS.items()}


def test_grades_are_stale_when_a_setting_that_shapes_them_changes():
    graded = {name for name in contracts() if name.endswith("_grades")}
    assert graded <= HIDING_SMALL_GROUPS
    of_own_horizons = graded - {"ledger_grades", "session_intent_grades"}
    assert of_own_horizons <= COUNTING_PURCHASES


def test_what_was_told_is_graded_on_the_day_its_own_horizon_closes():
    nodes, horizon = read_nodes(DEFS.resolve_asset_graph()), shop().horizon_days
    first, days = shop().start_date, [shop().start_date + timedelta(days=number) for number in range(365 + 2 * horizon)]
    newest = days[-1]
    rows = {day: Made(0.0, 0.0, "1") for day in days}
    states = {node.name: rows if node.by_event_day else {} for node in nodes}
    need = need_snapshots(
        nodes, newest, states, first_day=first, horizon_days=horizon, min_history_days=shop().min_history_days,
        selected={*GRADES, "champion_history"},
    )  # fmt: skip
    assert need.missing == {}
    told = {name: {(newest - day).days for day, names in need.wanted.items() if name in names} for name in LEDGERS}
    assert told == {
        "prediction_ledger": {30, 60, horizon, 365}, "recommendation_ledger": {horizon}, "propensity_ledger": {horizon},
        "intent_ledger": {7, 30}, "session_intent_ledger": {1},
    }  # fmt: skip
    # Nothing that is known later can make a grade stale.
    reach = {node.name: max((edge.last for edge in node.edges), default=0) for node in nodes}
    of_horizon = {edge.parent: edge.last for node in nodes if node.name == "ledger_grades" for edge in node.edges}
    assert {reach[name] for name in GRADES} == {0}
    assert {of_horizon[name] for name in assets.PROMISING} == {-2 * horizon}
    of_shorter = {node.name: edge.last for node in nodes for edge in node.edges if edge.parent == "churn_horizon_scorecard"}
    assert {name: of_shorter[name] for name in BESIDE if name in of_shorter} == {
        "churn_30d_grades": -30 - horizon, "churn_60d_grades": -60 - horizon,
    }  # fmt: skip
    in_history = {edge.parent: edge.last for node in nodes if node.name == "champion_history" for edge in node.edges}
    assert in_history == dict.fromkeys(assets.OF_THE_HORIZON, -horizon) | dict.fromkeys(assets.OF_THE_DAY, 0)


def test_promises_come_from_any_scorecard():
    cards = [card("churn", "boosting", "auc", 0.8), card("lifetime_value", "ziln", "mae", 3.0)]
    found = promises_of([each.lazy() for each in cards])
    assert found.select("as_of", "task", "value").rows() == [(BEFORE, "churn", 0.8), (BEFORE, "lifetime_value", 3.0)]
