import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from insight_assets.insights.churn.network import (
    ChurnNetwork,
    ChurnRows,
    NetworkSettings,
    join_features,
    read_events,
    train_churn_network,
)
from insight_assets.ml.sequences import JaggedEvents
from insight_assets.ml.training import CHECKPOINT, read_weights, write_weights
from insight_assets_tests.insights.churn.test_models import Evil

SETTINGS = NetworkSettings(kinds=5, width=8, product_buckets=9, category_buckets=3, batch_size=16)
EPOCHS = 5

RUN_UNTIL_KILLED = """
import os, signal, sys
from pathlib import Path
from insight_assets_tests.insights.churn.test_network import random_rows, train

def die_in_third_epoch(line):
    if line.startswith("epoch 3"):
        os.kill(os.getpid(), signal.SIGKILL)

train(random_rows(), Path(sys.argv[1]), log=die_in_third_epoch)
"""


def random_rows(rows: int = 120) -> ChurnRows:
    """Rows whose churn shows in the kind of their last event and in one feature."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, 12, rows)
    events = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    kinds = generator.integers(0, 5, events)
    features = generator.normal(size=(rows, 3)).astype(np.float32)
    last = np.where(lengths > 0, kinds[np.maximum(offsets[1:] - 1, 0)], 0)
    churned = (last >= 3) ^ (features[:, 0] > 1)
    return ChurnRows(
        events=JaggedEvents(
            offsets=offsets,
            kinds=kinds,
            products=generator.integers(0, 10, events),
            categories=generator.integers(0, 4, events),
            numbers=generator.normal(size=(events, 3)).astype(np.float32),
        ),
        features=features,
        churned=churned.astype(np.float32),
    )


def train(rows: ChurnRows, work: Path, **options):
    count = len(rows.churned)
    return train_churn_network(
        rows,
        **{
            "fit": np.arange(0, count * 3 // 4),
            "stop": np.arange(count * 3 // 4, count),
            "settings": SETTINGS,
            "max_epochs": EPOCHS,
            "seed": 7,
            "work_directory": work,
            "log": lambda line: None,
        }
        | options,
    )


def weights(network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same_weights(one, other) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(random_rows(), tmp_path_factory.mktemp("work"))


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, uninterrupted):
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN_UNTIL_KILLED, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
        capture_output=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    lines = []
    network, epochs = train(random_rows(), tmp_path, log=lines.append)
    assert lines[0] == f"going on from {CHECKPOINT}"
    # Killed before the third epoch was written: the first two are not run again.
    assert [line.split(":")[0] for line in lines[1:]] == [
        f"epoch {number} of at most {EPOCHS}" for number in (3, 4, 5)
    ]
    assert epochs == uninterrupted[1]
    assert_same_weights(network, uninterrupted[0])


def test_a_training_that_had_ended_is_not_run_again(tmp_path, uninterrupted):
    train(random_rows(), tmp_path)
    lines = []
    network, epochs = train(random_rows(), tmp_path, log=lines.append)
    assert lines == [f"going on from {CHECKPOINT}"]
    assert epochs == uninterrupted[1]
    assert_same_weights(network, uninterrupted[0])


def test_a_training_that_got_no_better_is_not_taken_up_again(tmp_path):
    hopeless = NetworkSettings(**vars(SETTINGS) | {"learning_rate": 0.0, "patience": 1})
    _, first = train(random_rows(), tmp_path, settings=hopeless)
    assert len(first) == 2
    _, again = train(random_rows(), tmp_path, settings=hopeless)
    assert again == first


def test_other_rows_or_seeds_begin_anew(tmp_path, uninterrupted):
    train(random_rows(), tmp_path)
    lines = []
    network, _ = train(random_rows(), tmp_path, seed=8, log=lines.append)
    assert lines[0].startswith("epoch 1 ")
    assert not torch.equal(network.number.weight, uninterrupted[0].number.weight)


def test_the_checkpoint_holds_values_only(tmp_path):
    train(random_rows(), tmp_path, max_epochs=1)
    (checkpoint,) = tmp_path.rglob(CHECKPOINT)
    state = torch.load(checkpoint, weights_only=True)
    assert "state_dict" in state


def test_a_pickle_in_place_of_the_checkpoint_is_put_aside_and_not_run(tmp_path, uninterrupted):
    train(random_rows(), tmp_path, max_epochs=EPOCHS)
    (checkpoint,) = tmp_path.rglob(CHECKPOINT)
    marker = tmp_path / "ran"
    checkpoint.write_bytes(pickle.dumps(Evil(marker)))
    lines = []
    network, _ = train(random_rows(), tmp_path, log=lines.append)
    assert "training begins anew" in lines[0]
    assert not marker.exists()
    assert_same_weights(network, uninterrupted[0])


def test_the_best_epoch_is_kept(tmp_path):
    rows = random_rows()
    settings = NetworkSettings(**vars(SETTINGS) | {"learning_rate": 0.05, "patience": 20})
    network, epochs = train(rows, tmp_path, settings=settings, max_epochs=12)
    stop = np.arange(90, 120)
    log_odds = join_features(network, read_events(network, rows.events), rows.features)[stop]
    loss = np.mean(np.logaddexp(0, log_odds) - rows.churned[stop] * log_odds)
    assert loss == pytest.approx(min(epoch.validation_loss for epoch in epochs), abs=1e-5)


def test_weights_survive_their_file(tmp_path, uninterrupted):
    write_weights(uninterrupted[0], tmp_path / "network.safetensors")
    again = read_weights(ChurnNetwork(SETTINGS, features=3), tmp_path / "network.safetensors")
    assert_same_weights(again, uninterrupted[0])


def test_a_row_is_read_alike_in_any_company(uninterrupted):
    rows, (network, _) = random_rows(), uninterrupted
    together = read_events(network, rows.events)
    for row in (0, 17, int(np.argmin(rows.events.lengths))):
        own = slice(rows.events.offsets[row], rows.events.offsets[row + 1])
        alone = JaggedEvents(
            offsets=np.array([0, rows.events.lengths[row]]),
            kinds=rows.events.kinds[own],
            products=rows.events.products[own],
            categories=rows.events.categories[own],
            numbers=rows.events.numbers[own],
        )
        assert np.allclose(read_events(network, alone)[0], together[row], atol=1e-5)


def test_the_network_learns_from_events_what_no_feature_tells(tmp_path):
    rows = random_rows(1_500)
    settings = NetworkSettings(**vars(SETTINGS) | {"learning_rate": 0.01, "dropout": 0.0})
    network, _ = train(rows, tmp_path, settings=settings, max_epochs=8)
    log_odds = join_features(network, read_events(network, rows.events), rows.features)
    apart = np.arange(1_125, 1_500)
    foretold = (log_odds[apart] > 0) == rows.churned[apart].astype(bool)
    assert foretold.mean() > 0.85
