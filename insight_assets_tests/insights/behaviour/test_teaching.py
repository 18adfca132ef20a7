"""The encoder of a shop: the same whatever the order of rows, and kept as files that run nothing."""

from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from insight_assets.features.sequences import BOUGHT
from insight_assets.insights.behaviour import model_files
from insight_assets.insights.behaviour.product_vectors import load_product_vectors
from insight_assets.insights.behaviour.teaching import end_of_day, read_behaviour, teach
from insight_assets.ml.behaviour.pretraining import KIND, PretrainedEncoder
from insight_assets.ml.model_store import ModelDamaged, open_model, write_model
from insight_assets.ml.training import DeviceTooSmallError

AS_OF = date(2025, 2, 28)
DAY = 86_400
START = 1_735_689_600
DESCRIBED = pl.DataFrame(
    {
        "product_id": [f"p{n}" for n in range(8)],
        "category": ["light", "home"] * 4,
        "brand": ["Own", None] * 4,
        "price": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 7.0],
    }
)


def sequences(customers=40, *, days=58, seed=3):
    generator = np.random.default_rng(seed)
    rows = []
    for customer in range(customers):
        times = np.sort(generator.integers(START, START + days * DAY, generator.integers(2, 12)))
        kinds = np.where(generator.random(len(times)) < 0.3, BOUGHT, 4)
        products = [f"p{n}" for n in generator.integers(0, 6, len(times))]
        values = generator.integers(1, 6, len(times)).astype(float)
        rows.append((customer, kinds.tolist(), times.tolist(), products, [None] * len(times), values.tolist()))
    lists = {"kinds": pl.Int16, "times": pl.Int64, "products": pl.String, "categories": pl.String, "values": pl.Float32}
    schema = {"customer_key": pl.Int64} | {name: pl.List(dtype) for name, dtype in lists.items()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def taught(told, folder, **changed):
    arguments = {"size": "XS", "most_tokens": 10_000, "batch_tokens": 2_048, "max_epochs": 2, "seed": 1}
    arguments |= {"log": lambda _: None} | changed
    return teach(
        told, DESCRIBED, as_of=AS_OF, horizon_days=20, timezone="Europe/Berlin", work_directory=folder, **arguments
    )


def weights(behaviour):
    return behaviour.network.state_dict()


def test_an_encoder_comes_back_from_its_files_and_holds_no_customer(tmp_path):
    told = sequences().with_columns(pl.col("customer_key") + 8_765_432_109_000)
    behaviour = taught(told, tmp_path / "work")
    with write_model(tmp_path / "model") as directory:
        model_files.save(behaviour, directory)
    folder = open_model(tmp_path / "model")[0]
    found = model_files.load(folder)
    assert found.vocabulary == behaviour.vocabulary
    assert found.taught == behaviour.taught
    assert (found.customers, found.events) == (40, told["kinds"].list.len().sum())
    np.testing.assert_array_equal(read_behaviour(found, told), read_behaviour(behaviour, told))
    of_products = load_product_vectors(folder, version="0123456789ab")
    assert of_products.products == tuple(f"p{n}" for n in range(8))
    np.testing.assert_allclose(np.linalg.norm(of_products.vectors, axis=1), 1.0, rtol=1e-5)
    assert "8765432109" not in (folder / "config.json").read_text(encoding="utf-8")


def test_changed_weights_are_refused(tmp_path):
    with write_model(tmp_path / "model") as directory:
        model_files.save(taught(sequences(5), tmp_path / "work", max_epochs=1), directory)
    path = open_model(tmp_path / "model")[0] / model_files.WEIGHTS
    spoilt = bytearray(path.read_bytes())
    spoilt[-5] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(spoilt))
    with pytest.raises(ModelDamaged):
        open_model(tmp_path / "model")


def small_device(monkeypatch, *, tokens, from_step=0):
    """Let the device hold so many tokens while it learns, from a step of the training on."""
    steps, real = [0], PretrainedEncoder.joint_loss

    def loss(network, batch):
        steps[0] += 1
        if steps[0] > from_step and len(batch[KIND]) > tokens:
            message = "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation"
            raise torch.OutOfMemoryError(message)
        return real(network, batch)

    monkeypatch.setattr(PretrainedEncoder, "joint_loss", loss)


# At once, in the second pass up to the window, and in the one over everything: checkpoints of larger batches lie about.
@pytest.mark.parametrize("from_step", [0, 1, 2])
def test_batches_that_do_not_fit_are_halved_to_what_smaller_ones_give(tmp_path, monkeypatch, from_step):
    told, lines = sequences(200), []
    right = taught(told, tmp_path / "right", batch_tokens=250)
    small_device(monkeypatch, tokens=250, from_step=from_step)
    found = taught(told, tmp_path / "found", batch_tokens=1_000, log=lines.append)
    spoken = [line for line in lines if "does not hold" in line]
    assert len(spoken) == 2
    assert "a batch of 1,000 events (CUDA out of memory. Tried to allocate 2.00 GiB.)" in spoken[0]
    assert "begins anew with 250. Next: set INSIGHT_ENCODER_BATCH=250" in spoken[1]
    assert not any("going on from" in line for line in lines)
    assert found.learning == right.learning
    assert found.taught == right.taught
    hashes = []
    for behaviour in (right, found):
        with write_model(tmp_path / "model") as directory:
            model_files.save(behaviour, directory)
        hashes.append(open_model(tmp_path / "model")[1].content_hash)
    assert hashes[0] == hashes[1]


