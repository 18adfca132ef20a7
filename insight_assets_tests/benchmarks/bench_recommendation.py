"""Benchmarks of the recommendation methods: quality on public data sets, and speed.

Not a test. Run one of

    python -m insight_assets_tests.benchmarks.bench_recommendation uci DATA/uci_online_retail/online_retail.parquet
    python -m insight_assets_tests.benchmarks.bench_recommendation beauty DATA/amazon_sequences/s3rec/Beauty.txt.gz
    python -m insight_assets_tests.benchmarks.bench_recommendation video DATA/amazon_sequences/sasrec/Video.txt.gz
    python -m insight_assets_tests.benchmarks.bench_recommendation ml100k DATA/movielens/ml-100k/ml-100k.inter.gz
    python -m insight_assets_tests.benchmarks.bench_recommendation yoochoose DATA/yoochoose_100k --seeds 1 2 3
    python -m insight_assets_tests.benchmarks.bench_recommendation speed

`uci` tunes on the horizon before the origin, refits, and grades on the horizon after it.
The next three leave each customer's last product out: full ranking, seen products filtered, targets outside the
fitted products dropped. They print two protocols. Fitted on train: every customer's last but one product is held out of
the fit and known when the last one is predicted, as in the eSASRec benchmark. Refitted: that product is in the fit as
well. The weights of the blend and the regularisation of the factors are chosen where the last but one is predicted.
`--encoder XS` grades the behaviour encoder beside them: the last but one says when its training stops, and refitted it
learns for as many epochs.

`yoochoose` foretells each next click of a session from all clicks before it: full ranking, and what was clicked before
may be foretold again, as in session-rec (Ludewig and Jannach, 2018). Sessions of the last day are judged; those of the
day before choose the settings of the methods and the epochs of the encoders, which are then refitted with that day as
well. Beside the encoder stand the recurrent and the convolutional network that its blocks can be replaced by, taught
alike. Intervals are bootstraps over sessions.
"""

import argparse
import gzip
import itertools
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.insights.associations.baskets import basket_rows
from insight_assets.insights.recommendation.blend import Blend
from insight_assets.insights.recommendation.customers_alike import CustomersAlike
from insight_assets.insights.recommendation.factors import learn_factors
from insight_assets.insights.recommendation.grading import (
    Truth,
    accuracy,
    beside_accuracy,
    grade_lists,
    hits,
    ndcg,
    truth_of,
)
from insight_assets.insights.recommendation.interactions import (
    Catalogue,
    History,
    catalogue_of,
    history_of,
    interactions,
    purchases,
)
from insight_assets.insights.recommendation.methods import (
    BLENDED,
    NEIGHBOURS_KEPT,
    WEIGHTS_KEPT,
    available_products,
    choose_blend,
    fit,
    tune,
)
from insight_assets.insights.recommendation.neighbours import cosine_neighbours, ease
from insight_assets.insights.recommendation.order_rules import ORDER_DAYS
from insight_assets.insights.recommendation.publishing import (
    Publication,
    publication,
    reason_shares,
    recommend,
)
from insight_assets.insights.recommendation.ranking import Policy, Ranker, Scorer, rank
from insight_assets.metadata import markdown_table
from insight_assets.ml.behaviour.encoder import BLOCKS, SIZES, TRANSFORMER, BehaviourEncoder, EncoderSettings
from insight_assets.ml.behaviour.next_product import (
    LearningSettings,
    product_vectors,
    read_customers,
    train_next_product,
)
from insight_assets.ml.behaviour.tokens import ITEM, Tokens, tokens_of
from insight_assets.ml.referee import scorecard_markdown

START = date(2000, 1, 1)


