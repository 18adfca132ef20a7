"""What the encoder is taught by the shop's own history: what each customer does next, when, with what and for how much.

Holds what is asked after each token, the network that answers, its loss and its training. Whose events these are, and
what is published of it, belongs to the capabilities. Imports torch at module level: import it only inside functions
that train or predict.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from insight_assets.ml.behaviour.encoder import BehaviourEncoder, EncoderSettings
from insight_assets.ml.behaviour.hazard import DAYS, LONGEST, Hazard, marginal_odds
from insight_assets.ml.behaviour.learning import (
    READ_TOKENS,
    LearningSettings,
    PackedBatches,
    even_batches,
    last_hidden,
    learn,
    read_batch,
)
from insight_assets.ml.behaviour.next_product import product_loss
from insight_assets.ml.behaviour.tokens import ITEM, Tokens
from insight_assets.ml.progress import Watch
from insight_assets.ml.sequences import SECONDS_PER_DAY
from insight_assets.ml.training import Epoch, name_training, one_thread

NEXT_PRODUCT, NEW_PURCHASE = "next_product", "new_purchase"
PRODUCT_TASKS = (NEXT_PRODUCT, NEW_PURCHASE)
KIND, AMOUNT = "kind", "amount"
CODE_TASKS = (KIND, AMOUNT)
NEXT_EVENT, NEXT_ORDER = "next_event", "next_order"
TIME_TASKS = (NEXT_EVENT, NEXT_ORDER)
TASKS = (*PRODUCT_TASKS, *CODE_TASKS, *TIME_TASKS)
"""What is asked after each token: product of the next event; a product, not among those bought in the sequence before,
of the next order that has one; kind and price bucket of the next event; days until the next event and the next order.
"""

LEAST_DOUBT = -1.5
"""Logarithm of the share of the loss of `Marginals` below which a question no longer weighs more."""

SMALLEST_LOSS = 0.05
"""Loss of `Marginals` below which there is next to nothing to learn, and losses are no longer counted in it."""

READ_BATCHES = 8
"""Batches that are learnt from, as large as which one may be that is only read: reading keeps nothing for gradients."""

BEFORE_WINDOW, OVER_ALL = "before the window", "over everything"
"""Parts of a training, for who watches it."""

_DAYS, _CAME = "{}_days", "{}_came"


def targets_of(tokens: Tokens, *, bought: int, until: int, seed: int) -> dict[str, np.ndarray]:
    """Say what came after each token.

    Args:
        tokens: Sequences with fields `kind`, `item` and `price`, and with times.
        bought: Code of the kind that stands for a product of an order.
        until: Moment up to which events are known, in epoch seconds; no token is later.
        seed: Decides which of several new products of an order is asked for.

    Returns:
        For each product and code task a code, 0 where nothing is asked; for each time task `{task}_days`, float32, days
        until it came or during which it did not, and `{task}_came`, bool. All of shape (tokens,).
    """
    times, count = tokens.times, int(tokens.offsets[-1])
    owner = np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)
    place = np.arange(count)
    following = np.minimum(place + 1, max(count - 1, 0))
    followed = np.zeros(count, dtype=bool)
    followed[:-1] = owner[:-1] == owner[1:]
    kind, item, price = (np.where(followed, tokens.fields[name][following], 0) for name in ("kind", ITEM, "price"))
    # One number that grows along the flat arrays: customers one after the other, each in the order of time.
    first = int(times.min(initial=0))
    clock = owner * np.int64(until - first + 1) + (times - first)
    orders = np.flatnonzero(tokens.fields["kind"] == bought)
    order = np.searchsorted(clock[orders], clock, side="right")
    comes = _same_owner(owner, orders, order)
    order_time = times[orders[np.minimum(order, len(orders) - 1)]] if len(orders) else times
    new = orders[_first_times(owner[orders], tokens.fields[ITEM][orders])]
    purchase = np.searchsorted(clock[new], clock, side="right")
    buys = _same_owner(owner, new, purchase)
    asked = np.zeros(count, dtype=np.int64)
    if len(new):
        start = np.minimum(purchase, len(new) - 1)
        stop = np.searchsorted(clock[new], clock[new[start]], side="right")
        drawn = start + (np.random.default_rng(seed).random(count) * (stop - start)).astype(np.int64)
        asked = np.where(buys, tokens.fields[ITEM][new[drawn]], 0)
    left = until - times
    return {
        NEXT_PRODUCT: item,
        NEW_PURCHASE: asked,
        KIND: kind,
        AMOUNT: price,
        **_times(NEXT_EVENT, np.where(followed, times[following] - times, left), followed),
        **_times(NEXT_ORDER, np.where(comes, order_time - times, left), comes),
    }


def _same_owner(owner: np.ndarray, places: np.ndarray, found: np.ndarray) -> np.ndarray:
    if not len(places):
        return np.zeros(len(owner), dtype=bool)
    return (found < len(places)) & (owner[places[np.minimum(found, len(places) - 1)]] == owner)


def _first_times(owner: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Whether each bought product is known, and the first of that product by its owner."""
    pairs = np.stack([owner, item], axis=1)
    first = np.zeros(len(owner), dtype=bool)
    if len(owner):
        first[np.unique(pairs, axis=0, return_index=True)[1]] = True
    return first & (item > 0)


