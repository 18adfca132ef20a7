"""One day of validation: every source's raw rows in, canonical tables and quarantine out, each row accounted for.

Pure: what is published, and when a day is refused, is decided by the asset from the account given here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import SourceContract
from insight_assets.contracts.traffic import PERSON, TrafficRules, traffic_rules
from insight_assets.ingestion.raw import BESIDE_TEXT
from insight_assets.validation.attributes import SAID, last_said
from insight_assets.validation.currencies import Exchange, attach_rates
from insight_assets.validation.ledger import DERIVED, build_orders, derive_order_events, observe_products
from insight_assets.validation.mapping import LATE_DAYS, map_rows
from insight_assets.validation.repeats import ROW
from insight_assets.validation.traffic import flag_orders, judge_actor_days, judge_orders

_ROUNDING = 1e-9
TABLES = (
    "events", "order_lines", "orders", "payments", "product_history", "identity_links", "reference_rows", "quarantine",
)  # fmt: skip


@dataclass(frozen=True)
class SourceAccount:
    """What became of one source's rows of one day.

    Attributes:
        source: the source.
        day: the event day.
        read: delivered rows.
        accepted: rows in a canonical table.
        duplicate: rows delivered before.
        quarantined: rejected rows.
        budget: largest share that may be rejected.
        rules: broken rule to number of rows, most frequent first.
        files: files with rejected rows, the worst first.
        suppressed: rows of people who are to be forgotten.
        superseded: of the duplicates, older versions of a changed order.
        renamed: of the accepted rows, those with an identity that another row has, kept under one of their own.
        late: of the accepted rows, those known after the end of their day.
        skewed: of the accepted rows, those of a device whose clock was more than a day off.
    """

    source: str
    day: date
    read: int
    accepted: int
    duplicate: int
    quarantined: int
    budget: float
    rules: Mapping[str, int]
    files: tuple[str, ...] = ()
    suppressed: int = 0
    superseded: int = 0
    renamed: int = 0
    late: int = 0
    skewed: int = 0

    @property
    def late_share(self) -> float:
        """Share of the accepted rows that was known only after the end of their day; 0 where there are none."""
        return self.late / self.accepted if self.accepted else 0.0

    @property
    def conserved(self) -> bool:
        """Whether every delivered row is accounted for exactly once."""
        return self.read == self.accepted + self.duplicate + self.quarantined + self.suppressed

    @property
    def within_budget(self) -> bool:
        """Whether few enough rows were rejected for the day to be published."""
        # A share written with two digits is allowed to be met exactly, which 0.29 * 100 is not.
        return self.quarantined <= self.budget * self.read + _ROUNDING


@dataclass(frozen=True)
class ValidatedDay:
    """The canonical tables of one day and the account of its delivered rows.

    Attributes:
        tables: every table of `TABLES`.
        accounts: one a source that delivered rows.
        traffic: kind of traffic to the number of events, persons left out.
        withheld: refused files with rows of this day; without them it is not the whole day.
        attributes: what is said of customers, for the identity vault: one row a customer and kind, columns `SAID`.
    """

    tables: Mapping[str, pl.DataFrame]
    accounts: tuple[SourceAccount, ...]
    traffic: Mapping[str, int]
    withheld: tuple[str, ...] = ()
    attributes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SAID))

    @property
    def publishable(self) -> bool:
        """Whether the day may be published."""
        return not self.withheld and all(account.conserved and account.within_budget for account in self.accounts)


def validate_day(
    day: date,
    raw: Mapping[str, pl.DataFrame],
    sources: Mapping[str, SourceContract],
    *,
    pseudonym: Callable[[str, str], int],
    shop_timezone: str,
    budgets: Mapping[str, float],
    suppressed: Callable[[str], bool] | None = None,
    earlier: Mapping[str, pl.DataFrame] | None = None,
    late_days: int = LATE_DAYS,
    traffic: TrafficRules | None = None,
    exchange: Exchange = Exchange(),
) -> ValidatedDay:
    """Validate the raw rows of one day.

    Args:
        day: the event day.
        raw: source to its raw rows of that day.
        sources: source contracts by name.
        pseudonym: function given by `pseudonymiser`.
        shop_timezone: the shop's time zone.
        budgets: reject budgets by source that replace those of the contracts.
        suppressed: tells whether an identifier is that of somebody who is to be forgotten; None when nobody is.
        earlier: source to its raw rows of earlier days that carry identities of this day's rows.
        late_days: days after which a row comes too late, for sources whose contract says nothing else.
        traffic: rules by which events are told from those of robots; the shipped ones by default.
        exchange: what money of the day is converted with.

    Returns:
        Every table of `TABLES`, and one account per source that delivered rows.
    """
    frames: dict[str, list[pl.DataFrame]] = {name: [contract(name).empty()] for name in TABLES}
    accounts, said = [], [pl.DataFrame(schema=SAID)]
    rules = traffic or traffic_rules()
    for name, source, rows in _by_contract(raw, sources, day):
        mapped = map_rows(
            rows, source, pseudonym=pseudonym, shop_timezone=shop_timezone, suppressed=suppressed,
            earlier=(earlier or {}).get(name), late_days=late_days, traffic=rules, exchange=exchange,
        )  # fmt: skip
        for table, frame in mapped.tables.items():
            frames[table].append(frame)
        frames["identity_links"].append(mapped.identity_links)
        said.append(mapped.attributes)
        quarantine = _quarantine(rows, mapped.rejected, source)
        frames["quarantine"].append(quarantine)
        broken, files = (
            quarantine.group_by(name).len().sort(["len", name], descending=[True, False]) for name in ("rule", "file_name")
        )
        accounts.append(
            SourceAccount(
                name, day, mapped.read, mapped.accepted, mapped.duplicate, mapped.quarantined,
                budgets.get(name, source.reject_budget), dict(broken.iter_rows()), tuple(files["file_name"]),
                suppressed=mapped.suppressed, superseded=mapped.superseded, renamed=mapped.renamed,
                late=mapped.late, skewed=mapped.skewed,
            )
        )
    tables = {name: pl.concat(parts) for name, parts in frames.items()}
    tables["events"] = contract("events").conform(attach_rates(tables["events"].lazy(), exchange)).collect()
    lines, told = tables["order_lines"], tables["events"].lazy()
    orders = contract("orders").conform(build_orders(lines.lazy())).collect()
    derived = contract("events").conform(derive_order_events(orders.lazy(), told)).collect()
    events = judge_actor_days(pl.concat([tables["events"], derived]), rules.actor_days)
    judged, follows = judge_orders(lines, events), pl.col("file_hash") == DERIVED
    tables |= {
        "order_lines": flag_orders(lines, judged),
        "orders": flag_orders(orders, judged),
        "events": pl.concat([events.filter(~follows), flag_orders(events.filter(follows), judged)]),
        "product_history": contract("product_history").conform(observe_products(told, lines.lazy())).collect(),
    }
    others = tables["events"].filter(pl.col("traffic") != PERSON).group_by("traffic").len().sort("traffic")
    return ValidatedDay(tables, tuple(accounts), dict(others.iter_rows()), attributes=last_said(pl.concat(said)))


def _by_contract(
    raw: Mapping[str, pl.DataFrame], sources: Mapping[str, SourceContract], day: date
) -> Iterator[tuple[str, SourceContract, pl.DataFrame]]:
    """Give the rows of each source with the contract that they were read by; the day's own where that is no more."""
    for name in sorted(raw):
        source, rows = sources[name], raw[name]
        versions = {each.version: each for each in source.versions}
        today = next((each.version for each in source.versions if each.covers(day)), source.version)
        by = pl.when(pl.col("contract_version").is_in(list(versions))).then("contract_version").otherwise(pl.lit(today))
        for version, source in versions.items():
            part = rows if len(versions) == 1 else rows.filter(by == version)
            if not part.is_empty():
                yield name, source, part


def _quarantine(rows: pl.DataFrame, rejected: pl.DataFrame, source: SourceContract) -> pl.DataFrame:
    text = [name for name in rows.columns if name not in BESIDE_TEXT]
    payload = pl.col("payload") if text == ["payload"] else pl.struct(text).struct.json_encode()
    return rows.join(rejected, on=ROW).select(
        *ROW, "event_day", "file_name", "rule", "column", "rules", "known_at",
        source=pl.lit(source.name), contract_version=pl.lit(source.version), payload=payload,
    ).select(contract("quarantine").polars_schema().names())
