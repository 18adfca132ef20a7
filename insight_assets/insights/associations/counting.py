"""Counting the pairs and triples of products that stand in enough baskets.

Exact counts of every frequent set up to three products: pairs by one sparse product, triples of frequent pairs by
bitsets. What a count means is said in `significance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

MOST_PRODUCTS = 4000
"""Products, the most frequent ones, among which sets are counted: 64 MB for the counts of all their pairs."""

BASKETS_AT_ONCE = 1 << 16
"""Baskets whose bitsets are held at once: 8 kB a product."""

CELLS_AT_ONCE = 4_000_000
"""Words of the bitsets, or cells of the table of neighbours, that are looked at in one step: some 32 MB."""

_WORD = 64


@dataclass(frozen=True)
class FrequentSets:
    """Every set of up to three products that stands in enough baskets.

    Attributes:
        baskets: baskets counted.
        counts: baskets with each product, int64, shape (products,), of all products.
        counted: ascending columns of the products among which sets were counted.
        pairs: columns of the products, ascending in a row and by row, int64, shape (pairs, 2).
        pair_counts: baskets with both, int64, shape (pairs,).
        triples: columns of the products, ascending in a row and by row, int64, shape (triples, 3).
        triple_counts: baskets with all three, int64, shape (triples,).
    """

    baskets: int
    counts: np.ndarray
    counted: np.ndarray
    pairs: np.ndarray
    pair_counts: np.ndarray
    triples: np.ndarray
    triple_counts: np.ndarray


def frequent_sets(
    contents: sparse.csr_matrix, *, min_baskets: int, largest: int = 3, most_products: int = MOST_PRODUCTS
) -> FrequentSets:
    """Count every set of up to `largest` products in at least `min_baskets` baskets.

    Args:
        contents: baskets x products, 1 where the product is in the basket.
        min_baskets: least number of baskets, at least 1.
        largest: 2 or 3.
        most_products: bound on the products among which sets are counted (see `MOST_PRODUCTS`); the less frequent, and
            among equals the later ones, are left out.

    Returns:
        The sets.

    Raises:
        ValueError: if `min_baskets` is below 1.
    """
    from scipy import sparse

    if min_baskets < 1:
        message = f"min_baskets must be at least 1, not {min_baskets}"
        raise ValueError(message)
    baskets, products = contents.shape
    counts = np.bincount(contents.indices, minlength=products).astype(np.int64)
    frequent = np.flatnonzero(counts >= min_baskets)
    if len(frequent) > most_products:
        frequent = np.sort(frequent[np.argsort(-counts[frequent], kind="stable")[:most_products]])
    chosen = contents[:, frequent].astype(np.int32)
    together = sparse.triu(chosen.T @ chosen, k=1).tocsr()
    together.sort_indices()
    together = together.tocoo()
    kept = together.data >= min_baskets
    pairs = np.stack([together.row[kept], together.col[kept]], axis=1).astype(np.int64)
    triples, triple_counts = np.empty((0, 3), dtype=np.int64), np.empty(0, dtype=np.int64)
    if largest > 2 and len(pairs):
        triples, triple_counts = _frequent_triples(chosen, pairs, min_baskets=min_baskets)
    return FrequentSets(
        baskets=baskets,
        counts=counts,
        counted=frequent,
        pairs=frequent[pairs].reshape(-1, 2),
        pair_counts=together.data[kept].astype(np.int64),
        triples=frequent[triples].reshape(-1, 3),
        triple_counts=triple_counts,
    )


@dataclass(frozen=True)
class SizedCounts:
    """The counts of frequent sets apart for baskets of different sizes.

    Attributes:
        sizes: mean number of products of the baskets of each class, ascending, float64, shape (classes,).
        baskets: baskets of each class, int64, shape (classes,).
        counts: baskets of each class with each product, int64, shape (products, classes).
        pair_counts: baskets of each class with each frequent pair, int64, shape (pairs, classes).
    """

    sizes: np.ndarray
    baskets: np.ndarray
    counts: np.ndarray
    pair_counts: np.ndarray


def counts_by_size(contents: sparse.csr_matrix, found: FrequentSets) -> SizedCounts:
    """Count products and pairs apart for baskets of each size, from eight products on of sizes within a sixth.

    Args:
        contents: as in `frequent_sets`.
        found: the sets counted in all of them.

    Returns:
        Counts that add up to those of `found`, but for baskets of one product, which hold no pair and are left out.
    """
    lengths = np.diff(contents.indptr)
    starts = _class_starts(int(lengths.max(initial=0)))
    class_of = np.searchsorted(starts, lengths, side="right")
    classes = [rows for number in range(1, len(starts) + 1) if len(rows := np.flatnonzero(class_of == number))]
    position = np.zeros(contents.shape[1], dtype=np.int64)
    position[found.counted] = np.arange(len(found.counted))
    first, second = position[found.pairs].T if len(found.pairs) else (np.empty(0, dtype=np.int64),) * 2
    counts = np.zeros((contents.shape[1], len(classes)), dtype=np.int64)
    pair_counts = np.zeros((len(found.pairs), len(classes)), dtype=np.int64)
    for number, rows in enumerate(classes):
        part = contents[rows]
        counts[:, number] = np.bincount(part.indices, minlength=contents.shape[1])
        if len(found.pairs):
            chosen = part[:, found.counted].astype(np.int32)
            pair_counts[:, number] = np.asarray((chosen.T @ chosen).tocsr()[first, second]).ravel()
    return SizedCounts(
        sizes=np.array([lengths[rows].mean() for rows in classes]),
        baskets=np.array([len(rows) for rows in classes], dtype=np.int64),
        counts=counts,
        pair_counts=pair_counts,
    )


def distinct_customers(contents: sparse.csr_matrix, customers: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Count the customers with a basket that holds a whole set.

    Args:
        contents: as in `frequent_sets`.
        customers: whose each basket is, ascending, shape (baskets,).
        sets: columns of the products of each set, shape (sets, size).

    Returns:
        Int64, shape (sets,).
    """
    columns = contents.tocsc()
    columns.sort_indices()
    found = np.zeros(len(sets), dtype=np.int64)
    for number, columns_of_set in enumerate(sets):
        shared = None
        for column in columns_of_set:
            baskets = columns.indices[columns.indptr[column] : columns.indptr[column + 1]]
            shared = baskets if shared is None else np.intersect1d(shared, baskets, assume_unique=True)
        owners = customers[shared]
        found[number] = len(owners) and 1 + np.count_nonzero(owners[1:] != owners[:-1])
    return found


