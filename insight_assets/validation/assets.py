"""Assets of the group `validated`: canonical tables by event day, their quarantine, and the products as of a day.

Validation writes, audits, then publishes: a day whose account does not add up, or whose rejected share is above the
source's budget, keeps its old tables; only its quarantine is stored, so that a person can see what is wrong.
"""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.traffic import BOT, INTERNAL, traffic_rules
from insight_assets.contracts.types import ContractError
from insight_assets.discretion import without_values
from insight_assets.ingestion.assets import SOURCES
from insight_assets.ingestion.landing import LandedFile
from insight_assets.ingestion.raw import PREFIX, raw_contract, rows_in_force
from insight_assets.io_managers import TableWriter
from insight_assets.lake import DailyFrames, Lake
from insight_assets.metadata import CODE_VERSION_TAG, markdown_table, partition_states, table_asset, table_out
from insight_assets.partitions import HISTORY, WITH_REPEATS
from insight_assets.resources import LakeFolder, LandingFolder, PseudonymKey
from insight_assets.settings import settings
from insight_assets.validation.currencies import BaseCurrencyUnknownError, Exchange, rates_in_force
from insight_assets.validation.key_ring import ANALYTICS, VAULT
from insight_assets.validation.ledger import describe_products
from insight_assets.validation.lookback import Lookback
from insight_assets.validation.order_books import ORDER, balance_orders
from insight_assets.validation.pseudonyms import pseudonymiser
from insight_assets.validation.publishing import TABLES, SourceAccount, ValidatedDay, validate_day
from insight_assets.validation.rate_files import RATES, read_quotes
from insight_assets.validation.settlement import UNEXPLAINED, summarise_settlement
from insight_assets.validation.vault import IDENTITY_VAULT, Witness, seal_identifiers

CONSERVED = "read_is_accepted_duplicate_quarantined_or_suppressed"
EXPLAINED = "payments_agree_or_are_explained"
WITHIN_BUDGET = "quarantined_within_reject_budget"
NO_MORE_THAN_PAID = "given_back_is_within_paid"
EVERY_DAY_PUBLISHED = "every_delivered_day_is_published"
PUBLISHED = (*TABLES, IDENTITY_VAULT)
DELIVERED = [dg.AssetDep(PREFIX + source, partition_mapping=WITH_REPEATS) for source in SOURCES]
RATES_READABLE = "every_quoted_rate_is_usable"
_ROWS_AT_ONCE = 500_000
_DAYS_TOLD = 40


