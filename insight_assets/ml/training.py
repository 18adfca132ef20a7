"""The one way networks are trained here: Lightning, deterministic, killed and resumed without a trace.

Holds the trainer factory, and the module and callbacks that every training shares. Networks, batches and losses
belong to the capability. Imports torch at module level: import it only inside functions that train.
"""

# Lightning names the arguments of its hooks.
# ruff: noqa: ARG002

import gc
import hashlib
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.utils.data import DataLoader

from insight_assets.ml.progress import Progress, Watch

CHECKPOINT = "last.ckpt"
TRAINING_LOSS = "training_loss"
VALIDATION_LOSS = "validation_loss"
PROGRESS_SECONDS = 25.0
"""A line of progress at least this often: someone watches, and half a minute of silence is long."""

BF16_CAPABILITY = (8, 0)
"""NVIDIA compute capability from which bfloat16 is native."""

Net = TypeVar("Net", bound=nn.Module)
Trained = TypeVar("Trained")
_SILENT_LOGGERS = ("pytorch_lightning", "lightning", "lightning.pytorch", "lightning_fabric")


@dataclass(frozen=True)
class Epoch:
    """Mean losses of one pass over the training rows.

    Attributes:
        number: Epoch from 0.
        training_loss: On the fitted rows, while they were being learnt.
        validation_loss: On the rows kept apart, after the epoch; None where none are.
    """

    number: int
    training_loss: float
    validation_loss: float | None


class TrainingDivergedError(RuntimeError):
    """The loss stopped being a finite number."""


class DeviceTooSmallError(RuntimeError):
    """Not even the smallest batch fits in the memory of the device."""


