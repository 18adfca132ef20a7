"""A taught encoder as files for a serving process: a graph of numbers, JSON and plain `.npy` arrays; no torch, no code.

A serving process reads a customer's vector and chances of an order within days to come so:

    served = open_served(place)
    tokens = served.vocabulary.tokens(sequences)
    read = served.encoder.read(tokens.until(now), until=now, horizons=(7, 30))

`sequences` are rows with the list columns of the contract `event_sequences` in the order of time, purchases among them
as `features.sequences.with_bought_products` adds them; `now` is in epoch seconds. The larger the inner product of
`read.vectors + served.products.question` and a row of `served.products.vectors`, the likelier that product is bought
next. Files hold products, never a customer.

Torch is imported inside the function that writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.behaviour.product_vectors import (
    CONFIG,
    PRODUCTS,
    QUESTION,
    ProductVectors,
    load_product_vectors,
)
from insight_assets.ml.behaviour.serving import ServedEncoder
from insight_assets.ml.behaviour.tokens import Vocabulary
from insight_assets.ml.model_store import Manifest, open_model, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from insight_assets.insights.behaviour.teaching import Behaviour

ENCODER = "encoder.onnx"


@dataclass(frozen=True)
class Served:
    """What a serving process reads customers with.

    Attributes:
        vocabulary: What tokens are made with.
        encoder: Reads tokens.
        products: Products' vectors, in the space of customers'.
        version: Version of the encoder that was exported; vectors of another lie in another space.
    """

    vocabulary: Vocabulary
    encoder: ServedEncoder
    products: ProductVectors
    version: str


def export(behaviour: Behaviour, place: Path, *, version: str) -> Manifest:
    """Write a taught encoder for serving, whole or not at all.

    Args:
        behaviour: The encoder.
        place: Where it will lie, as `model_store.write_model` takes it; an older one is replaced.
        version: Its version in the model store.

    Returns:
        The files and their hashes; of the same encoder the same, by the same version of the exporter.

    Raises:
        ExportNotInstalledError: If a package that writes ONNX files is not installed.
        ValueError: If the weights are too large for one file.
    """
    from insight_assets.insights.behaviour.teaching import vectors_of_products
    from insight_assets.ml.behaviour.export import write_onnx
    from insight_assets.ml.behaviour.pretraining import question_vector

    config = {
        "vocabulary": behaviour.vocabulary.to_json(),
        "positions": behaviour.settings.positions,
        "version": version,
    }
    with write_model(place) as directory:
        write_onnx(behaviour.network, directory / ENCODER)
        (directory / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=1), encoding="utf-8")
        np.save(directory / PRODUCTS, vectors_of_products(behaviour), allow_pickle=False)
        np.save(directory / QUESTION, question_vector(behaviour.network), allow_pickle=False)
    return open_model(place)[1]


def open_served(place: Path, *, threads: int = 1) -> Served:
    """Open an exported encoder, once its files have been compared with the hashes in their manifest.

    Args:
        place: The place given to `export`.
        threads: CPU cores that one reading uses.

    Raises:
        ModelMissing: If there is none.
        ModelDamaged: If a file is missing, added or changed.
        ServingNotInstalledError: If ONNX Runtime is not installed.
    """
    directory = open_model(place)[0]
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    return Served(
        vocabulary=Vocabulary.from_json(config["vocabulary"]),
        encoder=ServedEncoder(directory / ENCODER, positions=config["positions"], threads=threads),
        products=load_product_vectors(directory, version=config["version"]),
        version=config["version"],
    )