def main() -> None:
    """Run the benchmark named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    uci = commands.add_parser("uci")
    uci.add_argument("file", type=Path)
    uci.add_argument("--origin", type=date.fromisoformat, default=date(2011, 9, 10))
    uci.add_argument("--horizon-days", type=int, default=90)
    uci.add_argument("--no-repeats", action="store_true")
    uci.set_defaults(run=_uci)
    for name, read in (("beauty", _lines_of_products), ("video", _pairs), ("ml100k", _ratings)):
        left_out = commands.add_parser(name)
        left_out.add_argument("file", type=Path)
        left_out.add_argument("--ridge", type=float, default=200.0)
        left_out.add_argument("--factors", type=int, default=64)
        left_out.add_argument("--als-ridges", type=float, nargs="+", default=[0.001, 0.005])
        left_out.add_argument("--encoder", choices=list(SIZES), help="size of the encoder to grade beside them")
        left_out.add_argument("--blocks", choices=list(BLOCKS), default=TRANSFORMER)
        left_out.add_argument("--dropout", type=float, default=0.3)
        left_out.add_argument("--epochs", type=int, default=40)
        left_out.add_argument("--seeds", type=int, nargs="+", default=[1])
        left_out.add_argument("--negatives", type=int, default=LearningSettings.negatives)
        left_out.set_defaults(run=_leave_one_out, read=read)
    clicks = commands.add_parser("yoochoose")
    clicks.add_argument("folder", type=Path)
    clicks.add_argument("--encoder", choices=list(SIZES), default="XS")
    clicks.add_argument("--blocks", choices=list(BLOCKS), nargs="*", default=list(BLOCKS))
    clicks.add_argument("--dropout", type=float, default=0.3)
    clicks.add_argument("--epochs", type=int, default=30)
    clicks.add_argument("--seeds", type=int, nargs="+", default=[1])
    # On the day before, all 2,900 products reached an MRR of .371 and 1,024 drawn ones .367.
    clicks.add_argument("--negatives", type=int, default=0)
    clicks.set_defaults(run=_next_clicks)
    speed = commands.add_parser("speed")
    speed.add_argument("--customers", type=int, default=50_000)
    speed.add_argument("--products", type=int, default=3_000)
    speed.set_defaults(run=_speed)
    arguments = parser.parse_args()
    arguments.run(arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB")


def _uci(arguments: argparse.Namespace) -> None:
    lines = _uci_lines(arguments.file)
    origin, horizon = arguments.origin, timedelta(days=arguments.horizon_days)
    policy = Policy(repeat_purchases=not arguments.no_repeats)
    clock = _Clock()
    earlier = interactions(lines, as_of=origin - horizon).collect()
    before = purchases(lines, after=origin - horizon, until=origin).collect()
    orders = [basket_rows(lines, as_of=day, window_days=ORDER_DAYS).collect() for day in (origin - horizon, origin)]
    tunings = tune(earlier, before, as_of=origin - horizon, policy=policy, orders=orders[0])
    clock.lap("tune")
    contacts = interactions(lines, as_of=origin).collect()
    fitted = fit(contacts, as_of=origin, tunings=tunings, orders=orders[1])
    clock.lap("fit")
    history = history_of(contacts, fitted.catalogue)
    bought = purchases(lines, after=origin, until=origin + horizon).collect()
    truth = truth_of(bought, history, fitted.catalogue)
    scorecard = grade_lists(
        fitted.rankers,
        fitted.methods,
        history,
        truth,
        catalogue=fitted.catalogue,
        available=available_products(fitted.catalogue, as_of=origin, policy=policy),
        policy=policy,
        origin=origin,
        seed=1,
        model_version=None,
    )
    clock.lap("grade")
    products = lines.select("product_id", "product_name").unique("product_id").collect()
    published = recommend(
        fitted,
        history,
        products,
        publish=publication(scorecard),
        policy=policy,
        horizon_days=arguments.horizon_days,
        model_version="",
    )
    clock.lap("recommend")
    print(f"{len(fitted.catalogue):,} products, {len(history):,} customers, {len(truth):,} graded")
    print(f"products bought that existed at the origin: {truth.bought.nnz / truth.sizes.sum():.1%}")
    for name, tuning in tunings.methods.items():
        print(name, tuning)
    print("blend", dict(tunings.blend))
    print(scorecard_markdown(accuracy(scorecard)))
    print(markdown_table(beside_accuracy(scorecard)))
    print(reason_shares(published))


def _uci_lines(file: Path) -> pl.LazyFrame:
    """The columns that recommendations read, by the filters of the shop's source contract."""
    return (
        pl.scan_parquet(file)
        .with_columns(pl.col("InvoiceDate").cast(pl.String).str.to_datetime())
        .select(
            customer_key=pl.col("CustomerID").cast(pl.Float64).cast(pl.Int64),
            product_id=pl.col("StockCode"),
            source=pl.lit("uci"),
            order_id=pl.col("InvoiceNo"),
            product_name=pl.col("Description"),
            event_day=pl.col("InvoiceDate").dt.date(),
            is_product=pl.col("StockCode").str.contains(r"^\d{5}"),
            kind=pl.when(
                ~pl.col("InvoiceNo").str.starts_with("C") & (pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0)
            )
            .then(pl.lit("sale"))
            .otherwise(pl.lit("adjustment")),
            traffic=pl.lit("person"),
        )
    )


