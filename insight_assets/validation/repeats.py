"""What becomes of rows that carry an identity which another row has: repeats, changed orders, reused identities.

Rows are compared with those of the same day and with those of earlier days within the shop's window, never with later
days, and never by the order in which they arrived. Two rows say the same when all their delivered columns are equal
but the clocks of their journey.

- An event that says the same again is a natural duplicate: the one of the earliest event day stays, of one day the one
  known first; the others are dropped and counted.
- An event that says something else under the same identity is another event: it is kept under an identity of its own,
  `<identity>~<8 hex digits of what it says>`, and `duplicate_of` names the shared one. The one known first (of those
  known at the same moment, the one that says the lesser) keeps its identity.
- A line of an order that comes again is never added to the ledger a second time. If it says something else, the order
  was changed: of one day the version that was heard of last is in force (of versions known at the same moment, the one
  that landed last), and older ones are dropped and counted as `superseded`. Once a sale is in the ledger of an earlier
  day it stays there as it was: a shop that moves an order to another day replaces the file, or refunds and sells anew.
- Money given back at another moment is another refund, and a line of another order is another line, whatever its
  identity: it is kept under one of its own, like an event. What was cancelled and is refunded at the same moment is
  one line that was changed.
- A sale that is only concluded from a row that takes it back (`unless_told` in its mapping) counts where no row of its
  day or of any earlier one tells of it, and then goes with its row: what is given back twice was sold twice.
- Of anything else, a payment or an entry of a list, the row known first counts, of one day alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import TOLD_BY
from insight_assets.validation.pseudonyms import hide_identity

ROW = ["file_hash", "line"]
EVENT, LINE = "event_id", "order_line_id"
_VERSION = [LINE, "order_id", "kind", "moment"]
_DIGITS = 8


@dataclass(frozen=True)
class Settled:
    """What remains of a day's rows.

    Attributes:
        tables: canonical rows, no two of a table with one identity.
        repeats: delivered rows that were dropped: file_hash, line, superseded.
        renamed: delivered rows that were kept under an identity of their own: file_hash, line.
    """

    tables: Mapping[str, pl.DataFrame]
    repeats: pl.DataFrame
    renamed: pl.DataFrame


def settle_repeats(
    tables: Mapping[str, pl.DataFrame],
    earlier: Mapping[str, pl.DataFrame],
    tell: Callable[[pl.DataFrame], pl.DataFrame],
    *,
    pseudonym: Callable[[str, str], int],
) -> Settled:
    """Settle which of the rows with a shared identity count, and under which name.

    Args:
        tables: canonical table to the day's rows that obey the rules.
        earlier: the same of the days before, as far as they carry identities of this day.
        tell: gives `file_hash`, `line`, `landed_at` and `content`, what the row says, of delivered rows named by
            `file_hash` and `line`.
        pseudonym: function given by `pseudonymiser`; what a row says may name a person.

    Returns:
        The rows that count. A delivered row is dropped as a whole.
    """
    lost = [pl.DataFrame(schema={"file_hash": pl.String, "line": pl.Int64, "superseded": pl.Boolean})]
    renamed = [pl.DataFrame(schema={"file_hash": pl.String, "line": pl.Int64})]
    tables = dict(tables)
    if "order_lines" in tables:
        delivered = tables["order_lines"].select(ROW).unique()
        tables["order_lines"] = _without_told_sales(tables["order_lines"], earlier.get("order_lines"))
        # A row that let nothing conclude but a sale that was told of says nothing new.
        for frame in tables.values():
            delivered = delivered.join(frame, on=ROW, how="anti")
        lost.append(delivered.with_columns(superseded=pl.lit(value=False)))
    # Orders first: what an order's row implied as an event goes with it.
    for table, key, find in (("order_lines", LINE, _repeated_lines), ("events", EVENT, _repeated_events)):
        found = _rivals(tables, earlier, table, key, tell)
        if found is None:
            continue
        repeats = find(*found).group_by(ROW).agg(pl.col("superseded").any())
        lost.append(repeats)
        tables = {name: frame.join(repeats, on=ROW, how="anti") for name, frame in tables.items()}
        rivals, past = found
        others = _other_identities(rivals.join(repeats, on=ROW, how="anti"), past, key, pseudonym)
        if others.is_empty():
            continue
        renamed.append(others.select(ROW))
        own = tables[table].join(others, on=[*ROW, key], how="left", maintain_order="left")
        if "duplicate_of" in own.columns:
            own = own.with_columns(duplicate_of=pl.when(pl.col("own_identity").is_not_null()).then(key))
        tables[table] = own.with_columns(pl.coalesce("own_identity", key).alias(key)).drop("own_identity")
    for table in sorted(tables.keys() - {"order_lines", "events"}):
        repeats = _known_before(tables[table], tell, [n for n in contract(table).primary_key if n != "source"])
        lost.append(repeats)
        tables = {name: frame.join(repeats, on=ROW, how="anti") for name, frame in tables.items()}
    return Settled(tables, pl.concat(lost), pl.concat(renamed).unique(maintain_order=True))


def _rivals(
    tables: Mapping[str, pl.DataFrame],
    earlier: Mapping[str, pl.DataFrame],
    table: str,
    key: str,
    tell: Callable[[pl.DataFrame], pl.DataFrame],
) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Give the day's and the earlier rows that share an identity, with what they say; None when none do."""
    if table not in tables:
        return None
    frame, before = tables[table], earlier.get(table, tables[table].clear())
    shared = frame.filter(pl.col(key).is_duplicated() | pl.col(key).is_in(before[key].implode()))
    if shared.is_empty():
        return None
    before = before.join(shared, on=key, how="semi")
    columns = [*ROW, key, "known_at"]
    told = tell(pl.concat([shared.select(ROW), before.select(ROW)]).unique())
    if key == LINE:
        # A sale happens once; money may be given back again and again, and a sale concluded from it as often.
        again = pl.col("kind") != "sale"
        shared = shared.with_columns(moment=pl.when(again | pl.col("unless_told").is_not_null()).then("event_time"))
        before = before.with_columns(moment=pl.when(again).then("event_time"))
        columns += ["order_id", pl.col("kind").replace("cancellation", "refund"), "moment"]
    return tuple(each.select(columns).join(told, on=ROW) for each in (shared, before))


