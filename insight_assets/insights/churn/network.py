"""The churn network: reads a customer's last events as a sequence and joins the features in.

Holds the network, its batches and its training and prediction on arrays. Which rows are learnt
from, calibration and files belong to `models`. Imports torch at module level: import this module
only inside functions that train or predict.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

from insight_assets.ml.progress import Watch
from insight_assets.ml.sequences import JaggedEvents, LengthBuckets, padded_positions
from insight_assets.ml.training import (
    Epoch,
    Learning,
    as_it_is,
    name_training,
    one_thread,
    train_network,
)

NUMBERS = 3
PREDICTION_ROWS = 2048


@dataclass(frozen=True)
class NetworkSettings:
    """Size of the network and how it learns.

    Attributes:
        kinds: Number of kinds of event.
        width: Width of all hidden layers.
        heads: Attention heads.
        layers: Attention blocks.
        max_events: Most events of a customer that are read.
        product_buckets: Buckets into which products are hashed.
        category_buckets: Buckets into which categories are hashed.
        dropout: Share of hidden values dropped while learning.
        learning_rate: Step size of AdamW.
        weight_decay: Decoupled decay of AdamW, on matrices only.
        batch_size: Rows of a batch.
        patience: Epochs without improvement after which learning ends.
    """

    kinds: int
    width: int = 32
    heads: int = 2
    layers: int = 1
    max_events: int = 64
    product_buckets: int = 1024
    category_buckets: int = 128
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 0.5
    batch_size: int = 256
    patience: int = 3


@dataclass(frozen=True)
class ChurnRows:
    """What the network reads of n rows.

    Attributes:
        events: Their events.
        features: Shape (n, f), float32, scaled features.
        churned: Shape (n,), float32, 1 for churned; zeros when unknown.
    """

    events: JaggedEvents
    features: np.ndarray
    churned: np.ndarray


class ChurnBatches(Dataset):
    """Rows as a dataset that hands out whole batches at once."""

    def __init__(self, rows: ChurnRows, numbers: np.ndarray) -> None:
        """Take the rows and the numbers of those that belong to this dataset."""
        self._rows = rows
        self._numbers = numbers
        self.lengths = rows.events.lengths[numbers]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._numbers)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        """Give a batch of one row."""
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """Give a batch of some rows: one gather per array, no loop over rows."""
        numbers = self._numbers[np.asarray(positions)]
        events = self._rows.events
        at, present = padded_positions(events.offsets, numbers)
        batch = {
            "present": present,
            "kinds": _taken(events.kinds, at),
            "products": _taken(events.products, at),
            "categories": _taken(events.categories, at),
            "numbers": _taken(events.numbers, at),
            "features": self._rows.features[numbers],
            "churned": self._rows.churned[numbers],
        }
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class AttentionBlock(nn.Module):
    """One pre-norm transformer block over the events of each row."""

    def __init__(self, settings: NetworkSettings) -> None:
        """Make the layers."""
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.dropout = settings.dropout
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.mixing_norm = nn.LayerNorm(width)
        self.mixing = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, hidden: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Mix the events of each row; `hidden` (b, t, width), `present` (b, t)."""
        rows, steps, width = hidden.shape
        mixed = self.queries_keys_values(self.attention_norm(hidden))
        mixed = mixed.view(rows, steps, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            mixed[0], mixed[1], mixed[2], attn_mask=present[:, None, None, :]
        )
        attended = self.attended(attended.transpose(1, 2).reshape(rows, steps, width))
        hidden = hidden + F.dropout(attended, self.dropout, self.training)
        mixed = self.mixing(self.mixing_norm(hidden))
        return hidden + F.dropout(mixed, self.dropout, self.training)


