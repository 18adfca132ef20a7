from datetime import date

import numpy as np
import polars as pl

from insight_assets.ml.metrics import auc
from insight_assets.ml.publication import UNGRADED, Publication, deciles, publishable
from insight_assets.ml.referee import SCORECARD_SCHEMA, Method, grade_methods

ORIGIN = date(2025, 3, 1)


def card(better: float) -> pl.DataFrame:
    """The scorecard of a rule without any idea and of a model that sees the truth through noise."""
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 400).astype(np.float64)
    model = better * truth + generator.random(400)
    return grade_methods(
        task="t", origin=ORIGIN, methods=(Method("rule", "rule", 0), Method("model", "model", 1)), truth=truth,
        predictions={"rule": np.full(400, 0.5), "model": model}, metrics={"auc": auc}, primary="auc",
        higher_is_better={"auc": True}, resamples=100, seed=1,
    )  # fmt: skip


def test_a_challenger_speaks_only_where_its_gain_is_surely_above_0():
    assert publishable(card(1.0), known=["rule", "model"], rule="rule") == Publication("model", "A", ORIGIN)
    assert publishable(card(0.0), known=["rule", "model"], rule="rule") == Publication("rule", "C", ORIGIN)


def test_the_rule_speaks_ungraded_where_nothing_was_graded_or_the_champion_is_missing():
    ungraded = Publication("rule", UNGRADED, None)
    assert publishable(pl.DataFrame(schema=SCORECARD_SCHEMA), known=["rule"], rule="rule") == ungraded
    assert publishable(card(1.0), known=["rule"], rule="rule") == ungraded


def test_deciles_hold_a_tenth_each():
    tenths = deciles(np.random.default_rng(1).random(200))
    assert np.bincount(tenths)[1:].tolist() == [20] * 10
    assert deciles(np.array([0.9, 0.1])).tolist() == [6, 1]
    assert deciles(np.empty(0)).size == 0
