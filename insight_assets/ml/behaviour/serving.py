"""Reading customers with an exported encoder, as a serving process does: NumPy and ONNX Runtime, no torch.

Tokens come from `Vocabulary.tokens`, which makes them of rows of the contract `event_sequences`: the vocabulary is the
one of the encoder's training origin, and what it does not know falls into its hashed rows. Here they are laid out in
rectangles and read. Which files belong together is told by the capability; how one is written, by `export`.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from insight_assets.ml.behaviour.tokens import Tokens
from insight_assets.ml.sequences import SECONDS_PER_DAY

LENGTHS, SINCE, WITHIN = "lengths", "since", "within"
"""Inputs beside the token fields: tokens of each customer, days since the last, days to come."""

VECTORS, CHANCES = "vectors", "chances"
"""Outputs: what each customer's events tell, and the chance of an order within each number of days to come."""

READ_PLACES = 16_384
"""Places of a rectangle that is read at once, padding counted."""


class ServingNotInstalledError(RuntimeError):
    """ONNX Runtime is not installed."""


@dataclass(frozen=True)
class Read:
    """What is said of n customers.

    Attributes:
        vectors: Shape (n, width), float32: the hidden vector after the last token, zeros where there is none.
        chances: Days to the chance of an order within them, shape (n,), float32; NaN for customers without events.
    """

    vectors: np.ndarray
    chances: Mapping[int, np.ndarray]


def dense_fields(tokens: Tokens, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Lay the tokens of some customers out in a rectangle.

    Args:
        tokens: Events of customers.
        rows: Shape (b,), numbers of the customers.

    Returns:
        Field to its codes, shape (b, longest of them), int64: a customer's tokens from the first on, then 0. And under
        `LENGTHS` how many they are, shape (b,), int64.
    """
    taken = tokens.take(rows)
    there = np.arange(taken.lengths.max(initial=0)) < taken.lengths[:, None]
    laid = {LENGTHS: taken.lengths}
    for name, codes in taken.fields.items():
        laid[name] = np.zeros(there.shape, dtype=np.int64)
        laid[name][there] = codes
    return laid


class ServedEncoder:
    """An exported encoder that reads customers."""

    def __init__(self, path: Path, *, positions: int, threads: int = 1) -> None:
        """Open a file that `export.write_onnx` wrote.

        Opening and running it computes and does nothing else. Whether the file is the one that was written is not
        looked at here: open it where `model_store.open_model` has compared it with its manifest.

        Args:
            path: The file.
            positions: Last tokens of a customer that are read, as the encoder was taught.
            threads: CPU cores that one reading uses.

        Raises:
            ServingNotInstalledError: If ONNX Runtime is not installed.
        """
        if importlib.util.find_spec("onnxruntime") is None:
            message = "onnxruntime is not installed. Next: pip install 'insight-assets[serving]'"
            raise ServingNotInstalledError(message)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        # From bytes, so that the graph can name no other file that would be read as well.
        self._session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._width = self._session.get_outputs()[0].shape[1]
        self._positions = positions

    def read(self, tokens: Tokens, *, until: int, horizons: Sequence[int] = ()) -> Read:
        """Read customers' events.

        Args:
            tokens: Events of n customers, with times; the last `positions` of each are read.
            until: Moment from which days to come are counted, in epoch seconds.
            horizons: Days to come that are asked for.

        Returns:
            What `learning.last_hidden` and `pretraining.order_chances` say of them, to 1e-5. Of each customer the
            same whoever else is read.

        Raises:
            ValueError: An event is later than `until`; see `Tokens.until`.
        """
        tokens = tokens.last(self._positions)
        if (tokens.times > until).any():
            message = "an event is later than the moment from which days to come are counted"
            raise ValueError(message)
        count, within = len(tokens.lengths), np.array(horizons, dtype=np.float32)
        vectors = np.zeros((count, self._width), dtype=np.float32)
        chances = np.full((count, len(horizons)), np.nan, dtype=np.float32)
        for rows in _alike(tokens.lengths):
            last = tokens.times[tokens.offsets[rows + 1] - 1]
            laid = dense_fields(tokens, rows) | {
                SINCE: ((until - last) / SECONDS_PER_DAY).astype(np.float32), WITHIN: within,
            }  # fmt: skip
            asked = {name: of for name, of in laid.items() if name in self._inputs}
            vectors[rows], chances[rows] = self._session.run([VECTORS, CHANCES], asked)
        return Read(vectors, {days: chances[:, place] for place, days in enumerate(horizons)})


def _alike(lengths: np.ndarray) -> list[np.ndarray]:
    """Numbers of customers with tokens, in batches of like length."""
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    batches, start = [], 0
    while start < len(order):
        # The first is the longest of its batch.
        stop = start + max(1, READ_PLACES // int(lengths[order[start]]))
        batches.append(order[start:stop])
        start = stop
    return batches