def _leave_one_out(arguments: argparse.Namespace) -> None:
    sequences = {user: items for user, items in arguments.read(arguments.file).items() if len(items) > 2}
    clock = _Clock()
    train, known, last = _Split(sequences, -2), _Split(sequences, -1), _targets(sequences, -1)
    fitted = _Methods(train, arguments, clock)
    history, truth = fitted.line_up(train, _targets(sequences, -2))
    quality = {ridge: _graded(fitted.als(ridge), history, truth)[1].mean() for ridge in arguments.als_ridges}
    best = max(quality, key=quality.get)
    print("NDCG@10 of als on the last but one:", {ridge: round(float(value), 4) for ridge, value in quality.items()})
    rankers = fitted.rankers(als_ridge=best)
    encoders = {}
    if arguments.encoder:
        size = arguments.encoder
        products = {product for of in sequences.values() for product in of}
        encoders = {f"encoder {size} {seed}": _Encoder(products, arguments, seed) for seed in arguments.seeds}
    for name, encoder in encoders.items():
        encoder.learn(train, stop=known)
        rankers[name] = encoder.ranker(train, fitted.catalogue.products)
        clock.lap(f"{name}, best after {encoder.epochs} epochs on train")
    few = truth.head(3000)
    # Of several encoders that differ by their seed, the first stands for all.
    parts = (*BLENDED, "ease decay 0.5", *list(encoders)[:1])
    blended = {name: ranker for name, ranker in rankers.items() if name in parts}
    weights = choose_blend(
        {name: ranker.among(history) for name, ranker in blended.items()},
        history.take(few.rows),
        few,
        available=np.ones(len(fitted.catalogue), dtype=bool),
        policy=NEW_ONLY,
    )
    clock.lap(f"weights of the blend {weights}")
    for protocol, again in (("fitted on train", None), ("refitted on train and validation", known)):
        if again is not None:
            fitted = _Methods(again, arguments, clock)
            rankers = fitted.rankers(als_ridge=best)
            for name, encoder in encoders.items():
                encoder.learn(known)
                clock.lap(f"{name}, as many epochs on train and validation")
        history, truth = fitted.line_up(known, last)
        rankers |= {name: encoder.ranker(known, fitted.catalogue.products) for name, encoder in encoders.items()}
        print(f"{protocol}: {len(truth):,} customers, {len(fitted.catalogue):,} products")
        rankers["blend"] = Blend({name: rankers[name] for name in weights}, weights)
        reached = {}
        for name, ranker in rankers.items():
            recalls, ndcgs = _graded(ranker, history, truth)
            reached[name] = ndcgs.mean()
            print(f"  {name:<16} " + _said({"R@10": recalls, "N@10": ndcgs}), flush=True)
        if len(encoders) > 1:
            of_seeds = [reached[name] for name in encoders]
            print(f"  encoders: N@10 {np.mean(of_seeds):.4f}, from {min(of_seeds):.4f} to {max(of_seeds):.4f}")
        clock.lap(f"ranked {protocol}")