@dg.asset(
    **table_asset(RATES, layer="validated", purpose="operations"),
    check_specs=[
        dg.AssetCheckSpec(
            RATES_READABLE, asset=RATES,
            description="Every line of the rate files holds a date, two currencies and a rate above 0",
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def currency_rates(
    context: dg.AssetExecutionContext, landing: LandingFolder
) -> Iterator[dg.Output[DailyFrames] | dg.AssetCheckResult]:
    """Give each day the rates in force, from the files of landing/currency_rates."""
    quotes, shop = read_quotes(Path(landing.root) / RATES), settings()
    rates = quotes.rates.lazy()
    yield dg.Output(DailyFrames(lambda day: rates_in_force(rates, day, max_age_days=shop.rate_max_age_days)))
    which = dg.MetadataValue.json(list(quotes.refused))
    told = {"quoted": quotes.rates.height, "unusable": quotes.refused_lines, "which": which}
    advice = {"next": "mend the lines in a new file and land it in landing/currency_rates"} if quotes.refused else {}
    yield dg.AssetCheckResult(check_name=RATES_READABLE, passed=not quotes.refused, metadata=told | advice)


@dg.multi_asset(
    name="validated",
    specs=[
        table_out(name, layer="validated", purpose="operations", code_version="5").merge_attributes(deps=[*DELIVERED, RATES])
        for name in PUBLISHED
    ],
    check_specs=[
        dg.AssetCheckSpec(
            CONSERVED, asset="events", blocking=True,
            description="Every delivered row is accepted, a counted duplicate, quarantined, or suppressed; per day and source",
        ),
        dg.AssetCheckSpec(
            WITHIN_BUDGET, asset="events", blocking=True,
            description="The quarantined share of each source's rows is within its reject budget; per day",
        ),
        dg.AssetCheckSpec(
            NO_MORE_THAN_PAID, asset="orders",
            description="Over its life an order gives back no more than was paid for it, but for a cent",
        ),
        dg.AssetCheckSpec(
            EVERY_DAY_PUBLISHED, asset="events",
            description="No day stands refused, by this run or by an earlier one; holds again once each was built anew",
        ),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def validated(
    context: dg.AssetExecutionContext, tables: LakeFolder, key: PseudonymKey, landing: LandingFolder
) -> Iterator[object]:
    """Validate the raw rows of the run's days, publish the good days, and refuse the others."""
    store, shop = tables.open(), settings()
    if store.exists("events") and not key.exists():
        message = (
            f"The pseudonym key {key.path} is gone, and a new one would make strangers of all known customers. "
            f"Next: restore it from your backup; or, to begin anew, remove {store.root} and build again"
        )
        raise dg.Failure(description=message, allow_retries=False)
    ring = key.ring()
    pseudonym_key, suppressed = ring.current(ANALYTICS), key.suppressed()
    keyed = {"pseudonym_key": pseudonym_key.id, "suppression_list": suppressed.digest or "empty"}
    publisher = _Publisher(context, store, keyed, {shop.base_currency} if shop.base_currency else _counted_in(store))
    accounts: list[SourceAccount] = []
    refused_files = [file for file in landing.open().files() if file.status == "refused"]
    withheld: dict[date, tuple[str, ...]] = {}
    batch: dict[date, ValidatedDay] = {}
    in_force = partial(rows_in_force, known_by=shop.known_by)
    lookback = Lookback(store, SOURCES, days=shop.duplicate_days, in_force=in_force)
    with without_values("validating"):
        for day in sorted(date.fromisoformat(each) for each in context.partition_keys):
            raw = {
                name: in_force(store.scan(raw_contract(source), [day])).collect() for name, source in SOURCES.items()
            }
            witness = Witness(pseudonymiser(pseudonym_key.secret))
            batch[day] = validate_day(
                day, raw, SOURCES, pseudonym=witness, shop_timezone=shop.timezone, budgets=shop.reject_budgets,
                suppressed=suppressed.recogniser(ring), earlier=lookback.rows_before(day, raw),
                late_days=shop.late_days, traffic=traffic_rules(shop.traffic),
                exchange=_exchange(store, day, shop.base_currency),
            )
            vault = seal_identifiers(
                witness.seen, day, pseudonym_key=pseudonym_key.id, vault_key=ring.current(VAULT),
                attributes=batch[day].attributes,
            )  # fmt: skip
            batch[day] = replace(
                batch[day],
                tables={**batch[day].tables, IDENTITY_VAULT: vault},
                withheld=tuple(f"{file.source}/{file.name}" for file in refused_files if day in file.blocks),
            )
            if batch[day].withheld:
                withheld[day] = batch[day].withheld
            accounts += batch[day].accounts
            if sum(account.read for each in batch.values() for account in each.accounts) >= _ROWS_AT_ONCE:
                publisher.publish(batch)
                batch = {}
        publisher.publish(batch)
    yield from _check_results(accounts)
    yield _given_back(store, publisher.giving_back)
    yield _standing_refusals(context, accounts, withheld)
    refused = [account for account in accounts if not (account.conserved and account.within_budget)]
    if refused or withheld:
        publisher.record_published()
        told = [*([_refusal(refused)] if refused else []), *([_withheld(withheld, refused_files)] if withheld else [])]
        metadata = {"refused": _account_table(refused)} if refused else {}
        raise dg.Failure(description=" ".join(told), metadata=metadata, allow_retries=False)
    yield from publisher.results()


class _Publisher:
    """Writes the tables of validated days and remembers what to record of them."""

    def __init__(
        self, context: dg.AssetExecutionContext, store: Lake, keyed: Mapping[str, str], counted_in: Set[str]
    ) -> None:
        """Take what each partition's metadata says of its keys, and the currencies that money is counted in so far."""
        self.counted_in = set(counted_in)
        self.giving_back: list[pl.DataFrame] = [contract("orders").empty().select(ORDER)]
        self.context = context
        self.keyed = keyed
        self.writer = TableWriter(store, context.instance, smallest_group=settings().k_anonymity)
        self.recorded: dict[str, dict[str, dict[str, object]]] = {name: {} for name in PUBLISHED}

    def publish(self, batch: dict[date, ValidatedDay]) -> None:
        good = [day for day, validated_day in batch.items() if validated_day.publishable]
        for validated_day in batch.values():
            self.counted_in |= set(validated_day.tables["order_lines"]["base_currency"])
        if len(self.counted_in) > 1:
            raise dg.Failure(description=str(BaseCurrencyUnknownError(self.counted_in)), allow_retries=False)
        for name in PUBLISHED:
            days = sorted(batch) if name == "quarantine" else good
            if days:
                frames = DailyFrames(lambda day, name=name: batch[day].tables[name])
                written = self.writer.write(contract(name), days, frames)
                self.recorded[name] |= {key: {**metadata, **self.keyed} for key, metadata in written.items()}
        for day in good:
            documents = batch[day].tables["orders"]
            self.giving_back.append(documents.filter(pl.col("kind") != "sale").select(ORDER))
            self.recorded["events"][day.isoformat()] |= _told_of_events(batch[day])
            self.recorded["orders"][day.isoformat()] |= _told_of_orders(documents)

    def record_published(self) -> None:
        """Record the partitions that were written although the step is about to fail."""
        for name, partitions in self.recorded.items():
            version = self.context.assets_def.get_asset_spec(dg.AssetKey(name)).code_version
            for partition, metadata in partitions.items():
                self.context.log_event(
                    dg.AssetMaterialization(name, partition=partition, metadata=metadata, tags={CODE_VERSION_TAG: version})
                )

    def results(self) -> Iterator[dg.MaterializeResult]:
        for name, partitions in self.recorded.items():
            for partition, metadata in partitions.items():
                self.context.add_asset_metadata(metadata, asset_key=name, partition_key=partition)
            yield dg.MaterializeResult(asset_key=name)


def _told_of_events(day: ValidatedDay) -> dict[str, object]:
    """Tell what became of a day's delivered rows, how late they were, and who did what they tell of."""
    accepted = sum(account.accepted for account in day.accounts)
    late = sum(account.late for account in day.accounts)
    account = {"account": _account_table(day.accounts)} if day.accounts else {}
    return account | {
        "late_share": late / accepted if accepted else 0.0,
        "kept_under_own_identity": sum(account.renamed for account in day.accounts),
        "clock_off_by_more_than_a_day": sum(account.skewed for account in day.accounts),
        "bot_events": day.traffic.get(BOT, 0),
        "internal_events": day.traffic.get(INTERNAL, 0),
    }


def _told_of_orders(documents: pl.DataFrame) -> dict[str, object]:
    """Tell how many orders of a day no person placed."""
    placed = dict(documents.filter(pl.col("kind") == "sale").group_by("traffic").len().iter_rows())
    return {"bot_orders": placed.get(BOT, 0), "internal_orders": placed.get(INTERNAL, 0)}


def _exchange(store: Lake, day: date, base: str) -> Exchange:
    rates = store.scan(contract(RATES), [day]).filter(pl.col("base_currency") == base)
    return Exchange(base, rates.select("currency", "exchange_rate").collect())


def _counted_in(store: Lake) -> set[str]:
    """Give the base currencies of the published ledger; none where it was published before there were any."""
    known = pl.col("base_currency").drop_nulls().unique()
    try:
        return set(store.scan(contract("order_lines")).select(known).collect()["base_currency"])
    except ContractError:
        return set()


def _check_results(accounts: Sequence[SourceAccount]) -> Iterator[dg.AssetCheckResult]:
    for name, broken, advice in (
        (CONSERVED, [a for a in accounts if not a.conserved], "a defect of validation: keep the files and report it"),
        (WITHIN_BUDGET, [a for a in accounts if not a.within_budget], "see the table quarantine for the rows and rules"),
    ):
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key="events",
            passed=not broken,
            metadata={
                "delivered": sum(a.read for a in accounts),
                "accepted": sum(a.accepted for a in accounts),
                "duplicate": sum(a.duplicate for a in accounts),
                "quarantined": sum(a.quarantined for a in accounts),
                "suppressed": sum(a.suppressed for a in accounts),
                "superseded": sum(a.superseded for a in accounts),
                "renamed": sum(a.renamed for a in accounts),
                **({"broken_by": _account_table(broken), "next": advice} if broken else {}),
            },
        )


def _given_back(store: Lake, orders: Sequence[pl.DataFrame]) -> dg.AssetCheckResult:
    """Hold what orders gave back against what was paid for them, on any published day."""
    touched = pl.concat(orders).unique()
    documents = store.scan(contract("orders")) if touched.height else contract("orders").empty().lazy()
    books = balance_orders(documents.join(touched.lazy(), on=ORDER, how="semi")).collect()
    count = books.select(pl.col("without_sale", "above_paid", "void").sum()).row(0, named=True)
    advice = {"next": "look for a refund that was delivered twice under two identities, or a sale that is missing"}
    return dg.AssetCheckResult(
        check_name=NO_MORE_THAN_PAID,
        asset_key="orders",
        passed=not count["above_paid"],
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"orders": books.height, **count, **(advice if count["above_paid"] else {})},
    )


def _standing_refusals(
    context: dg.AssetExecutionContext, accounts: Sequence[SourceAccount], withheld: Mapping[date, Sequence[str]]
) -> dg.AssetCheckResult:
    """Tell which days are refused, so that a good run over other days does not hide them."""
    judged, published = (partition_states(context.instance, name) for name in ("quarantine", "events"))
    # A refused day leaves its quarantine behind and no newer table beside it.
    standing = {day for day, state in judged.items() if day not in published or published[day].read_at < state.read_at}
    standing -= set(context.partition_keys)
    standing |= {a.day.isoformat() for a in accounts if not (a.conserved and a.within_budget)}
    standing |= {day.isoformat() for day in withheld}
    told = {"days": ", ".join(sorted(standing)[:_DAYS_TOLD])}
    advice = "`insight show quarantine --as-of DAY` tells which rows and rules; mend the file or the contract, then build"
    return dg.AssetCheckResult(
        check_name=EVERY_DAY_PUBLISHED,
        asset_key="events",
        passed=not standing,
        metadata={"refused_days": len(standing)} | (told | {"next": advice} if standing else {}),
    )


def _refusal(refused: Sequence[SourceAccount]) -> str:
    worst = max(refused, key=lambda account: account.quarantined / account.read)
    rules = ", ".join(f"{rule} ({count})" for rule, count in list(worst.rules.items())[:3])
    days = ", ".join(sorted({account.day.isoformat() for account in refused})[:10])
    no_rate = any("currency.no_rate" in account.rules for account in refused)
    rates = "land a file with date,currency,base_currency,rate in landing/currency_rates; " if no_rate else ""
    return (
        f"{len(refused)} source-days were not published ({days}). Worst: {worst.source} on {worst.day}: "
        f"{worst.quarantined} of {worst.read} rows quarantined, above the budget of {worst.budget:.1%}; "
        f"rules: {rules}; files: {', '.join(worst.files[:3])}. "
        f"Next: {rates}`insight show quarantine`, then mend the file or the contract {worst.source} and build again; "
        f'to accept the loss, set INSIGHT_REJECT_BUDGETS=\'{{"{worst.source}": {_rounded_up(worst)}}}\''
    )


def _withheld(withheld: Mapping[date, Sequence[str]], refused_files: Sequence[LandedFile]) -> str:
    days = ", ".join(day.isoformat() for day in sorted(withheld)[:10])
    names = dict.fromkeys(name for files in withheld.values() for name in files)
    reasons = {f"{file.source}/{file.name}": file.reason for file in refused_files}
    told = "; ".join(f"{name}: {reasons[name]}" for name in list(names)[:3])
    return (
        f"{len(withheld)} days were not published because files with their rows were refused ({days}). {told}. "
        f"Next: mend the file or the contract and deliver again, or take {', '.join(list(names)[:3])} out of the "
        "landing folder; then build again"
    )


def _rounded_up(account: SourceAccount) -> float:
    return math.ceil(100 * account.quarantined / account.read) / 100


def _account_table(accounts: Sequence[SourceAccount]) -> dg.MarkdownMetadataValue:
    rows = [
        {
            "source": a.source, "day": a.day.isoformat(), "read": a.read, "accepted": a.accepted,
            "duplicate": a.duplicate, "quarantined": a.quarantined,
            "suppressed": a.suppressed, "superseded": a.superseded, "renamed": a.renamed, "late share": a.late_share,
            "rules": ", ".join(f"{r} {n}" for r, n in a.rules.items()),
        }
        for a in accounts[:40]
    ]
    return dg.MetadataValue.md(markdown_table(pl.DataFrame(rows)) if rows else "no rows were delivered")


@dg.asset(
    **table_asset("products", layer="validated", purpose="operations"), ins={"product_history": dg.AssetIn(partition_mapping=HISTORY)}
)
def products(context: dg.AssetExecutionContext, product_history: pl.LazyFrame) -> pl.LazyFrame:
    """Give each product as last described on or before the as-of day."""
    return describe_products(product_history, as_of=date.fromisoformat(context.partition_key))


@dg.asset(
    **table_asset("payment_settlement", layer="validated", purpose="operations"),
    check_specs=[
        dg.AssetCheckSpec(
            EXPLAINED, asset="payment_settlement",
            description="Payments agree with goods, tax and shipping of each order, or the difference has a known reason",
        )
    ],
    ins={name: dg.AssetIn(partition_mapping=HISTORY) for name in ("order_lines", "payments")},
)
def payment_settlement(
    context: dg.AssetExecutionContext, order_lines: pl.LazyFrame, payments: pl.LazyFrame
) -> Iterator[dg.AssetCheckResult | dg.Output[pl.DataFrame]]:
    """Hold the payments of all orders up to the as-of day against their lines."""
    found = summarise_settlement(order_lines, payments, as_of=date.fromisoformat(context.partition_key))
    settlement = contract("payment_settlement").conform(found).collect()
    orders = dict(settlement.group_by("reason").agg(pl.col("orders").sum()).iter_rows())
    unexplained = sum(orders.get(reason, 0) for reason in UNEXPLAINED)
    advice = {"next": "ask who keeps the payments: a discount, fee or refund is not delivered"} if unexplained else {}
    yield dg.AssetCheckResult(
        check_name=EXPLAINED, passed=not unexplained, severity=dg.AssetCheckSeverity.WARN,
        metadata={"orders": sum(orders.values()), "unexplained": unexplained} | advice,
    )
    table = markdown_table(settlement.drop("as_of")) if settlement.height else "no source delivers payments"
    yield dg.Output(settlement, metadata={"reasons": dg.MetadataValue.md(table)})
