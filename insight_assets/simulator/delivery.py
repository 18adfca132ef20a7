"""The simulated events as a shop would receive them: Segment Ecommerce Spec V2.

`Courier.frame` turns a slice of events into nested rows of the schema `DELIVERED`; `Courier.lines`
turns those into JSON texts without null keys. Writing files is in `landing`; deciding what happens
is in `sessions`, `fulfilment` and `trouble`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import polars as pl

from insight_assets.simulator.catalogue import CATEGORIES, MAKERS
from insight_assets.simulator.customers import (
    CHANNELS,
    COUNTRIES,
    FIRST_CUSTOMER_NUMBER,
    LANGUAGES,
)
from insight_assets.simulator.events import Events, Kind
from insight_assets.simulator.fulfilment import REASONS
from insight_assets.simulator.phrases import TOPICS, phrase_book, queries, unpack
from insight_assets.simulator.seasons import CAMPAIGNS, COUPONS, ORIGINS
from insight_assets.simulator.sessions import (
    ADDRESSES,
    DEVICES,
    FAILURES,
    PURPOSES,
    Shop,
    scatter,
)
from insight_assets.simulator.trouble import Fault, Planted

MINUTE = 60_000
FIRST_MESSAGE_NUMBER = 1_000_000_000_000
ROWS_AT_ONCE = 100_000
# JSON texts take ten times the memory of columns.
TEXTS_AT_ONCE = 25_000
DRIFT = "properties.price -> properties.item_price"
DRIFTED_NAME = "item_price"
UNKNOWN_EVENT = "Produkt Viewed"
UNPARSEABLE_TIME = "yesterday, about noon"

PRODUCT_LINE = pl.Struct(
    {
        "product_id": pl.String,
        "name": pl.String,
        "category": pl.String,
        "brand": pl.String,
        "price": pl.Float64,
        "quantity": pl.Int64,
        "discount": pl.Float64,
    }
)
PROPERTIES = pl.Struct(
    {
        "session_id": pl.String,
        "product_id": pl.String,
        "name": pl.String,
        "category": pl.String,
        "brand": pl.String,
        "price": pl.Float64,
        "quantity": pl.Int64,
        "query": pl.String,
        "results": pl.Int64,
        "promotion_id": pl.String,
        "order_id": pl.String,
        "subtotal": pl.Float64,
        "discount": pl.Float64,
        "revenue": pl.Float64,
        "shipping": pl.Float64,
        "tax": pl.Float64,
        "total": pl.Float64,
        "coupon": pl.String,
        "currency": pl.String,
        "products": pl.List(PRODUCT_LINE),
        "reason": pl.String,
        "review_id": pl.String,
        "rating": pl.Int64,
        "review_body": pl.String,
        "ticket_id": pl.String,
        "topic": pl.String,
        "text": pl.String,
        "purpose": pl.String,
        "granted": pl.Boolean,
    }
)
DELIVERED = pl.Schema(
    {
        "type": pl.String,
        "event": pl.String,
        "messageId": pl.String,
        "anonymousId": pl.String,
        "userId": pl.String,
        "originalTimestamp": pl.String,
        "sentAt": pl.String,
        "receivedAt": pl.String,
        "timestamp": pl.String,
        "context": pl.Struct(
            {
                "channel": pl.String,
                "page": pl.Struct({"path": pl.String}),
                "campaign": pl.Struct(
                    {"source": pl.String, "medium": pl.String, "name": pl.String}
                ),
                "device": pl.Struct({"type": pl.String}),
                "locale": pl.String,
                "ip": pl.String,
                "location": pl.Struct({"country": pl.String}),
                "traits": pl.Struct({"email": pl.String, "phone": pl.String}),
            }
        ),
        "properties": PROPERTIES,
    }
)
PLANTED = pl.Schema(
    {
        "file_day": pl.Date,
        "line": pl.Int64,
        "message_id": pl.String,
        "kind": pl.String,
        "event_day": pl.Date,
        "detail": pl.String,
    }
)
_MONEY = ("price", "subtotal", "discount", "revenue", "shipping", "tax", "total")
_PATHS: dict[Kind, str] = {
    Kind.PRODUCTS_SEARCHED: "/search",
    Kind.CART_VIEWED: "/cart",
    Kind.CHECKOUT_STARTED: "/checkout",
    Kind.COUPON_APPLIED: "/checkout",
    Kind.COUPON_DENIED: "/checkout",
    Kind.PAYMENT_INFO_ENTERED: "/checkout/payment",
    Kind.PAYMENT_FAILED: "/checkout/payment",
    Kind.ORDER_COMPLETED: "/checkout/thanks",
    Kind.SIGNED_UP: "/account",
    Kind.IDENTIFIED: "/account",
    Kind.CONSENT_UPDATED: "/account/privacy",
    Kind.SUPPORT_TICKET_OPENED: "/support",
}


def _pool(texts: Sequence[str | None]) -> pl.Series:
    """Make a pool of texts whose last place is null, for rows that have none."""
    return pl.Series(values=[*texts, None], dtype=pl.String)


def _places(pool: pl.Series, places: np.ndarray) -> np.ndarray:
    """Point places below 0 to the null at the pool's end."""
    return np.where(places < 0, len(pool) - 1, places)