NEW_ONLY = Policy(repeat_purchases=False)


class _Split:
    """The first products of every customer, and the same as contacts."""

    def __init__(self, sequences: dict[int, list[str]], stop: int | None = None, *, bought: bool = True) -> None:
        self.sequences = {user: items[:stop] for user, items in sequences.items()}
        self.contacts = _as_contacts(self.sequences, START, bought=bought)


class _Methods:
    """Methods fitted on a split with fixed settings."""

    def __init__(self, split: _Split, arguments: argparse.Namespace, clock: "_Clock") -> None:
        self._arguments, self._clock = arguments, clock
        self.catalogue = catalogue_of(split.contacts, as_of=START)
        self._history = history_of(split.contacts, self.catalogue)
        self._matrix = self._history.matrix(self._history.weights, len(self.catalogue))
        self._als: dict[float, Ranker] = {}

    def line_up(self, split: _Split, targets: pl.DataFrame) -> tuple[History, Truth]:
        """Histories of a split over the fitted products, and the targets among these."""
        history = history_of(split.contacts, self.catalogue)
        there = targets.filter(pl.col("product_id").is_in(self.catalogue.products))
        return history, truth_of(there, history, self.catalogue)

    def als(self, ridge: float) -> Ranker:
        if ridge not in self._als:
            learned = learn_factors(self._matrix, ridge=ridge, factors=self._arguments.factors)
            self._als[ridge] = Ranker(base=self._zeros, taste=learned, decay=0.1)
            self._clock.lap(f"fitted als, ridge {ridge}")
        return self._als[ridge]

    def rankers(self, *, als_ridge: float) -> dict[str, Scorer]:
        cosine = cosine_neighbours(self._matrix, shrink=5.0, keep=NEIGHBOURS_KEPT)
        self._clock.lap("fitted item_knn")
        weights = ease(self._matrix, ridge=self._arguments.ridge, keep=WEIGHTS_KEPT)
        self._clock.lap("fitted ease")
        alike = CustomersAlike(products=len(self.catalogue), shrink=1.0)
        return {
            "popularity_all": Ranker(base=self.catalogue.buyers.astype(np.float32)),
            "item_knn": Ranker(base=self._zeros, neighbours=cosine, decay=0.5),
            "user_knn": Ranker(base=self._zeros, taste=alike, decay=0.5),
            "als": self.als(als_ridge),
            "ease decay 0": Ranker(base=self._zeros, neighbours=weights),
            "ease decay 0.5": Ranker(base=self._zeros, neighbours=weights, decay=0.5),
        }

    @property
    def _zeros(self) -> np.ndarray:
        return np.zeros(len(self.catalogue), dtype=np.float32)


