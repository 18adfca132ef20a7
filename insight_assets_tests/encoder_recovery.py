"""How much of what a simulated shop knows of its customers' next orders the behaviour encoder recovers, out of time.

The encoder is taught by the pipeline's own code as of a day, with the settings that a shop has from the start, and is
judged by the days after it beside what could be known at most: `simulator.oracles` for whether an order comes,
`simulator.wanted_products` for what it holds. Intervals are bootstraps over customers, paired where two are compared.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.features.sequences import build_event_sequences, with_bought_products
from insight_assets.features.vocabulary import by_persons
from insight_assets.insights.behaviour.assets import DESCRIBED
from insight_assets.insights.behaviour.teaching import Behaviour, end_of_day, read_behaviour, teach, vectors_of_products
from insight_assets.insights.recommendation.grading import ndcg
from insight_assets.insights.recommendation.ranking import best_columns
from insight_assets.ml.metrics import auc, expected_calibration_error
from insight_assets.purposes import as_people
from insight_assets.settings import Settings
from insight_assets.simulator.oracles import foretell
from insight_assets.simulator.wanted_products import (
    about_chances,
    certain,
    fresh_chances,
    inferred,
    mean_weights,
    next_order_chances,
    past_of,
)
from insight_assets.validation.ledger import describe_products
from insight_assets_tests.recovery import KNOWING, Figure, figure_of, resampled
from insight_assets_tests.simulated_histories import History
from insight_assets_tests.validation.judging import SHOP

PLACES = 10
CONTENTS = ("kinds", "products", "categories", "values")


@dataclass(frozen=True)
class Known:
    """What the encoder is told of a shop as of a day.

    Attributes:
        sequences: rows of `with_bought_products`, of customers whom the truth knows.
        described: products as described by then.
        places: position of each row's customer in the truth, shape (rows,).
    """

    history: History
    day: date
    sequences: pl.DataFrame
    described: pl.DataFrame
    places: np.ndarray

    @classmethod
    def of(cls, history: History, day: date) -> "Known":
        people = history.people.as_of(day)
        events = as_people(history.events.filter(pl.col("event_day") <= day), people)
        sequences = with_bought_products(
            build_event_sequences(events, as_of=day).collect(), as_people(history.order_lines, people), as_of=day
        )
        described = describe_products(history.product_history, as_of=day).select(DESCRIBED).collect()
        places = history.places(sequences["customer_key"])
        return cls(history, day, sequences.filter(places >= 0), described, places[places >= 0])

    def shuffled(self, seed: int) -> "Known":
        """The same with what each customer did in another order: the times stay where they are."""
        flat = self.sequences.explode("times", *CONTENTS, empty_as_null=False)
        owner = np.repeat(np.arange(self.sequences.height), self.sequences["times"].list.len().to_numpy())
        drawn = np.lexsort((np.random.default_rng(seed).random(len(owner)), owner))
        mixed = flat.select("customer_key", "times", *(pl.col(name).gather(drawn) for name in CONTENTS))
        return replace(self, sequences=mixed.group_by("customer_key", maintain_order=True).agg("times", *CONTENTS))

    def taught(self, *, horizon: int, seed: int, max_epochs: int | None = None) -> Behaviour:
        usual = Settings()
        with tempfile.TemporaryDirectory() as work:
            return teach(
                self.sequences, self.described, as_of=self.day, horizon_days=horizon, timezone=SHOP,
                size=usual.encoder_size, most_tokens=usual.encoder_events, batch_tokens=usual.encoder_batch,
                max_epochs=usual.max_epochs if max_epochs is None else max_epochs, seed=seed,
                work_directory=Path(work), log=lambda line: print(f"    {line}", flush=True),
            )  # fmt: skip

    def sold(self) -> pl.DataFrame:
        """Products of all orders of these customers, whenever they came, with what is known of people on the day."""
        lines = by_persons(as_people(self.history.order_lines, self.history.people.as_of(self.day)))
        mine = lines.filter((pl.col("kind") == "sale") & pl.col("is_product")).select(
            "customer_key", "order_id", "event_day", "event_time", "product_id"
        )
        row = self.sequences.select("customer_key").with_row_index("row")
        return mine.collect().join(row, on="customer_key").with_columns(pl.col("row").cast(pl.Int64))


def orders_recovery(known: Known, behaviour: Behaviour, *, horizons: tuple[int, ...]) -> dict[str, Figure]:
    """Chances of an order: their mean beside what came, their calibration error, and their AUC beside the oracles'."""
    from insight_assets.ml.behaviour.pretraining import order_chances

    history, day, sold = known.history, known.day, known.sold()
    tokens = behaviour.vocabulary.tokens(known.sequences)
    told = order_chances(behaviour.network, tokens, until=end_of_day(day, SHOP), horizons=horizons)
    found = {}
    for horizon in horizons:
        later = sold.filter(pl.col("event_day").is_between(day, day + timedelta(days=horizon), closed="right"))
        came = np.bincount(later["row"], minlength=len(tokens.lengths)) > 0
        scores = {"encoder": told[horizon].astype(np.float64)}
        for knowing in KNOWING:
            oracle = foretell(
                history.plan, history.shop.customers, day=history.day_index(day), horizon=horizon, knowing=knowing,
                visits=history.visits,
            )  # fmt: skip
            scores[knowing] = 1.0 - oracle.no_order[known.places]
        drawn = resampled(lambda rows, came=came, scores=scores: _orders_measured(came[rows], scores, rows), len(came))
        found |= {f"{horizon} days, {name}": figure_of(of) for name, of in drawn.items()}
        for knowing in KNOWING:
            share = drawn["AUC encoder"] / drawn[f"AUC {knowing}"]
            found[f"{horizon} days, share of the AUC of {knowing}"] = figure_of(share)
    return found


