"""Whether the behaviour encoder's vector adds to engineered features: one small probe for three tasks, out of time.

    python -m insight_assets_tests.benchmarks.bench_universal_profile HOME --as-of 2025-03-31

Not a test. HOME is a folder that `insight build` made. The protocol follows the RecSys Challenge 2025 (Synerise):
events up to a day T are the input; a probe of fixed size learns what customers do in the 14 days after T, and is
judged by the 14 days after those, on customers that it has not learnt from, whose input is all up to T + 14. The
encoder is taught by events up to T alone. Tasks: no order within the 14 days, of customers who ordered in the 90 days
before; which of the 10 most bought categories; which of the 20 most bought products. Printed are areas under the
curve, as means over categories and products, and gains over the features alone with 95 % intervals from a paired
bootstrap over customers.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.sequences import build_event_sequences, with_bought_products
from insight_assets.insights.behaviour.teaching import Behaviour, end_of_day, read_behaviour, teach, vectors_of_products
from insight_assets.lake import Lake
from insight_assets.ml.behaviour.pretraining import order_chances, question_vector
from insight_assets.ml.cores import one_core
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import as_people

DAYS, ACTIVE = 14, 90
CATEGORIES, PRODUCTS = 10, 20
RESAMPLES = 300
FEATURES, VECTOR, BOTH, HEADS = "features", "vector", "features and vector", "features and heads"

Inputs = Mapping[str, np.ndarray]
"""Kind of input to its numbers, shape (customers, columns)."""

Labels = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Task to whether each customer is asked, and whether it came."""


@dataclass(frozen=True)
class Shop:
    """Tables of a shop, actors as delivered, and who is who."""

    customer_days: pl.LazyFrame
    events: pl.LazyFrame
    order_lines: pl.LazyFrame
    products: pl.DataFrame
    people: IdentityHistory


@dataclass(frozen=True)
class Snapshot:
    """What is known of customers as of a day: features, and what the encoder reads."""

    features: pl.DataFrame
    sequences: pl.DataFrame


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", default="XS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    shop, first = of_home(arguments.home), arguments.as_of
    second = first + timedelta(days=DAYS)
    early, late = (snapshot(shop, day) for day in (first, second))
    targets = favourites(shop, first)
    print(f"{early.features.height:,} customers as of {first}, {late.features.height:,} as of {second}")
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as work:
            behaviour = teach(
                early.sequences, shop.products.filter(pl.col("first_seen") <= first), as_of=first, horizon_days=DAYS,
                timezone="UTC", size=arguments.size, most_tokens=5_000_000, batch_tokens=2_048,
                max_epochs=arguments.epochs, seed=seed, work_directory=Path(work), log=lambda _: None,
            )  # fmt: skip
        print(f"seed {seed}: loss left in the last {DAYS} days before {first}:", rounded(behaviour.taught.left))
        inputs = [columns(each, behaviour, day) for each, day in ((early, first), (late, second))]
        labels = [outcomes(shop, each, day, targets) for each, day in ((early, first), (late, second))]
        # Keys are keyed pseudonyms, so that their parity is a random half which a customer stays in.
        even, odd = ((each.features["customer_key"] % 2 == half).to_numpy() for half, each in enumerate((early, late)))
        with one_core():
            report(taken(inputs[0], labels[0], even), taken(inputs[1], labels[1], odd), seed)


def of_home(home: Path) -> Shop:
    """Read the tables of a home."""
    lake = Lake(home / "lake")
    scanned = {name: lake.scan(contract(name)) for name in ("customer_days", "events", "order_lines", "identity_links")}
    newest = lake.scan(contract("products")).filter(pl.col("as_of") == pl.col("as_of").max()).collect()
    return Shop(
        scanned["customer_days"], scanned["events"], scanned["order_lines"],
        newest.select("product_id", "category", "brand", "price", "first_seen"),
        IdentityHistory(scanned["identity_links"], identity_rules()),
    )  # fmt: skip


def snapshot(shop: Shop, day: date) -> Snapshot:
    """Describe customers as of a day."""
    days, events, lines = (
        as_people(rows, shop.people.as_of(day)) for rows in (shop.customer_days, shop.events, shop.order_lines)
    )
    sequences = build_event_sequences(events, as_of=day).collect()
    features = build_customer_features(days.filter(pl.col("event_day") <= day), as_of=day).collect()
    joined = with_bought_products(sequences, lines, as_of=day)
    known = features.filter(pl.col("customer_key").is_in(joined["customer_key"].implode()))
    return Snapshot(known, joined.filter(pl.col("customer_key").is_in(known["customer_key"].implode())))


def _sales(shop: Shop, known: date, first: date, last: date) -> pl.DataFrame:
    lines = as_people(shop.order_lines, shop.people.as_of(known))
    return lines.filter(
        pl.col("event_day").is_between(first, last) & (pl.col("kind") == "sale") & (pl.col("traffic") == "person")
    ).collect()


def favourites(shop: Shop, day: date) -> dict[str, list[str]]:
    """Give the categories and products that most customers bought by a day."""
    sold = _sales(shop, day, date.min, day).filter("is_product")
    return {
        name: sold.drop_nulls(name).group_by(name).agg(pl.col("customer_key").n_unique())
        .sort("customer_key", name, descending=[True, False])[name].head(count).to_list()
        for name, count in (("category", CATEGORIES), ("product_id", PRODUCTS))
    }  # fmt: skip


