"""Looking back from a day to earlier raw rows that carry the same identity.

Reads raw tables and nothing else; what the rows found there mean is said in `repeats`.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta

import polars as pl

from insight_assets.contracts.sources import SourceContract
from insight_assets.contracts.types import Contract
from insight_assets.ingestion.raw import raw_contract, rows_in_force
from insight_assets.ingestion.readers import decode_rows
from insight_assets.lake import Lake

_HASHED = {"event_day": pl.Date(), "hashed": pl.UInt64()}


class Lookback:
    """Finds earlier rows with the identities of a day, for days asked in order.

    Of the days within the window only hashes of identities are kept, eight bytes a row; each day's are read once, and
    whole rows only where an identity comes again. For rows that let a sale be concluded every earlier day is looked at:
    were the sale told before the window, it would else be counted twice.
    """

    def __init__(
        self,
        store: Lake,
        sources: Mapping[str, SourceContract],
        *,
        days: int,
        in_force: Callable[[pl.LazyFrame], pl.LazyFrame] = rows_in_force,
    ) -> None:
        """Take where raw rows lie, how many days are looked back, and which of the rows there count."""
        self.store = store
        self.sources = sources
        self.window = timedelta(days=days)
        self.in_force = in_force
        self._held: dict[str, dict[date, pl.DataFrame]] = {name: {} for name in sources}
        self._older: dict[str, tuple[date, pl.DataFrame]] = {}

    def rows_before(self, day: date, raw: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Give the rows of the days before that have an identity of this day's rows.

        Args:
            day: the event day; no earlier one may be asked for afterwards.
            raw: source to the raw rows of that day.

        Returns:
            Source to raw rows of earlier days within the window, and of those before it where they belong to an order
            of which a sale may be concluded; sources without any are absent.
        """
        found: dict[str, pl.DataFrame] = {}
        for name, rows in raw.items():
            earlier = []
            if self.window and rows["identity"].null_count() < rows.height:
                earlier.append(self._earlier(name, day, rows["identity"].drop_nulls().unique()))
            concluding = _concluding(rows, self.sources[name])
            if len(concluding):
                earlier.append(self._before_the_window(name, day - self.window, concluding))
            parts = [each for each in earlier if each is not None]
            if parts:
                found[name] = pl.concat(parts)
            self._held[name][day] = _hashed(rows)
        return found

    def _earlier(self, name: str, day: date, identities: pl.Series) -> pl.DataFrame | None:
        of, held = raw_contract(self.sources[name]), self._held[name]
        days = [day - timedelta(days=back) for back in range(1, self.window.days + 1)]
        self._read(name, [each for each in days if each not in held])
        for gone in [each for each in held if each < days[-1]]:
            del held[gone]
        return self._rows(of, pl.concat([pl.DataFrame(schema=_HASHED), *(held[each] for each in days)]), identities)

    def _before_the_window(self, name: str, first: date, identities: pl.Series) -> pl.DataFrame | None:
        """Give rows of days before the first of the window; what was read for an earlier day is not read again."""
        of = raw_contract(self.sources[name])
        until, held = self._older.get(name, (date.min, pl.DataFrame(schema=_HASHED)))
        if until < first:
            more = self.store.scan(of).filter(pl.col("event_day").is_between(until, first, closed="left"))
            held = pl.concat([held, _hashed(self.in_force(more))])
            self._older[name] = (first, held)
        return self._rows(of, held, identities)

    def _rows(self, of: Contract, hashed: pl.DataFrame, identities: pl.Series) -> pl.DataFrame | None:
        """Read the rows with some identities, of the days where their hashes were met."""
        hits = hashed.filter(pl.col("hashed").is_in(identities.hash().implode()))["event_day"].unique().to_list()
        if not hits:
            return None
        rows = self.in_force(self.store.scan(of, hits)).filter(pl.col("identity").is_in(identities.implode()))
        return rows.collect()

    def _read(self, name: str, days: list[date]) -> None:
        if not days:
            return
        rows = self.in_force(self.store.scan(raw_contract(self.sources[name]), days))
        parts = _hashed(rows).partition_by("event_day", as_dict=True)
        self._held[name] |= {each: parts.get((each,), pl.DataFrame(schema=_HASHED)) for each in days}


def _concluding(rows: pl.DataFrame, source: SourceContract) -> pl.Series:
    """Give the identities of rows that let a sale be concluded which they do not tell themselves."""
    mappings = [mapping for mapping in source.mappings if mapping.unless_told]
    if not mappings or rows.is_empty():
        return pl.Series(dtype=pl.String)
    decoded = decode_rows(rows, source)
    tests = [pl.lit(value=True) if mapping.where is None else pl.sql_expr(mapping.where) for mapping in mappings]
    return decoded.filter(pl.any_horizontal(tests))["identity"].drop_nulls().unique()


def _hashed(rows: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    known = rows.lazy().select("event_day", "identity").filter(pl.col("identity").is_not_null())
    return known.select("event_day", hashed=pl.col("identity").hash()).unique().collect()