def _class_starts(longest: int) -> np.ndarray:
    """Least size of each class of baskets, from 2 on."""
    starts = list(range(2, 9))
    while starts[-1] <= longest:
        starts.append(max(starts[-1] + 1, starts[-1] * 7 // 6))
    return np.array(starts)


def _frequent_triples(
    chosen: sparse.csr_matrix, pairs: np.ndarray, *, min_baskets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Triples all of whose pairs are frequent, counted chunk of baskets by chunk of baskets."""
    pair, third = _closed_triangles(pairs, products=chosen.shape[1])
    counts = np.zeros(len(pair), dtype=np.int64)
    used, place = np.unique(np.concatenate([pairs[pair].ravel(), third]), return_inverse=True)
    first, second = place[: 2 * len(pair)].reshape(-1, 2).T
    last = place[2 * len(pair) :]
    # A basket of two products that are in any triple holds none.
    chosen = chosen[:, used]
    chosen = chosen[np.diff(chosen.indptr) > 2]
    for start in range(0, chosen.shape[0], BASKETS_AT_ONCE):
        bits = _bitsets(chosen[start : start + BASKETS_AT_ONCE])
        of_pairs_at = max(1, CELLS_AT_ONCE // bits.shape[1])
        # Candidates are sorted by pair, so that a step needs the intersections of few pairs.
        for begin in range(0, len(pair), of_pairs_at):
            step = slice(begin, begin + of_pairs_at)
            _, one_of, of_pair = np.unique(pair[step], return_index=True, return_inverse=True)
            both = bits[first[step][one_of]] & bits[second[step][one_of]]
            all_three = both[of_pair]
            all_three &= bits[last[step]]
            counts[step] += np.bitwise_count(all_three).sum(axis=1, dtype=np.int64)
    kept = counts >= min_baskets
    return np.column_stack([pairs[pair[kept]], third[kept]]), counts[kept]


def _closed_triangles(pairs: np.ndarray, *, products: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (a, b) with every c > b that is frequent with both: position of the pair, and c; by pair, then c."""
    linked = np.zeros((products, products), dtype=bool)
    linked[pairs[:, 0], pairs[:, 1]] = True
    found = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))]
    block = max(1, CELLS_AT_ONCE // products)
    for start in range(0, len(pairs), block):
        here = pairs[start : start + block]
        # Only the upper triangle is set, so what is linked to b lies after b.
        row, third = np.nonzero(linked[here[:, 0]] & linked[here[:, 1]])
        found.append((row + start, third))
    return np.concatenate([row for row, _ in found]), np.concatenate([third for _, third in found])


def _bitsets(contents: sparse.csr_matrix) -> np.ndarray:
    """One bit per basket and product: uint64, shape (products, words)."""
    baskets, products = contents.shape
    words = -(-baskets // _WORD)
    bits = np.zeros((products, words * _WORD // 8), dtype=np.uint8)
    columns = contents.T.tocsr()
    block = max(1, CELLS_AT_ONCE // max(baskets, 1))
    for start in range(0, products, block):
        dense = columns[start : start + block].toarray() > 0
        packed = np.packbits(dense, axis=1)
        bits[start : start + block, : packed.shape[1]] = packed
    return bits.view(np.uint64)
