import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from insight_assets.ml.sklearn_files import UntrustedFileError, read_sklearn, write_sklearn

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.normal(size=(300, 5))
LABELS = FEATURES[:, 0] + FEATURES[:, 1] * FEATURES[:, 2] > 0


class Evil:
    """Writes a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def models():
    return [
        LogisticRegression().fit(FEATURES, LABELS),
        HistGradientBoostingClassifier(max_iter=5, random_state=1).fit(FEATURES, LABELS),
        DecisionTreeClassifier(max_leaf_nodes=8, random_state=1).fit(FEATURES, LABELS),
        RandomForestClassifier(3, random_state=1).fit(FEATURES, LABELS),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_model_comes_back_as_it_was(tmp_path, number):
    model = models()[number]
    write_sklearn(model, tmp_path / "m.skops")
    again = read_sklearn(tmp_path / "m.skops")
    assert np.array_equal(again.predict_proba(FEATURES), model.predict_proba(FEATURES))


@pytest.mark.parametrize("number", range(4))
def test_equal_models_make_equal_files(tmp_path, number):
    for name in ("a.skops", "b.skops"):
        write_sklearn(models()[number], tmp_path / name)
    assert (tmp_path / "a.skops").read_bytes() == (tmp_path / "b.skops").read_bytes()


def test_types_that_are_not_trusted_are_refused(tmp_path):
    write_sklearn(
        KNeighborsClassifier(n_neighbors=2, algorithm="kd_tree").fit(FEATURES, LABELS), tmp_path / "m.skops"
    )
    with pytest.raises(UntrustedFileError, match="never loaded"):
        read_sklearn(tmp_path / "m.skops")


def test_a_pickle_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "m.skops").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(UntrustedFileError, match="not a model file"):
        read_sklearn(tmp_path / "m.skops")
    assert not marker.exists()


def test_a_pickle_inside_the_archive_is_refused_and_not_run(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "m.skops"
    write_sklearn(models()[0], path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            array = name.endswith(".npy")
            archive.writestr(name, pickle.dumps(Evil(marker)) if array else content)
    with pytest.raises((UntrustedFileError, ValueError)):
        read_sklearn(path)
    assert not marker.exists()


def with_array(path: Path, name_part: str, change) -> None:
    """Change the first array of a model file whose dtype names a field."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name, content in parts.items():
        if not name.endswith(".npy"):
            continue
        array = np.load(io.BytesIO(content))
        if array.dtype.names and name_part in array.dtype.names:
            change(array)
            written = io.BytesIO()
            np.save(written, array)
            parts[name] = written.getvalue()
            break
    else:
        raise AssertionError(name_part)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("number", "field", "value"),
    [(1, "left", 10**6), (1, "feature_idx", 77), (2, "left_child", 10**6), (2, "left_child", 0), (3, "feature", 99)],
)
def test_a_tree_that_leads_out_of_its_arrays_is_refused(tmp_path, number, field, value):
    path = tmp_path / "m.skops"
    write_sklearn(models()[number], path)

    def change(array):
        array[field][0] = value

    with_array(path, field, change)
    with pytest.raises(UntrustedFileError, match="lead nowhere"):
        read_sklearn(path)
