"""The value network: whether a customer buys again, how much it is worth then, and how often.

A zero-inflated log-normal head over the features (Wang, Liu and Miao, A deep probabilistic model for customer lifetime
value prediction, 2019), with a rate of purchase days beside it. It starts from what the probabilistic model expects and
learns to depart from it. Which rows are learnt from and files belong to `learning`. Imports torch at module level:
import this module only inside functions that train or predict.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from insight_assets.ml.training import Epoch, Learning, as_it_is, name_training, one_thread, train_network

OUTPUTS = 4
PREDICTION_ROWS = 8192
LEAST = 1e-6
_WIDEST = 3.0


@dataclass(frozen=True)
class ZilnSettings:
    """Size of the network and how it learns.

    Attributes:
        width: Width of the hidden layer.
        dropout: Share of hidden values dropped while learning.
        learning_rate: Step size of AdamW.
        weight_decay: Decoupled decay of AdamW, on matrices only.
        batch_size: Rows of a batch.
        patience: Epochs without improvement after which learning ends.
    """

    width: int = 32
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 0.3
    batch_size: int = 256
    patience: int = 3


@dataclass(frozen=True)
class ZilnRows:
    """What the network reads of n rows; float32.

    Attributes:
        features: Shape (n, f), scaled features.
        expected_orders: Shape (n,), purchase days that the purchase model expects.
        expected_worth: Shape (n,), what the value model expects of each, in money.
        orders: Shape (n,), purchase days in the horizon; zeros when unknown.
        value: Shape (n,), net value in the horizon, at least 0; zeros when unknown.
    """

    features: np.ndarray
    expected_orders: np.ndarray
    expected_worth: np.ndarray
    orders: np.ndarray
    value: np.ndarray


class ZilnBatches(Dataset):
    """Rows as a dataset that hands out whole batches at once."""

    def __init__(self, rows: ZilnRows, numbers: np.ndarray) -> None:
        """Take the rows and the numbers of those that belong to this dataset."""
        self._arrays = {name: np.asarray(values)[numbers] for name, values in vars(rows).items()}
        self._size = len(numbers)

    def __len__(self) -> int:
        """Number of rows."""
        return self._size

    def __getitems__(self, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """Give a batch of some rows."""
        at = np.asarray(positions)
        return {name: torch.from_numpy(values[at]) for name, values in self._arrays.items()}


class ZilnNetwork(nn.Module):
    """Features to the parameters of the outcome, as departures from what was expected."""

    def __init__(self, settings: ZilnSettings, features: int) -> None:
        """Make the layers; the last ones begin at nothing, so that learning begins at the expectation."""
        super().__init__()
        self.linear = nn.Linear(features, OUTPUTS)
        self.deep = nn.Sequential(
            nn.Linear(features, settings.width),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.width, OUTPUTS),
        )
        for layer in (self.linear, self.deep[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Give log odds of buying, mean and deviation of log value when bought, log rate of days; each (b,)."""
        features = batch["features"]
        out = self.linear(features) + self.deep(features)
        log_orders = batch["expected_orders"].clamp(min=LEAST).log()
        log_worth = batch["expected_worth"].clamp(min=LEAST).log()
        # Who buys at all within the horizon buys at least once: the value when bought is at least that of one day.
        location = log_worth + F.softplus(log_orders) + out[:, 1]
        deviation = F.softplus(out[:, 2]).clamp(min=0.1, max=_WIDEST)
        return log_orders + out[:, 0], location, deviation, log_orders + out[:, 3]


def expectations(outputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Give expected purchase days and expected value of what the network says; each (b,)."""
    log_odds, location, deviation, log_rate = outputs
    return log_rate.exp(), torch.sigmoid(log_odds) * (location + deviation.square() / 2).exp()


def _loss(network: ZilnNetwork, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The ZILN loss of the value and the Poisson loss of the purchase days of a batch."""
    log_odds, location, deviation, log_rate = network(batch)
    bought = (batch["value"] > 0).float()
    log_value = batch["value"].clamp(min=LEAST).log()
    surprise = deviation.log() + ((log_value - location) / deviation).square() / 2
    whether = F.binary_cross_entropy_with_logits(log_odds, bought)
    return whether + (bought * surprise).mean() + F.poisson_nll_loss(log_rate, batch["orders"])


def train_ziln(
    rows: ZilnRows,
    *,
    fit: np.ndarray,
    stop: np.ndarray,
    settings: ZilnSettings,
    max_epochs: int,
    seed: int,
    work_directory: Path,
    log: Callable[[str], None],
) -> tuple[ZilnNetwork, list[Epoch]]:
    """Train the network.

    Args:
        rows: All rows.
        fit: Numbers of the rows that are learnt from.
        stop: Numbers of the rows that say when to stop; of other customers.
        settings: Size and learning.
        max_epochs: Most passes over the rows.
        seed: Seed of first weights, order and dropout.
        work_directory: Folder for checkpoints. Those of a training with other rows or settings lie in another subfolder
            and are not touched.
        log: Takes lines of progress.

    Returns:
        The network at its best, in evaluation mode on the CPU, and the losses of all epochs.
    """
    arrays = (*vars(rows).values(), fit, stop)
    folder = work_directory / name_training(asdict(settings), arrays, max_epochs=max_epochs, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ZilnNetwork(settings, features=rows.features.shape[1])
    learnt, kept = ZilnBatches(rows, fit), ZilnBatches(rows, stop)

    def training(epoch: Callable[[], int]) -> DataLoader:
        order = _Shuffled(len(learnt), settings.batch_size, seed, epoch)
        return DataLoader(learnt, batch_sampler=order, collate_fn=as_it_is)

    chunks = BatchSampler(SequentialSampler(kept), PREDICTION_ROWS, drop_last=False)
    epochs = train_network(
        Learning(
            network, partial(_loss, network), counted_by="value", learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        ),
        training=training,
        validation=DataLoader(kept, batch_sampler=chunks, collate_fn=as_it_is),
        max_epochs=max_epochs,
        patience=settings.patience,
        seed=seed,
        work_directory=folder,
        log=log,
    )
    return network, epochs


class _Shuffled(BatchSampler):
    """All rows in batches, in an order that follows from seed and epoch alone: a resumed training repeats it."""

    def __init__(self, rows: int, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        super().__init__(RandomSampler(range(rows)), batch_size, drop_last=False)
        self._rows, self._seed, self._epoch = rows, seed, epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self._seed, self._epoch()]).permutation(self._rows)
        for start in range(0, self._rows, self.batch_size):
            yield order[start : start + self.batch_size].tolist()

    def __len__(self) -> int:
        return -(-self._rows // self.batch_size)


def expect(network: ZilnNetwork, rows: ZilnRows) -> tuple[np.ndarray, np.ndarray]:
    """Give expected purchase days and expected value of n rows, each float64 of shape (n,)."""
    size = len(rows.features)
    batches = ZilnBatches(rows, np.arange(size))
    orders, value = np.empty(size), np.empty(size)
    with one_thread(), torch.inference_mode():
        for start in range(0, size, PREDICTION_ROWS):
            at = np.arange(start, min(size, start + PREDICTION_ROWS))
            days, worth = expectations(network(batches.__getitems__(at)))
            orders[at], value[at] = days.numpy(), worth.numpy()
    return orders, value