def _times(task: str, seconds: np.ndarray, came: np.ndarray) -> dict[str, np.ndarray]:
    # The last span ends just after.
    days = np.minimum(seconds / SECONDS_PER_DAY, DAYS[-1] + LONGEST - 1)
    return {_DAYS.format(task): days.astype(np.float32), _CAME.format(task): came}


@dataclass(frozen=True)
class Marginals:
    """What holds for all tokens alike: how often each code came, and log-odds by span.

    A network that does no better has learnt nothing, so that it is what a loss is measured by.

    Attributes:
        chances: Product or code task to the share of each code, float32.
        odds: Time task to the log-odds of each span, float32.
    """

    chances: Mapping[str, np.ndarray]
    odds: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, targets: Mapping[str, np.ndarray], fields: Mapping[str, int]) -> "Marginals":
        """Count what came; half a time is added to each code."""
        chances = {}
        for task, name in {NEXT_PRODUCT: ITEM, NEW_PURCHASE: ITEM, KIND: "kind", AMOUNT: "price"}.items():
            counts = np.bincount(targets[task][targets[task] > 0], minlength=fields[name]) + 0.5
            counts[0] = 0
            chances[task] = (counts / counts.sum()).astype(np.float32)
        odds = {task: marginal_odds(targets[_DAYS.format(task)], targets[_CAME.format(task)]) for task in TIME_TASKS}
        return cls(chances, odds)