def _money(cents: np.ndarray) -> pl.Series:
    """Give money in units of the currency, null for -1; other negative amounts are planted."""
    amounts = np.where(cents == -1, np.nan, cents / 100.0)
    return pl.Series(amounts, dtype=pl.Float64, nan_to_null=True)


_SECONDS = pl.Series([f"{ms // 1000:02d}.{ms % 1000:03d}Z" for ms in range(MINUTE)])


class _Sheet:
    """Columns of delivered rows in the making; the work on numbers is done in one query."""

    def __init__(self) -> None:
        self._held: dict[str, pl.Series] = {}
        self._made: list[pl.Expr] = []

    def column(self, name: str, values: pl.Series) -> None:
        """Add a column that is ready."""
        self._held[name] = values
        self._made.append(pl.col(name))

    def texts(self, name: str, pool: pl.Series, places: np.ndarray) -> None:
        """Add texts from a pool, null below 0."""
        self._held[name] = pl.Series(_places(pool, places))
        self._made.append(pl.lit(pool).gather(name).alias(name))

    def times(self, name: str, times: np.ndarray) -> None:
        """Add UTC milliseconds as ISO 8601 texts with milliseconds and Z.

        A text is put together from a minute and the rest, both looked up: ten times faster than
        formatting each time.
        """
        minutes = times // MINUTE
        first = minutes.min(initial=np.iinfo(np.int64).max)
        if not len(times):
            first = 0
        span = np.arange(first, minutes.max(initial=first) + 1) * MINUTE
        starts = pl.Series(span).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:")
        self._held[name] = pl.Series(minutes - first)
        self._held[f"{name} rest"] = pl.Series(times % MINUTE)
        text = pl.lit(starts).gather(name) + pl.lit(_SECONDS).gather(f"{name} rest")
        self._made.append(text.alias(name))

    def numbers(self, name: str, values: np.ndarray) -> None:
        """Add whole numbers, null below 0."""
        self._held[name] = pl.Series(values.astype(np.int64))
        self._made.append(pl.when(pl.col(name) >= 0).then(name).alias(name))

    def flags(self, name: str, values: np.ndarray) -> None:
        """Add yes (1) or no (0), null below 0."""
        self._held[name] = pl.Series(values)
        self._made.append(pl.when(pl.col(name) >= 0).then(pl.col(name) > 0).alias(name))

    def identities(
        self, name: str, before: str, numbers: np.ndarray, after: str | None = None
    ) -> None:
        """Add texts around numbers, null below 0."""
        self._held[name] = pl.Series(numbers.astype(np.int64))
        parts = [pl.lit(before), pl.col(name).cast(pl.String)]
        if after is not None:
            parts.append(pl.lit(after))
        text = pl.when(pl.col(name) >= 0).then(pl.concat_str(parts))
        self._made.append(text.alias(name))

    def frame(self) -> pl.DataFrame:
        """Give all columns."""
        return pl.DataFrame(self._held).select(self._made)


