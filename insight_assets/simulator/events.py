"""The simulator's own form of events: one NumPy array a column, numbers instead of text.

A day of a million customers fits into some 200 MB this way. `delivery` turns slices of it into
the shape in which a shop would receive them. What happens in the shop is decided elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

import numpy as np


class Kind(IntEnum):
    """Kinds of events, in the order of a visit where there is one."""

    PAGE_VIEWED = 0
    PROMOTION_VIEWED = 1
    PROMOTION_CLICKED = 2
    SIGNED_UP = 3
    CONSENT_UPDATED = 4
    PRODUCT_LIST_VIEWED = 5
    PRODUCTS_SEARCHED = 6
    PRODUCT_CLICKED = 7
    PRODUCT_VIEWED = 8
    PRODUCT_SHARED = 9
    PRODUCT_ADDED_TO_WISHLIST = 10
    PRODUCT_ADDED = 11
    PRODUCT_REMOVED = 12
    CART_VIEWED = 13
    CHECKOUT_STARTED = 14
    COUPON_DENIED = 15
    COUPON_APPLIED = 16
    PAYMENT_INFO_ENTERED = 17
    PAYMENT_FAILED = 18
    ORDER_COMPLETED = 19
    ORDER_CANCELLED = 20
    ORDER_SHIPPED = 21
    ORDER_DELIVERED = 22
    ORDER_REFUNDED = 23
    PRODUCT_REVIEWED = 24
    SUPPORT_TICKET_OPENED = 25
    SUPPORT_TICKET_CLOSED = 26
    IDENTIFIED = 27

    @property
    def title(self) -> str:
        """The event's name in the Segment Ecommerce Spec."""
        if self is Kind.PRODUCT_ADDED_TO_WISHLIST:
            return "Product Added to Wishlist"
        return self.name.replace("_", " ").title()


SHOP_SIDE = (
    Kind.ORDER_CANCELLED,
    Kind.ORDER_SHIPPED,
    Kind.ORDER_DELIVERED,
    Kind.ORDER_REFUNDED,
    Kind.SUPPORT_TICKET_CLOSED,
)

# Every column with its type; -1 means "none" wherever a column may be empty. Money is in cents,
# times in milliseconds since 1970-01-01 UTC.
COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "time": np.int64,  # when it happened
        "delay": np.int64,  # from happening to receipt
        "skew": np.int32,  # how far the device's clock is ahead
        "message": np.int64,
        "kind": np.int8,
        "customer": np.int32,  # who it really was, also when not signed in
        "signed": np.int8,
        "visitor": np.int64,
        "channel": np.int8,
        "device": np.int8,
        "language": np.int8,
        "country": np.int8,
        "session": np.int64,
        "campaign": np.int16,
        "address": np.int32,
        "product": np.int32,
        "price": np.int64,
        "quantity": np.int16,
        "category": np.int8,
        "query": np.int32,
        "results": np.int32,
        "promotion": np.int16,
        "order": np.int64,
        "basket": np.int64,
        "coupon": np.int16,
        "subtotal": np.int64,
        "discount": np.int64,
        "revenue": np.int64,
        "shipping": np.int64,
        "tax": np.int64,
        "total": np.int64,
        "reason": np.int8,
        "review": np.int64,
        "rating": np.int8,
        "phrase": np.int64,  # four 15-bit positions in the phrase pool
        "ticket": np.int64,
        "topic": np.int8,
        "purpose": np.int8,
        "granted": np.int8,
        "planted": np.int8,  # which trouble put this row into the file
        "fault": np.int8,  # how the row is spoilt
    }
)
ZERO_WHEN_ABSENT = frozenset({"delay", "skew", "signed"})
LINE_COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "basket": np.int64,
        "product": np.int32,
        "price": np.int64,
        "quantity": np.int16,
        "discount": np.int64,
    }
)


@dataclass(frozen=True)
class Events:
    """Events of one stretch of time, with the product lines that they refer to.

    Attributes:
        columns: One array a column of `COLUMNS`, all of the same length.
        lines: One array a column of `LINE_COLUMNS`; the rows of one basket stand together.
    """

    columns: Mapping[str, np.ndarray]
    lines: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        """Give the number of events."""
        return len(self.columns["time"])

    def __getitem__(self, column: str) -> np.ndarray:
        """Give one column."""
        return self.columns[column]

    def take(self, rows: np.ndarray | slice) -> "Events":
        """Give some events, in the given order, with the lines of their baskets.

        Args:
            rows: Positions, a Boolean mask, or a slice.

        Returns:
            The chosen events; lines of baskets that no chosen event refers to are left out.
        """
        columns = {name: values[rows] for name, values in self.columns.items()}
        baskets = columns["basket"]
        keep = np.isin(self.lines["basket"], baskets[baskets >= 0])
        return Events(columns, {name: values[keep] for name, values in self.lines.items()})

    def with_columns(self, **columns: np.ndarray) -> "Events":
        """Give the same events with some columns replaced."""
        typed: dict[str, np.ndarray] = {
            name: values.astype(COLUMNS[name], copy=False) for name, values in columns.items()
        }
        return Events({**self.columns, **typed}, self.lines)


def no_lines() -> dict[str, np.ndarray]:
    """Give an empty table of product lines."""
    return {name: np.empty(0, dtype=dtype) for name, dtype in LINE_COLUMNS.items()}


def make_events(
    rows: int, lines: Mapping[str, np.ndarray] | None = None, /, **columns: np.ndarray | int
) -> Events:
    """Make events from the columns that matter; the others say "none".

    Args:
        rows: Number of events.
        lines: Product lines that the events' baskets refer to.
        **columns: Columns by name; a number stands for a column that is the same everywhere.

    Returns:
        The events.
    """
    made: dict[str, np.ndarray] = {}
    for name, dtype in COLUMNS.items():
        value = columns.pop(name, 0 if name in ZERO_WHEN_ABSENT else -1)
        if isinstance(value, np.ndarray):
            made[name] = value.astype(dtype, copy=False)
        else:
            made[name] = np.full(rows, value, dtype=dtype)
    if columns:
        message = f"unknown columns: {', '.join(sorted(columns))}"
        raise ValueError(message)
    typed: dict[str, np.ndarray] = (
        no_lines()
        if lines is None
        else {name: lines[name].astype(dtype) for name, dtype in LINE_COLUMNS.items()}
    )
    return Events(made, typed)


def join_events(parts: Sequence[Events]) -> Events:
    """Put events behind one another; two parts may hold the lines of the same basket.

    Args:
        parts: Events to join; may be empty.

    Returns:
        All events in the order of the parts, with each basket's lines once.
    """
    if not parts:
        return make_events(0)
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
    lines = {name: np.concatenate([part.lines[name] for part in parts]) for name in LINE_COLUMNS}
    part_of_line = np.repeat(np.arange(len(parts)), [len(part.lines["basket"]) for part in parts])
    baskets, first = np.unique(lines["basket"], return_index=True)
    # A session that is cut at midnight leaves the same basket in two parts: the first copy stays.
    home = part_of_line[first][np.searchsorted(baskets, lines["basket"])]
    keep = part_of_line == home
    return Events(columns, {name: values[keep] for name, values in lines.items()})