def _without_told_sales(lines: pl.DataFrame, before: pl.DataFrame | None) -> pl.DataFrame:
    """Leave out the sales that were only concluded, where a row of the day or of an earlier one tells of them."""
    concluded = lines.filter(pl.col("unless_told").is_not_null())
    if concluded.is_empty():
        return lines
    known = ["order_id", *TOLD_BY, "kind", "unless_told"]
    told = pl.concat([each.select(known) for each in (lines, before) if each is not None])
    told = told.filter((pl.col("kind") == "sale") & pl.col("unless_told").is_null())
    kept = [
        concluded.filter(pl.col("unless_told") == column).join(told, on=["order_id", column], how="anti")
        for column in TOLD_BY
    ]
    return pl.concat([lines.filter(pl.col("unless_told").is_null()), *kept])


def _repeated_lines(rivals: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    by = [*_VERSION, "content"]
    before = past.group_by(_VERSION).agg(heard=pl.col("content").unique())
    judged = (
        rivals.with_columns(first=pl.col("known_at").min().over(by), landed=pl.col("landed_at").min().over(by))
        .sort("first", "landed", "content")
        .with_columns(newest=pl.col("content").last().over(_VERSION))
        .sort("known_at", *ROW)
        .with_columns(copy=pl.int_range(pl.len()).over(by))
        .join(before, on=_VERSION, how="left", nulls_equal=True)
    )
    old, known = pl.col("content") != pl.col("newest"), pl.col("heard").is_not_null()
    unheard = ~pl.col("heard").list.contains(pl.col("content"))
    superseded = pl.when(known).then(unheard).otherwise(old)
    return judged.filter(known | old | (pl.col("copy") > 0)).select(*ROW, superseded=superseded)


def _repeated_events(rivals: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    by = [EVENT, "content"]
    judged = (
        rivals.sort("known_at", *ROW)
        .with_columns(copy=pl.int_range(pl.len()).over(by))
        .join(past.select(by).unique().with_columns(heard=pl.lit(value=True)), on=by, how="left")
    )
    return judged.filter(pl.col("heard").is_not_null() | (pl.col("copy") > 0)).select(
        *ROW, superseded=pl.lit(value=False)
    )


def _known_before(
    frame: pl.DataFrame, tell: Callable[[pl.DataFrame], pl.DataFrame], key: list[str]
) -> pl.DataFrame:
    shared = frame.filter(pl.struct(key).is_duplicated()).select(*ROW, *key, "known_at")
    ranked = shared.join(tell(shared.select(ROW).unique()), on=ROW).sort("known_at", "content", *ROW)
    counts = pl.col("content").first().over(key)
    repeats = ranked.with_columns(superseded=pl.col("content") != counts).filter(pl.int_range(pl.len()).over(key) > 0)
    return repeats.group_by(ROW).agg(pl.col("superseded").any())


def _other_identities(
    rivals: pl.DataFrame, past: pl.DataFrame, key: str, pseudonym: Callable[[str, str], int]
) -> pl.DataFrame:
    """Give an identity of its own to each row that shares one with an earlier row or with one known before it."""
    taken = pl.col(key).is_in(past[key].implode())
    others = rivals.sort("known_at", "content", *ROW).filter((pl.int_range(pl.len()).over(key) > 0) | taken)
    digits = hide_identity(others["content"], pseudonym).str.slice(0, _DIGITS)
    return others.select(*ROW, key, own_identity=pl.col(key) + "~" + digits)