class _Encoder:
    """A behaviour encoder of one seed that foretells the next product of each sequence."""

    def __init__(self, products: set[str], arguments: argparse.Namespace, seed: int, blocks: str | None = None) -> None:
        self._code = {product: number for number, product in enumerate(sorted(products), start=1)}
        self._arguments, self._seed, self.epochs = arguments, seed, arguments.epochs
        self._settings = EncoderSettings(
            fields={ITEM: len(products) + 1}, dropout=arguments.dropout, blocks=blocks or arguments.blocks,
            **SIZES[arguments.encoder],
        )  # fmt: skip

    def learn(self, split: _Split, *, stop: _Split | None = None) -> None:
        """Learn anew, for as many epochs as did best before; the last products of `stop` say how many did."""
        learning = LearningSettings(negatives=self._arguments.negatives)
        with tempfile.TemporaryDirectory() as folder:
            self._encoder, epochs = train_next_product(
                self._coded(split), settings=self._settings, learning=learning, max_epochs=self.epochs,
                seed=self._seed, work_directory=Path(folder), stop=stop and self._coded(stop),
                log=lambda line: print(f"    {line}", flush=True),
            )  # fmt: skip
        if stop is not None:
            self.epochs = 1 + min(epochs, key=lambda epoch: epoch.validation_loss).number

    def ranker(self, known: _Split, catalogue: Sequence[str]) -> "_Encoded":
        """Rank the products of a catalogue for those whose sequences are known."""
        products = product_vectors(self._encoder)[[self._code[name] for name in catalogue]]
        rows = {customer: row for row, customer in enumerate(known.sequences)}
        return _Encoded(products, rows, self._encoder, self._coded(known))

    def _coded(self, split: _Split) -> Tokens:
        return tokens_of([np.array([self._code[product] for product in of]) for of in split.sequences.values()])


@dataclass(frozen=True)
class _Encoded:
    """An encoder as a way to rank products."""

    products: np.ndarray
    rows: dict[int, int]
    encoder: BehaviourEncoder
    known: Tokens
    minds_policy: bool = False

    def among(self, everybody: History) -> "_Encoded":
        return self

    def scores(self, history: History, policy: Policy) -> np.ndarray:
        asked = self.known.take(np.array([self.rows[customer] for customer in history.customers]))
        return read_customers(self.encoder, asked) @ self.products.T


def _targets(sequences: dict[int, list[str]], place: int) -> pl.DataFrame:
    products = [items[place] for items in sequences.values()]
    return pl.DataFrame({"customer_key": sequences.keys(), "product_id": products})


