from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.churn.horizons import worse_horizons
from insight_assets.insights.churn.models import RECENCY
from insight_assets.insights.churn.scoring import SHORTER_HORIZONS, ChurnPublication, choose_method, score_churn
from insight_assets.ml.referee import SCORECARD_SCHEMA
from insight_assets_tests.insights.churn.conftest import ORIGIN

GRADED = date(2024, 4, 29)
VERSION = "0123456789ab"


def scorecard(method: str, grade: str = "A") -> pl.DataFrame:
    row = dict.fromkeys(SCORECARD_SCHEMA) | {
        "as_of": GRADED, "task": "churn", "method": method, "metric": "auc", "is_champion": True,
        "grade": grade,
    }  # fmt: skip
    return pl.DataFrame([row], schema=SCORECARD_SCHEMA)


def score(
    trained, method: str = "boosting", *, worse: frozenset[int] = frozenset(), horizon_days: int | None = None, **options
) -> pl.DataFrame:
    publication = ChurnPublication(method, "A", GRADED, worse)
    return score_churn(
        replace(trained.models, horizon_days=horizon_days or trained.models.horizon_days),
        **{"features": trained.features, "sequences": trained.sequences} | options,
        publication=publication,
        as_of=ORIGIN,
        model_version=VERSION,
    )


def horizons(*grades: str, gain_high: list[float] | None = None) -> pl.DataFrame:
    """Give what the scorecard of shorter horizons says of the published method, from 30 days on."""
    tasks = [f"churn_{days}d" for days in SHORTER_HORIZONS[: len(grades)]]
    told = {"task": tasks, "method": ["published"] * len(grades), "grade": list(grades), "gain_high": gain_high or [0.1] * len(grades)}
    return pl.DataFrame(told, schema={"task": pl.String, "method": pl.String, "grade": pl.String, "gain_high": pl.Float64})


def test_the_champion_speaks_with_its_grade(trained):
    publication = choose_method(trained.models.methods, scorecard("network", "B"), horizons("A", "B"))
    assert publication == ChurnPublication("network", "B", GRADED)


def test_horizons_that_nobody_graded_do_not_go_out_under_the_grade_of_another(trained):
    publication = choose_method(trained.models.methods, scorecard("network", "B"), horizons())
    assert publication.worse_horizons == set(SHORTER_HORIZONS)


def test_without_a_scorecard_the_rule_speaks_ungraded(trained):
    empty = pl.DataFrame(schema=SCORECARD_SCHEMA)
    assert choose_method(trained.models.methods, empty, horizons()) == ChurnPublication("recency", "ungraded", None)


def test_a_champion_that_could_not_be_trained_leaves_the_rule(trained):
    assert choose_method([RECENCY], scorecard("network"), horizons()).grade == "ungraded"


@pytest.mark.parametrize("method", ["recency", "forest", "network", "blend"])
def test_scores_follow_their_contract(trained, method):
    scores = score(trained, method)
    table = contract("churn_scores")
    validate_frame(table, table.conform(scores.lazy()).collect())
    assert scores.columns == [column.name for column in table.columns]
    assert scores["customer_key"].is_sorted()
    assert scores["driver_1"].null_count() < scores.height


def test_a_probability_lies_in_an_interval_that_says_something(trained):
    scores = score(trained)
    assert (scores["churn_probability_low"] <= scores["churn_probability"]).all()
    assert (scores["churn_probability"] <= scores["churn_probability_high"]).all()
    width = scores["churn_probability_high"] - scores["churn_probability_low"]
    assert 0 < width.mean() < 0.6


def test_a_horizon_at_which_one_rate_for_everybody_was_better_stays_empty():
    assert worse_horizons(horizons("A", "C")) == {60}


def test_a_horizon_at_which_the_hazards_were_surely_better_stays_empty():
    assert worse_horizons(horizons("A", "A", gain_high=[-0.01, 0.01])) == {30}


def test_the_rule_tells_of_each_horizon_that_is_published_and_of_no_other(trained):
    scores = score(trained, horizon_days=60)
    validate_frame(contract("churn_scores"), contract("churn_scores").conform(scores.lazy()).collect())
    buyers = trained.features.sort("customer_key")
    told = replace(trained.models, horizon_days=60).shorter_horizons(buyers, scores["rule_probability"].to_numpy())
    assert np.allclose(scores["rule_probability_30d"], told[30], atol=1e-6)
    assert not np.allclose(scores["rule_probability_30d"], scores["churn_probability_30d"], atol=0.01)
    assert scores["rule_probability_60d"].null_count() == scores.height
    by_rule = score(trained, RECENCY.name, horizon_days=60)
    assert by_rule["rule_probability_30d"].equals(by_rule["churn_probability_30d"].rename("rule_probability_30d"))
    unpublished = score(trained, horizon_days=60, worse=frozenset({30})).select(r"^.*_30d$")
    assert set(unpublished.null_count().row(0)) == {scores.height}
    assert unpublished.width == 2
    ends = score(trained, horizon_days=60, worse=frozenset({30})).select(r"^.*_30d_(low|high)$")
    assert set(ends.null_count().row(0)) == {scores.height}


def test_a_shorter_horizon_carries_the_interval_of_the_whole(trained):
    scores = score(trained, horizon_days=60)
    low, told, high = (scores[f"churn_probability_30d{end}"] for end in ("_low", "", "_high"))
    assert (low <= told).all()
    assert (told <= high).all()
    assert (low >= scores["churn_probability_low"]).all()
    buyers = trained.features.sort("customer_key")
    ends = replace(trained.models, horizon_days=60).shorter_horizons(buyers, scores["churn_probability_high"].to_numpy())
    assert np.allclose(high, ends[30], atol=1e-6)
    assert 0 < (high - low).mean() <= (scores["churn_probability_high"] - scores["churn_probability_low"]).mean()


def test_deciles_hold_a_tenth_each_in_the_order_of_the_probability(trained):
    scores = score(trained).sort("churn_probability", maintain_order=True)
    assert scores["churn_decile"].is_sorted()
    sizes = scores["churn_decile"].value_counts()["count"]
    assert scores["churn_decile"].n_unique() == 10
    assert sizes.max() - sizes.min() <= 1


def test_only_who_has_bought_is_scored(trained):
    visitors = trained.features.with_columns(
        orders_lifetime=pl.when(pl.int_range(pl.len()) < 7).then(0).otherwise("orders_lifetime")
    )
    assert score(trained, features=visitors).height == trained.features.height - 7
    assert score(trained, features=visitors.head(7)).is_empty()


def test_row_order_changes_no_score(trained):
    shuffled = trained.features.sample(fraction=1, shuffle=True, seed=5)
    assert score(trained, features=shuffled).equals(score(trained))