class PretrainedEncoder(nn.Module):
    """An encoder and the heads that it is taught by.

    A product is foretold by the cosine of its vector and a question: the hidden vector, shifted by what is asked for.
    Losses are counted in those of `Marginals` and weighed by learned weights (Kendall, Gal and Cipolla, CVPR 2018),
    which are bounded: a question that is always answered would otherwise drown all others.
    """

    def __init__(
        self, settings: EncoderSettings, traits: Mapping[str, torch.Tensor] | None, *, sharpness: float, negatives: int
    ) -> None:
        """Make the layers.

        Args:
            settings: Sizes; `rotary`, since a distance from the end would tell that something is to come.
            traits: See `BehaviourEncoder`.
            sharpness: See `LearningSettings`.
            negatives: See `LearningSettings`; all products are compared with where twice as many are not there.

        Raises:
            ValueError: If places are told by their distance from the end.
        """
        super().__init__()
        if not settings.rotary:
            message = "an encoder that foretells times must not be told how many events are still to come"
            raise ValueError(message)
        width, fields = settings.width, settings.fields
        self.encoder = BehaviourEncoder(settings, traits)
        self.sharpness = sharpness
        self.negatives = negatives if fields[ITEM] > 2 * negatives else 0
        self.questions = nn.ParameterDict({task: nn.Parameter(torch.zeros(width)) for task in PRODUCT_TASKS})
        sizes = {KIND: fields["kind"], AMOUNT: fields["price"]}
        self.codes = nn.ModuleDict({task: nn.Linear(width, size) for task, size in sizes.items()})
        self.hazards = nn.ModuleDict({task: Hazard(width) for task in TIME_TASKS})
        self.doubts = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in TASKS})
        self.of_marginals = dict.fromkeys(TASKS, 1.0)

    def start_from(self, marginals: Marginals, losses: Mapping[str, float]) -> None:
        """Let the heads start from what holds for all alike.

        Args:
            marginals: What does.
            losses: Task to the mean loss of a token under it; tasks without any are asked of nobody.
        """
        self.of_marginals |= {task: max(loss, SMALLEST_LOSS) for task, loss in losses.items()}
        for task, layer in self.codes.items():
            with torch.no_grad():
                layer.bias.copy_(torch.from_numpy(marginals.chances[task]).clamp(min=1e-6).log())
        for task, hazard in self.hazards.items():
            hazard.start_from(marginals.odds[task])

    def question(self, hidden: torch.Tensor, task: str) -> torch.Tensor:
        """Give the vector, of length 1, that products are compared with; shape as `hidden`."""
        return F.normalize(hidden + self.questions[task], dim=1)

    def losses(self, batch: Mapping[str, object]) -> dict[str, tuple[torch.Tensor, int]]:
        """Give the mean loss of each task, and how many tokens were asked.

        While it does not learn, the loss of a product task is what the ranking lacks (see `lost_places`).
        """
        hidden = read_batch(self.encoder, batch)
        found = {}
        for task in PRODUCT_TASKS:
            asked = batch[task].nonzero()[:, 0]
            wanted = self.sharpness * self.question(hidden[asked], task)
            loss = product_loss(self.encoder, wanted, batch[task][asked], negatives=self.negatives)
            found[task] = (loss, len(asked))
        for task, layer in self.codes.items():
            asked = batch[task].nonzero()[:, 0]
            loss = F.cross_entropy(layer(hidden[asked]), batch[task][asked], reduction="sum") / max(1, len(asked))
            found[task] = (loss, len(asked))
        for task, hazard in self.hazards.items():
            asked = (batch[_DAYS.format(task)] >= 0).nonzero()[:, 0]
            days, came = (batch[name.format(task)][asked] for name in (_DAYS, _CAME))
            loss = hazard.loss(hazard(hidden[asked]), days, came)
            found[task] = (loss.sum() / max(1, len(asked)), len(asked))
        return found

    def joint_loss(self, batch: Mapping[str, object]) -> torch.Tensor:
        """Give the sum of all losses by their learned weights."""
        total = batch["from_end"].new_zeros((), dtype=torch.float32)
        for task, (loss, asked) in self.losses(batch).items():
            if asked:
                doubt = self.doubts[task].clamp(min=LEAST_DOUBT)
                total = total + torch.exp(-doubt) * loss / self.of_marginals[task] + doubt
        return total


@dataclass(frozen=True)
class Taught:
    """How an encoder was taught.

    Attributes:
        epochs: Losses of the passes up to the calibration window: where the window says when to stop, `validation_loss`
            is the mean share of its tasks' losses that is left of those of `Marginals`.
        passes_over_all: Passes over everything afterwards.
        left: Task to the share of the loss of `Marginals` that was left in the calibration window; empty without one.
    """

    epochs: list[Epoch]
    passes_over_all: int
    left: Mapping[str, float]


