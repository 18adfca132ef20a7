"""An exported encoder is opened only as it was written, and reads what shops send: also products it does not know."""

import json

import numpy as np
import polars as pl
import pytest

pytest.importorskip("onnxruntime", reason='ONNX is not installed: pip install "insight-assets[serving]"')
pytest.importorskip("onnxscript", reason='ONNX is not installed: pip install "insight-assets[serving]"')

from typer.testing import CliRunner

from insight_assets.cli import app
from insight_assets.insights.behaviour import model_files
from insight_assets.insights.behaviour.served_files import ENCODER, export, open_served
from insight_assets.insights.behaviour.teaching import end_of_day, read_behaviour
from insight_assets.ml.behaviour.pretraining import order_chances
from insight_assets.ml.model_store import ModelDamaged, open_model, write_model
from insight_assets_tests.insights.behaviour.test_teaching import AS_OF, sequences, taught

pytestmark = pytest.mark.slow
NOW = end_of_day(AS_OF, "UTC") + 3 * 86_400


@pytest.fixture(scope="module")
def behaviour(tmp_path_factory):
    return taught(sequences(), tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def place(behaviour, tmp_path_factory):
    place = tmp_path_factory.mktemp("served") / "behaviour_encoder" / AS_OF.isoformat()
    export(behaviour, place, version="0123456789ab")
    return place


def test_a_serving_process_reads_what_the_shop_reads(behaviour, place):
    told = pl.concat([sequences(seed=5), sequences(0)])
    first = told.row(0, named=True)
    unknown = {**first, "products": ["never seen"] * len(first["products"])}
    short = {name: of[:1] if isinstance(of, list) else of for name, of in first.items()}
    told = pl.concat([told, pl.DataFrame([unknown, short], schema=told.schema)])
    served = open_served(place)
    tokens = served.vocabulary.tokens(told)
    read = served.encoder.read(tokens, until=NOW, horizons=(7, 30))
    np.testing.assert_allclose(read.vectors, read_behaviour(behaviour, told), atol=1e-5)
    for days, chance in order_chances(behaviour.network, tokens, until=NOW, horizons=(7, 30)).items():
        np.testing.assert_allclose(read.chances[days], chance, atol=1e-5)
        assert ((read.chances[days] > 0) & (read.chances[days] < 1)).all()
    # Known by nothing but its hashed row, it is still no product of the vocabulary.
    assert np.abs(read.vectors[-2] - read.vectors[0]).max() > 1e-3
    assert served.version == served.products.version == "0123456789ab"
    assert served.products.products == behaviour.vocabulary.products


@pytest.mark.parametrize("file", [ENCODER, "config.json", "products.npy"])
def test_a_changed_file_is_refused(place, file):
    path = open_model(place)[0] / file
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(bytes(spoilt))
    try:
        with pytest.raises(ModelDamaged, match=file):
            open_served(place)
    finally:
        path.write_bytes(whole)
    assert open_served(place).version


def test_the_command_exports_the_newest_encoder(behaviour, place, tmp_path):
    made = tmp_path / "home" / "models" / "behaviour_encoder"
    with write_model(made / AS_OF.isoformat()) as directory:
        model_files.save(behaviour, directory)
    version = open_model(made / AS_OF.isoformat())[1].content_hash[:12]
    run = ["export-encoder", "--home", str(tmp_path / "home"), "--json"]
    told = json.loads(CliRunner().invoke(app, run, catch_exceptions=False).stdout)
    assert (told["as_of"], told["version"]) == (AS_OF.isoformat(), version)
    exported = tmp_path / "home" / "served" / "behaviour_encoder" / AS_OF.isoformat()
    assert open_served(exported).version == version
    # The graph alone is that of the other place too: nothing in it is of the day or the folder it was written in.
    assert open_model(exported)[1].files[ENCODER] == open_model(place)[1].files[ENCODER]
    nothing = CliRunner().invoke(app, ["export-encoder", "--home", str(tmp_path / "empty")])
    assert nothing.exit_code == 2
    missing = CliRunner().invoke(app, [*run, "--as-of", "2020-01-01"])
    assert missing.exit_code == 2
