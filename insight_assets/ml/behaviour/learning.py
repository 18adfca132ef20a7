"""Packed batches as tensors, how the encoder reads one, and how it learns from them.

Which sequences go into a batch belongs to `packing`, what is asked of the encoder to `next_product` and `pretraining`.
Imports torch at module level: import it only inside functions that train or predict.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from insight_assets.ml.behaviour.encoder import BehaviourEncoder, PackedLayout
from insight_assets.ml.behaviour.packing import Packing, TokenBudget, cut_to_budget, pack
from insight_assets.ml.behaviour.tokens import Tokens
from insight_assets.ml.progress import Watch
from insight_assets.ml.training import Epoch, Learning, as_it_is, one_thread, train_network

READ_TOKENS = 16_384
"""Tokens read at once where nothing is learnt."""


@dataclass(frozen=True)
class LearningSettings:
    """How the encoder learns which product comes next.

    Attributes:
        sharpness: What the cosine of customer and product is multiplied by before the softmax. On Amazon Beauty at size
            XS a softmax over plain products of vectors reached .037 of NDCG@10 after 16 epochs, and over cosines times
            12 the same .047 after 12.
        negatives: Products drawn for each batch; 0 compares with all.
        tokens: Most tokens of a batch.
        learning_rate: Step size of AdamW.
        weight_decay: Decoupled decay of AdamW, on matrices only.
        patience: Epochs without a better ranking after which learning ends.
    """

    sharpness: float = 12.0
    negatives: int = 1024
    tokens: int = 2048
    learning_rate: float = 4e-3
    weight_decay: float = 0.0
    patience: int = 3


class PackedBatches(Dataset):
    """Sequences as a dataset that hands out whole packed batches."""

    def __init__(self, tokens: Tokens, targets: Mapping[str, np.ndarray]) -> None:
        """Take the sequences.

        Args:
            tokens: Sequences, none of them empty.
            targets: What is asked for to its value after each token, shape (tokens,).
        """
        self._tokens = tokens
        self.targets = targets
        self.lengths = tokens.lengths

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.lengths)

    def __getitem__(self, row: int) -> dict[str, object]:
        """Give a batch of one sequence."""
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> dict[str, object]:
        """Give a batch of some sequences."""
        packing = pack(self._tokens.offsets, np.asarray(rows))
        return batch_of(self._tokens.fields, packing) | {
            name: torch.from_numpy(of[packing.tokens]) for name, of in self.targets.items()
        }


def batch_of(fields: Mapping[str, np.ndarray], packing: Packing) -> dict[str, object]:
    """Give the tensors of a packed batch, as `read_batch` takes them."""
    places, start = [], 0
    for rows, steps in packing.shapes:
        places.append(torch.from_numpy(np.flatnonzero(packing.filled[start : start + rows * steps])))
        start += rows * steps
    return {
        "fields": {name: torch.from_numpy(codes[packing.tokens]) for name, codes in fields.items()},
        "from_end": torch.from_numpy(packing.from_end),
        "places": places,
        "shapes": packing.shapes,
    }


def read_batch(encoder: BehaviourEncoder, batch: Mapping[str, object]) -> torch.Tensor:
    """Give the hidden vector after each token of a batch, shape (t, width)."""
    return encoder(batch["fields"], PackedLayout(batch["from_end"], tuple(batch["shapes"]), tuple(batch["places"])))


def last_hidden(encoder: BehaviourEncoder, tokens: Tokens) -> torch.Tensor:
    """Read customers' events.

    Args:
        encoder: In evaluation mode, on the CPU.
        tokens: Events of n customers; the last `positions` of each are read.

    Returns:
        Shape (n, width): the hidden vector after the last token, zeros where there is none. A customer's vector does
        not depend on who else is read.
    """
    tokens = tokens.last(encoder.settings.positions)
    there = np.flatnonzero(tokens.lengths)
    with one_thread(), torch.inference_mode():
        found = torch.zeros(len(tokens.lengths), encoder.settings.width)
        for chunk in even_batches(tokens.lengths[there]):
            packing = pack(tokens.offsets, there[chunk])
            hidden = read_batch(encoder, batch_of(tokens.fields, packing))
            found[torch.from_numpy(packing.rows)] = hidden[packing.from_end == 0]
    return found


def even_batches(lengths: np.ndarray, tokens: int = READ_TOKENS) -> list[list[int]]:
    """All sequences in batches of like length and at most so many tokens, the longest last."""
    order = np.argsort(lengths, kind="stable")
    return [rows.tolist() for rows in cut_to_budget(order, lengths[order], tokens)]


def learn(
    network: nn.Module,
    loss: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    taught: PackedBatches,
    kept: PackedBatches | None,
    *,
    counted_by: str,
    learning: LearningSettings,
    max_epochs: int,
    seed: int,
    work_directory: Path,
    log: Callable[[str], None],
    fading: bool = False,
    read_tokens: int = READ_TOKENS,
    watch: Watch | None = None,
) -> list[Epoch]:
    """Teach a network in packed batches; the arguments not said here are those of `train_network`.

    Args:
        network: Is left in evaluation mode on the CPU, at its best where sequences are kept apart.
        loss: Gives the mean loss of a batch, by that network.
        taught: Sequences that are learnt from.
        kept: Sequences kept apart, which say when to stop; None to learn for all epochs.
        counted_by: Entry of a batch that has one element a token.
        learning: How.
        fading: See `Learning`.
        read_tokens: Most tokens of a batch of the sequences kept apart.

    Returns:
        The losses of all epochs.
    """

    def training(epoch: Callable[[], int]) -> DataLoader:
        order = TokenBudget(taught.lengths, tokens=learning.tokens, seed=seed, epoch=epoch)
        return DataLoader(taught, batch_sampler=order, collate_fn=as_it_is)

    module = Learning(
        network, loss, counted_by=counted_by, learning_rate=learning.learning_rate,
        weight_decay=learning.weight_decay, fading=fading,
    )  # fmt: skip
    return train_network(
        module,
        training=training,
        validation=kept
        and DataLoader(kept, batch_sampler=even_batches(kept.lengths, read_tokens), collate_fn=as_it_is),
        max_epochs=max_epochs,
        patience=learning.patience,
        seed=seed,
        work_directory=work_directory,
        log=log,
        watch=watch,
    )