def columns(of: Snapshot, behaviour: Behaviour, day: date) -> Inputs:
    """Give the inputs of the probe, in the order of the features' rows.

    The heads say the chance of an order within the days to come, and how near each category lies to what the customer's
    vector asks for: the mean and the best of its products.
    """
    numbers = of.features.drop("customer_key", "as_of").select(pl.selectors.numeric() | pl.selectors.boolean())
    table = numbers.cast(pl.Float32).to_numpy()
    tokens = behaviour.vocabulary.tokens(of.sequences)
    chance = order_chances(behaviour.network, tokens, until=end_of_day(day, "UTC"), horizons=(DAYS,))[DAYS]
    vectors = read_behaviour(behaviour, of.sequences)
    asked = vectors + question_vector(behaviour.network)
    asked /= np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), 1e-12)
    near = asked @ vectors_of_products(behaviour).T
    categories = np.array([name or "" for name in behaviour.vocabulary.traits_of["category"]])
    mine = [near[:, categories == name] for name in np.unique(categories)]
    heads = np.column_stack(
        [chance, *(scores.mean(axis=1) for scores in mine), *(scores.max(axis=1) for scores in mine)]
    )
    row = {key: number for number, key in enumerate(of.sequences["customer_key"])}
    rows = [row[key] for key in of.features["customer_key"]]
    vectors, heads = vectors[rows], heads[rows].astype(np.float32)
    return {
        FEATURES: table, VECTOR: vectors, BOTH: np.hstack([table, vectors]), HEADS: np.hstack([table, heads]),
    }  # fmt: skip


def outcomes(shop: Shop, of: Snapshot, day: date, targets: dict[str, list[str]]) -> Labels:
    """Say what customers did in the days after."""
    sold = _sales(shop, day, day + timedelta(days=1), day + timedelta(days=DAYS))
    keys = of.features["customer_key"]
    everybody = np.ones(len(keys), dtype=bool)
    ordered = keys.is_in(sold["customer_key"].unique().implode()).to_numpy()
    active = (of.features["days_since_last_order"] < ACTIVE).fill_null(False).to_numpy()
    found = {"churn": (active, ~ordered)}
    for name, of_task in targets.items():
        for target in of_task:
            who = sold.filter(pl.col(name) == target)["customer_key"].unique()
            found[f"{name} {target}"] = (everybody, keys.is_in(who.implode()).to_numpy())
    return found


def taken(inputs: Inputs, labels: Labels, rows: np.ndarray) -> tuple[Inputs, Labels]:
    """Keep some customers."""
    kept = {name: (asked[rows], came[rows]) for name, (asked, came) in labels.items()}
    return {kind: table[rows] for kind, table in inputs.items()}, kept


def report(learnt: tuple[Inputs, Labels], judged: tuple[Inputs, Labels], seed: int) -> None:
    """Fit the probe for each task and input, and print areas and gains."""
    customers = len(judged[0][VECTOR])
    generator = np.random.default_rng(seed)
    draws = [generator.integers(0, customers, customers) for _ in range(RESAMPLES)]
    for task in ("churn", "category", "product_id"):
        usable = [
            name for name in learnt[1] if name.startswith(task)
            and all(5 <= came[asked].sum() < asked.sum() for asked, came in (learnt[1][name], judged[1][name]))
        ]  # fmt: skip
        if not usable:
            print(f"{task}: no target that some and not all customers came to")
            continue
        truths = [np.where(asked, came.astype(float), np.nan) for asked, came in (judged[1][name] for name in usable)]
        scores = {kind: [] for kind in learnt[0]}
        for name in usable:
            asked, came = learnt[1][name]
            for kind, table in learnt[0].items():
                # A shop without visits has columns of nothing but nulls, which the probe does not take.
                known = ~np.isnan(table[asked]).all(axis=0)
                probe = HistGradientBoostingClassifier(
                    max_iter=60, max_leaf_nodes=8, min_samples_leaf=20, l2_regularization=1.0, random_state=seed
                )
                probe.fit(table[asked][:, known], came[asked])
                scores[kind].append(probe.predict_proba(judged[0][kind][:, known])[:, 1])
        print(f"{task}: {len(usable)} targets, {customers:,} customers judged")
        resampled = {kind: np.array([areas(truths, of, draw) for draw in draws]) for kind, of in scores.items()}
        for kind, of in scores.items():
            low, high = np.nanquantile(resampled[kind] - resampled[FEATURES], [0.025, 0.975])
            area, gain = areas(truths, of), areas(truths, of) - areas(truths, scores[FEATURES])
            print(f"  {kind:<20} AUC {area:.4f}  gain {gain:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)


def areas(truths: list[np.ndarray], scores: list[np.ndarray], draw: np.ndarray | None = None) -> float:
    """Give the mean area under the curve over targets; those without both outcomes in the draw are left out."""
    found = []
    for truth, score in zip(truths, scores, strict=True):
        drawn, told = (truth, score) if draw is None else (truth[draw], score[draw])
        known = ~np.isnan(drawn)
        if 0 < drawn[known].sum() < known.sum():
            found.append(roc_auc_score(drawn[known], told[known]))
    return float(np.mean(found)) if found else float("nan")


def rounded(shares: dict[str, float]) -> dict[str, float]:
    """Give numbers to read."""
    return {name: round(float(share), 3) for name, share in shares.items()}


if __name__ == "__main__":
    main()
