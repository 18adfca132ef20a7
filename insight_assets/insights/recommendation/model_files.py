"""Fitted methods as files: JSON and plain `.npy` arrays, nothing that runs code when it is opened.

A model holds products and weights between them, never a customer.
"""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np

from insight_assets.insights.recommendation.interactions import Catalogue
from insight_assets.insights.recommendation.methods import Fitted, Tuning
from insight_assets.insights.recommendation.ranking import Ranker

CONFIG = "config.json"
_CATALOGUE = ("recent_buyers", "buyers", "last_day")
_MATRIX = ("data", "indices", "indptr")


def save(fitted: Fitted, directory: Path) -> None:
    """Write fitted methods into an existing folder.

    Args:
        fitted: What to keep.
        directory: An empty folder.
    """
    catalogue = fitted.catalogue
    config = {
        "as_of": fitted.as_of.isoformat(),
        "products": list(catalogue.products),
        "tunings": {name: asdict(tuning) for name, tuning in sorted(fitted.tunings.items())},
        "rankers": {
            name: {
                "decay": ranker.decay,
                "repeat": ranker.repeat,
                "neighbours": ranker.neighbours is not None,
            }
            for name, ranker in sorted(fitted.rankers.items())
        },
    }
    text = json.dumps(config, ensure_ascii=False, indent=1)
    (directory / CONFIG).write_text(text, encoding="utf-8")
    for name in _CATALOGUE:
        values = getattr(catalogue, name)
        _write(directory / f"{name}.npy", values.astype(np.int64))
    for name, ranker in fitted.rankers.items():
        _write(directory / f"{name}.base.npy", ranker.base)
        if ranker.neighbours is not None:
            for part in _MATRIX:
                _write(directory / f"{name}.{part}.npy", getattr(ranker.neighbours, part))


def load(directory: Path) -> Fitted:
    """Read what `save` wrote; the caller has verified the files' hashes.

    Args:
        directory: Folder of one model.

    Returns:
        The fitted methods.
    """
    from scipy import sparse

    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    products = tuple(config["products"])
    recent, buyers, last_day = (_read(directory / f"{name}.npy") for name in _CATALOGUE)
    shape = (len(products), len(products))
    rankers = {}
    for name, settings in config["rankers"].items():
        matrix = None
        if settings["neighbours"]:
            parts = tuple(_read(directory / f"{name}.{part}.npy") for part in _MATRIX)
            matrix = sparse.csr_matrix(parts, shape=shape)
        rankers[name] = Ranker(
            base=_read(directory / f"{name}.base.npy"),
            neighbours=matrix,
            decay=settings["decay"],
            repeat=settings["repeat"],
        )
    return Fitted(
        as_of=date.fromisoformat(config["as_of"]),
        catalogue=Catalogue(
            products=products,
            recent_buyers=recent,
            buyers=buyers,
            last_day=last_day.astype("datetime64[D]"),
        ),
        rankers=rankers,
        tunings={name: Tuning(**tuning) for name, tuning in config["tunings"].items()},
    )


def _write(path: Path, values: np.ndarray) -> None:
    np.save(path, values, allow_pickle=False)


def _read(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)