def _graded(ranker: Scorer, history: History, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Recall and NDCG of every customer."""
    everything = np.ones(truth.bought.shape[1], dtype=bool)
    served = history.take(truth.rows)
    found = hits(rank(ranker.among(history), served, available=everything, policy=NEW_ONLY), truth)
    return found.any(axis=1).astype(float), ndcg(found, truth.sizes)


def _said(measured: dict[str, np.ndarray], groups: np.ndarray | None = None) -> str:
    """Means with 95 % intervals by bootstrap over customers, or over groups of what was measured."""
    generator = np.random.default_rng(1)
    groups = np.arange(len(next(iter(measured.values())))) if groups is None else groups
    sizes = np.bincount(groups)
    drawn = [generator.integers(0, len(sizes), len(sizes)) for _ in range(400)]
    said = []
    for name, values in measured.items():
        sums = np.bincount(groups, weights=values)
        low, high = np.percentile([sums[rows].sum() / sizes[rows].sum() for rows in drawn], [2.5, 97.5])
        said.append(f"{name} {values.mean():.4f} [{low:.4f}, {high:.4f}]")
    return "  ".join(said)


def _lines_of_products(file: Path) -> dict[int, list[str]]:
    with gzip.open(file, "rt") as stream:
        return {int(user): items for user, *items in map(str.split, stream)}


def _pairs(file: Path) -> dict[int, list[str]]:
    sequences: dict[int, list[str]] = {}
    with gzip.open(file, "rt") as stream:
        for user, item in map(str.split, stream):
            sequences.setdefault(int(user), []).append(item)
    return sequences


def _ratings(file: Path) -> dict[int, list[str]]:
    with gzip.open(file, "rt") as stream:
        rows = [line.split("\t") for line in stream.read().splitlines()[1:]]
    rows.sort(key=lambda row: (int(row[0]), float(row[3]), int(row[1])))
    sequences: dict[int, list[str]] = {}
    for user, item, *_ in rows:
        sequences.setdefault(int(user), []).append(item)
    return sequences


def _as_contacts(sequences: dict[int, list[str]], start: date, *, bought: bool) -> pl.DataFrame:
    """Sequences as an interactions table: a step is a day, so age is the distance to the end."""
    day = pl.lit(start) + pl.duration(days=pl.int_range(pl.len()).over("customer_key"))
    return (
        pl.DataFrame({"customer_key": sequences.keys(), "product_id": sequences.values()})
        .explode("product_id")
        .with_columns(day=day.cast(pl.Date))
        .group_by("customer_key", "product_id")
        .agg(
            last_day=pl.col("day").max(),
            last_bought=pl.col("day").max() if bought else pl.lit(None, pl.Date).first(),
            purchase_days=pl.len() if bought else pl.lit(0, pl.UInt32).first(),
            weight=pl.lit(1.0, pl.Float32).first(),
        )
    )


CLICKS = Policy(length=20)
CHOSEN_BY = "MRR@20"
LAST_ALONE = 30.0
"""Decay at which all but the last product count for nothing."""


class _Clicks:
    """Sessions, and every click of theirs but the first as what is to be foretold from those before it."""

    def __init__(self, file: Path) -> None:
        clicks = pl.read_csv(file, separator="\t").sort("SessionId", "Time", maintain_order=True)
        lists = clicks.group_by("SessionId", maintain_order=True).agg(pl.col("ItemId").cast(pl.String))
        self.sessions = _Split(dict(lists.iter_rows()))
        asked = [
            (session, items[:place], items[place])
            for session, items in enumerate(self.sessions.sequences.values())
            for place in range(1, len(items))
        ]
        self.groups = np.array([session for session, *_ in asked])
        # A click is no purchase: what it says of the very product fades as all else.
        self.before = _Split({row: before for row, (_, before, _) in enumerate(asked)}, bought=False)
        self._next = _targets({row: [after] for row, (*_, after) in enumerate(asked)}, -1)

    def measured(self, ranker: Scorer, catalogue: Catalogue) -> dict[str, np.ndarray]:
        """Measures of every click that was asked for, in order."""
        history = history_of(self.before.contacts, catalogue)
        truth = truth_of(self._next, history, catalogue)
        lists = rank(ranker, history, available=np.ones(len(catalogue), dtype=bool), policy=CLICKS)
        found = hits(lists, truth)
        places = found @ (1 / np.arange(1, CLICKS.length + 1))
        return {CHOSEN_BY: places, "R@20": found.any(axis=1).astype(float), "N@10": ndcg(found[:, :10], truth.sizes)}


def _next_clicks(arguments: argparse.Namespace) -> None:
    clock = _Clock()
    names = ("train_tr", "train_valid", "train_full", "test")
    early, late, train, test = (_Clicks(next(arguments.folder.glob(f"*_{name}.txt*"))) for name in names)
    clock.lap("read")
    fitted, refitted = _ByClicks(early), _ByClicks(train)
    rankers: dict[str, Scorer] = {}
    for name, tried in CLICK_SETTINGS.items():
        quality = {
            settings: late.measured(fitted.ranker(*settings), fitted.catalogue)[CHOSEN_BY].mean() for settings in tried
        }
        best = max(quality, key=quality.get)
        clock.lap(f"{name}: {best}, {CHOSEN_BY} {quality[best]:.4f} on the day before")
        rankers[name] = refitted.ranker(*best)
    for blocks, seed in itertools.product(arguments.blocks, arguments.seeds):
        encoder = _Encoder(set(refitted.catalogue.products), arguments, seed, blocks)
        encoder.learn(early.sessions, stop=late.sessions)
        reached = late.measured(encoder.ranker(late.before, fitted.catalogue.products), fitted.catalogue)
        clock.lap(f"{blocks} {seed}: {encoder.epochs} epochs, {CHOSEN_BY} {reached[CHOSEN_BY].mean():.4f}")
        encoder.learn(train.sessions)
        rankers[f"{blocks} {seed}"] = encoder.ranker(test.before, refitted.catalogue.products)
        clock.lap("refitted")
    sessions, products = len(test.sessions.sequences), len(refitted.catalogue)
    print(f"{len(test.groups):,} clicks of {sessions:,} sessions, {products:,} products")
    for name, ranker in rankers.items():
        print(f"  {name:<16} " + _said(test.measured(ranker, refitted.catalogue), test.groups), flush=True)


class _ByClicks:
    """Weights between products by the sessions that hold both, and rankers by them."""

    def __init__(self, clicks: _Clicks) -> None:
        contacts = clicks.sessions.contacts
        self.catalogue = catalogue_of(contacts, as_of=START)
        history = history_of(contacts, self.catalogue)
        self._matrix = history.matrix(history.weights, len(self.catalogue))
        self._kept: dict[tuple[str, float], object] = {}

    def ranker(self, way: str, strength: float = 0.0, decay: float = 0.0, repeat: float = 0.0) -> Ranker:
        """Give a ranker; `strength` is the shrinkage of cosines or the ridge, see `Ranker` for the others."""
        # Equal scores stand in the order of the catalogue, by popularity.
        base = self.catalogue.buyers.astype(np.float32)
        if way == "popularity":
            return Ranker(base=base)
        if (way, strength) not in self._kept:
            self._kept[way, strength] = (
                ease(self._matrix, ridge=strength, keep=WEIGHTS_KEPT) if way == "ease"
                else cosine_neighbours(self._matrix, shrink=strength, keep=NEIGHBOURS_KEPT)
            )  # fmt: skip
        return Ranker(base=np.zeros_like(base), neighbours=self._kept[way, strength], decay=decay, repeat=repeat)


REPEATS = (0.1, 0.3, 1.0, 3.0)
CLICK_SETTINGS = {
    "popularity": [("popularity",)],
    "item_knn, last": list(itertools.product(["cosine"], [5.0, 20.0, 80.0], [LAST_ALONE], REPEATS)),
    "item_knn": list(itertools.product(["cosine"], [5.0, 20.0, 80.0], [0.5, 1.0, 2.0], REPEATS)),
    "ease": list(itertools.product(["ease"], [20.0, 50.0, 200.0], [0.5, 1.0, 2.0], REPEATS)),
}
"""What is tried on the day before, as arguments of `_ByClicks.ranker`."""


def _speed(arguments: argparse.Namespace) -> None:
    generator = np.random.default_rng(1)
    customers, products = arguments.customers, arguments.products
    length = generator.geometric(1 / 30, customers)
    popular = 1.0 / np.arange(1, products + 1) ** 0.8
    today = date(2025, 6, 1)
    lines = pl.DataFrame(
        {
            "customer_key": np.repeat(np.arange(customers), length),
            "product_id": generator.choice(products, length.sum(), p=popular / popular.sum()),
            "age": generator.integers(0, 365, length.sum()),
        }
    ).select(
        "customer_key",
        pl.format("p{}", "product_id").alias("product_id"),
        event_day=pl.lit(today) - pl.duration(days="age"),
        kind=pl.lit("sale"),
        is_product=pl.lit(True),
        traffic=pl.lit("person"),
    )
    clock = _Clock()
    contacts = interactions(lines.lazy(), as_of=today).collect()
    clock.lap(f"interactions of {lines.height:,} lines")
    fitted = fit(contacts, as_of=today)
    clock.lap(f"fit {len(fitted.methods)} methods on {customers:,} x {products:,}")
    history = history_of(contacts, fitted.catalogue)
    clock.lap("history")
    names = fitted.catalogue.positions().select("product_id", product_name="product_id")
    for method in fitted.methods:
        recommend(
            fitted,
            history,
            names,
            publish=Publication(method.name, "A", today),
            policy=Policy(),
            horizon_days=90,
            model_version="",
        )
        clock.lap(f"recommend with {method.name}")


class _Clock:
    """Prints the seconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        print(f"{now - self._last:7.1f} s  {what}", flush=True)
        self._last = now


if __name__ == "__main__":
    main()
