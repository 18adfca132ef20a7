"""Rates in force, conversion without a guess, and a ledger of several currencies that reconciles to the last digit."""

import json
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract, contracts
from insight_assets.contracts.sources import source_contracts
from insight_assets.lake import hash_frame
from insight_assets.validation.currencies import MONEY, RATE, RATES, Exchange, convert, rates_in_force
from insight_assets.validation.rate_files import changed_days, read_quotes
from insight_assets_tests.deliveries import ORDERS_HEADER, call, lines, order, orders_row, product
from insight_assets_tests.shop_home import failures
from insight_assets_tests.validation.judging import validate, verdicts

ORDERS, SEGMENT = (source_contracts()[name] for name in ("generic_orders_csv", "segment"))
PLACE = Decimal("0.0001")
HEADER = "date,currency,base_currency,rate\n"
amounts = st.decimals(min_value=0, max_value=10**6, places=4)
rates = st.decimals(min_value=Decimal("0.0001"), max_value=1000, places=8)


def exchange(base: str, **quoted: str) -> Exchange:
    rows = [(currency, Decimal(rate)) for currency, rate in quoted.items()]
    return Exchange(base, pl.DataFrame(rows, schema=RATES, orient="row"))


@given(amount=amounts, rate=rates)
def test_money_is_converted_as_plain_decimals_would_be(amount, rate):
    frame = pl.DataFrame({"amount": [amount], "rate": [rate]}, schema={"amount": MONEY, "rate": RATE})
    (found,) = frame.select(convert(pl.col("amount"), pl.col("rate"))).to_series()
    assert found == (amount * rate).quantize(PLACE, ROUND_HALF_EVEN)


@settings(max_examples=20)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["EUR", "USD", "JPY"]), st.integers(1, 9), amounts, st.booleans(), st.integers(0, 5)),
        min_size=1, max_size=12,
    ),
    order=st.permutations(range(12)),
)  # fmt: skip
def test_a_book_of_several_currencies_reconciles_to_the_last_digit(rows, order):
    quoted = {"EUR": "1.08345", "USD": "0.99995", "JPY": "0.00651733"}
    written = [
        orders_row(
            f"o{number}", "2025-01-04 10:00", order_line_id="1", currency=currency, quantity=str(units), unit_price=str(price),
            status="refunded" if back else "paid",
        ) + f",{tax}.05"
        for number, (currency, units, price, back, tax) in enumerate(rows)
    ]  # fmt: skip
    text = lines(f"{ORDERS_HEADER},tax", *written)
    days = validate(ORDERS, text, order=order, exchange=exchange("GBP", **quoted))
    found = pl.concat([day.tables["orders"] for day in days.values()])
    gross = refunded = taxed = Decimal(0)
    for currency, units, price, back, tax in rows:
        rate = Decimal(quoted[currency])
        goods = (units * price * rate).quantize(PLACE, ROUND_HALF_EVEN)
        # A line that was given back stands for its sale as well.
        gross, refunded = gross + goods, refunded + (goods if back else 0)
        taxed += 0 if back else (Decimal(f"{tax}.05") * rate).quantize(PLACE, ROUND_HALF_EVEN)
    sums = [found[f"{name}_base"].sum() for name in ("gross", "refunded", "tax", "net")]
    assert sums == [gross, refunded, taxed, gross - refunded]
    assert set(found["base_currency"]) == {"GBP"}


def test_money_of_the_base_currency_is_never_converted():
    text = lines(ORDERS_HEADER, orders_row("o1", "2025-01-04 10:00", currency="EUR"))
    (day,) = validate(ORDERS, text, exchange=exchange("EUR", EUR="7")).values()
    assert day.tables["orders"].select("net", "net_base", "exchange_rate").row(0) == (10, 10, 1)


def test_an_event_tells_the_rate_of_its_currency_and_no_rate_that_is_not_in_force():
    shown = {"EUR": "1.08345", "GBP": None, "CHF": None, None: None}
    calls = [
        json.dumps(call(f"m{place}", "2025-01-04T10:00:00Z", properties={"currency": currency}))
        for place, currency in enumerate(shown)
    ]
    (day,) = validate(SEGMENT, lines(*calls), exchange=exchange("USD", EUR="1.08345")).values()
    found = day.tables["events"].sort("event_id").select("currency", "exchange_rate").rows()
    assert found == [(currency, rate and Decimal(rate)) for currency, rate in shown.items()]


def test_a_missing_rate_is_an_error_and_not_one():
    text = lines(
        ORDERS_HEADER,
        orders_row("o1", "2025-01-04 10:00", currency="CHF"),
        orders_row("o2", "2025-01-04 10:00", currency="EUR"),
    )
    days = validate(ORDERS, text, exchange=exchange("EUR", USD="0.9"))
    assert verdicts(days) == {("file 0", 2): "currency.no_rate"}
    (day,) = days.values()
    assert day.tables["orders"]["order_id"].to_list() == ["o2"]
    assert all(account.conserved for account in day.accounts)


