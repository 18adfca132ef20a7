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
from insight_assets.definitions import build_defs
from insight_assets.insights.churn.survival import asked_horizons
from insight_assets.insights.ledger import assets
from insight_assets.insights.ledger.grades import (
    EVERYBODY,
    LEAST_SEGMENT,
    PURCHASES,
    broken_promises,
    grade_ledger,
    promises_of,
)
from insight_assets.insights.ledger.history import champion_history, changes_of_champion, history_charts, verdicts
from insight_assets.insights.ledger.predictions import NO_SEGMENT, record_predictions, record_purchases
from insight_assets.insights.propensity.grading import TASKS
from insight_assets.insights.recommendation.assets import POLICY
from insight_assets.insights.recommendation.grading import primary_metric
from insight_assets.ml.metrics import auc
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
    people,
    scores,
    targets_of,
)

CUSTOMERS = people(600)
PROPENSITIES = set(TASKS.values())
DEFS = build_defs()
GRADES = ("ledger_grades", "purchase_7d_grades", "purchase_30d_grades", "session_intent_grades")
LEDGERS = ("prediction_ledger", "recommendation_ledger", "propensity_ledger", "intent_ledger", "session_intent_ledger")
CHANCE = CUSTOMERS["chance"].to_numpy()
NOBODY_KNOWS = np.full(len(CHANCE), 0.5)


def ledger_of(churn: np.ndarray, rule: np.ndarray = NOBODY_KNOWS, customers: pl.DataFrame = CUSTOMERS) -> pl.DataFrame:
    of_churn, of_value, _ = scores(customers, churn, rule)
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
    assert ledger.height == 3 * CUSTOMERS.height
    closes = dict(ledger.select("task", "closes").unique().rows())
    assert closes == dict.fromkeys(("churn", "value", "orders"), CLOSED)
    churn = ledger.filter(pl.col("task") == "churn")
    assert np.allclose(churn["prediction"], CHANCE)
    assert np.allclose(churn["rule_prediction"], CHANCE / 2)
    assert churn["segment"].to_list() == CUSTOMERS["segment"].to_list()


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
    tasks = set()
    for name in GRADES:
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


def test_what_was_told_is_graded_on_the_day_its_own_horizon_closes():
    nodes, horizon = read_nodes(DEFS.resolve_asset_graph()), shop().horizon_days
    first, days = shop().start_date, [shop().start_date + timedelta(days=number) for number in range(3 * horizon)]
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
        "prediction_ledger": {horizon}, "recommendation_ledger": {horizon}, "propensity_ledger": {horizon},
        "intent_ledger": {7, 30}, "session_intent_ledger": {1},
    }  # fmt: skip
    # Nothing that is known later can make a grade stale.
    reach = {node.name: max((edge.last for edge in node.edges), default=0) for node in nodes}
    of_horizon = {edge.parent: edge.last for node in nodes if node.name == "ledger_grades" for edge in node.edges}
    assert {reach[name] for name in GRADES} == {0}
    assert {of_horizon[name] for name in assets.PROMISING} == {-2 * horizon}
    in_history = {edge.parent: edge.last for node in nodes if node.name == "champion_history" for edge in node.edges}
    assert in_history == dict.fromkeys(assets.OF_THE_HORIZON, -horizon) | dict.fromkeys(assets.OF_THE_DAY, 0)


def test_promises_come_from_any_scorecard():
    cards = [card("churn", "boosting", "auc", 0.8), card("lifetime_value", "ziln", "mae", 3.0)]
    found = promises_of([each.lazy() for each in cards])
    assert found.select("as_of", "task", "value").rows() == [(BEFORE, "churn", 0.8), (BEFORE, "lifetime_value", 3.0)]
