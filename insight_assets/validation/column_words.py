"""Words that columns of unknown files hold, and what they mean: states of an order, kinds of event, codes of events.

In English, Chinese and German, and as common shop systems write them. Which column holds them is found in `proposals`.
"""

from collections.abc import Mapping

import polars as pl

from insight_assets.validation.unknown_files import UnknownColumn

REFUND, CANCELLATION, SALE = "refund", "cancellation", "sale"

# What became of a line that was sold: it stands for the sale as well.
REFUNDED = (
    "refunded", "returned", "fullyrefunded", "refundcompleted", "returncompleted", "chargedback", "erstattet",
    "retourniert", "zurückerstattet", "zurückgegeben", "zurückgesendet", "已退款", "已退货", "退款成功", "退款完成",
    "退货完成", "退款退货", "退货退款", "全额退款", "已全额退款", "交易退款",
)  # fmt: skip
CANCELLED = (
    "cancelled", "canceled", "voided", "failed", "expired", "declined", "abandoned", "trash", "checkoutdraft",
    "unavailable", "paymentfailed", "rejected", "storniert", "abgebrochen", "fehlgeschlagen", "abgelehnt", "已取消",
    "取消", "订单取消", "已关闭", "交易关闭", "交易取消", "支付失败", "已作废",
)  # fmt: skip
# Names of documents of their own: they stand for no sale.
REFUND_DOCUMENTS = (
    "refund",
    "return",
    "creditnote",
    "creditmemo",
    "chargeback",
    "gutschrift",
    "erstattung",
    "retoure",
    "退款单",
    "退货单",
)
CANCELLATION_DOCUMENTS = ("cancellation", "cancelation", "void", "storno", "stornierung", "取消单")
# Words of sales, so that a column of states is known by them too.
_SOLD = (
    "paid", "pending", "authorized", "processing", "onhold", "completed", "complete", "open", "shipped", "delivered",
    "fulfilled", "invoiced", "approved", "created", "confirmed", "closed", "new", "sale", "sold", "partiallyrefunded",
    "partiallypaid", "partiallyreturned", "partiallyfulfilled", "awaitingpayment", "pendingpayment", "bezahlt", "offen",
    "versendet", "versandt", "geliefert", "abgeschlossen", "teilweiseerstattet", "已付款", "已支付", "待付款",
    "待发货", "已发货", "待收货", "已收货", "已签收", "已完成", "交易成功", "交易完成", "部分退款", "退款中",
)  # fmt: skip
# Sales of which a part was given back; how much is not in the word.
_IN_PART = ("partiallyrefunded", "partiallyreturned", "teilweiseerstattet", "部分退款")
STATES: Mapping[str, str] = {
    **dict.fromkeys((*REFUNDED, *REFUND_DOCUMENTS), REFUND),
    **dict.fromkeys((*CANCELLED, *CANCELLATION_DOCUMENTS), CANCELLATION),
    **dict.fromkeys(_SOLD, SALE),
}