def _orders_measured(came: np.ndarray, scores: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, float]:
    found = {"share that came": came.mean()}
    for name in ("encoder", "past"):
        of = scores[name][rows]
        found |= {f"mean chance, {name}": of.mean(), f"calibration error, {name}": expected_calibration_error(came, of)}
    return found | {f"AUC {name}": auc(came, of[rows]) for name, of in scores.items()}


def products_recovery(known: Known, behaviour: Behaviour, *, horizon: int) -> dict[str, Figure]:
    """NDCG of ranking products for the next order, of those that the customer had not bought.

    Judged are customers with such a product in their first order of the horizon.
    """
    products = behaviour.vocabulary.products
    scores = {
        "encoder": encoder_scores(known, behaviour),
        **{f"oracle of {name}": of for name, of in oracle_scores(known, products, horizon=horizon).items()},
    }
    rows, wanted, owned = new_products_of_next_order(known, products, horizon=horizon)
    buyers = np.bincount(np.nonzero(owned)[1], minlength=len(products)).astype(np.float32)
    scores["popularity"] = np.broadcast_to(buyers, owned.shape)
    sizes = wanted.sum(axis=1)
    reached = {}
    for name, of in scores.items():
        best = best_columns(np.ascontiguousarray(of[rows], dtype=np.float32), ~owned[rows], length=PLACES)
        reached[name] = ndcg(np.take_along_axis(wanted, np.maximum(best, 0), axis=1), sizes)
    drawn = resampled(lambda drew: {name: of[drew].mean() for name, of in reached.items()}, len(rows))
    found = {f"NDCG@{PLACES}, {name}": figure_of(of) for name, of in drawn.items()}
    for name in drawn:
        if name.startswith("oracle"):
            found[f"share of the NDCG of {name}"] = figure_of(drawn["encoder"] / drawn[name])
    return found


def encoder_scores(known: Known, behaviour: Behaviour) -> np.ndarray:
    """How near each product lies to what the encoder asks for as a new purchase, shape (rows, products)."""
    from insight_assets.ml.behaviour.pretraining import question_vector

    asked = read_behaviour(behaviour, known.sequences) + question_vector(behaviour.network)
    asked /= np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), 1e-12)
    return asked @ vectors_of_products(behaviour).T


def oracle_scores(known: Known, products: tuple[str, ...], *, horizon: int) -> dict[str, np.ndarray]:
    """Chances of products in the next order, shape (rows, products), by what the oracle knows."""
    shop, day = known.history.shop, known.history.day_index(known.day)
    weights, past = mean_weights(shop, day=day, horizon=horizon), past_of(shop, day=day)
    place = {name: number for number, name in enumerate(shop.catalogue.product_ids)}
    columns = [place[name] for name in products]
    by_knowing = {
        "taste": (fresh_chances(shop, weights), certain(past.memory, len(shop.catalogue))),
        "past": inferred(shop, past, weights),
    }
    return {
        name: next_order_chances(shop, fresh, about_chances(shop, fresh, memory))[known.places][:, columns]
        for name, (fresh, memory) in by_knowing.items()
    }


def new_products_of_next_order(
    known: Known, products: tuple[str, ...], *, horizon: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of customers whose next order holds a new product, these products, and which products each row had bought.

    Returns:
        Shapes (n,), (n, products) and (rows, products); the last two are bool.
    """
    code = pl.DataFrame({"product_id": products, "product": np.arange(len(products))})
    sold = known.sold().join(code, on="product_id")
    owned, wanted = (np.zeros((known.sequences.height, len(products)), dtype=bool) for _ in range(2))
    before = sold.filter(pl.col("event_day") <= known.day)
    owned[before["row"], before["product"]] = True
    until = known.day + timedelta(days=horizon)
    later = sold.filter(pl.col("event_day").is_between(known.day, until, closed="right"))
    first = later.sort("event_time", "order_id").group_by("row", maintain_order=True).agg(pl.col("order_id").first())
    lines = later.join(first, on=["row", "order_id"])
    wanted[lines["row"], lines["product"]] = True
    wanted &= ~owned
    rows = np.flatnonzero(wanted.any(axis=1))
    return rows, wanted[rows], owned
