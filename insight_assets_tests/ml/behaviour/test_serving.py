"""An exported encoder says of every customer what the network says, whoever else is read, and without torch."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason='ONNX is not installed: pip install "insight-assets[serving]"')
pytest.importorskip("onnxscript", reason='ONNX is not installed: pip install "insight-assets[serving]"')

from insight_assets.ml.behaviour import export
from insight_assets.ml.behaviour.encoder import CONVOLUTIONAL, EncoderSettings
from insight_assets.ml.behaviour.learning import last_hidden
from insight_assets.ml.behaviour.pretraining import PretrainedEncoder, order_chances
from insight_assets.ml.behaviour.serving import LENGTHS, ServedEncoder, dense_fields
from insight_assets.ml.behaviour.tokens import ITEM, Tokens

DAY = 86_400
UNTIL = 60 * DAY
FIELDS = {"kind": 3, ITEM: 13, "item_price": 4, "price": 4, "pause": 5}
SETTINGS = EncoderSettings(fields=FIELDS, width=16, layers=2, heads=2, positions=16, dropout=0.2, rotary=True)
HORIZONS = (1, 7, 30)


def drawn(lengths, *, seed=0) -> Tokens:
    generator = np.random.default_rng(seed)
    count, offsets = sum(lengths), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    read = [name for name in FIELDS if not name.startswith("item_")]
    fields = {name: generator.integers(0, FIELDS[name], count) for name in read}
    times = [np.sort(generator.integers(0, UNTIL, length)) for length in lengths]
    return Tokens(offsets, fields, np.concatenate([np.zeros(0, dtype=np.int64), *times]))


@pytest.fixture(scope="module")
def network() -> PretrainedEncoder:
    torch.manual_seed(3)
    traits = {"item_price": torch.randint(0, 4, (FIELDS[ITEM],))}
    network = PretrainedEncoder(SETTINGS, traits, sharpness=12.0, negatives=0).eval()
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    return network


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "encoder.onnx"
    export.write_onnx(network, path)
    return path


@pytest.fixture(scope="module")
def served(path) -> ServedEncoder:
    return ServedEncoder(path, positions=SETTINGS.positions)


def assert_the_same(served, network, tokens):
    read = served.read(tokens, until=UNTIL, horizons=HORIZONS)
    np.testing.assert_allclose(read.vectors, last_hidden(network.encoder, tokens).numpy(), atol=1e-5)
    chances = order_chances(network, tokens, until=UNTIL, horizons=HORIZONS)
    assert list(read.chances) == list(chances)
    for days, chance in chances.items():
        np.testing.assert_allclose(read.chances[days], chance, atol=1e-5)
    return read


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[1], [16], [40], [1, 1], [3, 1, 16, 0, 40, 2], [0], [], [5] * 7])
def test_an_exported_encoder_says_what_the_network_says(served, network, lengths):
    assert_the_same(served, network, drawn(lengths, seed=len(lengths)))


@pytest.mark.slow
def test_a_customer_is_read_alike_alone_and_among_many(served, network):
    lengths = np.random.default_rng(1).integers(0, 30, 3_000)
    tokens = drawn(lengths, seed=2)
    together = assert_the_same(served, network, tokens)
    for row in (int(lengths.argmax()), int(lengths.argmin()), 5, 2_999):
        alone = assert_the_same(served, network, tokens.take(np.array([row])))
        np.testing.assert_allclose(alone.vectors[0], together.vectors[row], atol=1e-5)


@pytest.mark.slow
def test_what_stands_after_the_last_token_does_not_matter(path, network):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    laid = dense_fields(drawn([2, 9], seed=4), np.array([0, 1]))
    asked = laid | {"since": np.zeros(2, dtype=np.float32), "within": np.ones(1, dtype=np.float32)}
    there = np.arange(9) < laid[LENGTHS][:, None]
    filled = {name: np.where(there, of, 2) for name, of in laid.items() if name != LENGTHS}
    for one, other in zip(session.run(None, asked), session.run(None, asked | filled), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_an_event_later_than_the_moment_asked_about_is_refused(served):
    tokens = drawn([3, 4])
    with pytest.raises(ValueError, match="later than the moment"):
        served.read(tokens, until=int(tokens.times.max()) - 1, horizons=HORIZONS)


@pytest.mark.slow
def test_the_same_weights_give_the_same_bytes_and_no_place_of_a_machine(path, network, tmp_path):
    export.write_onnx(network, tmp_path / "again.onnx")
    written = path.read_bytes()
    assert (tmp_path / "again.onnx").read_bytes() == written
    assert b".py" not in written
    assert b"stack_trace" not in written


def test_tokens_are_laid_out_from_the_left():
    tokens = drawn([2, 0, 3])
    laid = dense_fields(tokens, np.array([2, 0]))
    assert laid[LENGTHS].tolist() == [3, 2]
    assert laid[ITEM].tolist() == [tokens.fields[ITEM][2:].tolist(), [*tokens.fields[ITEM][:2].tolist(), 0]]


def test_what_cannot_be_exported_is_refused(network, tmp_path, monkeypatch):
    other = PretrainedEncoder(replace(SETTINGS, blocks=CONVOLUTIONAL), None, sharpness=12.0, negatives=0)
    with pytest.raises(ValueError, match="'cnn' are not exported"):
        export.write_onnx(other, tmp_path / "encoder.onnx")
    monkeypatch.setattr(export, "MOST_BYTES", 1_000)
    with pytest.raises(ValueError, match="do not fit"):
        export.write_onnx(network, tmp_path / "encoder.onnx")
    monkeypatch.setattr(export, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(export.ExportNotInstalledError, match=r"no_such_package not installed.*\[serving\]"):
        export.write_onnx(network, tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


def test_who_serves_needs_no_torch():
    probe = "import sys; import insight_assets.insights.behaviour.served_files as f; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