_EVENTS = {
    "product_viewed": (
        "view", "pv", "viewitem", "productview", "productviewed", "viewproduct", "detail", "wxdatabrowsegoods", "浏览",
    ),
    "product_clicked": ("click", "selectitem", "listclick", "productclicked", "wxdataclickgoods", "点击"),
    "product_added": ("cart", "addtocart", "productadded", "addtoshoppingcart", "加购"),
    "product_removed": ("removefromcart", "productremoved"),
    "product_added_to_wishlist": ("fav", "favorite", "addtowishlist", "collect", "收藏"),
    "page_viewed": ("pageview", "pageviewed", "page", "screenview"),
    "products_searched": (
        "search", "viewsearchresults", "searchproduct", "sitesearch", "productssearched", "suche", "搜索",
    ),
    "product_list_viewed": ("viewitemlist", "listview", "productlistviewed", "wxdataexposegoods"),
    "cart_viewed": ("viewcart", "cartviewed"),
    "checkout_started": (
        "begincheckout", "checkout", "checkoutstarted", "submitorder", "wxdatasubmitordercontent", "下单",
    ),
    "payment_info_entered": ("addpaymentinfo", "paymentinfoentered"),
    "signed_up": ("signup", "register", "signedup", "注册"),
    "product_shared": ("share", "productshared", "wxdatapageshare", "分享"),
    "page_engaged": ("sessionstart", "firstvisit", "userengagement", "scroll", "pageping", "appstart"),
}  # fmt: skip
EVENTS: Mapping[str, str] = {word: event for event, words in _EVENTS.items() for word in words}
PURCHASES = frozenset({"purchase", "buy", "transaction", "order", "ordercompleted", "payorder", "购买", "支付"})
PURCHASE = "a purchase"
# Short for what they mean; another shop may mean something else by them.
_ABBREVIATIONS = frozenset({"pv", "fav", "buy"})
# Numbers for what people did, as data sets of large shops write them: views come first and are the most frequent.
_CODES = (
    {"1": "product_viewed", "2": "product_added_to_wishlist", "3": "product_added", "4": PURCHASE},
    {"0": "product_viewed", "1": "product_added", "2": PURCHASE, "3": "product_added_to_wishlist"},
)
_MOST = 0.8
_BETWEEN_WORDS = " _-/.:()$"


def plain(word: str) -> str:
    """Write a word without case, blanks and `_BETWEEN_WORDS`, as `plain_sql` does."""
    for char in _BETWEEN_WORDS:
        word = word.replace(char, "")
    return word.lower()


def plain_sql(column: str) -> str:
    """Give the SQL for what a column holds, as `plain` writes words."""
    sql = f"LOWER({column})"
    for char in _BETWEEN_WORDS:
        sql = f"REPLACE({sql}, '{char}', '')"
    return sql


def state_words(column: UnknownColumn) -> dict[str, str]:
    """Give the words of a column that are states of an order, each with `REFUND`, `CANCELLATION` or `SALE`."""
    return {word: STATES[word] for word in _words(column) if word in STATES}


def share_of_states(column: UnknownColumn) -> float:
    """Tell which share of a column's distinct words are states of an order."""
    words = _words(column)
    return len(state_words(column)) / len(words) if words else 0.0


def has_states_in_part(column: UnknownColumn) -> bool:
    """Tell whether a column says of a sale that a part of it was given back."""
    return not _words(column).isdisjoint(_IN_PART)


def _words(column: UnknownColumn) -> set[str]:
    return {plain(text) for text in column.texts.drop_nulls().unique()}


def event_meanings(column: UnknownColumn) -> tuple[dict[str, str], bool]:
    """Tell what the values of a column of events mean.

    Args:
        column: the column.

    Returns:
        Value, as written, to the canonical event or `PURCHASE`, known values only; and whether that is a guess of codes
        and abbreviations which a person must look at.
    """
    texts = column.texts.drop_nulls()
    kinds = texts.unique().sort().to_list()
    known = {kind: EVENTS[plain(kind)] for kind in kinds if plain(kind) in EVENTS}
    known |= {kind: PURCHASE for kind in kinds if plain(kind) in PURCHASES}
    if known or texts.is_empty():
        return known, any(plain(kind) in _ABBREVIATIONS for kind in known)
    most_frequent = texts.value_counts(sort=True).sort(["count", texts.name], descending=[True, False])[texts.name][0]
    for codes in _CODES:
        view = next(iter(codes))
        # Without purchases the numbers may count anything.
        bought = next(code for code, event in codes.items() if event == PURCHASE)
        if most_frequent == view and bought in kinds and texts.is_in(pl.Series(list(codes)).implode()).mean() >= _MOST:
            return {kind: codes[kind] for kind in kinds if kind in codes}, True
    return {}, False
