"""Products' vectors as they lie beside an encoder's weights, so that ranking products needs no network."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONFIG, PRODUCTS, QUESTION = "config.json", "products.npy", "question.npy"


@dataclass(frozen=True)
class ProductVectors:
    """What products are compared by.

    Attributes:
        products: Products, ascending.
        vectors: Shape (products, width), float32, of length 1.
        question: Shape (width,), float32: what is added to a customer's vector to ask for a new purchase.
        version: Version of the encoder; customers' vectors of another lie in another space.
    """

    products: tuple[str, ...]
    vectors: np.ndarray
    question: np.ndarray
    version: str


def load_product_vectors(directory: Path, *, version: str) -> ProductVectors:
    """Read what products are compared by from the folder of an encoder of some version, without the network."""
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    vectors, question = (np.load(directory / name, allow_pickle=False) for name in (PRODUCTS, QUESTION))
    return ProductVectors(tuple(config["vocabulary"]["products"]), vectors, question, version)
