"""Intent models of customers: for each horizon those that are graded, and those that are published.

The graded ones know only what was known at the newest origin whose horizon has closed since, and are graded on what
followed. The published ones are the same methods with the same settings, taught by the newer origins as well. Both lie
in one directory. What is learnt of visits is in `visit_models`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from insight_assets.features.examples import CALIBRATE, feature_names
from insight_assets.insights.intent.examples import HORIZONS, LABEL
from insight_assets.insights.intent.rules import OF_CUSTOMERS
from insight_assets.ml.binary_models import (
    BinaryModels,
    Rows,
    Rule,
    load_binary_models,
    stored_binary_models,
    train_binary_models,
    write_binary_models,
)
from insight_assets.ml.guards import Verdict, judge_learning, over_models
from insight_assets.ml.origins import Origin

GRADED, PUBLISHED = "graded", "published"
TASK = "purchase_{}d"


@dataclass(frozen=True)
class Pair:
    """Models of one question.

    Attributes:
        published: What scores are made with.
        graded: The same methods as of the graded origin; None where nothing could be learnt before it.
        origin: The graded origin; None where there is none.
    """

    published: BinaryModels
    graded: BinaryModels | None
    origin: date | None


def prefix_of(task: str, which: str) -> str:
    """Name what the files of models begin with."""
    return f"{task}-{which}-"


def graded_origin(examples: pl.DataFrame, horizon_days: int) -> Origin | None:
    """Give the newest origin of a horizon that has closed; None where there is none.

    Args:
        examples: Rows of the contract `intent_examples`; may be empty.
        horizon_days: The horizon.
    """
    if examples.is_empty():
        return None
    newest = examples.filter(pl.col(LABEL.format(horizon_days)).is_not_null())["origin"].max()
    return None if newest is None else Origin(newest, horizon_days)


def train_intent_models(
    examples: pl.DataFrame, *, seed: int, with_lightgbm: bool = False, log: Callable[[str], None] = lambda _: None
) -> Mapping[int, Pair]:
    """Train all methods for each horizon that has closed at some origin.

    Args:
        examples: Rows of the contract `intent_examples`; may be empty.
        seed: Seed of everything random.
        with_lightgbm: Whether LightGBM is a rival too.
        log: Takes lines of progress.

    Returns:
        Horizon to its models; a horizon that never closed is absent: nothing is known of its rate.

    Raises:
        ClassifierMissingError: If LightGBM is wanted and not installed.
    """
    pairs = {}
    for days in HORIZONS:
        taught = teaching_rows(examples, days)
        if not taught:
            log(f"{TASK.format(days)}: no horizon has closed")
            continue
        pairs[days] = train_pair(
            taught[PUBLISHED], taught.get(GRADED), OF_CUSTOMERS, origin=graded_origin(examples, days).as_of, seed=seed,
            with_lightgbm=with_lightgbm,
        )  # fmt: skip
        log(f"{TASK.format(days)}: {', '.join(method.name for method in pairs[days].published.methods)}")
    return pairs


def teaching_rows(examples: pl.DataFrame, horizon_days: int) -> dict[str, Rows]:
    """Give the rows that teach the models of a horizon.

    Args:
        examples: Rows of the contract `intent_examples`; may be empty.
        horizon_days: The horizon.

    Returns:
        `PUBLISHED` and `GRADED` to their rows; without the latter where nothing was known at the graded origin, and
        nothing at all where the horizon never closed.
    """
    newest = graded_origin(examples, horizon_days)
    if newest is None:
        return {}
    labelled = examples.filter(pl.col(LABEL.format(horizon_days)).is_not_null()).sort("origin", "customer_key")
    before = [origin for origin in labelled["origin"].unique() if Origin(origin, horizon_days).may_teach(newest)]
    known = labelled.filter(pl.col("origin").is_in(before))
    return {PUBLISHED: _rows(labelled, horizon_days)} | ({GRADED: _rows(known, horizon_days)} if before else {})


def train_pair(
    newer: Rows, before: Rows | None, rule: Rule, *, origin: date, seed: int, with_lightgbm: bool
) -> Pair:
    """Train the graded models, and the published ones with what was chosen for those.

    Args:
        newer: All rows.
        before: Those that were known at the origin; None without any.
        rule: The naive rule of the question.
        origin: The graded origin.
        seed: Seed of everything random.
        with_lightgbm: Whether LightGBM is a rival too.
    """
    options = {"seed": seed % 2**32, "with_lightgbm": with_lightgbm}
    graded = None if before is None else train_binary_models(before, rule, guarded=False, **options)
    published = train_binary_models(newer, rule, chosen_before=graded, **options)
    return Pair(published, graded, None if graded is None else origin)


def write_pair(pair: Pair, directory: Path, *, task: str) -> None:
    """Store the models of one question."""
    write_binary_models(pair.published, directory, prefix=prefix_of(task, PUBLISHED))
    if pair.graded is not None:
        write_binary_models(pair.graded, directory, prefix=prefix_of(task, GRADED))


def load_models(
    directory: Path, rule: Rule, *, task: str, which: str, only: Collection[str] | None = None
) -> BinaryModels | None:
    """Load the graded or published models of a question; None where there are none.

    Args:
        directory: The folder of the models.
        rule: The naive rule of the question.
        task: Name of the question.
        which: `GRADED` or `PUBLISHED`.
        only: Names of the methods that will be asked; None loads all.
    """
    prefix = prefix_of(task, which)
    if not stored_binary_models(directory, prefix=prefix):
        return None
    return load_binary_models(directory, rule, prefix=prefix, only=only)


def judge_pairs(pairs: Mapping[str, Pair]) -> list[Verdict]:
    """Hold what training noted down against what no honest training shows.

    Args:
        pairs: Models by the name of their question.

    Returns:
        A verdict for each of `MODEL_GUARDS`, over all questions together.
    """
    return over_models({task: _judged(pair.published.config) for task, pair in pairs.items()})


def _judged(config: Mapping[str, Any]) -> list[Verdict]:
    counted = config["rows"]
    ones = counted["apart_with_label"]
    return judge_learning(
        config.get("feature_alarms", []), config.get("shuffled_labels") or {}, config.get("kept_apart", {}),
        apart=(ones, counted["apart"] - ones),
    )  # fmt: skip


def _rows(labelled: pl.DataFrame, days: int) -> Rows:
    """Rows of one horizon: who calibrates stands at the newest origin alone, the one most like the days to come."""
    newest = labelled["origin"].max()
    kept = labelled.filter((pl.col("role") != CALIBRATE) | (pl.col("origin") == newest))
    return Rows(
        kept, feature_names(kept), LABEL.format(days), "customer_key", (kept["role"] == CALIBRATE).to_numpy()
    )