@dataclass(frozen=True)
class Courier:
    """Turns the events of one shop into delivered rows."""

    shop: Shop

    @cached_property
    def _pools(self) -> dict[str, pl.Series]:
        """All texts that events refer to by position."""
        catalogue = self.shop.catalogue
        titles: list[str | None] = [
            None if kind is Kind.IDENTIFIED else kind.title for kind in Kind
        ]
        titles.append(UNKNOWN_EVENT)
        ids = catalogue.product_ids.to_list()
        names = [
            f"{chinese} {english}"
            for chinese, english in zip(catalogue.names(1), catalogue.names(0), strict=True)
        ]
        addresses = [
            f"{36 + place % 83}.{place // 256 % 256}.{place * 7 % 256}.{1 + place % 254}"
            for place in range(ADDRESSES)
        ]
        paths = [
            *(_PATHS.get(kind, "/") for kind in Kind),
            *(f"/categories/{category.slug}" for category in CATEGORIES),
            *(f"/products/{product}" for product in ids),
        ]
        return {
            "type": _pool(["track", "identify"]),
            "event": _pool(titles),
            "product_id": _pool(ids),
            "name": _pool(names + [campaign.name for campaign in CAMPAIGNS]),
            "category": _pool([category.slug for category in CATEGORIES]),
            "brand": _pool(MAKERS),
            "channel": _pool(CHANNELS),
            "device": _pool(DEVICES),
            "locale": _pool(LANGUAGES),
            "country": _pool(COUNTRIES),
            "source": _pool([origin.source for origin in ORIGINS]),
            "medium": _pool([origin.medium for origin in ORIGINS]),
            "campaign": _pool([origin.name for origin in ORIGINS]),
            "promotion_id": _pool([f"promo_{campaign.name}" for campaign in CAMPAIGNS]),
            "ip": _pool(addresses),
            "path": _pool(paths),
            "query": _pool(queries()),
            "coupon": _pool([code for code, _ in COUPONS]),
            "reason": _pool([*REASONS, *FAILURES]),
            "topic": _pool(TOPICS),
            "purpose": _pool(PURPOSES),
            "currency": _pool([self.shop.plan.currency]),
            "phrase": pl.Series(phrase_book().pool),
        }

    def frame(self, events: Events, *, drifted: bool = False) -> pl.DataFrame:
        """Give events as delivered rows, in the same order.

        Args:
            events: The events, with delays and message numbers.
            drifted: Whether `properties.price` carries its later name.

        Returns:
            Rows of the schema `DELIVERED` (but for the drifted name).
        """
        sheet = _Sheet()
        self._envelope(sheet, events)
        self._context(sheet, events)
        self._about_products(sheet, events)
        self._about_money(sheet, events)
        self._about_words(sheet, events)
        sheet.column("basket", pl.Series(events["basket"]))
        held = sheet.frame()
        unreadable = events["fault"] == Fault.UNPARSEABLE_TIME
        if unreadable.any():
            stamp = held["timestamp"].set(pl.Series(unreadable), UNPARSEABLE_TIME)
            held = held.with_columns(stamp)
        products = self._lines(events)
        held = held.join(products, on="basket", how="left", maintain_order="left")
        price = DRIFTED_NAME if drifted else "price"

        def struct(fields: dict[str, str], *, on: str) -> pl.Expr:
            whole = pl.struct(pl.col(column).alias(name) for name, column in fields.items())
            return pl.when(pl.col(on).is_not_null()).then(whole)

        return held.select(
            *list(DELIVERED)[:9],
            pl.struct(
                pl.col("channel"),
                struct({"path": "path"}, on="path").alias("page"),
                struct(
                    {"source": "source", "medium": "medium", "name": "campaign"}, on="campaign"
                ).alias("campaign"),
                struct({"type": "device"}, on="device").alias("device"),
                pl.col("locale"),
                pl.col("ip"),
                struct({"country": "country"}, on="country").alias("location"),
                struct({"email": "email", "phone": "phone"}, on="email").alias("traits"),
            ).alias("context"),
            pl.struct(
                pl.col(field.name).alias(price if field.name == "price" else field.name)
                for field in PROPERTIES.fields
            ).alias("properties"),
        )

    def _envelope(self, sheet: _Sheet, events: Events) -> None:
        """Give who and when."""
        time, delay = events["time"], events["delay"]
        original = time + events["skew"]
        title = np.where(events["fault"] == Fault.UNKNOWN_EVENT, len(Kind), events["kind"])
        is_identify = events["kind"] == Kind.IDENTIFIED
        signed = np.where(events["signed"] > 0, events["customer"], -1).astype(np.int64)
        user = np.where(signed >= 0, signed + FIRST_CUSTOMER_NUMBER, -1)
        sheet.texts("type", self._pools["type"], is_identify.astype(np.int8))
        sheet.texts("event", self._pools["event"], title)
        sheet.identities("messageId", "m", events["message"] + FIRST_MESSAGE_NUMBER)
        sheet.identities("anonymousId", "a", events["visitor"])
        sheet.identities("userId", "c", user)
        sheet.times("originalTimestamp", original)
        sheet.times("sentAt", original + delay)
        sheet.times("receivedAt", time + delay)
        sheet.times("timestamp", time)

    def _context(self, sheet: _Sheet, events: Events) -> None:
        """Give where the event happened and the personal fields of who is signed in."""
        pools = self._pools
        product, category, kind = events["product"], events["category"], events["kind"]
        place = np.where(
            product >= 0,
            len(Kind) + len(CATEGORIES) + product,
            np.where(category >= 0, len(Kind) + category, kind),
        )
        seen = events["visitor"] >= 0
        signed = (events["signed"] > 0) & (events["customer"] >= 0)
        customer = events["customer"].astype(np.int64)
        phone = 3_000_000_000 + scatter(customer) % 6_999_999_999
        for name, column in (("channel", "channel"), ("device", "device"), ("country", "country")):
            sheet.texts(name, pools[name], events[column])
        for name in ("source", "medium", "campaign"):
            sheet.texts(name, pools[name], events["campaign"])
        sheet.texts("path", pools["path"], np.where(seen, place, -1))
        sheet.texts("locale", pools["locale"], events["language"])
        sheet.texts("ip", pools["ip"], events["address"])
        sheet.identities("email", "customer", np.where(signed, customer, -1), "@example.com")
        sheet.identities("phone", "+861", np.where(signed, phone, -1))

    def _about_products(self, sheet: _Sheet, events: Events) -> None:
        """Give what the event says about one product, a list, a search or a promotion."""
        pools, catalogue = self._pools, self.shop.catalogue
        product, promotion = events["product"], events["promotion"]
        known = np.maximum(product, 0)
        category = np.where(product >= 0, catalogue.category[known], events["category"])
        brand = np.where(product >= 0, catalogue.brand[known], -1)
        named = np.where(promotion >= 0, len(catalogue) + promotion, product)
        identity = np.where(events["fault"] == Fault.MISSING_PRODUCT_ID, -1, product)
        sheet.identities("session_id", "s", events["session"])
        sheet.texts("product_id", pools["product_id"], identity)
        sheet.texts("name", pools["name"], named)
        sheet.texts("category", pools["category"], category)
        sheet.texts("brand", pools["brand"], brand)
        sheet.numbers("quantity", events["quantity"])
        sheet.texts("query", pools["query"], events["query"])
        sheet.numbers("results", events["results"])
        sheet.texts("promotion_id", pools["promotion_id"], promotion)

    def _about_money(self, sheet: _Sheet, events: Events) -> None:
        """Give the order and all amounts."""
        priced = np.zeros(len(events), dtype=bool)
        for name in _MONEY:
            cents = events[name]
            priced |= cents >= 0
            if name == "price":
                cents = np.where(events["fault"] == Fault.NEGATIVE_PRICE, -cents, cents)
            sheet.column(name, _money(cents))
        sheet.identities("order_id", "o", events["order"])
        sheet.texts("coupon", self._pools["coupon"], events["coupon"])
        sheet.texts("currency", self._pools["currency"], np.where(priced, 0, -1))

    def _about_words(self, sheet: _Sheet, events: Events) -> None:
        """Give reasons, reviews, tickets and consents."""
        pools, kind, reason = self._pools, events["kind"], events["reason"]
        # Why a payment failed and why goods came back are two lists in one pool.
        payment = (kind == Kind.PAYMENT_FAILED) & (reason >= 0)
        sheet.texts("reason", pools["reason"], np.where(payment, len(REASONS) + reason, reason))
        rows = np.flatnonzero(events["phrase"] >= 0)
        words = pl.Series(dtype=pl.String)
        if len(rows):
            slots = unpack(events["phrase"][rows])
            phrases = pl.DataFrame(
                [pools["phrase"].gather(slot).alias(f"{at}") for at, slot in enumerate(slots)]
            )
            words = phrases.select(pl.concat_str(pl.all()).str.strip_chars_end()).to_series()
        written = words.extend_constant(None, 1)
        place = np.full(len(events), -1)
        place[rows] = np.arange(len(rows))
        reviewed = kind == Kind.PRODUCT_REVIEWED
        sheet.identities("review_id", "r", events["review"])
        sheet.numbers("rating", events["rating"])
        sheet.texts("review_body", written, np.where(reviewed, place, -1))
        sheet.identities("ticket_id", "t", events["ticket"])
        sheet.texts("topic", pools["topic"], events["topic"])
        sheet.texts("text", written, np.where(reviewed, -1, place))
        sheet.texts("purpose", pools["purpose"], events["purpose"])
        sheet.flags("granted", events["granted"])

    def _lines(self, events: Events) -> pl.DataFrame:
        """Give the product lists, one row a basket."""
        pools, lines = self._pools, events.lines
        product = lines["product"]
        category, brand = self.shop.catalogue.category[product], self.shop.catalogue.brand[product]
        sheet = _Sheet()
        sheet.column("basket", pl.Series(lines["basket"]))
        sheet.texts("product_id", pools["product_id"], product)
        sheet.texts("name", pools["name"], product)
        sheet.texts("category", pools["category"], category)
        sheet.texts("brand", pools["brand"], brand)
        sheet.column("price", _money(lines["price"]))
        sheet.numbers("quantity", lines["quantity"])
        sheet.column("discount", _money(lines["discount"]))
        return (
            sheet.frame()
            .group_by("basket", maintain_order=True)
            .agg(products=pl.struct(pl.exclude("basket")))
        )

    def lines(self, frame: pl.DataFrame, faults: np.ndarray) -> pl.Series:
        """Give delivered rows as JSON texts without null keys, one a row.

        Args:
            frame: Delivered rows.
            faults: How each row is spoilt, -1 for not at all; broken JSON is cut in half here.

        Returns:
            JSON texts.
        """
        texts = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series()
        # Quotes inside texts are escaped, so that a bare `"key":null` is always a key. The first
        # pass takes keys after a comma, the second a first key with the comma behind it.
        texts = texts.str.replace_all(r',"[A-Za-z_]+":null', "").str.replace_all(
            r'\{"[A-Za-z_]+":null,?', "{"
        )
        broken = faults == Fault.BROKEN_JSON
        if broken.any():
            half = texts.str.slice(0, texts.str.len_chars() // 2)
            texts = half.zip_with(pl.Series(broken), texts)
        return texts


@dataclass(frozen=True)
class SimulatedDay:
    """One day's file: what the shop receives on that day, in the order of receipt.

    Attributes:
        day: The day in the shop's time zone.
        events: The events in the simulator's own form.
        courier: What turns them into delivered rows.
    """

    day: date
    events: Events
    courier: Courier

    def __len__(self) -> int:
        """Give the number of delivered rows."""
        return len(self.events)

    @property
    def drifted(self) -> bool:
        """Whether the price is delivered under its later name."""
        since = self.courier.shop.plan.trouble.drift_day
        return since is not None and self.day >= since

    def frames(self, rows: int = ROWS_AT_ONCE) -> Iterator[pl.DataFrame]:
        """Give the delivered rows in frames of at most `rows` rows; memory follows `rows`."""
        for first in range(0, max(len(self), 1), rows):
            part = self.events.take(slice(first, first + rows))
            yield self.courier.frame(part, drifted=self.drifted)

    def frame(self) -> pl.DataFrame:
        """Give all delivered rows at once."""
        return pl.concat(self.frames())

    def texts(self, rows: int = TEXTS_AT_ONCE) -> Iterator[pl.Series]:
        """Give the delivered rows as JSON texts, in series of at most `rows` texts."""
        for first in range(0, max(len(self), 1), rows):
            part = self.events.take(slice(first, first + rows))
            frame = self.courier.frame(part, drifted=self.drifted)
            yield self.courier.lines(frame, part["fault"])

    def planted(self, *, text: bool = True) -> pl.DataFrame:
        """List the trouble in this file, one row a planted row.

        Args:
            text: Whether the file is JSON text; only there can a row be cut in half.

        Returns:
            `file_day`, 1-based `line`, `message_id`, `kind`, `event_day` and `detail`; a drifted
            file is one row without a line.
        """
        events, midnights = self.events, self.courier.shop.plan.midnights
        faults = events["fault"] >= 0
        if not text:
            faults &= events["fault"] != Fault.BROKEN_JSON
        rows = np.flatnonzero((events["planted"] >= 0) | faults)
        if not len(rows) and not self.drifted:
            return pl.DataFrame(schema=PLANTED)
        planted, fault = events["planted"][rows], events["fault"][rows]
        kinds = _pool([kind.name.lower() for kind in (*Planted, *Fault)])
        happened = np.searchsorted(midnights, events["time"][rows], side="right") - 1
        visitor = np.where(planted == Planted.BOT, events["visitor"][rows], -1)
        start = np.datetime64(self.courier.shop.plan.start)
        sheet = _Sheet()
        sheet.column("file_day", pl.Series([self.day], dtype=pl.Date).new_from_index(0, len(rows)))
        sheet.numbers("line", rows + 1)
        sheet.identities("message_id", "m", events["message"][rows] + FIRST_MESSAGE_NUMBER)
        sheet.texts("kind", kinds, np.where(planted >= 0, planted, len(Planted) + fault))
        sheet.column("event_day", pl.Series(start + happened).cast(pl.Date))
        sheet.identities("detail", "a", visitor)
        listed = sheet.frame()
        if self.drifted:
            note = pl.DataFrame(
                [(self.day, None, None, "drift", None, DRIFT)], schema=PLANTED, orient="row"
            )
            listed = pl.concat([listed, note])
        return listed