class Learning(LightningModule):
    """A network and what it learns by: a loss over batches, and AdamW that lets vectors be."""

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[dict[str, torch.Tensor]], torch.Tensor],
        *,
        counted_by: str,
        learning_rate: float,
        weight_decay: float,
        fading: bool = False,
    ) -> None:
        """Take what is learnt, and how.

        Args:
            network: Whose weights are learnt.
            loss: Gives the mean loss of a batch, by that network.
            counted_by: Entry of a batch that has one element a row.
            learning_rate: Of all weights.
            weight_decay: Of matrices; biases and scales are not pulled towards 0.
            fading: Whether the learning rate falls evenly to 0 by the last step, so that the weights are not those that
                the last few batches happened to leave.
        """
        super().__init__()
        self.network = network
        self._loss = loss
        self._counted_by = counted_by
        self._learning_rate = learning_rate
        self._weight_decay = weight_decay
        self._fading = fading

    def rows(self, batch: dict[str, torch.Tensor]) -> int:
        """Count the rows of a batch."""
        return len(batch[self._counted_by])

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Give the loss of a batch that is learnt from, and note it."""
        loss = self._loss(batch)
        self.log(TRAINING_LOSS, loss, on_step=False, on_epoch=True, batch_size=self.rows(batch))
        return loss

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Note the loss of a batch that is kept apart."""
        self.log(VALIDATION_LOSS, self._loss(batch), batch_size=self.rows(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Give the optimiser, and how fast it learns."""
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self._weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self._learning_rate, fused=True)
        if not self._fading:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falling, "interval": "step"}}


def as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Collate a batch that its data set gave whole."""
    return batch


def name_training(told: Mapping[str, Any], arrays: Iterable[np.ndarray], *, max_epochs: int, seed: int) -> str:
    """Name a training, for the folder of its checkpoints.

    Args:
        told: Its settings, as plain values.
        arrays: Its rows, and which of them are learnt from and kept apart.
        max_epochs: Most passes over the rows.
        seed: Its seed.

    Returns:
        16 hex digits; the same rows and settings give the same name.
    """
    digest = hashlib.sha256(json.dumps([dict(told), max_epochs, seed]).encode())
    for values in arrays:
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def write_weights(network: nn.Module, path: Path) -> None:
    """Store the weights of a network as safetensors: numbers, and nothing that runs."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)


def read_weights(network: Net, path: Path) -> Net:
    """Give a network the weights that `write_weights` stored; returned in evaluation mode, on the CPU.

    Raises:
        safetensors.SafetensorError: If the file is no safetensors file.
        RuntimeError: If the weights do not fit the network.
    """
    from safetensors.torch import load_file

    network.load_state_dict(load_file(path))
    return network.eval()


class BestWeights(Callback):
    """Remembers the weights of the best epoch and ends training when it gets no better.

    Where no rows are kept apart the newest epoch is the best. Everything is part of the checkpoint, so that a resumed
    training knows what came before.
    """

    def __init__(self, patience: int) -> None:
        """Start with nothing seen.

        Args:
            patience: Epochs without a better validation loss after which training ends.
        """
        self.patience = patience
        self.epochs: list[Epoch] = []
        self.best_epoch = -1
        self.weights: dict[str, torch.Tensor] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the best epoch lies too far back."""
        return len(self.epochs) - 1 - self.best_epoch >= self.patience and bool(self.epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at once when a resumed training had already been over."""
        trainer.should_stop = trainer.should_stop or self.exhausted

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch's losses and, when they are the best so far, its weights."""
        losses = trainer.callback_metrics
        kept = float(losses[VALIDATION_LOSS]) if VALIDATION_LOSS in losses else None
        epoch = Epoch(len(self.epochs), float(losses[TRAINING_LOSS]), kept)
        if not all(math.isfinite(loss) for loss in (epoch.training_loss, kept or 0.0)):
            raise TrainingDivergedError(f"the loss of epoch {epoch.number} is not finite")
        self.epochs.append(epoch)
        if self.best_epoch < 0 or kept is None or kept < self.best_loss:
            self.best_epoch = epoch.number
            self.weights = {
                name: value.detach().to("cpu", copy=True)
                for name, value in pl_module.state_dict().items()
            }
        trainer.should_stop = trainer.should_stop or self.exhausted

    @property
    def best_loss(self) -> float | None:
        """Validation loss of the best epoch."""
        return self.epochs[self.best_epoch].validation_loss

    def state_dict(self) -> dict[str, Any]:
        """Give all state as tensors and plain values, which load without running code."""
        return {
            "epochs": [[e.number, e.training_loss, e.validation_loss] for e in self.epochs],
            "best_epoch": self.best_epoch,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of an earlier run."""
        self.epochs = [Epoch(*values) for values in state_dict["epochs"]]
        self.best_epoch = state_dict["best_epoch"]
        self.weights = state_dict["weights"]


class StepSeeds(Callback):
    """Seeds every training step by its number, so that a resumed step draws what it would have."""

    def __init__(self, seed: int) -> None:
        """Take the seed of the training."""
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed all devices."""
        torch.manual_seed((self.seed * 1_000_003 + trainer.global_step) % 2**63)


class ProgressLines(Callback):
    """Says after each epoch, and during long ones, how far training is.

    Reads a monotonic clock to decide when to speak; no result depends on it.
    """

    def __init__(self, log: Callable[[str], None], best: BestWeights) -> None:
        """Take where lines go and whose losses they tell."""
        self._log = log
        self._best = best
        self._spoken = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say which batch is done when nothing was said for a while."""
        if time.monotonic() - self._spoken >= PROGRESS_SECONDS:
            self._say(
                f"epoch {len(self._best.epochs) + 1} of at most {trainer.max_epochs}: "
                f"{batch_idx + 1} of {trainer.num_training_batches} batches"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say the epoch's losses."""
        epoch = self._best.epochs[-1]
        kept = "" if epoch.validation_loss is None else f", on rows kept apart {epoch.validation_loss:.4f}"
        self._say(f"epoch {epoch.number + 1} of at most {trainer.max_epochs}: loss {epoch.training_loss:.4f}{kept}")

    def _say(self, line: str) -> None:
        self._log(line)
        self._spoken = time.monotonic()


class ProgressReports(Callback):
    """Tells who watches, every half minute, how fast a training learns and how well.

    Reads a monotonic clock to decide when to tell, and at what pace; no result depends on it.
    """

    def __init__(self, watch: Watch) -> None:
        """Take who watches."""
        self._watch = watch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count; passes made before an interruption do not tell this process's pace."""
        self._began = self._told = time.monotonic()
        self._before = trainer.current_epoch
        self._rows, self._loss = 0, 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: "Learning", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch, and tell when that was not done for a while."""
        rows, now = pl_module.rows(batch), time.monotonic()
        self._rows += rows
        # Stays on the device: a number on the CPU would be waited for after each batch.
        self._loss = self._loss + rows * outputs["loss"].detach()
        if now - self._told < PROGRESS_SECONDS:
            return
        passes = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
        self._watch(
            Progress(
                passes=passes,
                most_passes=trainer.max_epochs,
                loss=float(self._loss) / self._rows,
                rows_per_second=self._rows / (now - self._told),
                seconds_left=(trainer.max_epochs - passes) * (now - self._began) / (passes - self._before),
            )
        )
        self._told, self._rows, self._loss = now, 0, 0.0


def train_network(
    module: Learning,
    *,
    training: Callable[[Callable[[], int]], DataLoader],
    validation: DataLoader | None,
    max_epochs: int,
    patience: int,
    seed: int,
    work_directory: Path,
    log: Callable[[str], None],
    watch: Watch | None = None,
) -> list[Epoch]:
    """Train a network until the rows kept apart say that it gets no better, and leave it at its best.

    Without such rows it learns for all epochs and is left as it was after the last.

    After each epoch all state is written to `last.ckpt` in the work directory, by a rename, so that
    a kill leaves the last whole one. When that file is there, training goes on from it; on a CPU
    the weights then equal, bit for bit, those of a training that was never interrupted.

    Args:
        module: The network; logs `training_loss` and `validation_loss` once an epoch.
        training: Makes the training batches, given a function that says which epoch begins.
        validation: Batches of the rows kept apart, if any are.
        max_epochs: Most passes over the training rows.
        patience: Passes without improvement after which training ends.
        seed: Seed of every step.
        work_directory: Folder for the checkpoint; the caller keeps different trainings apart and
            removes the folder when the result is stored.
        log: Takes lines of progress.
        watch: Is told how far training is, at most every `PROGRESS_SECONDS`.

    Returns:
        The losses of all epochs, those before an interruption included.

    Raises:
        TrainingDivergedError: If a loss is not finite.
    """
    best = BestWeights(patience)
    # Callbacks run in this order; Lightning itself moves the checkpoint to the end.
    callbacks: list[Callback] = [
        StepSeeds(seed),
        best,
        ProgressLines(log, best),
        *([] if watch is None else [ProgressReports(watch)]),
        ModelCheckpoint(
            dirpath=work_directory,
            filename=Path(CHECKPOINT).stem,
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
    ]
    checkpoint = work_directory / CHECKPOINT
    with _quiet_lightning(), one_thread(), torch.random.fork_rng():
        trainer = make_trainer(max_epochs=max_epochs, callbacks=callbacks)
        resumed = _readable(checkpoint, log)
        trainer.fit(
            module,
            train_dataloaders=training(lambda: trainer.current_epoch),
            val_dataloaders=validation,
            ckpt_path=checkpoint if resumed else None,
            weights_only=True,
        )
    module.cpu().load_state_dict(best.weights)
    module.eval()
    return best.epochs


def train_within_memory(
    train: Callable[[int], Trained], *, batch: int, least: int, told_as: str, setting: str, log: Callable[[str], None]
) -> tuple[Trained, int]:
    """Train by batches that fit in the memory of the device, half as large as often as they do not.

    A training whose batch does not fit is given up and begun anew, so that what comes of it is what a training with
    the smaller batches from the first step on gives.

    Args:
        train: Trains by batches of a size from the first step, or from a checkpoint of batches of that size.
        batch: Size to begin with.
        least: Smallest size worth trying.
        told_as: What a batch counts, for people.
        setting: Setting that says which size to begin with.
        log: Takes a line for each size that does not fit.

    Returns:
        What was trained, and the size of the batches that taught it.

    Raises:
        DeviceTooSmallError: If batches of the least size do not fit.
    """
    while True:
        try:
            return train(batch), batch
        except torch.OutOfMemoryError as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            if batch <= least:
                message = (
                    f"the device's memory does not hold a batch of {batch:,} {told_as}, and smaller ones make no sense "
                    f"({reason}). Next: a smaller network, or a device with more memory"
                )
                raise DeviceTooSmallError(message) from error
        smaller = max(least, batch // 2)
        log(
            f"the device's memory does not hold a batch of {batch:,} {told_as} ({reason}): training begins anew with "
            f"{smaller:,}. Next: set {setting}={smaller}, so that the next one begins so"
        )
        batch = smaller
        # Only here is the error gone, and with it what the frames it went through held.
        gc.collect()
        torch.cuda.empty_cache()


def make_trainer(*, max_epochs: int, callbacks: list[Callback]) -> Trainer:
    """Make the trainer: the best device there is, one of it, no files but the callbacks' own.

    Args:
        max_epochs: Most passes over the training rows.
        callbacks: Callbacks in order.

    Returns:
        A Lightning trainer; deterministic, in bfloat16 where the device has it.
    """
    native = torch.cuda.is_available() and torch.cuda.get_device_capability() >= BF16_CAPABILITY
    return Trainer(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if native else "32-true",
        max_epochs=max_epochs,
        callbacks=callbacks,
        deterministic="warn",
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _readable(checkpoint: Path, log: Callable[[str], None]) -> bool:
    """Whether there is a checkpoint to go on from; one that cannot be read is put aside.

    Reading takes tensors and plain values only: a file that asks for anything else runs nothing.
    """
    if not checkpoint.exists():
        return False
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever is wrong with the file, training can begin anew.
        log(f"{checkpoint.name} cannot be read ({type(error).__name__}): training begins anew")
        checkpoint.unlink()
        return False
    log(f"going on from {checkpoint.name}")
    return True


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one CPU core inside the block.

    Networks of this size gain nothing from more: six epochs took 16 s on one thread and 52 s on two
    where other processes wanted the cores as well. And sums on one thread are the same on a machine
    with any number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice on workers and devices out of the run's log, for one training."""
    levels = {name: logging.getLogger(name).level for name in _SILENT_LOGGERS}
    for name in _SILENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Workers would only copy arrays between processes; a batch is cut by one NumPy call.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
            warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
