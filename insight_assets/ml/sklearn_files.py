"""Stores scikit-learn models as files that run no code when opened and repeat byte for byte.

The format is skops: arrays as .npy and one JSON document in a zip. Only models that a capability
fitted itself belong in such files; models of other kinds have their own formats.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
_TREE = "sklearn.tree._tree.Tree"
TRUSTED_TYPES = (_PREDICTOR, _TREE)
"""Types beyond those skops trusts by itself that a file may hold.

Both are containers of arrays (read in scikit-learn 1.9.1): the predictor of histogram gradient boosting and the tree of
decision trees and forests. Compiled code follows the numbers of their nodes without looking, so that `read_sklearn`
refuses trees whose numbers lead out of the arrays or in a circle.
"""

_EPOCH = (1980, 1, 1, 0, 0, 0)


class UntrustedFileError(ValueError):
    """A model file is unreadable or asks for types that are never loaded."""


def write_sklearn(model: Any, path: Path) -> None:
    """Store a fitted model so that equal models make equal files.

    skops names parts by their address in memory and stamps them with the time of writing, so that
    two dumps of one model differ; both are replaced by fixed numbers, or the content hash of a
    retrained model would change although nothing did.

    Args:
        model: A fitted scikit-learn estimator.
        path: File to write, ending in `.skops`.
    """
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as dumped:
        parts = {name: dumped.read(name) for name in dumped.namelist()}
    schema = json.loads(parts.pop("schema.json"))
    names: dict[str, str] = {}
    _renumber(schema, numbers={}, names=names)
    parts = {names[name]: content for name, content in parts.items()}
    parts["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(parts):
            member = zipfile.ZipInfo(name, date_time=_EPOCH)
            archive.writestr(member, parts[name], compress_type=zipfile.ZIP_DEFLATED)


def read_sklearn(path: Path) -> Any:
    """Load a model that `write_sklearn` stored.

    Args:
        path: File to read.

    Returns:
        The model.

    Raises:
        UntrustedFileError: If the file is no such archive or holds a type that is not trusted;
            nothing of it has been run then. Or if a tree in it could not be followed.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        model = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise UntrustedFileError(f"{path.name} holds types that are never loaded") from error
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UntrustedFileError(f"{path.name} is not a model file of this project") from error
    if not all(_leads_to_leaves(*tree) for tree in _trees(model)):
        raise UntrustedFileError(f"{path.name} holds a tree whose nodes lead nowhere")
    return model


def _trees(model: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]]:
    """Give each tree of a model: inner nodes, their children, the features they ask, and how many there are."""
    for members in np.ravel(np.asarray(getattr(model, "estimators_", []), dtype=object)):
        yield from _trees(members)
    if hasattr(model, "tree_"):
        tree = model.tree_
        inner = tree.children_left != -1
        yield inner, tree.children_left, tree.children_right, tree.feature, int(model.n_features_in_)
    for stage in getattr(model, "_predictors", []):
        for predictor in stage:
            nodes = predictor.nodes
            inner = nodes["is_leaf"] == 0
            yield inner, nodes["left"], nodes["right"], nodes["feature_idx"], int(model.n_features_in_)


def _leads_to_leaves(
    inner: np.ndarray, left: np.ndarray, right: np.ndarray, asked: np.ndarray, features: int
) -> bool:
    own = np.arange(len(inner))[inner]
    for children in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        if not ((children > own) & (children < len(inner))).all():
            return False
    features_asked = asked[inner].astype(np.int64)
    return bool(((features_asked >= 0) & (features_asked < features)).all()) and len(inner) > 0


def _renumber(node: Any, *, numbers: dict[int, int], names: dict[str, str]) -> None:
    """Replace addresses by the order in which parts appear, throughout a skops document.

    Plain values never share a number: whether two equal numbers or texts are one object in memory
    is chance, and must not show.
    """
    if isinstance(node, list):
        for part in node:
            _renumber(part, numbers=numbers, names=names)
    if not isinstance(node, dict):
        return
    if "__id__" in node:
        address = node["__id__"]
        if node.get("__loader__") == "JsonNode":
            address = -len(numbers) - 1
        node["__id__"] = numbers.setdefault(address, len(numbers) + 1)
    if isinstance(node.get("file"), str):
        file = node["file"]
        node["file"] = names.setdefault(file, f"{len(names) + 1}{Path(file).suffix}")
    for part in node.values():
        _renumber(part, numbers=numbers, names=names)
