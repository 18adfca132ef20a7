"""Features are judged by what was planted in them, and fewer columns are preferred where they tell as much."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.ml.feature_selection import (
    EVERYTHING,
    FILTERED,
    OPTIONS,
    SCHEMA,
    grade_options,
    judge_features,
)
from insight_assets.ml.referee import champion

ROWS, NOISES = 1_500, 40
NAMES = ("tells", "same", "level", "bent", "gappy", "fixed", *(f"noise_{number}" for number in range(NOISES)))


def planted(seed: int = 0) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    tells, bent = generator.normal(size=(2, ROWS))
    level = generator.choice(["a", "b", "c"], ROWS)
    odds = 1.2 * tells + 1.2 * (np.abs(bent) - 0.8) + 0.8 * (level == "a") - 0.3
    truth = (generator.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    # That a value is missing says what happened; the value does not.
    gappy = pl.Series(generator.normal(size=ROWS)).set(pl.Series(generator.random(ROWS) < 0.1 + 0.3 * truth), None)
    noise = {f"noise_{number}": generator.normal(size=ROWS) for number in range(NOISES)}
    frame = pl.DataFrame(
        {"tells": tells, "same": 0.9 * tells + 1e-3 * bent, "level": level, "bent": bent, "gappy": gappy, "fixed": 1} | noise
    )
    return frame, truth, generator.permutation(10 * ROWS)[:ROWS]


@pytest.fixture(scope="module")
def judged() -> pl.DataFrame:
    return judge_features(*planted(), names=NAMES, seed=1)


def test_what_was_planted_is_found(judged):
    assert judged.schema == SCHEMA
    verdict = dict(judged.select("feature", "verdict").rows())
    assert {verdict["tells"], verdict["same"]} == {"kept", "repeats"}
    assert [verdict[name] for name in ("level", "bent", "gappy", "fixed")] == ["kept", "kept", "kept", "constant"]
    noise = judged.filter(pl.col("feature").str.starts_with("noise"))
    assert (noise["verdict"] == "silent").sum() >= NOISES - 2
    rows = {row["feature"]: row for row in judged.iter_rows(named=True)}
    assert (rows["tells"]["like"], rows["same"]["like"]) == ("same", "tells")
    # What is bent tells nothing in a straight line, but in tenths, and to trees.
    assert rows["bent"]["importance_low"] > noise["importance_high"].max()
    assert rows["level"]["importance_low"] > 0
    assert rows["gappy"]["missing_share"] == pytest.approx(0.25, abs=0.05)
    assert rows["level"]["variance"] is None


def test_the_order_of_rows_judges_nothing(judged):
    features, truth, customers = planted()
    order = np.random.default_rng(3).permutation(ROWS)
    assert judge_features(features[order], truth[order], customers[order], names=NAMES, seed=1).equals(judged)


def test_shuffled_outcomes_are_told_by_nothing():
    features, truth, customers = planted()
    shuffled = np.random.default_rng(4).permutation(truth)
    found = judge_features(features, shuffled, customers, names=NAMES, seed=1)
    assert (found["verdict"] == "kept").sum() <= 2
    assert found["importance"].abs().max() < 0.05


def test_fewer_columns_are_preferred_unless_more_are_surely_better():
    features, truth, customers = planted()
    options, columns = grade_options(features, truth, customers, names=NAMES, origin=date(2025, 1, 1), seed=1)
    assert options["method"].to_list() == [option.name for option in OPTIONS]
    reached = dict(options.select("method", "value").rows())
    assert champion(options) != EVERYTHING
    assert reached[FILTERED] > reached[EVERYTHING]
    assert columns[FILTERED] < columns[EVERYTHING] / 3
    assert options["value"].min() > 0.65
    assert options["customers"].unique().to_list() == [ROWS]


def test_one_outcome_or_nobody_is_judged_by_nobody():
    features, truth, customers = planted()
    for rows in (truth == 1, np.zeros(ROWS, dtype=bool)):
        some = features.filter(rows), truth[rows], customers[rows]
        assert judge_features(*some, names=NAMES, seed=1).is_empty()
        options, columns = grade_options(*some, names=NAMES, origin=date(2025, 1, 1), seed=1)
        assert options.is_empty()
        assert not columns