def test_an_order_in_two_currencies_is_quarantined_whole():
    text = lines(
        ORDERS_HEADER,
        orders_row("o1", "2025-01-04 10:00", currency="USD", product_id="a"),
        orders_row("o1", "2025-01-04 10:00", currency="EUR", product_id="b"),
    )
    found = verdicts(validate(ORDERS, text, exchange=exchange("EUR", USD="0.9")))
    assert set(found.values()) == {"order.one_currency"}
    assert len(found) == 2


def test_the_last_rate_on_or_before_the_day_is_in_force_until_it_is_too_old(tmp_path):
    (tmp_path / "r.csv").write_text(f"{HEADER}2025-01-03,USD,EUR,0.90\n2025-01-06,USD,EUR,0.95\n")
    quoted = read_quotes(tmp_path).rates.lazy()

    def on(day: int) -> list[tuple]:
        found = rates_in_force(quoted, date(2025, 1, day), max_age_days=2).collect()
        return found.select("rate_date", "exchange_rate").rows()

    assert on(2) == []
    assert on(3) == on(5) == [(date(2025, 1, 3), Decimal("0.9"))]
    assert on(6) == on(8) == [(date(2025, 1, 6), Decimal("0.95"))]
    assert on(9) == []


def test_lines_that_are_no_rate_are_named_and_left_out(tmp_path):
    (tmp_path / "bad.csv").write_text(
        f"{HEADER}2025-01-03,USD,EUR,0\n2025-01-03,us,EUR,1\nsoon,USD,EUR,1\n2025-01-03,CNY,EUR,0.13\n"
    )
    (tmp_path / "wide.csv").write_text("day,rate\n2025-01-03,1\n")
    quotes = read_quotes(tmp_path)
    assert quotes.rates["currency"].to_list() == ["CNY"]
    assert quotes.refused_lines == 4
    assert quotes.refused[0] == "bad.csv:2: exchange_rate.exclusive_minimum"
    assert (
        quotes.refused[-1]
        == "wide.csv: lacks date, currency, base_currency; the columns are date, currency, base_currency, rate"
    )


def test_a_corrected_rate_changes_exactly_the_days_on_which_it_is_in_force(tmp_path):
    days = [date(2025, 1, day) for day in range(1, 11)]
    of = contract("currency_rates")
    (tmp_path / "a.csv").write_text(f"{HEADER}2025-01-03,USD,EUR,0.90\n2025-01-06,USD,EUR,0.95\n")
    quoted = read_quotes(tmp_path).rates.lazy()
    recorded = {day: hash_frame(of.conform(rates_in_force(quoted, day, max_age_days=7)).collect(), of) for day in days}
    assert changed_days(tmp_path, recorded, days, max_age_days=7) == set()
    (tmp_path / "b.csv").write_text(f"{HEADER}2025-01-03,USD,EUR,0.91\n")
    assert changed_days(tmp_path, recorded, days, max_age_days=7) == {date(2025, 1, day) for day in (3, 4, 5)}


def test_rates_reach_the_ledger_through_dagster(home):
    home.base_currency = "EUR"
    home.land("currency_rates", "r.csv", f"{HEADER}2025-01-03,CNY,EUR,0.125\n")
    home.land_calls("a.ndjson", [order("m1", "2025-01-04T02:00:00Z", product(price=80))])
    home.build("2025-01-04")
    assert home.table("orders").select("net", "net_base", "base_currency").row(0) == (80, 10, "EUR")
    home.land_calls("b.ndjson", [order("m2", "2025-01-14T02:00:00Z", product(price=80))])
    (told,) = failures(home.build("2025-01-14", check=False))
    assert "currency.no_rate" in told
    assert "landing/currency_rates" in told


def test_two_currencies_without_a_base_are_refused_in_a_sentence(home):
    home.land_calls("a.ndjson", [order("m1", "2025-01-04T02:00:00Z", product())])
    home.land("generic_orders_csv", "o.csv", lines(ORDERS_HEADER, orders_row("o2", "2025-01-04 10:00", currency="EUR")))
    (told,) = failures(home.build("2025-01-04", sources=["segment", "generic_orders_csv"], check=False))
    assert told.startswith("money in several currencies was delivered (CNY, EUR), and INSIGHT_BASE_CURRENCY is empty")
    assert not home.lake.exists("orders")


LEDGER = ("order_lines", "orders", "currency_rates", "customer_days", "product_days")


@pytest.mark.parametrize("table", LEDGER)
def test_money_that_is_added_up_is_never_a_float(table):
    words = ("gross", "discount", "tax", "shipping", "refunded", "cancelled", "net", "price", "rate", "value")
    money = [c for c in contracts()[table].columns if any(word in c.name.split("_") for word in words)]
    floats = {column.name for column in money if column.dtype.is_float()}
    # A mean is no sum.
    assert floats <= {"mean_price"}
    assert money
