import numpy as np

from insight_assets.insights.recommendation.interactions import history_of, interactions
from insight_assets.insights.recommendation.methods import METHODS, fit
from insight_assets.insights.recommendation.model_files import load, save
from insight_assets.insights.recommendation.ranking import Policy, rank
from insight_assets.ml.model_store import open_model, write_model
from insight_assets_tests.insights.recommendation.shops import DAY, described, paired_shop, sales, vectors_of


def contacts_of(lines):
    return interactions(lines, as_of=DAY).collect()


def written(lines, place, products=None):
    contacts = contacts_of(lines)
    fitted = fit(contacts, as_of=DAY, products=products, vectors=vectors_of(contacts))
    with write_model(place) as directory:
        save(fitted, directory)
    return fitted


def test_a_model_comes_back_as_it_was(tmp_path):
    lines = paired_shop(customers=60)
    fitted = written(lines, tmp_path / "model", products=described(lines))
    assert set(fitted.rankers) == {method.name for method in METHODS}
    found = load(open_model(tmp_path / "model")[0])
    # No customer lies in the files.
    assert not len(found.rankers["encoder"].taste.customers)
    found = found.knowing(vectors_of(contacts_of(lines)).customers)
    assert found.as_of == fitted.as_of
    assert found.tunings == fitted.tunings
    assert found.catalogue.products == fitted.catalogue.products
    np.testing.assert_array_equal(found.catalogue.last_day, fitted.catalogue.last_day)
    assert set(found.rankers) == set(fitted.rankers)
    assert found.catalogue.cold == fitted.catalogue.cold
    assert found.catalogue.attributes.categories == fitted.catalogue.attributes.categories
    history = history_of(contacts_of(lines), fitted.catalogue)
    for name, ranker in fitted.rankers.items():
        lists, again = (
            rank(each.among(history), history, available=np.ones(len(found.catalogue), dtype=bool), policy=Policy())
            for each in (ranker, found.rankers[name])
        )
        np.testing.assert_array_equal(lists.items, again.items, err_msg=name)
        np.testing.assert_array_equal(lists.scores, again.scores, err_msg=name)
        reasons = [each.among(history).reasons(history, lists) for each in (ranker, found.rankers[name])]
        np.testing.assert_array_equal(reasons[0].because, reasons[1].because, err_msg=name)
        np.testing.assert_array_equal(reasons[0].ground, reasons[1].ground, err_msg=name)


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
