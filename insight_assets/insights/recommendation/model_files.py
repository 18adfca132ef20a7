"""Fitted methods as files: JSON and plain `.npy` arrays, nothing that runs code when it is opened.

A model holds products and weights between them, never a customer: what the behaviour encoder says of customers is read
from `behaviour_vectors` of the same day.
"""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from insight_assets.insights.behaviour.product_vectors import ProductVectors
from insight_assets.insights.recommendation.attributes import Attributes
from insight_assets.insights.recommendation.blend import Blend
from insight_assets.insights.recommendation.content import Content
from insight_assets.insights.recommendation.customers_alike import CustomersAlike
from insight_assets.insights.recommendation.encoded import Encoded
from insight_assets.insights.recommendation.factors import Factors
from insight_assets.insights.recommendation.interactions import Catalogue
from insight_assets.insights.recommendation.methods import Fitted, Tuning, Tunings
from insight_assets.insights.recommendation.ranking import Ground, Ranker, Scorer, Taste
from insight_assets.insights.recommendation.segments import SegmentPopularity

CONFIG = "config.json"
_CATALOGUE = ("recent_buyers", "buyers", "last_day")
_ATTRIBUTES = ("category", "brand", "band")
_MATRIX = ("data", "indices", "indptr")
_ENCODED = ("products", "question")
_SEGMENTS = ("keys", "shares", "speaks")


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
        "cold": catalogue.cold,
        "categories": list(catalogue.attributes.categories),
        "brands": list(catalogue.attributes.brands),
        "tunings": {name: asdict(tuning) for name, tuning in sorted(fitted.tunings.methods.items())},
        "blend": dict(fitted.tunings.blend),
        "rankers": {name: _described(ranker) for name, ranker in sorted(fitted.rankers.items())},
    }
    text = json.dumps(config, ensure_ascii=False, indent=1)
    (directory / CONFIG).write_text(text, encoding="utf-8")
    for name in _CATALOGUE:
        _write(directory / f"{name}.npy", getattr(catalogue, name).astype(np.int64))
    for name in _ATTRIBUTES:
        _write(directory / f"{name}.npy", getattr(catalogue.attributes, name))
    for name, ranker in fitted.rankers.items():
        for part, values in _arrays(ranker).items():
            _write(directory / f"{name}.{part}.npy", values)


def load(directory: Path) -> Fitted:
    """Read what `save` wrote; the caller has verified the files' hashes.

    Args:
        directory: Folder of one model.

    Returns:
        The fitted methods.
    """

    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    recent, buyers, last_day = (_read(directory / f"{name}.npy") for name in _CATALOGUE)
    attributes = Attributes(
        tuple(config["categories"]),
        tuple(config["brands"]),
        *(_read(directory / f"{name}.npy") for name in _ATTRIBUTES),
    )
    catalogue = Catalogue(
        products=tuple(config["products"]),
        recent_buyers=recent,
        buyers=buyers,
        last_day=last_day.astype("datetime64[D]"),
        attributes=attributes,
        cold=config["cold"],
    )
    rankers = {
        name: _scorer(described, directory, name, catalogue)
        for name, described in config["rankers"].items()
        if described["kind"] != "blend"
    }
    tunings = Tunings(
        methods={name: Tuning(**tuning) for name, tuning in config["tunings"].items()}, blend=config["blend"]
    )
    rankers["blend"] = Blend({name: rankers[name] for name in tunings.blend}, tunings.blend)
    return Fitted(as_of=date.fromisoformat(config["as_of"]), catalogue=catalogue, rankers=rankers, tunings=tunings)


def _described(ranker: Scorer) -> dict[str, Any]:
    """What is kept of a method as JSON."""
    if isinstance(ranker, Blend):
        return {"kind": "blend"}
    if isinstance(ranker, SegmentPopularity):
        return {"kind": "segments"}
    taste: dict[str, Any] | None = None
    if isinstance(ranker.taste, Content):
        taste = {"kind": "content"}
    elif isinstance(ranker.taste, CustomersAlike):
        taste = {"kind": "customers_alike", "shrink": ranker.taste.shrink, "keep": ranker.taste.keep}
    elif isinstance(ranker.taste, Encoded):
        taste = {"kind": "encoded", "sharpness": ranker.taste.sharpness, "version": ranker.taste.version}
    elif isinstance(ranker.taste, Factors):
        settings = {name: getattr(ranker.taste, name) for name in ("ridge", "unseen", "scaling")}
        taste = {"kind": "factors", **settings}
    return {
        "kind": "weights",
        "decay": ranker.decay,
        "repeat": ranker.repeat,
        "neighbours": ranker.neighbours is not None,
        "ground": int(ranker.ground),
        "taste": taste,
    }


def _arrays(ranker: Scorer) -> dict[str, np.ndarray]:
    """What is kept of a method as arrays, by name."""
    if isinstance(ranker, Blend):
        return {}
    if isinstance(ranker, SegmentPopularity):
        return {name: getattr(ranker, name) for name in _SEGMENTS}
    arrays = {"base": ranker.base}
    if ranker.neighbours is not None:
        arrays |= {part: getattr(ranker.neighbours, part) for part in _MATRIX}
    if isinstance(ranker.taste, Factors):
        arrays["factors"] = ranker.taste.products
    if isinstance(ranker.taste, Encoded):
        arrays |= {name: getattr(ranker.taste, name) for name in _ENCODED}
    return arrays


def _scorer(described: dict[str, Any], directory: Path, name: str, catalogue: Catalogue) -> Scorer:
    if described["kind"] == "segments":
        return SegmentPopularity(catalogue.attributes, *(_read(directory / f"{name}.{part}.npy") for part in _SEGMENTS))
    matrix = None
    if described["neighbours"]:
        from scipy import sparse

        parts = tuple(_read(directory / f"{name}.{part}.npy") for part in _MATRIX)
        matrix = sparse.csr_matrix(parts, shape=(len(catalogue), len(catalogue)))
    return Ranker(
        base=_read(directory / f"{name}.base.npy"),
        neighbours=matrix,
        decay=described["decay"],
        repeat=described["repeat"],
        taste=_taste(described["taste"], directory, name, catalogue),
        ground=Ground(described["ground"]),
    )


def _taste(described: dict[str, Any] | None, directory: Path, name: str, catalogue: Catalogue) -> Taste | None:
    if described is None:
        return None
    settings = {key: value for key, value in described.items() if key != "kind"}
    if described["kind"] == "content":
        return Content(catalogue.attributes)
    if described["kind"] == "customers_alike":
        return CustomersAlike(products=len(catalogue), **settings)
    if described["kind"] == "encoded":
        products, question = (_read(directory / f"{name}.{part}.npy") for part in _ENCODED)
        of = ProductVectors(catalogue.products, products, question, settings["version"])
        return Encoded.over(catalogue, of, sharpness=settings["sharpness"])
    return Factors(_read(directory / f"{name}.factors.npy"), **settings)


def _write(path: Path, values: np.ndarray) -> None:
    np.save(path, values, allow_pickle=False)


def _read(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)
