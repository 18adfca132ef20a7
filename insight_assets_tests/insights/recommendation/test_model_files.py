import numpy as np

from insight_assets.insights.recommendation.interactions import interactions
from insight_assets.insights.recommendation.methods import fit
from insight_assets.insights.recommendation.model_files import load, save
from insight_assets.ml.model_store import open_model, write_model
from insight_assets_tests.insights.recommendation.shops import DAY, paired_shop, sales


def written(lines, place):
    fitted = fit(interactions(lines, as_of=DAY).collect(), as_of=DAY)
    with write_model(place) as directory:
        save(fitted, directory)
    return fitted


def test_a_model_comes_back_as_it_was(tmp_path):
    fitted = written(paired_shop(customers=60), tmp_path / "model")
    found = load(open_model(tmp_path / "model")[0])
    assert found.as_of == fitted.as_of
    assert found.tunings == fitted.tunings
    assert found.catalogue.products == fitted.catalogue.products
    np.testing.assert_array_equal(found.catalogue.last_day, fitted.catalogue.last_day)
    assert set(found.rankers) == set(fitted.rankers)
    for name, ranker in fitted.rankers.items():
        other = found.rankers[name]
        np.testing.assert_array_equal(other.base, ranker.base)
        assert (other.decay, other.repeat) == (ranker.decay, ranker.repeat)
        if ranker.neighbours is None:
            assert other.neighbours is None
        else:
            assert (other.neighbours != ranker.neighbours).nnz == 0


def test_the_same_contacts_give_the_same_content_hash(tmp_path):
    for name in ("one", "other"):
        written(paired_shop(customers=60), tmp_path / name)
    hashes = {open_model(tmp_path / name)[1].content_hash for name in ("one", "other")}
    assert len(hashes) == 1


def test_an_empty_model_can_be_kept(tmp_path):
    written(sales([]), tmp_path / "model")
    assert len(load(open_model(tmp_path / "model")[0]).catalogue) == 0


def test_a_model_holds_no_customer(tmp_path):
    lines = sales([(8_765_432_109_876, "tea", 3), (8_765_432_109_876, "cup", 3)])
    written(lines, tmp_path / "model")
    folder = open_model(tmp_path / "model")[0]
    text = (folder / "config.json").read_text(encoding="utf-8")
    assert "8765432109876" not in text
    for path in folder.glob("*.npy"):
        assert 8_765_432_109_876 not in np.load(path, allow_pickle=False).tolist()
