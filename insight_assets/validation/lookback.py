"""Looking back from a day to earlier raw rows that carry the same identity.

Reads raw tables and nothing else; what the rows found there mean is said in `repeats`.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta

import polars as pl

from insight_assets.contracts.sources import SourceContract
from insight_assets.ingestion.raw import raw_contract, rows_in_force
from insight_assets.lake import Lake

_HASHED = {"event_day": pl.Date(), "hashed": pl.UInt64()}


class Lookback:
    """Finds earlier rows with the identities of a day, for days asked in order.

    Of the days within the window only hashes of identities are kept, eight bytes a row; each day's are read once, and
    whole rows only where an identity comes again.
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

    def rows_before(self, day: date, raw: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Give the rows of the days before that have an identity of this day's rows.

        Args:
            day: the event day; no earlier one may be asked for afterwards.
            raw: source to the raw rows of that day.

        Returns:
            Source to raw rows of earlier days within the window; sources without any are absent.
        """
        found: dict[str, pl.DataFrame] = {}
        for name, rows in raw.items():
            if self.window and rows["identity"].null_count() < rows.height:
                earlier = self._earlier(name, day, rows["identity"].drop_nulls().unique())
                if earlier is not None:
                    found[name] = earlier
            self._held[name][day] = _hashed(rows)
        return found

    def _earlier(self, name: str, day: date, identities: pl.Series) -> pl.DataFrame | None:
        of, held = raw_contract(self.sources[name]), self._held[name]
        days = [day - timedelta(days=back) for back in range(1, self.window.days + 1)]
        self._read(name, [each for each in days if each not in held])
        for gone in [each for each in held if each < days[-1]]:
            del held[gone]
        before = pl.concat([pl.DataFrame(schema=_HASHED), *(held[each] for each in days)])
        hits = before.filter(pl.col("hashed").is_in(identities.hash().implode()))["event_day"].unique().to_list()
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


def _hashed(rows: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    known = rows.lazy().select("event_day", "identity").filter(pl.col("identity").is_not_null())
    return known.select("event_day", hashed=pl.col("identity").hash()).unique().collect()