def pretrain(
    tokens: Tokens,
    *,
    settings: EncoderSettings,
    learning: LearningSettings,
    traits: Mapping[str, np.ndarray] | None,
    bought: int,
    calibrate_from: int,
    until: int,
    max_epochs: int,
    seed: int,
    work_directory: Path,
    log: Callable[[str], None],
    watch: Watch | None = None,
) -> tuple[PretrainedEncoder, Taught]:
    """Teach an encoder: up to a calibration window, which says when to stop, and then on over everything.

    Args:
        tokens: Sequences with times; the last `settings.positions` tokens of each are looked at.
        settings: Size of the encoder.
        learning: How it learns.
        traits: Traits of products, as `Vocabulary.traits_of_codes` gives them.
        bought: Code of the kind that stands for a product of an order.
        calibrate_from: End of what is learnt first and start of the window, in epoch seconds.
        until: Moment up to which events are known.
        max_epochs: Most passes up to the window. Of those that did best half as many go over everything, at least
            one, while the learning rate falls to 0.
        seed: Seed of first weights, order, dropout and draws.
        work_directory: Folder for checkpoints.
        log: Takes lines of progress.
        watch: Is told how far each of the two trainings is, see `train_network`.

    Returns:
        The encoder in evaluation mode on the CPU, and how it was taught; untaught where there is no token.

    Raises:
        TrainingDivergedError: If a loss is not finite.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = PretrainedEncoder(
            settings, {name: torch.from_numpy(of) for name, of in (traits or {}).items()},
            sharpness=learning.sharpness, negatives=learning.negatives,
        ).eval()  # fmt: skip
    tokens = tokens.last(settings.positions)
    if not tokens.offsets[-1]:
        return network, Taught([], 0, {})
    everything = targets_of(tokens, bought=bought, until=until, seed=seed)
    later = tokens.times > calibrate_from
    early = tokens.until(calibrate_from)
    enough = early.offsets[-1] > 0 and later.any()
    first = targets_of(early, bought=bought, until=calibrate_from, seed=seed) if enough else everything
    marginals = Marginals.of(first, settings.fields)
    # What products a ranking lacks is not what they are learnt by.
    entropy = {task: float(-(of * np.log(np.maximum(of, 1e-12))).sum()) for task, of in marginals.chances.items()}
    network.start_from(marginals, entropy | _times_alike(first, marginals))
    folder = work_directory / name_training(
        asdict(settings) | asdict(learning) | {"calibrate_from": calibrate_from, "until": until},
        [tokens.offsets, tokens.times, *tokens.fields.values(), *(traits or {}).values()],
        max_epochs=max_epochs, seed=seed,
    )  # fmt: skip
    teach = partial(_teach, network, learning=learning, seed=seed, log=log, watch=watch)
    if not enough:
        return network, Taught([], _teach_all(teach, tokens, everything, max_epochs, folder), {})
    kept = _within(tokens, everything, later)
    scales = _scales(kept, marginals)
    epochs = teach(early, first, kept=kept, scales=scales, max_epochs=max_epochs, folder=folder / "before")
    left = _left(network, kept, scales)
    best = 1 + min(epochs, key=lambda epoch: epoch.validation_loss).number
    again = max(1, best // 2)
    return network, Taught(epochs, _teach_all(teach, tokens, everything, again, folder), left)


def _teach_all(
    teach: Callable[..., list[Epoch]], tokens: Tokens, targets: Mapping[str, np.ndarray], passes: int, folder: Path
) -> int:
    teach(tokens, targets, kept=None, scales={}, max_epochs=passes, folder=folder / "all")
    return passes


def _teach(
    network: PretrainedEncoder,
    tokens: Tokens,
    targets: Mapping[str, np.ndarray],
    *,
    kept: PackedBatches | None,
    scales: Mapping[str, float],
    learning: LearningSettings,
    max_epochs: int,
    seed: int,
    folder: Path,
    log: Callable[[str], None],
    watch: Watch | None,
) -> list[Epoch]:
    folder.mkdir(parents=True, exist_ok=True)
    part = OVER_ALL if kept is None else BEFORE_WINDOW

    def loss(batch: Mapping[str, object]) -> torch.Tensor:
        if network.training:
            return network.joint_loss(batch)
        # The trainer takes the mean over tokens of what is to be a sum over batches.
        return _share_left(network, batch, scales) * len(kept.targets[KIND]) / len(batch[KIND])

    return learn(
        network.train(), loss, _there(tokens, targets), kept, counted_by=KIND, learning=learning, max_epochs=max_epochs,
        seed=seed, work_directory=folder, log=log, fading=kept is None,
        # Who sets smaller batches for want of memory means those that are only read as well.
        read_tokens=min(READ_TOKENS, READ_BATCHES * learning.tokens),
        watch=watch and (lambda progress: watch(replace(progress, part=part))),
    )  # fmt: skip


def _there(tokens: Tokens, targets: Mapping[str, np.ndarray]) -> PackedBatches:
    """Leave customers without a token out."""
    return PackedBatches(tokens.take(np.flatnonzero(tokens.lengths)), targets)


def _within(tokens: Tokens, targets: Mapping[str, np.ndarray], later: np.ndarray) -> PackedBatches:
    """Ask after some tokens alone, whose sequences are read whole."""
    asked = {
        name: of if of.dtype == bool else np.where(later, of, of.dtype.type(0 if of.dtype == np.int64 else -1))
        for name, of in targets.items()
    }
    ends = np.concatenate([[0], np.cumsum(later)])[tokens.offsets]
    rows = np.flatnonzero(np.diff(ends))
    places = np.flatnonzero(np.isin(np.repeat(np.arange(len(tokens.lengths)), tokens.lengths), rows))
    return PackedBatches(tokens.take(rows), {name: of[places] for name, of in asked.items()})


def _scales(kept: PackedBatches, marginals: Marginals) -> dict[str, float]:
    """Give what the loss of a token weighs, by task, so that the losses of marginals would add up to one."""
    targets, totals = kept.targets, {}
    for task, chances in marginals.chances.items():
        came = targets[task][targets[task] > 0]
        if task in PRODUCT_TASKS:
            place = np.argsort(np.argsort(-chances, kind="stable"), kind="stable")
            totals[task] = float((1 - 1 / np.log2(place[came] + 2.0)).sum())
        else:
            totals[task] = float(-np.log(chances[came]).sum())
    for task, mean in _times_alike(targets, marginals).items():
        totals[task] = mean * int((targets[_DAYS.format(task)] >= 0).sum())
    return {task: 1 / total for task, total in totals.items() if total > 0}


def _times_alike(targets: Mapping[str, np.ndarray], marginals: Marginals) -> dict[str, float]:
    """Give the mean loss of the time tasks where everybody has the same chances; 0 where nobody is asked."""
    means = {}
    for task, odds in marginals.odds.items():
        days, came = (torch.from_numpy(targets[name.format(task)]) for name in (_DAYS, _CAME))
        asked = days >= 0
        losses = Hazard(1).loss(torch.from_numpy(odds).expand(int(asked.sum()), -1), days[asked], came[asked])
        means[task] = float(losses.sum()) / max(1, len(losses))
    return means


def _share_left(network: PretrainedEncoder, batch: Mapping[str, object], scales: Mapping[str, float]) -> torch.Tensor:
    """Give a batch's part of the share of the losses that is left; all parts together are the mean over tasks."""
    parts = [loss * asked * scales[task] for task, (loss, asked) in network.losses(batch).items() if task in scales]
    return sum(parts) / len(scales)


