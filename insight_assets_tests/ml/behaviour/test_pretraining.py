"""The encoder is asked for what came next and for nothing else, knows nothing of what came later, and learns order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.ml import training
from insight_assets.ml.behaviour.encoder import EncoderSettings
from insight_assets.ml.behaviour.hazard import DAYS, Hazard, marginal_odds
from insight_assets.ml.behaviour.learning import LearningSettings, batch_of, last_hidden, read_batch
from insight_assets.ml.behaviour.packing import pack
from insight_assets.ml.behaviour.pretraining import (
    AMOUNT,
    BEFORE_WINDOW,
    KIND,
    NEW_PURCHASE,
    NEXT_EVENT,
    NEXT_ORDER,
    NEXT_PRODUCT,
    OVER_ALL,
    PretrainedEncoder,
    order_chances,
    pretrain,
    targets_of,
)
from insight_assets.ml.behaviour.tokens import ITEM, Tokens
from insight_assets.ml.training import TrainingDivergedError

DAY = 86_400
VIEW, BOUGHT = 1, 2
FIELDS = {"kind": 3, ITEM: 13, "price": 4, "pause": 5}
SMALL = EncoderSettings(fields=FIELDS, width=16, layers=2, heads=2, positions=16, dropout=0.0, rotary=True)
QUICK = LearningSettings(tokens=256, learning_rate=1e-2, patience=3)


def sequences(*customers):
    """Tokens of customers, each a list of (kind, item, price, day)."""
    flat = [event for events in customers for event in events]
    kind, item, price, day = (np.array([event[place] for event in flat]) for place in range(4))
    lengths = [len(events) for events in customers]
    fields = {"kind": kind.astype(np.int64), ITEM: item.astype(np.int64), "price": price.astype(np.int64)}
    fields["pause"] = np.zeros(len(flat), dtype=np.int64)
    return Tokens(np.concatenate([[0], np.cumsum(lengths)]), fields, (day * DAY).astype(np.int64))


def a_shop(customers, *, seed, events=14):
    """Customers at random, whose tokens lie in the order of time."""
    generator = np.random.default_rng(seed)
    return sequences(
        *[
            [
                (generator.integers(1, 3), generator.integers(0, 13), generator.integers(0, 4), day)
                for day in np.sort(generator.integers(0, 60, generator.integers(1, events)))
            ]
            for _ in range(customers)
        ]
    )


def test_after_each_token_is_asked_what_came():
    tokens = sequences(
        [(VIEW, 1, 1, 0), (VIEW, 0, 0, 2), (BOUGHT, 1, 2, 5), (BOUGHT, 3, 3, 5), (VIEW, 4, 0, 6), (BOUGHT, 1, 1, 9)],
        [(VIEW, 5, 0, 1)],
    )
    asked = targets_of(tokens, bought=BOUGHT, until=10 * DAY, seed=1)
    assert asked[KIND].tolist() == [VIEW, BOUGHT, BOUGHT, VIEW, BOUGHT, 0, 0]
    assert asked[NEXT_PRODUCT].tolist() == [0, 1, 3, 4, 1, 0, 0]
    assert asked[AMOUNT].tolist() == [0, 2, 3, 0, 1, 0, 0]
    # Of the first order one product is drawn; the last order holds nothing new.
    assert set(asked[NEW_PURCHASE][:2]) <= {1, 3}
    assert asked[NEW_PURCHASE][2:].tolist() == [0] * 5
    drawn = [targets_of(tokens, bought=BOUGHT, until=10 * DAY, seed=n)[NEW_PURCHASE][0] for n in range(20)]
    assert set(drawn) == {1, 3}
    assert asked[f"{NEXT_EVENT}_days"].tolist() == [2, 3, 0, 1, 3, 1, 9]
    assert asked[f"{NEXT_EVENT}_came"].tolist() == [True] * 5 + [False] * 2
    assert asked[f"{NEXT_ORDER}_days"].tolist() == [5, 3, 4, 4, 3, 1, 9]
    assert asked[f"{NEXT_ORDER}_came"].tolist() == [True] * 5 + [False] * 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_asked_of_a_customer_does_not_depend_on_others(seed):
    tokens = a_shop(5, seed=seed)
    whole = targets_of(tokens, bought=BOUGHT, until=60 * DAY, seed=1)
    for row in range(5):
        alone = targets_of(tokens.take(np.array([row])), bought=BOUGHT, until=60 * DAY, seed=1)
        mine = slice(tokens.offsets[row], tokens.offsets[row + 1])
        for name, of in alone.items():
            if name != NEW_PURCHASE:
                np.testing.assert_array_equal(whole[name][mine], of, err_msg=name)
        # Which new product of an order is drawn is chance; whether one is asked for is not.
        np.testing.assert_array_equal(whole[NEW_PURCHASE][mine] > 0, alone[NEW_PURCHASE] > 0)


def test_chances_follow_from_how_often_it_happened_among_those_at_risk():
    generator = np.random.default_rng(3)
    waits = generator.exponential(20.0, 40_000)
    seen = generator.uniform(0, 60, 40_000)
    happened, days = waits <= seen, np.minimum(waits, seen)
    odds = torch.from_numpy(marginal_odds(days, happened)).expand(1, -1)
    hazard = Hazard(1)
    for since, within in ((0.0, 7.0), (0.0, 30.0), (10.0, 20.0), (3.3, 12.9)):
        told = hazard.chance(odds, torch.tensor([since]), within).item()
        assert told == pytest.approx(-np.expm1(-within / 20.0), abs=0.012), (since, within)
    # No other odds explain what came better.
    days, happened = torch.from_numpy(days.astype(np.float32)), torch.from_numpy(happened)
    best = hazard.loss(odds.expand(len(days), -1), days, happened).mean()
    for span in range(4, len(DAYS) - 8):
        for shift in (-0.1, 0.1):
            other = odds.clone()
            other[0, span] += shift
            assert hazard.loss(other.expand(len(days), -1), days, happened).mean() > best


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 400), st.floats(0.01, 300), st.floats(0.01, 300), st.integers(0, 1000))
def test_chances_of_spans_in_a_row_multiply(since, first, then, seed):
    hazard = Hazard(1)
    odds = torch.from_numpy(np.random.default_rng(seed).normal(-2, 1, (1, len(DAYS)))).float()
    at = torch.tensor([since])
    both = 1 - hazard.chance(odds, at, first + then).item()
    one, other = (1 - hazard.chance(odds, of, within).item() for of, within in ((at, first), (at + first, then)))
    assert both == pytest.approx(one * other, abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_a_customer_is_read_alike_alone_and_among_others_and_whatever_came_later(seed):
    torch.manual_seed(seed)
    network = PretrainedEncoder(SMALL, None, sharpness=12.0, negatives=0).eval()
    tokens = a_shop(6, seed=seed)
    for head in network.hazards.values():
        torch.nn.init.normal_(head.layer.weight)
    asked = {"until": 60 * DAY, "horizons": (7, 30)}
    vectors = last_hidden(network.encoder, tokens).numpy()
    chances = {task: order_chances(network, tokens, task=task, **asked) for task in (NEXT_ORDER, NEXT_EVENT)}
    for row in range(6):
        alone = tokens.take(np.array([row]))
        np.testing.assert_allclose(vectors[row], last_hidden(network.encoder, alone).numpy()[0], atol=1e-5)
        for task, of in chances.items():
            for days, chance in order_chances(network, alone, task=task, **asked).items():
                assert of[days][row] == pytest.approx(chance[0], abs=1e-5)
    # The vector as of day 30 is the same whether or not more is known: places do not tell how much is still to come.
    past = tokens.until(30 * DAY)
    packing = pack(tokens.offsets, np.arange(6))
    with torch.inference_mode():
        hidden = read_batch(network.encoder, batch_of(tokens.fields, packing)).numpy()
    early = last_hidden(network.encoder, past).numpy()
    for row in np.flatnonzero(past.lengths):
        place = tokens.offsets[row] + past.lengths[row] - 1
        np.testing.assert_allclose(hidden[np.flatnonzero(packing.tokens == place)[0]], early[row], atol=1e-5)


def test_places_from_the_end_are_refused_where_times_are_foretold():
    with pytest.raises(ValueError, match="still to come"):
        PretrainedEncoder(replace(SMALL, rotary=False), None, sharpness=12.0, negatives=0)


def patterned(customers, *, seed, shuffled=False):
    """Who looked at product p, then at q, buys p + 6 a day later; the order of the two decides."""
    generator = np.random.default_rng(seed)
    told = []
    for _ in range(customers):
        day, events = 0.0, []
        for _ in range(8):
            one, other = generator.choice(np.arange(1, 7), size=2, replace=False)
            looked = [one, other]
            if shuffled:
                generator.shuffle(looked)
            events += [(VIEW, looked[0], 1, day), (VIEW, looked[1], 1, day + 0.3), (BOUGHT, one + 6, 2, day + 1)]
            day += 9
        told.append(events)
    return sequences(*told).until(60 * DAY)


def taught(tokens, folder, **changed):
    arguments = {"settings": SMALL, "learning": QUICK, "max_epochs": 12, "seed": 5, "log": lambda _: None} | changed
    return pretrain(
        tokens, traits=None, bought=BOUGHT, calibrate_from=40 * DAY, until=60 * DAY, work_directory=folder, **arguments
    )


def test_order_is_learnt_and_shuffling_it_destroys_the_gain(tmp_path):
    left = {
        shuffled: taught(patterned(200, seed=1, shuffled=shuffled), tmp_path / str(shuffled))[1].left
        for shuffled in (False, True)
    }
    # Only the first of two products looked at says what is bought; without their order it is one of two.
    assert left[False][NEXT_PRODUCT] < 0.8 * left[True][NEXT_PRODUCT]
    assert left[False][KIND] < 0.1
    assert left[False][NEXT_EVENT] < 0.3


def test_the_same_events_give_the_same_weights(tmp_path):
    tokens = patterned(30, seed=2)
    weights = [taught(tokens, tmp_path / str(n), max_epochs=2)[0].state_dict() for n in range(2)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


@pytest.mark.parametrize("share", [0.35, 0.9])
def test_a_training_killed_before_or_after_the_window_comes_back_to_the_same_weights(tmp_path, monkeypatch, share):
    tokens = patterned(60, seed=2)
    steps, real = [0], PretrainedEncoder.joint_loss

    class Killed(BaseException):
        pass

    def counted(network, batch):
        steps[0] += 1
        if steps[0] == stop:
            raise Killed
        return real(network, batch)

    stop = 0
    monkeypatch.setattr(PretrainedEncoder, "joint_loss", counted)
    whole, how = taught(tokens, tmp_path / "whole", max_epochs=4)
    stop, steps[0] = int(share * steps[0]), 0
    with pytest.raises(Killed):
        taught(tokens, tmp_path / "killed", max_epochs=4)
    stop, told = 0, []
    again, how_again = taught(tokens, tmp_path / "killed", max_epochs=4, log=told.append)
    assert any("going on from" in line for line in told)
    assert how_again == how
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_who_watches_is_told_how_far_each_part_is_and_changes_nothing(tmp_path, monkeypatch):
    tokens, told = patterned(60, seed=2), []
    alone, how = taught(tokens, tmp_path / "alone", max_epochs=4)
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0)
    watched, _ = taught(tokens, tmp_path / "watched", max_epochs=4, watch=told.append)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    parts = {part: [each for each in told if each.part == part] for part in (BEFORE_WINDOW, OVER_ALL)}
    assert told == parts[BEFORE_WINDOW] + parts[OVER_ALL]
    for part, passes in ((BEFORE_WINDOW, 4), (OVER_ALL, how.passes_over_all)):
        made = [each.passes for each in parts[part]]
        assert made == sorted(set(made))
        assert (made[-1], parts[part][-1].most_passes, parts[part][-1].seconds_left) == (passes, passes, 0)
        assert all(each.rows_per_second > 0 and each.seconds_left >= 0 for each in parts[part])
    losses = [each.loss for each in parts[BEFORE_WINDOW]]
    # Told after each batch here; batches are of about as many tokens.
    assert np.mean(losses) == pytest.approx(np.mean([epoch.training_loss for epoch in how.epochs]), rel=0.05)


def test_who_watches_is_told_no_more_often_than_agreed(tmp_path, monkeypatch):
    seconds, told = [0.0], []

    def monotonic():
        seconds[0] += 3
        return seconds[0]

    monkeypatch.setattr(training.time, "monotonic", monotonic)
    taught(patterned(60, seed=2), tmp_path, max_epochs=4, watch=lambda _: told.append(seconds[0]))
    assert len(told) > 1
    assert np.diff(told).min() >= training.PROGRESS_SECONDS


def test_chances_of_an_order_are_those_that_come(tmp_path):
    """Customers differ in how often they order, which only their past tells."""
    generator = np.random.default_rng(4)
    told, rates = [], generator.choice([3.0, 12.0, 40.0], size=1500)
    for rate in rates:
        days = np.cumsum(generator.exponential(rate, 40))
        told.append([(BOUGHT, 1, 1, day) for day in np.concatenate([[0.0], days]) if day <= 90])
    tokens = sequences(*told)
    tokens = replace(tokens, fields=tokens.fields | {"pause": pauses(tokens)})
    network, _ = pretrain(
        tokens.until(60 * DAY), settings=replace(SMALL, positions=32), learning=replace(QUICK, tokens=1024),
        traits=None, bought=BOUGHT,
        calibrate_from=45 * DAY, until=60 * DAY, max_epochs=16, seed=1, work_directory=tmp_path, log=lambda _: None,
    )  # fmt: skip
    chance = order_chances(network, tokens.until(60 * DAY), until=60 * DAY, horizons=(10,))[10]
    later = np.repeat(np.arange(1500), tokens.lengths)[(tokens.times > 60 * DAY) & (tokens.times <= 70 * DAY)]
    came = np.isin(np.arange(1500), later)
    assert chance.mean() == pytest.approx(came.mean(), abs=0.04)
    oracle = -np.expm1(-10 / rates)
    assert np.corrcoef(chance, oracle)[0, 1] > 0.8


def pauses(tokens):
    days = np.diff(tokens.times, prepend=tokens.times[:1]) / DAY
    code = np.searchsorted([0, 2, 8, 25], days, side="right")
    code[tokens.offsets[:-1]] = 0
    return code.astype(np.int64)


def test_one_event_is_enough_and_none_leaves_an_untaught_encoder(tmp_path):
    network, how = taught(sequences([(VIEW, 1, 1, 3)]), tmp_path, max_epochs=1)
    assert how.passes_over_all == 1
    assert last_hidden(network.encoder, sequences([(VIEW, 1, 1, 3)])).isfinite().all()
    nothing = np.zeros(0, dtype=np.int64)
    nobody = Tokens(np.zeros(1, dtype=np.int64), dict.fromkeys(FIELDS, nothing), nothing)
    network, how = taught(nobody, tmp_path)
    assert how.passes_over_all == 0
    assert last_hidden(network.encoder, nobody).shape == (0, 16)
    assert order_chances(network, nobody, until=0, horizons=(7,))[7].shape == (0,)


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(TrainingDivergedError):
        taught(patterned(10, seed=1), tmp_path, learning=replace(QUICK, sharpness=float("nan")), max_epochs=2)