class ChurnNetwork(nn.Module):
    """Events and features to the log odds of churning.

    The log odds are the sum of a linear part on the features and a deep part on both, the deep one
    starting at nothing: what a linear model can say is learnt first, and the sequence adds to it
    (wide and deep learning, Cheng et al., 2016).
    """

    def __init__(self, settings: NetworkSettings, features: int) -> None:
        """Make the layers.

        Args:
            settings: Sizes.
            features: Number of scaled features.
        """
        super().__init__()
        width = settings.width
        self.dropout = settings.dropout
        self.kind = nn.Embedding(settings.kinds, width)
        self.product = nn.Embedding(settings.product_buckets + 1, width)
        self.category = nn.Embedding(settings.category_buckets + 1, width)
        self.number = nn.Linear(NUMBERS, width)
        self.blocks = nn.ModuleList(AttentionBlock(settings) for _ in range(settings.layers))
        self.linear = nn.Linear(features, 1)
        self.joined_features = nn.Linear(features, width)
        self.deep = nn.Sequential(
            nn.Linear(3 * width, width),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(width, 1),
        )
        for embedding in (self.kind, self.product, self.category):
            nn.init.normal_(embedding.weight, std=0.1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.deep[-1].weight)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Give the log odds of each row of a batch, shape (b,)."""
        return self.join(self.read(batch), batch["features"])

    def read(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum the events of each row up: shape (b, 2 width), the last event and the mean of all."""
        present = batch["present"]
        hidden = (
            self.kind(batch["kinds"])
            + self.product(batch["products"])
            + self.category(batch["categories"])
            + self.number(batch["numbers"])
        )
        # A row without events attends to its first, masked-out place, or attention were undefined.
        attendable = present.clone()
        attendable[:, 0] = True
        for block in self.blocks:
            hidden = block(hidden, attendable)
        hidden = hidden * present[..., None]
        count = present.sum(dim=1).clamp(min=1)
        rows = torch.arange(len(hidden), device=hidden.device)
        return torch.cat([hidden[rows, count - 1], hidden.sum(dim=1) / count[:, None]], dim=1)

    def join(self, read: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Join what was read with the features, (b, 2 width) and (b, f), to log odds (b,)."""
        joined = F.dropout(F.gelu(self.joined_features(features)), self.dropout, self.training)
        deep = self.deep(torch.cat([read, joined], dim=1))
        return (self.linear(features) + deep)[:, 0]


def _loss(network: ChurnNetwork, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Log loss of a batch."""
    return F.binary_cross_entropy_with_logits(network(batch), batch["churned"])


def train_churn_network(
    rows: ChurnRows,
    *,
    fit: np.ndarray,
    stop: np.ndarray,
    settings: NetworkSettings,
    max_epochs: int,
    seed: int,
    work_directory: Path,
    log: Callable[[str], None],
    watch: Watch | None = None,
) -> tuple[ChurnNetwork, list[Epoch]]:
    """Train the network.

    Args:
        rows: All rows.
        fit: Numbers of the rows that are learnt from.
        stop: Numbers of the rows that say when to stop; of other customers.
        settings: Sizes and learning.
        max_epochs: Most passes over the rows.
        seed: Seed of first weights, order and dropout.
        work_directory: Folder for checkpoints. Those of a training with other rows or settings lie
            in another subfolder and are not touched.
        log: Takes lines of progress.
        watch: Is told how far training is, see `train_network`.

    Returns:
        The network at its best, in evaluation mode on the CPU, and the losses of all epochs.
    """
    events = rows.events
    arrays = (
        events.offsets, events.kinds, events.products, events.categories, events.numbers, rows.features, rows.churned,
        fit, stop,
    )  # fmt: skip
    folder = work_directory / name_training(asdict(settings), arrays, max_epochs=max_epochs, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ChurnNetwork(settings, features=rows.features.shape[1])
    learnt, kept = ChurnBatches(rows, fit), ChurnBatches(rows, stop)

    def training(epoch: Callable[[], int]) -> DataLoader:
        order = LengthBuckets(
            learnt.lengths, batch_size=settings.batch_size, seed=seed, epoch=epoch
        )
        return DataLoader(learnt, batch_sampler=order, collate_fn=as_it_is)

    epochs = train_network(
        Learning(
            network, partial(_loss, network), counted_by="churned", learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        ),
        training=training,
        validation=DataLoader(kept, batch_sampler=_chunks(kept.lengths), collate_fn=as_it_is),
        max_epochs=max_epochs,
        patience=settings.patience,
        seed=seed,
        work_directory=folder,
        log=log,
        watch=watch,
    )
    return network, epochs


def read_events(network: ChurnNetwork, events: JaggedEvents) -> np.ndarray:
    """Let the network read events.

    Args:
        network: A trained network.
        events: Events of n rows.

    Returns:
        Shape (n, 2 width), float32: what `join_features` needs of the events.
    """
    lengths = events.lengths
    nothing = np.zeros((len(lengths), 0), dtype=np.float32)
    batches = ChurnBatches(
        ChurnRows(events, nothing, np.zeros(len(lengths), dtype=np.float32)),
        np.arange(len(lengths)),
    )
    width = 2 * network.kind.embedding_dim
    read = np.empty((len(lengths), width), dtype=np.float32)
    with one_thread(), torch.inference_mode():
        for numbers in _chunks(lengths):
            read[numbers] = network.read(batches.__getitems__(numbers)).numpy()
    return read


def join_features(network: ChurnNetwork, read: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Give the log odds of churning from read events and features.

    Args:
        network: A trained network.
        read: Shape (n, 2 width), from `read_events`.
        features: Shape (n, f), scaled features.

    Returns:
        Shape (n,), float64.
    """
    log_odds = np.empty(len(read), dtype=np.float64)
    with one_thread(), torch.inference_mode():
        for start in range(0, len(read), PREDICTION_ROWS):
            chunk = slice(start, start + PREDICTION_ROWS)
            part = network.join(
                torch.tensor(read[chunk]),
                torch.from_numpy(np.ascontiguousarray(features[chunk], dtype=np.float32)),
            )
            log_odds[chunk] = part.numpy()
    return log_odds


def _chunks(lengths: np.ndarray) -> list[list[int]]:
    """All rows in batches of like length, longest last."""
    order = np.argsort(lengths, kind="stable")
    return [
        order[start : start + PREDICTION_ROWS].tolist()
        for start in range(0, len(order), PREDICTION_ROWS)
    ]


def _taken(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values at positions; zeros when there is not a single event to take from."""
    if len(values) == 0:
        return np.zeros((*at.shape, *values.shape[1:]), dtype=values.dtype)
    return values[at]
