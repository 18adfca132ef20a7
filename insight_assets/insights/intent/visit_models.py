"""Intent models of visits: learnt from the visits of some weeks, graded on those of the week after, by events seen."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl

from insight_assets.features.examples import CALIBRATE
from insight_assets.insights.intent.grading import GradedIntent, grade_intent
from insight_assets.insights.intent.models import GRADED, PUBLISHED, Pair, train_pair
from insight_assets.insights.intent.rules import OF_VISITS
from insight_assets.insights.intent.visits import GRADED_DAYS, SEEN, visit_feature_names
from insight_assets.ml.binary_models import BinaryModels, Rows

QUESTION = "order_in_visit"
TASK = "order_after_{}_events"
LABEL = "bought_later"


def last_learnt_day(as_of: date) -> date:
    """Give the last day of the visits that teach the graded models."""
    return as_of - timedelta(days=1 + GRADED_DAYS)


def train_visit_models(
    examples: pl.DataFrame,
    *,
    as_of: date,
    seed: int,
    with_lightgbm: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Pair | None:
    """Train all methods on visits.

    Args:
        examples: Rows of the contract `session_intent_examples`; may be empty.
        as_of: As-of day.
        seed: Seed of everything random.
        with_lightgbm: Whether LightGBM is a rival too.
        log: Takes lines of progress.

    Returns:
        The models; None where no visit of an earlier day is known.
    """
    taught = teaching_rows(examples, as_of=as_of)
    if not taught:
        return None
    pair = train_pair(
        taught[PUBLISHED], taught.get(GRADED), OF_VISITS, origin=last_learnt_day(as_of), seed=seed,
        with_lightgbm=with_lightgbm,
    )  # fmt: skip
    log(f"{QUESTION}: {', '.join(method.name for method in pair.published.methods)}")
    return pair


def teaching_rows(examples: pl.DataFrame, *, as_of: date) -> dict[str, Rows]:
    """Give the rows that teach the models.

    Args:
        examples: Rows of the contract `session_intent_examples`; may be empty.
        as_of: As-of day.

    Returns:
        `PUBLISHED` and `GRADED` to their rows; without the latter where no visit is older than the graded days, and
        nothing at all where no visit of an earlier day is known.
    """
    labelled = examples.filter(pl.col("role").is_not_null() & (pl.col("session_day") < as_of))
    labelled = labelled.sort("session_id", "events_seen")
    before = labelled.filter(pl.col("ended_day") <= last_learnt_day(as_of))
    return {
        which: _rows(rows)
        for which, rows in ((PUBLISHED, labelled), (GRADED, before))
        if rows.filter(pl.col("role") != CALIBRATE).height
    }


def grade_visits(
    models: BinaryModels | None, examples: pl.DataFrame, *, as_of: date, seed: int, model_version: str
) -> Mapping[int, GradedIntent]:
    """Grade all methods on the visits of the newest days, one scorecard a number of events seen.

    Args:
        models: The graded models; None where there are none.
        examples: Rows of the contract `session_intent_examples`.
        as_of: As-of day.
        seed: Seed of the bootstrap.
        model_version: Version of the models.

    Returns:
        Number of events seen to what was graded; its scorecard is empty where nothing was.
    """
    origin = last_learnt_day(as_of)
    newer = examples.filter((pl.col("session_day") > origin) & pl.col(LABEL).is_not_null()).sort("session_id")
    return {
        seen: grade_intent(
            models, newer.filter(pl.col("events_seen") == seen), label=LABEL, task=TASK.format(seen), origin=origin,
            as_of=as_of, seed=seed, model_version=model_version,
        )
        for seen in SEEN
    }  # fmt: skip


def _rows(labelled: pl.DataFrame) -> Rows:
    apart: np.ndarray = (labelled["role"] == CALIBRATE).to_numpy()
    return Rows(labelled, visit_feature_names(labelled), LABEL, "actor_key", apart)
