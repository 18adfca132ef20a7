"""Assets of the intent capability: examples, models, scorecards and published scores, of customers and of visits.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.checks import guard_specs, refuse_unless_passed, report_guards, unmatched_customers
from insight_assets.contracts.catalogue import contract
from insight_assets.features.examples import customers_known
from insight_assets.insights.intent import visit_models, visits
from insight_assets.insights.intent.examples import (
    HORIZONS,
    LABEL,
    LABEL_GUARDS,
    build_intent_examples,
    intent_origins,
    judge_labels,
)
from insight_assets.insights.intent.grading import GradedIntent, grade_intent
from insight_assets.insights.intent.model_card import customers_card, visits_card
from insight_assets.insights.intent.models import (
    GRADED,
    PUBLISHED,
    TASK,
    Pair,
    graded_origin,
    judge_pairs,
    load_models,
    teaching_rows,
    train_intent_models,
    write_pair,
)
from insight_assets.insights.intent.rules import OF_CUSTOMERS, OF_VISITS
from insight_assets.insights.intent.scoring import in_contract, score_customers, score_visits
from insight_assets.metadata import making_of, markdown_table, model_asset, published_days, table_asset
from insight_assets.ml.binary_models import RULE, BinaryModels, Rule
from insight_assets.ml.guards import MODEL_GUARDS
from insight_assets.ml.model_card import ModelCard, card_text, write_card
from insight_assets.ml.pictures import lift_chart, lift_table, reliability_chart, reliability_table
from insight_assets.ml.publication import Publication, publishable
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.partitions import HISTORY
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED
from insight_assets.resources import ModelStore
from insight_assets.settings import settings

MODELS, VISIT_MODELS = "intent_models", "session_intent_models"
SCORECARD, VISIT_SCORECARD = "intent_scorecard", "session_intent_scorecard"
SCORES, VISIT_SCORES = "intent_scores", "session_intent_scores"
ONE_ROW_PER_CUSTOMER = "one_row_per_customer_and_horizon"
ONE_ROW_PER_VISIT = "one_row_per_visit_and_events_seen"
MODEL_KINDS = {"scikitlearn"}

RECENT_EVENTS = dg.TimeWindowPartitionMapping(start_offset=-visits.DAYS_READ, end_offset=0)
"""The as-of day and the days before it whose visits are learnt from, and what came before those."""

AS_DELIVERED = dg.AssetIn(metadata=LEFT_AS_DELIVERED)
"""Visits of people who agreed, and of those who never said who they are where silence is consent."""


@dg.asset(
    **table_asset("intent_examples", layer="feature", purpose="analytics"),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY, metadata=LEFT_AS_DELIVERED),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake", metadata=LEFT_AS_DELIVERED),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
    },
    check_specs=guard_specs("intent_examples", LABEL_GUARDS),
)
def intent_examples(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    identity_links: pl.LazyFrame,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    examples = build_intent_examples(
        customer_days,
        IdentityHistory(identity_links, identity_rules()).as_of,
        as_of=as_of,
        min_history_days=shop.min_history_days,
        orders=None if shop.refunded_orders_count else orders,
    )
    verdicts = judge_labels(
        examples,
        as_of=as_of,
        published=published_days(context.instance, "customer_days"),
        known=0 if examples.height else _known_at_an_origin(customer_days, as_of),
    )
    yield from report_guards("intent_examples", verdicts)
    if examples.is_empty():
        yield dg.Output(contract("intent_examples").empty())
        return
    rates = [pl.col(LABEL.format(days)).mean().alias(f"bought in {days} days") for days in HORIZONS]
    counts = examples.group_by("origin", "role").agg(pl.len().alias("customers"), *rates).sort("origin", "role")
    yield dg.Output(examples, metadata={"origins": dg.MetadataValue.md(markdown_table(counts))})


@dg.asset(
    **model_asset(
        MODELS,
        purpose="analytics",
        code_version="2",
        kinds=MODEL_KINDS,
        description=(
            "Rule, logistic regression, random forest, gradient boosting and their blend for a purchase within 7 and "
            "within 30 days: as of the newest origin that has closed, for grading, and taught by it too, for scoring; "
            "calibrated on customers that none of them learnt from"
        ),
    ),
    check_specs=guard_specs(MODELS, MODEL_GUARDS),
)
def intent_models(
    context: dg.AssetExecutionContext, intent_examples: pl.LazyFrame, models: ModelStore
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    shop, examples = settings(), intent_examples.collect()
    trained = train_intent_models(examples, seed=shop.seed, with_lightgbm=shop.lightgbm, log=context.log.info)
    pairs = {TASK.format(days): pair for days, pair in trained.items()}
    taught = {TASK.format(days): teaching_rows(examples, days) for days in trained}
    card = customers_card(pairs, taught, smallest_group=shop.k_anonymity)
    yield from _stored(MODELS, context, models, pairs, card)


@dg.asset(**table_asset(SCORECARD, layer="insight", purpose="analytics", deps=[MODELS]))
def intent_scorecard(
    context: dg.AssetExecutionContext, intent_examples: pl.LazyFrame, models: ModelStore
) -> pl.DataFrame:
    as_of, examples = date.fromisoformat(context.partition_key), intent_examples.collect()
    folder, graded = models.reading(MODELS, as_of), {}
    for days in HORIZONS:
        newest, task = graded_origin(examples, days), TASK.format(days)
        graded[task] = grade_intent(
            None if newest is None else load_models(folder, OF_CUSTOMERS, task=task, which=GRADED),
            (examples.filter(pl.col("origin") == newest.as_of) if newest else examples.clear()).sort("customer_key"),
            label=LABEL.format(days),
            task=task,
            origin=newest.as_of if newest else None,
            as_of=as_of,
            seed=settings().seed,
            model_version=models.version(MODELS, as_of),
        )
    context.add_output_metadata(_grading_metadata(graded, of="customers"))
    return pl.concat([each.scorecard for each in graded.values()])


@dg.asset(
    **table_asset(SCORES, layer="insight", purpose="analytics", deps=[MODELS]),
    check_specs=[
        dg.AssetCheckSpec(
            ONE_ROW_PER_CUSTOMER,
            asset=SCORES,
            blocking=True,
            description="At each horizon that is foretold, every known customer has exactly one row",
        )
    ],
)
def intent_scores(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    intent_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of = date.fromisoformat(context.partition_key)
    features, cards = customer_features.collect(), intent_scorecard.collect()
    folder, version = models.reading(MODELS, as_of), models.version(MODELS, as_of)
    parts, told, unmatched = [], {}, {}
    for days in HORIZONS:
        task = TASK.format(days)
        publication, trained = _allowed(folder, OF_CUSTOMERS, task, cards.filter(pl.col("task") == task))
        if trained is None:
            continue
        scores = score_customers(
            trained, features, publication, as_of=as_of, horizon_days=days, model_version=version
        )
        parts.append(scores)
        told[task] = f"{publication.method}, {publication.grade}"
        told[f"expected_buyers_{days}d"] = round(float(scores["purchase_probability"].sum()), 2)
        found = unmatched_customers(customer_features, scores)
        unmatched |= {f"{name}_{days}d": count for name, count in vars(found).items()}
    result = dg.AssetCheckResult(
        check_name=ONE_ROW_PER_CUSTOMER, asset_key=SCORES, passed=not any(unmatched.values()), metadata=unmatched
    )
    yield result
    refuse_unless_passed(SCORES, [result])
    yield dg.Output(in_contract(parts, contract(SCORES)), metadata=told)


@dg.asset(
    **table_asset("session_intent_examples", layer="feature", purpose="analytics"),
    ins={
        "events": dg.AssetIn(partition_mapping=RECENT_EVENTS, input_manager_key="lake", metadata=LEFT_AS_DELIVERED)
    },
)
def session_intent_examples(context: dg.AssetExecutionContext, events: pl.LazyFrame) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    rows = visits.build_visit_examples(events, as_of=as_of, timezone=settings().timezone)
    counts = rows.group_by("events_seen").agg(
        pl.len().alias("visits"), pl.col("bought_later").mean().alias("bought later")
    )
    context.add_output_metadata({"visits": dg.MetadataValue.md(markdown_table(counts.sort("events_seen")))})
    return rows


@dg.asset(
    **model_asset(
        VISIT_MODELS,
        purpose="analytics",
        code_version="2",
        kinds=MODEL_KINDS,
        description=(
            "Rule, logistic regression, random forest, gradient boosting and their blend for an order later in a "
            "running visit, after its first 1, 3, 5 and 10 events: of the weeks before the last one, for grading, and "
            "with that, for scoring; calibrated on actors that none of them learnt from"
        ),
    ),
    check_specs=guard_specs(VISIT_MODELS, MODEL_GUARDS),
    ins={"session_intent_examples": AS_DELIVERED},
)
def session_intent_models(
    context: dg.AssetExecutionContext, session_intent_examples: pl.LazyFrame, models: ModelStore
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    as_of, shop, examples = date.fromisoformat(context.partition_key), settings(), session_intent_examples.collect()
    pair = visit_models.train_visit_models(
        examples,
        as_of=as_of,
        seed=shop.seed,
        with_lightgbm=shop.lightgbm,
        log=context.log.info,
    )
    pairs = {} if pair is None else {visit_models.QUESTION: pair}
    taught = {question: visit_models.teaching_rows(examples, as_of=as_of) for question in pairs}
    card = visits_card(pairs, taught, as_of=as_of, smallest_group=shop.k_anonymity)
    yield from _stored(VISIT_MODELS, context, models, pairs, card)


@dg.asset(
    **table_asset(VISIT_SCORECARD, layer="insight", purpose="analytics", deps=[VISIT_MODELS]),
    ins={"session_intent_examples": AS_DELIVERED},
)
def session_intent_scorecard(
    context: dg.AssetExecutionContext, session_intent_examples: pl.LazyFrame, models: ModelStore
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    folder = models.reading(VISIT_MODELS, as_of)
    graded = visit_models.grade_visits(
        load_models(folder, OF_VISITS, task=visit_models.QUESTION, which=GRADED),
        session_intent_examples.collect(),
        as_of=as_of,
        seed=settings().seed,
        model_version=models.version(VISIT_MODELS, as_of),
    )
    context.add_output_metadata(
        _grading_metadata({visit_models.TASK.format(seen): each for seen, each in graded.items()}, of="visits")
    )
    return pl.concat([each.scorecard for each in graded.values()])


@dg.asset(
    **table_asset(VISIT_SCORES, layer="insight", purpose="analytics", deps=[VISIT_MODELS]),
    check_specs=[
        dg.AssetCheckSpec(
            ONE_ROW_PER_VISIT,
            asset=VISIT_SCORES,
            blocking=True,
            description="A visit of the day has one row for every number of events that it went on after",
        )
    ],
    ins={"session_intent_examples": AS_DELIVERED},
)
def session_intent_scores(
    context: dg.AssetExecutionContext,
    session_intent_examples: pl.LazyFrame,
    session_intent_scorecard: pl.LazyFrame,
    models: ModelStore,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of, cards = date.fromisoformat(context.partition_key), session_intent_scorecard.collect()
    today = session_intent_examples.filter(pl.col("session_day") == as_of).collect()
    folder, version = models.reading(VISIT_MODELS, as_of), models.version(VISIT_MODELS, as_of)
    parts, told = [], {}
    for seen in visits.SEEN:
        task = visit_models.TASK.format(seen)
        card = cards.filter(pl.col("task") == task)
        publication, trained = _allowed(folder, OF_VISITS, visit_models.QUESTION, card)
        if trained is None:
            continue
        running = today.filter(pl.col("events_seen") == seen)
        parts.append(score_visits(trained, running, publication, as_of=as_of, model_version=version))
        told[task] = f"{publication.method}, {publication.grade}"
    scores = in_contract(parts, contract(VISIT_SCORES)).sort("session_id", "events_seen")
    key = ["session_id", "events_seen"]
    odd = scores.join(today, on=key, how="anti").height + scores.height - scores.unique(key).height
    missing = today.join(scores, on=key, how="anti").height if parts else 0
    result = dg.AssetCheckResult(
        check_name=ONE_ROW_PER_VISIT,
        asset_key=VISIT_SCORES,
        passed=odd == missing == 0,
        metadata={"rows": scores.height, "missing": missing, "unknown_or_repeated": odd},
    )
    yield result
    refuse_unless_passed(VISIT_SCORES, [result])
    yield dg.Output(scores, metadata=told)


def _known_at_an_origin(customer_days: pl.LazyFrame, as_of: date) -> int:
    """Customers who were known by the newest closed origin; 0 when there is none with enough history."""
    first = customer_days.select(pl.col("event_day").min()).collect().item()
    if first is None:
        return 0
    origins = intent_origins(as_of, first_day=first, min_history_days=settings().min_history_days)
    if not origins:
        return 0
    signed_in = customer_days.filter(pl.col("customer_key").is_not_null())
    return len(customers_known(signed_in, origins[-1], only_buyers=False))


def _stored(
    name: str, context: dg.AssetExecutionContext, models: ModelStore, pairs: Mapping[str, Pair], told: ModelCard
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Store models, unless a guard fails: then the models of before, if any, stay where they are."""
    with models.writing(name, date.fromisoformat(context.partition_key)) as writing:
        for task, pair in pairs.items():
            write_pair(pair, writing.directory, task=task)
        verdicts = judge_pairs(pairs)
        card = card_text(told, making_of(context, name, settings()), verdicts)
        write_card(card, writing.directory)
        yield from report_guards(name, verdicts)
    yield dg.MaterializeResult(
        metadata=_training_metadata(pairs) | {"model_card": dg.MetadataValue.md(card)},
        data_version=dg.DataVersion(writing.manifest.content_hash)
    )


