"""Assets of the group `features`: daily sums by event day; features, sequences, labels as of a day.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.features import pictures
from insight_assets.features.batches import build_in_batches
from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.customer_state import build_customer_state, sound_days, without_void_purchases
from insight_assets.features.labels import HorizonOpenError, label_customers, label_view
from insight_assets.features.money import without_void_orders
from insight_assets.features.product_days import build_product_days
from insight_assets.features.product_features import build_product_features
from insight_assets.features.sequences import build_event_sequences
from insight_assets.features.sessions import build_sessions, split_share
from insight_assets.lake import DailyFrames
from insight_assets.metadata import markdown_table, partition_states, published_days, table_asset
from insight_assets.partitions import HISTORY, WITH_DAY_BEFORE, YEAR
from insight_assets.people.assets import identity_rules
from insight_assets.people.identities import IdentityHistory
from insight_assets.purposes import LEFT_AS_DELIVERED
from insight_assets.resources import LakeFolder
from insight_assets.settings import settings

# One asset cannot read another through two mappings, so labels take past and horizon as one range.
HISTORY_AND_HORIZON = dg.TimeWindowPartitionMapping(
    start_offset=HISTORY.start_offset, end_offset=settings().horizon_days
)
# The writer of the validated tables is no IO manager, so that their readers name theirs.
VALIDATED = dg.AssetIn(input_manager_key="lake")

SOMEONE_LABELLED = "someone_is_labelled"
BOTH_OUTCOMES = "both_outcomes_occur"


def _days(context: dg.AssetExecutionContext) -> list[date]:
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def _within(rows: pl.LazyFrame, first: date, last: date) -> pl.LazyFrame:
    return rows.filter(pl.col("event_day").is_between(first, last))


@dg.asset(
    **table_asset("sessions", layer="feature", purpose="operations"),
    ins={"events": dg.AssetIn(partition_mapping=WITH_DAY_BEFORE, input_manager_key="lake")},
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def sessions(context: dg.AssetExecutionContext, events: pl.LazyFrame) -> DailyFrames:
    built = build_in_batches(
        lambda first, last: build_sessions(events, first=first, last=last), events, _days(context)
    )

    def frame_of(day: date) -> pl.DataFrame:
        frame = built.frame_of(day)
        context.add_asset_metadata({"split_share": split_share(frame)}, partition_key=day.isoformat())
        return frame

    return DailyFrames(frame_of)


@dg.asset(
    **table_asset("customer_days", layer="feature", purpose="operations"),
    ins=dict.fromkeys(("events", "orders", "order_lines", "payments"), VALIDATED),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def customer_days(
    context: dg.AssetExecutionContext,
    events: pl.LazyFrame,
    orders: pl.LazyFrame,
    order_lines: pl.LazyFrame,
    sessions: pl.LazyFrame,
    payments: pl.LazyFrame,
) -> DailyFrames:
    tables, shop = (events, orders, order_lines, sessions, payments), settings()
    return build_in_batches(
        lambda *span: build_customer_days(
            *(_within(t, *span) for t in tables), timezone=shop.timezone, base_currency=shop.base_currency
        ),
        events,
        _days(context),
    )


@dg.asset(
    **table_asset("product_days", layer="feature", purpose="operations"),
    ins={"events": VALIDATED, "order_lines": VALIDATED},
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def product_days(
    context: dg.AssetExecutionContext, events: pl.LazyFrame, order_lines: pl.LazyFrame
) -> DailyFrames:
    return build_in_batches(
        lambda *span: build_product_days(_within(events, *span), _within(order_lines, *span)),
        events,
        _days(context),
    )


@dg.asset(
    **table_asset("customer_state", layer="feature", purpose="operations"),
    ins={"customer_days": dg.AssetIn(partition_mapping=HISTORY)},
)
def customer_state(
    context: dg.AssetExecutionContext, customer_days: pl.LazyFrame, tables: LakeFolder
) -> pl.DataFrame:
    as_of, of = date.fromisoformat(context.partition_key), contract("customer_state")
    # An earlier state spares reading the days before it; the content of this one does not depend on there being any.
    since = max((day for day in _sound_states(context) if day < as_of), default=None)
    before = None if since is None else tables.open().scan(of, [since])
    frame = build_customer_state(customer_days, as_of=as_of, before=before, since=since).collect()
    context.add_output_metadata({"actors": frame.height, "rolled_on_from": str(since or "nothing")})
    return frame


def _sound_states(context: dg.AssetExecutionContext) -> list[date]:
    """List the as-of days whose state was made by this code and of customer days as they are now."""
    version = context.job_def.asset_layer.get(dg.AssetKey("customer_state")).code_version
    days = partition_states(context.instance, "customer_days")
    return sound_days(
        {
            date.fromisoformat(key): state.read_at
            for key, state in partition_states(context.instance, "customer_state").items()
            if state.code_version == version
        },
        {date.fromisoformat(key): state.since for key, state in days.items()},
    )


@dg.asset(
    **table_asset("customer_features", layer="feature", purpose="analytics"),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY),
        # Where it was never made, or is older than a day that changed since, the whole past is added up instead.
        "customer_state": dg.AssetIn(metadata={"allow_missing_partitions": True}),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
    },
)
def customer_features(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    customer_state: pl.LazyFrame,
    orders: pl.LazyFrame,
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    state = customer_state if as_of in _sound_states(context) else None
    if not settings().refunded_orders_count:
        customer_days = without_void_orders(customer_days, orders, as_of=as_of)
        state = None if state is None else without_void_purchases(state, orders, as_of=as_of)
    frame = build_customer_features(customer_days, as_of=as_of, state=state).collect()
    groups = pictures.recency_groups(frame.lazy(), smallest_group=settings().k_anonymity)
    context.add_output_metadata(
        {
            "customers": frame.height,
            "past_from": "days" if state is None else "state",
            "customers_who_ever_bought": frame.filter(pl.col("orders_lifetime") > 0).height,
            "share_of_customers_with_a_value": dg.MetadataValue.md(
                markdown_table(pictures.known_shares(frame))
            ),
            **(
                {"last_seen": dg.MetadataValue.md(chart_markdown(pictures.recency_chart(groups)))}
                if groups.height
                else {}
            ),
        }
    )
    return frame


@dg.asset(
    **table_asset("product_features", layer="feature", purpose="operations"),
    ins={"product_days": dg.AssetIn(partition_mapping=YEAR)},
)
def product_features(
    context: dg.AssetExecutionContext, product_days: pl.LazyFrame, products: pl.LazyFrame
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    frame = build_product_features(product_days, products, as_of=as_of).collect()
    context.add_output_metadata(
        {
            "products": frame.height,
            "products_sold_in_a_year": frame.filter(pl.col("units_365d") > 0).height,
            "new_products": frame.filter(pl.col("is_new")).height,
            "share_of_products_with_a_value": dg.MetadataValue.md(markdown_table(pictures.known_shares(frame))),
        }
    )
    return frame


@dg.asset(
    **table_asset("event_sequences", layer="feature", purpose="analytics"),
    ins={"events": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake")},
)
def event_sequences(context: dg.AssetExecutionContext, events: pl.LazyFrame) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    frame = build_event_sequences(events, as_of=as_of).collect()
    kept = frame.select(pl.col("kinds").list.len().sum()).item()
    context.add_output_metadata(
        {
            "customers": frame.height,
            "events": int(frame["events"].sum()),
            "events_kept": int(kept),
        }
    )
    return frame


@dg.asset(
    **table_asset("customer_labels", layer="feature", purpose="analytics"),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY_AND_HORIZON, metadata=LEFT_AS_DELIVERED),
        "orders": dg.AssetIn(
            partition_mapping=HISTORY_AND_HORIZON, input_manager_key="lake", metadata=LEFT_AS_DELIVERED
        ),
        "identity_links": dg.AssetIn(partition_mapping=HISTORY_AND_HORIZON, input_manager_key="lake"),
    },
    check_specs=[
        dg.AssetCheckSpec(
            SOMEONE_LABELLED,
            asset="customer_labels",
            blocking=True,
            description="At least one customer had bought by the origin",
        ),
        dg.AssetCheckSpec(
            BOTH_OUTCOMES,
            asset="customer_labels",
            description="Some customers returned within the horizon and some did not",
        ),
    ],
)
def customer_labels(
    context: dg.AssetExecutionContext,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    identity_links: pl.LazyFrame,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    origin, shop = date.fromisoformat(context.partition_key), settings()
    who = IdentityHistory(identity_links, identity_rules())
    given_back = None if shop.refunded_orders_count else orders
    past, horizon = label_view(
        customer_days, who.as_of, origin=origin, horizon_days=shop.horizon_days, orders=given_back
    )
    try:
        labels = label_customers(
            past,
            horizon,
            origin=origin,
            horizon_days=shop.horizon_days,
            published=published_days(context.instance, "customer_days"),
        ).collect()
    except HorizonOpenError as still_open:
        raise dg.Failure(
            description=f"{still_open}. Next: `insight build --to {still_open.closes}` once its "
            "data has come in; there is no label before",
            metadata={"horizon_closes": str(still_open.closes)},
            allow_retries=False,
        ) from still_open
    returned = int(labels["returned"].sum())
    numbers = {"customers": labels.height, "returned": returned}
    yield dg.Output(labels, metadata=numbers)
    yield dg.AssetCheckResult(
        check_name=SOMEONE_LABELLED, passed=labels.height > 0, metadata=numbers
    )
    yield dg.AssetCheckResult(
        check_name=BOTH_OUTCOMES,
        passed=0 < returned < labels.height,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=numbers,
    )
