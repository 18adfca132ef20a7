"""Products that lie near a customer in the space of the behaviour encoder.

The encoder and its training belong to `insights.behaviour`; here its vectors are a taste like others. Customers'
vectors are those of one as-of day and are no part of a fitted model.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from insight_assets.insights.behaviour.product_vectors import ProductVectors
from insight_assets.insights.recommendation.interactions import Catalogue, History
from insight_assets.insights.recommendation.ranking import Ground

NOT_THERE = -1


@dataclass(frozen=True)
class Encoded:
    """Scores products by the cosine of their vector and what a customer's vector asks for.

    Attributes:
        products: float32, shape (products of the catalogue, width), of length 1; zeros where the encoder knows none.
        question: float32, shape (width,): what is added to a customer's vector to ask for a new purchase.
        sharpness: what cosines are multiplied by.
        version: version of the encoder.
        customers: keys, ascending, int64.
        vectors: float32, shape (customers, width).
    """

    products: np.ndarray
    question: np.ndarray
    sharpness: float
    version: str
    customers: np.ndarray
    vectors: np.ndarray

    @classmethod
    def over(cls, catalogue: Catalogue, of: ProductVectors, *, sharpness: float) -> "Encoded":
        """Line the encoder's products up with a catalogue; no customer is known yet.

        Args:
            catalogue: Products to score.
            of: What the encoder says of its products.
            sharpness: See the class.
        """
        place = {product: number for number, product in enumerate(of.products)}
        rows = np.array([place.get(product, NOT_THERE) for product in catalogue.products], dtype=np.int64)
        lined_up = np.zeros((len(rows), len(of.question)), dtype=np.float32)
        lined_up[rows != NOT_THERE] = of.vectors[rows[rows != NOT_THERE]]
        nobody = np.zeros((0, len(of.question)), dtype=np.float32)
        return cls(lined_up, of.question, sharpness, of.version, np.zeros(0, dtype=np.int64), nobody)

    def knowing(self, vectors: pl.DataFrame) -> "Encoded":
        """Give it customers: rows of the contract `behaviour_vectors` of one day, in any order.

        Those of another version of the encoder lie in another space, and are nobody's.
        """
        ordered = vectors.filter(pl.col("model_version") == self.version).sort("customer_key")
        told = np.array(ordered["vector"].to_list(), dtype=np.float32).reshape(ordered.height, len(self.question))
        return replace(self, customers=ordered["customer_key"].to_numpy().astype(np.int64), vectors=told)

    def among(self, everybody: History) -> "Encoded":  # noqa: ARG002
        """Vectors need no other customers."""
        return self

    def scores(self, history: History, recent: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Scores of every product: float32, customers x products; 0 for customers without a vector."""
        place = np.searchsorted(self.customers, history.customers)
        found = np.zeros(len(history), dtype=bool)
        inside = place < len(self.customers)
        found[inside] = self.customers[place[inside]] == history.customers[inside]
        asked = np.zeros((len(history), len(self.question)), dtype=np.float32)
        asked[found] = self.vectors[place[found]] + self.question
        asked[found] /= np.maximum(np.linalg.norm(asked[found], axis=1, keepdims=True), 1e-12)
        return self.sharpness * (asked @ self.products.T)

    def worth(
        self,
        history: History,
        recent: np.ndarray,
        customer: np.ndarray,  # noqa: ARG002
        contact: np.ndarray,
        target: np.ndarray,
    ) -> np.ndarray:
        """How near the product of each contact lies to a target, faded by its age: what it has to say for it.

        The score itself comes from events in their order and cannot be shared out among contacts without the network.
        """
        near = np.einsum("ij,ij->i", self.products[history.items[contact]], self.products[target])
        return np.maximum(near, 0.0) * recent[contact]

    def ground(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """The customer's taste speaks for the product."""
        return np.full(len(source), Ground.TASTE, dtype=np.int8)
