"""Events as tokens: one code a field, from vocabularies that are fitted on the training origin.

A vocabulary knows the products and categories that were seen, and cuts money, pauses and the like into buckets. What
it has not seen falls into hashed rows of its own, so that a product of tomorrow has a row today. No network and no
label belongs here.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from insight_assets.ml.sequences import SECONDS_PER_DAY

ITEM = "item"
"""Field that names the product."""

HASHED = 64
"""Rows for products and for traits that the vocabulary does not know."""

PAUSES = (0.0, 60.0, 600.0, 3_600.0, *(SECONDS_PER_DAY * days for days in (0.5, 1, 2, 4, 7, 14, 30, 60, 90, 180)))
"""Seconds since the event before from which buckets begin; the first event of a sequence has none."""

PRICE_BUCKETS = 16


@dataclass(frozen=True)
class Tokens:
    """Tokens of n sequences, one after the other.

    Attributes:
        offsets: Shape (n + 1,), int64: sequence i owns the tokens offsets[i] to offsets[i + 1].
        fields: Field to its codes, each of shape (tokens,), int64; 0 where nothing is known.
        times: Shape (tokens,), int64, epoch seconds; None where their order alone is known.
    """

    offsets: np.ndarray
    fields: Mapping[str, np.ndarray]
    times: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, shape (n,)."""
        return np.diff(self.offsets)

    def without_last(self, tokens: int = 1) -> "Tokens":
        """Leave the last tokens of each sequence out; those with no more keep none."""
        return self._kept(np.zeros(len(self.lengths), dtype=np.int64), np.maximum(self.lengths - tokens, 0))

    def last(self, tokens: int) -> "Tokens":
        """Keep the last tokens of each sequence, as many as there are up to a number."""
        lengths = np.minimum(self.lengths, tokens)
        return self._kept(self.lengths - lengths, lengths)

    def take(self, rows: np.ndarray) -> "Tokens":
        """Keep some sequences, in the order of the rows."""
        starts, lengths = self.offsets[rows], self.lengths[rows]
        return self._at(starts, lengths)

    def until(self, time: int) -> "Tokens":
        """Leave tokens after a moment out, given in epoch seconds."""
        ends = np.concatenate([[0], np.cumsum(self.times <= time)])[self.offsets]
        return self._kept(np.zeros(len(self.lengths), dtype=np.int64), np.diff(ends))

    def _kept(self, skipped: np.ndarray, lengths: np.ndarray) -> "Tokens":
        return self._at(self.offsets[:-1] + skipped, lengths)

    def _at(self, starts: np.ndarray, lengths: np.ndarray) -> "Tokens":
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        fields = {name: codes[places] for name, codes in self.fields.items()}
        return Tokens(offsets, fields, None if self.times is None else self.times[places])


def tokens_of(sequences: Sequence[np.ndarray], *, name: str = "item") -> Tokens:
    """Lay sequences of codes of one field out."""
    lengths = np.array([len(each) for each in sequences], dtype=np.int64)
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *sequences]).astype(np.int64)
    return Tokens(np.concatenate([[0], np.cumsum(lengths)]), {name: flat})


TRAITS = ("category", "brand")
"""What is said of products, beside their price."""


