"""The scorecard of clusterings: what is graded, who may challenge, what is published."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation import grading
from insight_assets.insights.segmentation.clusters import NO_CLUSTER
from insight_assets.insights.segmentation.density import DENSITY
from insight_assets.insights.segmentation.k_means import K_MEANS
from insight_assets_tests.insights.segmentation.planted_customers import planted_customers

ORIGIN = date(2026, 3, 1)
# What a planted kind of customer spends next, on average.
WORTH = np.array([300.0, 0.0, 40.0])


@pytest.fixture(scope="module")
def shop():
    customers, kind = planted_customers(200, seed=9)
    spend = WORTH[kind] * np.random.default_rng(1).lognormal(0, 0.3, len(kind))
    labels = customers.select("customer_key", net=pl.Series(spend.round(2)))
    return customers, labels


def grade(customers, labels):
    return grading.grade_clusterings(
        customers, labels, origin=ORIGIN, smallest_group=10, seed=1, methods=(K_MEANS, DENSITY)
    )


@pytest.fixture(scope="module")
def graded(shop):
    return grade(*shop)


def test_the_scorecard_keeps_its_contract_and_names_one_champion(graded):
    of = contract("clustering_scorecard")
    frame = of.conform(graded.scorecard.lazy()).collect()
    validate_frame(of, frame)
    assert frame.filter("is_champion")["method"].unique().to_list() == ["k_means"]
    assert frame.group_by("method").len()["len"].to_list() == [8, 8]


def test_what_was_planted_explains_what_is_spent(graded):
    row = graded.scorecard.row(
        by_predicate=(pl.col("method") == "k_means") & (pl.col("metric") == grading.PRIMARY), named=True
    )
    assert row["value"] >= 0.9
    assert row["low"] <= row["value"] <= row["high"]


def test_order_of_rows_changes_nothing(shop, graded):
    mixed = [table.sample(fraction=1.0, shuffle=True, seed=2) for table in shop]
    assert grade(*mixed).scorecard.equals(graded.scorecard)


def test_nobody_is_graded_without_labels(shop):
    nothing = grade(shop[0], shop[1].clear())
    assert nothing.scorecard.is_empty()
    assert grading.publication(nothing.scorecard) == grading.Publication(K_MEANS, None)


def test_a_worthless_division_explains_nothing_however_fine_it_is():
    generator = np.random.default_rng(3)
    spend = generator.normal(size=600)
    by_chance = generator.integers(0, 60, 600)
    assert grading.explained(spend, grading.foretell(by_chance, spend, seed=1)) < 0.02
    assert np.isnan(grading.explained(np.ones(5), np.ones(5)))


def test_a_customer_is_not_foretold_by_what_the_customer_spent():
    spend = np.zeros(50)
    spend[7] = 1000.0
    foretold = grading.foretell(np.zeros(50, dtype=int), spend, seed=1)
    assert foretold[7] == 0.0


def test_only_the_stable_with_few_left_out_may_challenge(graded):
    sound = graded.clusterings["k_means"]
    assert grading.may_challenge(sound)
    assert not grading.may_challenge(replace(sound, chosen=replace(sound.chosen, stability=0.89)))
    assert not grading.may_challenge(replace(sound, chosen=None))
    many_alone = np.where(np.arange(len(sound.labels)) % 4 == 0, NO_CLUSTER, sound.labels)
    assert not grading.may_challenge(replace(sound, labels=many_alone))


def test_an_unstable_method_is_never_published_however_much_it_explains(shop, monkeypatch):
    monkeypatch.setattr(grading, "may_challenge", lambda _: False)
    found = grade(*shop).scorecard
    assert found.filter("is_champion")["method"].unique().to_list() == ["k_means"]
    assert set(found["method"]) == {"k_means", "density"}
    assert grading.publication(found) == grading.Publication(K_MEANS, ORIGIN)
