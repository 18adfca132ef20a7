"""Delivered rows as sources write them, good unless told otherwise."""

from collections.abc import Mapping
from typing import Any

ORDERS_HEADER = (
    "order_id,order_line_id,ordered_at,customer_id,product_id,product_name,category,brand,quantity,unit_price,discount,"
    "currency,status,channel,country,coupon"
)
UCI_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
REES46_HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"


def call(message: str, time: str, event: str = "Product Viewed", **changes: Any) -> dict[str, Any]:
    """Give a Segment call.

    Args:
        message: its identity.
        time: when it happened.
        event: its name.
        **changes: fields of the call; `properties` are added to the usual ones.
    """
    properties = {"product_id": "p1", "price": 9.5, "category": "tea"} | changes.pop("properties", {})
    return {
        "messageId": message,
        "event": event,
        "anonymousId": "v1",
        "userId": "u1",
        "timestamp": time,
        "receivedAt": time,
        "context": {"channel": "web"},
        "properties": properties,
    } | changes


def order(
    message: str, time: str, *products: Mapping[str, Any], event: str = "Order Completed", **changes: Any
) -> dict[str, Any]:
    """Give a Segment call about an order; amounts follow from the products."""
    goods = sum(each["quantity"] * each["price"] - each.get("discount", 0) for each in products)
    money = {"revenue": goods} if event == "Order Completed" else {"total": goods}
    properties = {
        "order_id": "o1",
        "currency": "CNY",
        "products": list(products),
        "product_id": None,
        "price": None,
    } | money
    return call(message, time, event, **changes | {"properties": properties | changes.get("properties", {})})


def product(number: str = "p1", quantity: int = 1, price: float = 9.5, **more: Any) -> dict[str, Any]:
    """Give a product of an order."""
    return {
        "product_id": number,
        "name": f"product {number}",
        "category": "tea",
        "quantity": quantity,
        "price": price,
    } | more


def orders_row(order_id: str, time: str, **changes: str) -> str:
    """Give a row of the generic orders csv."""
    usual = {
        "order_id": order_id,
        "ordered_at": time,
        "customer_id": "c1",
        "product_id": "p1",
        "quantity": "1",
        "unit_price": "10",
        "currency": "EUR",
    }
    return ",".join((usual | changes).get(name, "") for name in ORDERS_HEADER.split(","))


def uci_row(invoice: str, time: str, **changes: str) -> str:
    """Give a line of an invoice of UCI Online Retail."""
    usual = {
        "InvoiceNo": invoice,
        "StockCode": "85123A",
        "Description": "HOLDER",
        "Quantity": "6",
        "InvoiceDate": time,
        "UnitPrice": "2.55",
        "CustomerID": "17850.0",
        "Country": "United Kingdom",
    }
    return ",".join((usual | changes)[name] for name in UCI_HEADER.split(","))


def lines(*rows: str) -> str:
    """Put rows together to the text of a file."""
    return "".join(row + "\n" for row in rows)