def _left(network: PretrainedEncoder, kept: PackedBatches, scales: Mapping[str, float]) -> dict[str, float]:
    totals = dict.fromkeys(scales, 0.0)
    with one_thread(), torch.inference_mode():
        for rows in even_batches(kept.lengths):
            for task, (loss, asked) in network.losses(kept.__getitems__(rows)).items():
                if task in totals:
                    totals[task] += float(loss) * asked * scales[task]
    return totals


def order_chances(
    network: PretrainedEncoder, tokens: Tokens, *, until: int, horizons: Sequence[int], task: str = NEXT_ORDER
) -> dict[int, np.ndarray]:
    """Read customers' events and say how likely the next order is.

    Args:
        network: In evaluation mode.
        tokens: Events of n customers, with times.
        until: Moment from which days to come are counted, in epoch seconds; no event is later.
        horizons: Days to come that are asked for.
        task: One of `TIME_TASKS`.

    Returns:
        Days to the chance that it comes within them, shape (n,), float32; NaN for customers without events. Of each
        customer the same whoever else is read.
    """
    hidden = last_hidden(network.encoder, tokens).numpy()
    return chances_after(network, hidden, silence_of(tokens, until), horizons=horizons, task=task)


def silence_of(tokens: Tokens, until: int) -> np.ndarray:
    """Give the days from each customer's last event to a moment in epoch seconds, float32; NaN without events."""
    days = np.full(len(tokens.lengths), np.nan, dtype=np.float32)
    there = tokens.lengths > 0
    days[there] = (until - tokens.times[tokens.offsets[1:][there] - 1]) / SECONDS_PER_DAY
    return days


def chances_after(
    network: PretrainedEncoder,
    hidden: np.ndarray,
    silence: np.ndarray,
    *,
    horizons: Sequence[int],
    task: str = NEXT_ORDER,
) -> dict[int, np.ndarray]:
    """Say how likely the next order is, of customers that were read before.

    Args:
        network: In evaluation mode.
        hidden: Shape (n, width): the hidden vector after each customer's last event.
        silence: Shape (n,), as `silence_of` gives it.
        horizons: Days to come that are asked for.
        task: One of `TIME_TASKS`.

    Returns:
        As `order_chances`.
    """
    hazard = network.hazards[task]
    with one_thread(), torch.inference_mode():
        odds, since = hazard(torch.from_numpy(hidden)), torch.from_numpy(silence)
        return {days: hazard.chance(odds, since, float(days)).numpy() for days in horizons}


def question_vector(network: PretrainedEncoder, task: str = NEW_PURCHASE) -> np.ndarray:
    """Give what is added to a customer's vector before products are compared with it, shape (width,)."""
    return network.questions[task].detach().numpy()
