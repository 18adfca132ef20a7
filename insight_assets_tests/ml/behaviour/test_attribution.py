"""What moves the chance of an order is shared out whole, and to what it came from alone."""

import numpy as np
import pytest
import torch

from insight_assets.ml.behaviour import attribution
from insight_assets.ml.behaviour.attribution import order_effects
from insight_assets.ml.behaviour.encoder import PackedLayout
from insight_assets.ml.behaviour.learning import batch_of
from insight_assets.ml.behaviour.packing import pack
from insight_assets.ml.behaviour.pretraining import NEXT_ORDER, PretrainedEncoder, order_chances, silence_of
from insight_assets.ml.behaviour.tokens import Tokens
from insight_assets_tests.ml.behaviour.test_pretraining import DAY, SMALL, a_shop

UNTIL, WITHIN = 80 * DAY, 30
GROUPS = np.array([0, 0, 1])
SILENCE, PAUSES = -1, -2


def a_network(*, seed=5):
    """An untaught network whose answers depend on what it reads."""
    torch.manual_seed(seed)
    network = PretrainedEncoder(SMALL, None, sharpness=12.0, negatives=0).eval()
    hazard = network.hazards[NEXT_ORDER]
    hazard.start_from(np.linspace(-3, -1, len(hazard.starts)).astype(np.float32))
    with torch.no_grad():
        hazard.layer.weight.normal_(std=0.2)
        for embedding in network.encoder.embeddings.values():
            embedding.weight.normal_(std=0.5)
    return network


def with_pauses(tokens, *, seed=1):
    pauses = np.random.default_rng(seed).integers(0, 5, tokens.offsets[-1])
    return Tokens(tokens.offsets, dict(tokens.fields) | {"pause": pauses}, tokens.times)


def log_odds(network, tokens):
    chance = order_chances(network, tokens, until=UNTIL, horizons=(WITHIN,))[WITHIN].astype(np.float64)
    return np.log(chance / (1 - chance))


def effects_of(network, tokens):
    return order_effects(network, tokens, until=UNTIL, within=WITHIN, groups=GROUPS)


def from_typical(network, tokens):
    """Log-odds of customers with as many events as each of these, all of them typical, and typical silence."""
    start, _ = attribution._typical(network.encoder, tokens)
    packing = pack(tokens.offsets, np.arange(len(tokens.lengths)))
    batch = batch_of(tokens.fields, packing)
    layout = PackedLayout(batch["from_end"], tuple(batch["shapes"]), tuple(batch["places"]))
    silence = torch.full((len(tokens.lengths),), float(np.median(silence_of(tokens, UNTIL))))
    hazard, found = network.hazards[NEXT_ORDER], np.empty(len(tokens.lengths))
    with torch.no_grad():
        hidden = network.encoder.read(start.expand(int(tokens.offsets[-1]), -1).contiguous(), layout)
        found[packing.rows] = hazard.log_odds(hazard(hidden[layout.from_end == 0]), silence, WITHIN)
    return found


def test_effects_add_up_to_the_whole_change(monkeypatch):
    network, tokens = a_network(), with_pauses(a_shop(60, seed=2))
    change = log_odds(network, tokens) - from_typical(network, tokens)
    few = np.abs(effects_of(network, tokens).sum(axis=1) - change)
    assert np.median(few) < 0.05 * change.std()
    monkeypatch.setattr(attribution, "STEPS", 64)
    many = np.abs(effects_of(network, tokens).sum(axis=1) - change)
    assert many.max() < 0.05 * change.std()


def test_a_network_that_reads_nothing_is_moved_by_silence_alone():
    network, tokens = a_network(), with_pauses(a_shop(30, seed=3))
    with torch.no_grad():
        network.hazards[NEXT_ORDER].layer.weight.zero_()
    effects, silence = effects_of(network, tokens), silence_of(tokens, UNTIL)
    assert not effects[:, :SILENCE].any()
    assert effects[silence == np.median(silence), SILENCE] == pytest.approx(0, abs=1e-6)
    assert len(np.unique(effects[silence != np.median(silence), SILENCE])) > 10


@pytest.mark.parametrize(("field", "column"), [("kind", slice(0, 2)), ("pause", slice(2, 3))])
def test_what_is_the_same_in_all_events_has_no_effect(field, column):
    network, tokens = a_network(), with_pauses(a_shop(30, seed=4))
    with torch.no_grad():
        for name, embedding in network.encoder.embeddings.items():
            if name != field:
                embedding.weight[:] = embedding.weight[0]
    effects = effects_of(network, tokens)
    moved = np.zeros(effects.shape[1], dtype=bool)
    moved[column] = moved[SILENCE] = True
    assert np.allclose(effects[:, ~moved], 0, atol=1e-5)
    assert (np.abs(effects[:, column]).max(axis=0) > 0.01).all()


def test_the_order_of_customers_changes_nothing_and_those_without_events_have_no_effect():
    network, tokens = a_network(), with_pauses(a_shop(20, seed=5))
    backwards = np.arange(20)[::-1]
    there, back = effects_of(network, tokens), effects_of(network, tokens.take(backwards))
    np.testing.assert_allclose(there[backwards], back, atol=1e-5)
    offsets = np.concatenate([tokens.offsets, tokens.offsets[-1:]])
    one_more = effects_of(network, Tokens(offsets, tokens.fields, tokens.times))
    np.testing.assert_array_equal(one_more[:-1], there)
    assert not one_more[-1].any()
    assert effects_of(network, tokens.take(np.arange(0))).shape == (0, 4)