def _allowed(folder: Path, rule: Rule, task: str, card: pl.DataFrame) -> tuple[Publication | None, BinaryModels | None]:
    """Give what may be published of a question, and the models for it; None where nothing was trained."""
    known = load_models(folder, rule, task=task, which=PUBLISHED, only=[RULE.name])
    if known is None:
        return None, None
    publication = publishable(card, known=known.config["methods"], rule=RULE.name, origin="origin")
    return publication, load_models(folder, rule, task=task, which=PUBLISHED, only=[publication.method])


def _parts(pairs: Mapping[str, Pair]) -> Iterable[tuple[str, str, BinaryModels]]:
    for task, pair in pairs.items():
        for which, trained in ((GRADED, pair.graded), (PUBLISHED, pair.published)):
            if trained is not None:
                yield task, which, trained


def _training_metadata(pairs: Mapping[str, Pair]) -> dict[str, object]:
    if not pairs:
        return {"methods": "none: nothing that could be learnt from was closed by the as-of day"}
    rows = [
        {"task": task, "models": which, **trained.config["rows"], "methods": ", ".join(trained.config["methods"])}
        for task, which, trained in _parts(pairs)
    ]
    metadata: dict[str, object] = {"learnt_from": dg.MetadataValue.md(markdown_table(pl.DataFrame(rows)))}
    costs = [
        {"task": task, "models": which, "method": name, "CPU seconds": cost.cpu_seconds}
        for task, which, trained in _parts(pairs)
        for name, cost in trained.costs.items()
    ]
    if costs:
        metadata["costs"] = dg.MetadataValue.md(markdown_table(pl.DataFrame(costs)))
    return metadata


def _by_origin(scorecard: pl.DataFrame) -> pl.DataFrame:
    """The scorecard as the referee made it, by origin."""
    return scorecard.drop("as_of").rename({"origin": "as_of"})


def _grading_metadata(graded: Mapping[str, GradedIntent], *, of: str) -> dict[str, object]:
    """Scorecards as tables, and for the first and last question how far probabilities hold and what they are worth."""
    metadata: dict[str, object] = {
        task: dg.MetadataValue.md(scorecard_markdown(_by_origin(each.scorecard), graded=of))
        for task, each in graded.items()
    }
    drawn = [task for task, each in graded.items() if len(each.truth)]
    smallest = settings().k_anonymity
    for task in dict.fromkeys([*drawn[:1], *drawn[-1:]]):
        each = graded[task]
        held = reliability_table(each.truth, each.predictions, smallest_group=smallest)
        lifts = lift_table(each.truth, each.predictions, smallest_group=smallest)
        if held.height:
            metadata[f"reliability_{task}"] = dg.MetadataValue.md(chart_markdown(reliability_chart(held, of="rate")))
        if lifts.height:
            metadata[f"lift_{task}"] = dg.MetadataValue.md(chart_markdown(lift_chart(lifts)))
    return metadata
