"""Batches of whole sequences, one after the other: as many tokens as a batch may have, and none that pads.

Knows lengths alone. What a token is belongs to `tokens`, what is made of it to `encoder`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

POOL = 64
"""Batches whose sequences are put together by length, and shuffled again."""


@dataclass(frozen=True)
class Packing:
    """Sequences of a batch, laid out one after the other by ascending length.

    Attributes:
        rows: Shape (b,), numbers of the sequences.
        tokens: Shape (t,), place of each token in the flat arrays.
        from_end: Shape (t,), tokens that follow in the same sequence.
        shapes: Rectangles of sequences and steps, in order, that hold the sequences of like length. Attention alone
            works on rectangles; places after the end of a sequence come last, where a causal mask hides them.
        filled: Shape (sum of sequences times steps,), whether a place of the rectangles holds a token.
    """

    rows: np.ndarray
    tokens: np.ndarray
    from_end: np.ndarray
    shapes: tuple[tuple[int, int], ...]
    filled: np.ndarray


def pack(offsets: np.ndarray, rows: np.ndarray) -> Packing:
    """Lay sequences out for the encoder.

    Args:
        offsets: Shape (n + 1,): sequence i owns the tokens offsets[i] to offsets[i + 1]; none is empty.
        rows: Shape (b,), numbers of the sequences of the batch.

    Raises:
        ValueError: A sequence holds no token.
    """
    lengths = offsets[rows + 1] - offsets[rows]
    if (lengths < 1).any():
        message = f"sequence {rows[lengths < 1][0]} holds no token"
        raise ValueError(message)
    order = np.lexsort((rows, lengths))
    rows, lengths = rows[order], lengths[order]
    ends = np.cumsum(lengths)
    step = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    steps = _steps(lengths)
    shapes, filled = [], []
    for wide in np.unique(steps):
        members = lengths[steps == wide]
        widest = int(members[-1])
        shapes.append((len(members), widest))
        filled.append((np.arange(widest) < members[:, None]).ravel())
    return Packing(
        rows=rows,
        tokens=np.repeat(offsets[rows], lengths) + step,
        from_end=np.repeat(lengths, lengths) - 1 - step,
        shapes=tuple(shapes),
        filled=np.concatenate(filled) if filled else np.zeros(0, dtype=bool),
    )


def _steps(lengths: np.ndarray) -> np.ndarray:
    """Round lengths up to one of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: what attention pads is below a half."""
    power = 2 ** np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    return np.where(lengths <= power * 3 // 4, power * 3 // 4, power)


class TokenBudget:
    """Batches of sequences that together hold about as many tokens, in an order that seed and epoch decide alone.

    Sequences are shuffled, cut into pools, sorted by length within a pool and cut into batches, which are shuffled
    again: attention has little to pad, and neighbours change with every epoch.
    """

    def __init__(self, lengths: np.ndarray, *, tokens: int, seed: int, epoch: Callable[[], int]) -> None:
        """Take what decides the order.

        Args:
            lengths: Shape (n,), tokens of each sequence.
            tokens: Most tokens of a batch; a longer sequence is a batch of its own.
            seed: Seed of all epochs.
            epoch: Gives the number of the epoch that is about to start.

        Raises:
            ValueError: `tokens` is below 1.
        """
        if tokens < 1:
            message = f"a batch holds at least 1 token, not {tokens}"
            raise ValueError(message)
        self._lengths = lengths
        self._tokens = tokens
        self._seed = seed
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Give the sequence numbers of each batch of the epoch."""
        generator = np.random.default_rng([self._seed, self._epoch()])
        batches = self._batches(generator)
        for number in generator.permutation(len(batches)):
            yield batches[number].tolist()

    def __len__(self) -> int:
        """Number of batches of the epoch."""
        return len(self._batches(np.random.default_rng([self._seed, self._epoch()])))

    def _batches(self, generator: np.random.Generator) -> list[np.ndarray]:
        shuffled = generator.permutation(len(self._lengths))
        pool = np.cumsum(self._lengths[shuffled]) // (POOL * self._tokens)
        batches = []
        for rows in np.split(shuffled, np.flatnonzero(np.diff(pool)) + 1):
            by_length = rows[np.argsort(self._lengths[rows], kind="stable")]
            batches += cut_to_budget(by_length, self._lengths[by_length], self._tokens)
        return batches


def cut_to_budget(rows: np.ndarray, lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Cut rows into batches of at most so many tokens, in their order.

    Args:
        rows: Shape (b,).
        lengths: Shape (b,), tokens of each.
        tokens: Most tokens of a batch; a longer row is a batch of its own.
    """
    ends, batches, start = np.cumsum(lengths), [], 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + tokens, side="right")))
        batches.append(rows[start:stop])
        start = stop
    return batches
