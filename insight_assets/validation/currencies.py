"""Exchange rates by day, and money converted with them: exact decimals, one rounding, never a guessed rate.

Pure functions over frames. Where rate files lie and when days are made again is decided by the assets.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

RATE = pl.Decimal(18, 8)
MONEY = pl.Decimal(18, 4)
# Wide enough for the product of an amount and a rate without rounding.
_EXACT = pl.Decimal(38, 12)
ONE = pl.lit(1).cast(RATE)
RATES = pl.Schema({"currency": pl.String, "exchange_rate": RATE})


class BaseCurrencyUnknownError(ValueError):
    """Money of several currencies was met, and no setting says which one the shop counts in."""

    def __init__(self, currencies: Collection[str]) -> None:
        """Name the currencies."""
        met = ", ".join(sorted(currencies))
        super().__init__(
            f"money in several currencies was delivered ({met}), and INSIGHT_BASE_CURRENCY is empty. "
            "Next: set it to the currency the shop counts in, land the exchange rates, and build again"
        )


@dataclass(frozen=True)
class Exchange:
    """What money of one day is converted with.

    Attributes:
        base: currency of the base amounts (ISO 4217); empty leaves every amount in its own.
        rates: currency and its `exchange_rate`, base currency for one unit, one row a currency.
    """

    base: str = ""
    rates: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=RATES), compare=False)


def convert(amount: pl.Expr, rate: pl.Expr) -> pl.Expr:
    """Convert money at a rate, rounded once, half to even, to four places; null where it does not fit."""
    return (amount.cast(_EXACT) * rate).round(4, mode="half_to_even").cast(MONEY, strict=False)


def attach_rates(lines: pl.LazyFrame, exchange: Exchange) -> pl.LazyFrame:
    """Give rows of one day their `base_currency` and `exchange_rate`; the rate is null where none is in force."""
    if not exchange.base:
        rate = pl.when(pl.col("currency").is_not_null()).then(ONE)
        return lines.with_columns(base_currency="currency", exchange_rate=rate)
    rates = exchange.rates.lazy().select("currency", "exchange_rate")
    own = pl.col("currency") == exchange.base
    return (
        lines.drop("exchange_rate", strict=False)
        .join(rates, on="currency", how="left", maintain_order="left")
        .with_columns(
            base_currency=pl.lit(exchange.base), exchange_rate=pl.when(own).then(ONE).otherwise("exchange_rate")
        )
    )


def rates_in_force(quoted: pl.LazyFrame, day: date, *, max_age_days: int) -> pl.LazyFrame:
    """Give the rates in force on a day: of each pair of currencies the last one quoted on or before it.

    Args:
        quoted: rows with `rate_date`, `currency`, `base_currency` and `exchange_rate`; days after `day` are ignored.
        day: the event day.
        max_age_days: how many days a rate stays in force after its own.

    Returns:
        Rows of the contract `currency_rates`, sorted by its key.
    """
    pair = ["base_currency", "currency"]
    return (
        quoted.filter(pl.col("rate_date").is_between(day - timedelta(days=max_age_days), day))
        .sort(*pair, "rate_date")
        .group_by(pair)
        .agg(pl.col("rate_date").last(), pl.col("exchange_rate").last())
        .select(
            event_day=pl.lit(day),
            currency="currency",
            base_currency="base_currency",
            rate_date="rate_date",
            exchange_rate="exchange_rate",
        )
        .sort(pair)
    )
