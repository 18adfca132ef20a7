"""Chances of orders by the encoder, and what is said for them."""

import numpy as np
import polars as pl

from insight_assets.features.vocabulary import event_kinds
from insight_assets.insights.behaviour.orders import (
    EFFECTS,
    ORDER_CHANCE,
    STORIES,
    foretell_orders,
    with_order_chances,
)
from insight_assets.insights.behaviour.teaching import end_of_day, read_behaviour
from insight_assets.ml.behaviour.pretraining import order_chances
from insight_assets_tests.insights.behaviour.test_teaching import AS_OF, sequences, taught

ZONE = "Europe/Berlin"


def foretold(behaviour, told, *, horizon_days=45):
    hidden = read_behaviour(behaviour, told)
    return foretell_orders(behaviour, told, hidden, as_of=AS_OF, timezone=ZONE, horizon_days=horizon_days)


def test_every_kind_of_event_speaks_in_one_story():
    assert sorted(kind for kinds in STORIES.values() for kind in kinds) == sorted(event_kinds())


def test_chances_are_those_of_the_encoder_and_grow_with_the_days(tmp_path):
    told = sequences(60)
    behaviour = taught(told, tmp_path)
    found = foretold(behaviour, told)
    asked = {"until": end_of_day(AS_OF, ZONE), "horizons": (7, 30, 45)}
    chances = order_chances(behaviour.network, behaviour.vocabulary.tokens(told), **asked)
    columns = (f"{ORDER_CHANCE}_7d", f"{ORDER_CHANCE}_30d", ORDER_CHANCE)
    for name, days in zip(columns, asked["horizons"], strict=True):
        np.testing.assert_allclose(found[name].to_numpy(), chances[days], atol=1e-6)
    week, month, horizon = (found[name] for name in columns)
    assert ((week < month) & (month < horizon)).all()
    assert found.columns == [*columns, *EFFECTS]
    # Nothing but views and purchases was ever seen here.
    assert not found.select("effect_of_carts", "effect_of_service").to_numpy().any()
    for name in ("effect_of_visits", "effect_of_purchases", "effect_of_pauses", "effect_of_silence"):
        assert found[name].n_unique() > 30


def test_nobody_is_foretold_nothing(tmp_path):
    told = sequences(60)
    behaviour = taught(told, tmp_path)
    assert foretold(behaviour, told.clear()).is_empty()


def test_chances_stand_beside_features_of_the_same_customer_and_horizon():
    features = pl.LazyFrame({"customer_key": [3, 1, 2]})
    told = dict.fromkeys(EFFECTS, 0.5)
    vectors = pl.LazyFrame(
        {"customer_key": [1, 3], "horizon_days": [30, 30], ORDER_CHANCE: [0.1, 0.3]}
        | {name: [value, value] for name, value in told.items()}
    )
    joined = with_order_chances(features, vectors, horizon_days=30)
    assert joined["customer_key"].to_list() == [3, 1, 2]
    assert joined[ORDER_CHANCE].to_list() == [0.3, 0.1, None]
    assert with_order_chances(features, vectors, horizon_days=60)[ORDER_CHANCE].null_count() == 3