def test_a_killed_training_by_smaller_batches_goes_on_by_them(tmp_path, monkeypatch):
    told, lines, steps = sequences(200), [], [0]
    right = taught(told, tmp_path / "right", batch_tokens=250)
    small_device(monkeypatch, tokens=250)
    limited = PretrainedEncoder.joint_loss

    class Killed(BaseException):
        pass

    def killed(network, batch):
        steps[0] += 1
        if steps[0] == 7:
            raise Killed
        return limited(network, batch)

    monkeypatch.setattr(PretrainedEncoder, "joint_loss", killed)
    with pytest.raises(Killed):
        taught(told, tmp_path / "killed", batch_tokens=500)
    found = taught(told, tmp_path / "killed", batch_tokens=500, log=lines.append)
    assert ["does not hold" in line for line in lines[:2]] == [True, False]
    assert lines[1] == "going on from last.ckpt"
    for name, value in weights(right).items():
        assert torch.equal(value, weights(found)[name]), name


def test_a_device_that_does_not_hold_the_longest_sequence_ends_the_training(tmp_path, monkeypatch):
    small_device(monkeypatch, tokens=0)
    lines = []
    with pytest.raises(DeviceTooSmallError, match="a batch of 128 events.*a device with more memory"):
        taught(sequences(20), tmp_path, batch_tokens=300, log=lines.append)
    assert ["150" in lines[0], "128" in lines[1], len(lines)] == [True, True, 2]


def test_the_order_of_rows_changes_neither_weights_nor_vectors(tmp_path):
    told = sequences()
    mixed = told.sample(fraction=1, shuffle=True, seed=1)
    one, other = taught(told, tmp_path / "one"), taught(mixed, tmp_path / "other")
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    by_key = mixed["customer_key"].arg_sort().to_numpy()
    np.testing.assert_array_equal(read_behaviour(other, mixed)[by_key], read_behaviour(one, told))


def test_products_without_a_contact_are_told_apart_by_what_they_are_like(tmp_path):
    behaviour = taught(sequences(), tmp_path)
    with torch.no_grad():
        behaviour.network.encoder.embeddings["item"].weight.zero_()
    vectors = behaviour.network.encoder.products()
    # p6 and p7 were never seen; p6 is of the category, brand and price of p4.
    code = {product: number for number, product in enumerate(behaviour.vocabulary.products, start=1)}
    assert torch.equal(vectors[code["p6"]], vectors[code["p4"]])
    assert not torch.allclose(vectors[code["p6"]], vectors[code["p7"]])


def test_of_too_many_events_whole_customers_are_read_and_at_least_one(tmp_path):
    told = sequences()
    lengths = told["kinds"].list.len().to_numpy()
    some = taught(told, tmp_path / "some", most_tokens=int(lengths[:10].sum()) + 1, max_epochs=1)
    assert (some.customers, some.events) == (10, lengths[:10].sum())
    assert taught(told, tmp_path / "one", most_tokens=1, max_epochs=1).customers == 1


def test_one_customer_with_a_great_many_events_of_one_product_is_read_by_the_last_of_them(tmp_path):
    count = 200_000
    lists = {"kinds": [BOUGHT] * count, "times": np.linspace(START, START + 58 * DAY, count).astype(int).tolist()}
    lists |= {"products": ["p0"] * count, "categories": [None] * count, "values": [1.0] * count}
    row = {"customer_key": [1], **{name: [of] for name, of in lists.items()}}
    one = pl.DataFrame(row, schema=sequences(0).schema)
    behaviour = taught(one, tmp_path, max_epochs=1)
    assert (behaviour.customers, behaviour.events) == (1, behaviour.settings.positions)
    last = one.with_columns(pl.col("kinds", "times", "products", "categories", "values").list.tail(129))
    np.testing.assert_allclose(read_behaviour(behaviour, one), read_behaviour(behaviour, last), atol=1e-6)


def test_a_shop_without_events_has_an_untaught_encoder(tmp_path):
    nobody = sequences(0)
    behaviour = taught(nobody, tmp_path / "work")
    assert behaviour.taught.passes_over_all == 0
    assert read_behaviour(behaviour, nobody).shape == (0, 64)
    with write_model(tmp_path / "model") as directory:
        model_files.save(behaviour, directory)
    assert len(model_files.load(open_model(tmp_path / "model")[0]).vocabulary.products) == 8


def test_a_day_ends_by_the_clock_of_the_shop():
    assert end_of_day(date(2025, 1, 1), "UTC") == START + DAY - 1
    assert end_of_day(date(2025, 1, 1), "Asia/Shanghai") == START + DAY - 1 - 8 * 3_600
    # A day of 23 hours.
    assert end_of_day(date(2025, 3, 30), "Europe/Berlin") - end_of_day(date(2025, 3, 29), "Europe/Berlin") == 23 * 3_600