@dataclass(frozen=True)
class Vocabulary:
    """What tokens are made with.

    Attributes:
        kinds: Number of kinds of event.
        products: Products that were seen or that the shop described, ascending: code 1 and up, hashed rows behind them.
        traits: Each of `TRAITS` to the traits that were seen, ascending, likewise.
        traits_of: Each of `TRAITS` to that of each product, in the order of `products`; None where unknown.
        prices: Amounts of money from which price buckets begin, ascending.
        price_of: Price of each product in the order of `products`; 0 where unknown.
    """

    kinds: int
    products: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    traits_of: Mapping[str, tuple[str | None, ...]]
    prices: tuple[float, ...]
    price_of: tuple[float, ...]

    @classmethod
    def fit(cls, sequences: pl.DataFrame, *, kinds: int, described: pl.DataFrame | None = None) -> "Vocabulary":
        """Learn products, their traits and price buckets.

        Args:
            sequences: Rows of the contract `event_sequences` as of the training origin; order does not matter.
            kinds: Number of kinds of event.
            described: What the shop says of its products on that day: `product_id`, `category`, `brand`, `price`; it
                goes before what events say.
        """
        told = (
            sequences.select("times", "products", "categories", "values")
            .explode("times", "products", "categories", "values", empty_as_null=False)
            .filter(pl.col("products").is_not_null())
        )
        seen = told.group_by(product_id="products").agg(
            pl.col("categories").sort_by("times", "categories").drop_nulls().last().alias("seen_category"),
            pl.col("values").cast(pl.Float64).filter(pl.col("values") > 0).median().alias("seen_price"),
        )
        if described is None:
            texts = dict.fromkeys(("product_id", *TRAITS), pl.String)
            described = pl.DataFrame(schema=texts | {"price": pl.Float64})
        known = (
            seen.join(described, on="product_id", how="full", coalesce=True)
            .with_columns(
                category=pl.coalesce("category", "seen_category"),
                price=pl.coalesce(pl.col("price").cast(pl.Float64), "seen_price").fill_null(0),
            )
            .sort("product_id")
        )
        paid = told.filter(pl.col("values") > 0)["values"].sort()
        places = np.linspace(0, len(paid), PRICE_BUCKETS, endpoint=False).astype(int)
        cuts = paid.to_numpy()[places] if len(paid) else ()
        return cls(
            kinds=kinds,
            products=tuple(known["product_id"]),
            traits={name: tuple(known[name].drop_nulls().unique().sort()) for name in TRAITS},
            traits_of={name: tuple(known[name]) for name in TRAITS},
            prices=tuple(float(cut) for cut in np.unique(cuts)),
            price_of=tuple(known["price"]),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Number of codes of each field, 0 included."""
        return {
            "kind": self.kinds + 1,
            ITEM: len(self.products) + HASHED + 1,
            **{trait_field(name): len(of) + HASHED + 1 for name, of in self.traits.items()},
            trait_field("price"): len(self.prices) + 1,
            "price": len(self.prices) + 1,
            "pause": len(PAUSES) + 1,
            "hour": 25,
            "weekday": 8,
        }

    def traits_of_codes(self) -> dict[str, np.ndarray]:
        """Give the traits of every code of `item`, shape (codes of `item`,), int64; hashed products have none."""
        found = {
            name: _codes(pl.Series(of, dtype=pl.String), self.traits[name]) for name, of in self.traits_of.items()
        } | {"price": self._price_codes(np.array(self.price_of, dtype=np.float64))}
        return {
            trait_field(name): np.concatenate([[0], of, np.zeros(HASHED, dtype=np.int64)]).astype(np.int64)
            for name, of in found.items()
        }

    def _price_codes(self, values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, np.searchsorted(self.prices, values, side="right"), 0)

    def tokens(self, sequences: pl.DataFrame) -> Tokens:
        """Make tokens of event sequences.

        Args:
            sequences: Rows with the list columns of the contract `event_sequences`.

        Returns:
            The tokens in the order of the rows; times of day are those of UTC.
        """
        lists = sequences.select("kinds", "times", "products", "values")
        lengths = lists["kinds"].list.len().to_numpy().astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = {name: lists[name].explode(empty_as_null=False) for name in lists.columns}
        times = flat["times"].cast(pl.Int64).to_numpy()
        pauses = np.diff(times, prepend=times[:1]).astype(np.float64)
        pauses[offsets[:-1][lengths > 0]] = -1.0
        values = flat["values"].cast(pl.Float64).fill_null(0).to_numpy()
        return Tokens(
            offsets,
            {
                "kind": flat["kinds"].cast(pl.Int64).to_numpy() + 1,
                ITEM: _codes(flat["products"], self.products),
                "price": self._price_codes(values),
                "pause": np.searchsorted(PAUSES, pauses, side="right"),
                "hour": times // 3_600 % 24 + 1,
                # The first of January 1970 was a Thursday.
                "weekday": (times // SECONDS_PER_DAY + 3) % 7 + 1,
            },
            times,
        )

    def to_json(self) -> dict[str, Any]:
        """Give the vocabulary as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Vocabulary":
        """Make a vocabulary from what `to_json` gave."""
        return cls(**{name: _unlisted(of) for name, of in stored.items()})


def trait_field(name: str) -> str:
    """Name the field of a trait of products."""
    return f"{ITEM}_{name}"


def _unlisted(stored: Any) -> Any:
    if isinstance(stored, Mapping):
        return {name: tuple(of) for name, of in stored.items()}
    return tuple(stored) if isinstance(stored, list) else stored


def _codes(texts: pl.Series, known: Sequence[str]) -> np.ndarray:
    """Code texts by their place among the known ones, from 1; others by CRC-32 into the rows behind, null as 0."""
    distinct = texts.drop_nulls().unique().sort()
    place = {text: code for code, text in enumerate(known, start=1)}
    codes = [place.get(text, len(known) + 1 + zlib.crc32(text.encode()) % HASHED) for text in distinct]
    return texts.replace_strict(distinct, codes, default=0, return_dtype=pl.Int64).fill_null(0).to_numpy()
