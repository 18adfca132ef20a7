"""A starting contract for an unknown file: which column is the time, the customer, the product, the price.

Each guess has a confidence and a reason: what the column is called, in English, Chinese or German, and what its values
look like. What a file holds is read in `unknown_files`, what its words and its money mean is said in `column_words` and
`money_columns`; what the contract makes of its rows is for `usability` to say.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from insight_assets.contracts.documents import SNAKE_CASE
from insight_assets.contracts.sources import BESIDE_DELIVERED, ENGINE_FILLED, POSITION
from insight_assets.validation.column_words import (
    CANCELLATION_DOCUMENTS,
    CANCELLED,
    EVENTS,
    PURCHASE,
    PURCHASES,
    REFUND_DOCUMENTS,
    REFUNDED,
    SALE,
    event_meanings,
    has_states_in_part,
    plain,
    plain_sql,
    share_of_states,
    state_words,
)
from insight_assets.validation.money_columns import (
    LINE,
    ORDER,
    differs_within,
    is_rate,
    level,
    minor_units,
    without_unit,
)
from insight_assets.validation.unknown_files import UnknownColumn, UnknownFile

# Names of columns without case and punctuation, the most telling first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "time": (
        "eventtime", "eventtimestamp", "derivedtstamp", "happenedat", "occurredat", "orderedat", "timestamp", "time",
        "createdat", "datecreatedgmt", "orderdate", "ordertime", "invoicedate", "purchasedate", "unixreviewtime",
        "datetime", "datecreated", "date", "created", "bestelldatum", "rechnungsdatum", "bestellzeit", "zeitpunkt",
        "zeit", "datum", "下单时间", "时间", "创建时间", "付款时间", "订单时间", "日期",
    ),
    "customer": (
        "customerid", "userid", "customer", "memberid", "buyerid", "clientid", "accountid", "customernumber",
        "reviewerid", "loginid", "unionid", "uid", "user", "member", "buyer", "customeremail", "email", "kundennummer",
        "kundenid", "kundennr", "kunde", "用户id", "客户id", "会员id", "买家id", "客户编号", "用户", "客户",
        "会员", "买家",
    ),
    "visitor": (
        "visitorid", "anonymousid", "userpseudoid", "domainuserid", "distinctid", "deviceid", "cookieid", "openid",
        "networkuserid", "visitor", "besucher", "besucherid", "访客id", "设备id",
    ),
    "session": (
        "sessionid", "session", "usersession", "gasessionid", "domainsessionid", "visitid", "sitzung", "会话id", "会话",
    ),
    "event": (
        "eventname", "event", "eventtype", "behaviortype", "behavior", "behaviour", "action", "actiontype", "activity",
        "type", "ereignis", "aktion", "事件", "行为类型", "行为",
    ),
    "order": (
        "orderid", "transactionid", "ordernumber", "orderno", "ordernr", "invoiceno", "invoiceid", "invoice",
        "transaction", "order", "bestellnummer", "bestellnr", "auftragsnummer", "rechnungsnummer", "订单号", "订单编号",
        "订单id", "交易号", "id", "number",
    ),
    "product": (
        "productid", "itemid", "sku", "stockcode", "lineitemsku", "spuid", "skuid", "parentasin", "asin", "articleid",
        "goodsid", "productcode", "itemcode", "product", "item", "artikelnummer", "artikelnr", "artikelid", "produktid",
        "商品id", "商品编号", "商品编码", "货号", "商品",
    ),
    "product_name": (
        "productname", "itemname", "lineitemname", "spuname", "producttitle", "description", "artikelbezeichnung",
        "artikelname", "bezeichnung", "produktname", "商品名称", "商品名", "品名", "name", "title",
    ),
    "category": (
        "category", "categorycode", "productcategory", "itemcategory", "categoryid", "productclassify", "kategorie",
        "warengruppe", "类目", "分类", "品类",
    ),
    "brand": ("brand", "vendor", "itembrand", "productbrand", "marke", "hersteller", "品牌"),
    "price": (
        "unitprice", "price", "itemprice", "lineitemprice", "pricecurrent", "saleprice", "productprice", "einzelpreis",
        "stückpreis", "stueckpreis", "preis", "unitamount", "amount", "单价", "售价", "价格", "金额",
    ),
    "quantity": (
        "quantity", "qty", "lineitemquantity", "itemquantity", "productquantity", "skucount", "units", "menge",
        "anzahl", "stück", "stueck", "数量", "件数",
    ),
    "discount": (
        "discount", "discountamount", "linediscount", "itemdiscount", "orderdiscount", "discounttotal", "totaldiscount",
        "rabatt", "rabattbetrag", "优惠金额", "折扣金额", "优惠",
    ),
    "tax": (
        "tax", "taxamount", "taxes", "linetax", "itemtax", "ordertax", "totaltax", "taxtotal", "salestax", "vat",
        "vatamount", "mwst", "mehrwertsteuer", "steuer", "steuerbetrag", "ust", "税额", "税费", "税金",
    ),
    "shipping": (
        "shipping", "shippingcost", "shippingamount", "shippingprice", "shippingtotal", "totalshipping",
        "ordershipping", "freightvalue", "freight", "deliveryfee", "postage", "versandkosten", "versand", "运费",
        "邮费",
    ),
    "status": (
        "status", "orderstatus", "financialstatus", "paymentstatus", "linestatus", "itemstatus", "refundstatus",
        "tradestatus", "orderstate", "state", "bestellstatus", "zahlungsstatus", "订单状态", "交易状态", "退款状态",
        "状态",
    ),
    "currency": ("currency", "currencycode", "waehrung", "währung", "币种", "货币"),
    "country": ("country", "countrycode", "geocountry", "land", "国家"),
    "coupon": ("coupon", "couponcode", "discountcode", "gutschein", "优惠券"),
    "query": ("query", "searchterm", "searchquery", "keyword", "suchbegriff", "搜索词", "关键词"),
    "rating": ("rating", "overall", "stars", "score", "bewertung", "sterne", "评分", "星级"),
    "review_text": (
        "reviewtext", "reviewbody", "text", "review", "comment", "rezension", "kommentar", "评论", "评论内容",
    ),
    "email": ("email", "customeremail", "emailaddress", "mail", "邮箱"),
    "phone": ("phone", "mobile", "telephone", "phonenumber", "telefon", "handy", "手机号", "手机", "电话"),
}  # fmt: skip
_PERSONAL = re.compile(
    r"name$|mail|phone|mobile|telefon|street|address|strasse|zip|postcode|birth|geohash|latitude|longitude|\bip$|姓名|地址|手机|电话",
    re.IGNORECASE,
)
# Parents of a field that make it something else than its name says: the category of a device is none of products.
_OTHER_THINGS = re.compile(
    r"device|geo|app_info|traffic|context|lib|image|address|billing|shipping|tax|refund|user_prop", re.IGNORECASE
)
# Parts of longer names that mean too much by themselves.
_WHOLE_NAMES_ONLY = {"amount", "金额", "state", "ust", "tax", "vat", "mwst", "steuer"}
_AMOUNTS = ("price", "discount", "tax", "shipping")
_ABOUT_PRODUCTS = {
    "product_clicked", "product_viewed", "product_added", "product_removed", "product_added_to_wishlist",
    "product_shared",
}  # fmt: skip
_ENOUGH = 0.4
_SURE = 0.5
_COMMON = 0.9
_MOST = 0.8
_FEW_KINDS = 60
_FEW_STATES = 20


@dataclass(frozen=True)
class Candidate:
    """A column that may be one of the fields every shop has.

    Attributes:
        role: the field, a key of `NAMES`.
        column: the column.
        confidence: from 0 to 1.
        reason: why, without a value of the file.
    """

    role: str
    column: UnknownColumn
    confidence: float
    reason: str


@dataclass(frozen=True)
class Proposal:
    """A starting contract.

    Attributes:
        name: name of the source.
        file: what the file seems to be.
        chosen: role to the column taken for it.
        rivals: candidates that were not taken, the best first.
        missing: what a contract needs and the file does not seem to hold.
        questions: what a person must decide.
        text: the contract, as YAML; empty while anything is missing.
    """

    name: str
    file: UnknownFile
    chosen: Mapping[str, Candidate]
    rivals: tuple[Candidate, ...]
    missing: tuple[str, ...]
    questions: tuple[str, ...] = ()
    text: str = field(default="", repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        chosen = {
            role: {"column": _place(found.column), "confidence": round(found.confidence, 2), "reason": found.reason}
            for role, found in self.chosen.items()
        }
        return {"name": self.name, "chosen": chosen, "missing": self.missing, "to_decide": self.questions}

    def lines(self) -> Iterator[str]:
        """Tell the proposal to a person; names of columns, never values."""
        file = self.file
        written = f"{file.format}, {file.encoding}"
        if file.format == "csv":
            written += f", delimiter {file.delimiter!r}, {'with' if file.header else 'without'} a line of names"
        yield f"{file.name}: {written}, {len(file.columns)} columns, {file.rows:,} rows looked at"
        for role, found in self.chosen.items():
            yield f"  {role}: {_place(found.column)} ({found.confidence:.0%}: {found.reason})"
        for rival in self.rivals:
            yield f"  or {rival.role}: {_place(rival.column)} ({rival.confidence:.0%}: {rival.reason})"
        unique = [_place(column) for column in file.columns if column.within is None and column.is_unique]
        yield f"  unique columns: {', '.join(unique) or 'none'}"
        for what in self.missing:
            yield f"missing: {what}"
        for question in self.questions:
            yield f"to decide: {question}"


def source_name(file_name: str) -> str:
    """Make the name of a source of the name of a file, e.g. `orders` of `Orders 2025-03-01.csv.gz`."""
    words = _snake(re.sub(r"\d{4,}.*$", "", file_name.partition(".")[0])) or _snake(file_name.partition(".")[0])
    return words or "my_source"


def propose(file: UnknownFile, name: str) -> Proposal:
    """Propose a contract for a file.

    Args:
        file: what is known of it.
        name: name of the source, in snake case.

    Returns:
        The proposal; its text is empty where the file lacks what every contract needs.
    """
    candidates = sorted(_candidates(file), key=lambda each: -each.confidence)
    chosen = _choose(candidates)
    taken = {id(each.column) for each in chosen.values()}
    rivals = tuple(
        each
        for each in candidates
        if each.role in ("time", "customer", "product", "price", "order", "discount") and id(each.column) not in taken
    )[:6]
    missing = _missing(chosen)
    proposal = Proposal(name, file, chosen, rivals, missing)
    if missing:
        return proposal
    writer = _Writer(proposal)
    text = writer.contract()
    return Proposal(name, file, chosen, rivals, (), tuple(dict.fromkeys(writer.questions)), text)


def _missing(chosen: Mapping[str, Candidate]) -> tuple[str, ...]:
    missing = []
    if "time" not in chosen:
        missing.append("a time: no column could be read as one; is it spread over two columns?")
    if not chosen.keys() & {"order", "event", "rating", "product"}:
        missing.append("something that happened: neither an order, an event, a review nor a product was found")
    if not chosen.keys() & {"customer", "visitor", "session", "order"}:
        missing.append("somebody: no customer, visitor, session or order was found")
    return tuple(missing)


def _candidates(file: UnknownFile) -> Iterator[Candidate]:
    for column in file.columns:
        if column.kind == "empty":
            continue
        for role in NAMES:
            named, reason = _by_name(role, column, file)
            valued = _by_values(role, column)
            if valued is None or (named == 0 and valued == 0):
                continue
            if role == "event" and named == 0 and (valued < 0.5 or column.texts.drop_nulls().n_unique() < 2):
                continue
            # States of what hangs on an order (payments, parcels) are no states of the order.
            if role == "status" and named < _MOST and (valued == 0 or named > 0 or "." in column.path):
                continue
            # A state may be one of a country.
            if role == "status" and valued == 0 and "stat" in plain(column.path).replace("status", ""):
                continue
            # What happened shows in the words that a column holds more than in its name.
            weight = 0.5 if role in ("event", "status") else 0.75
            confidence = weight * named + (1 - weight) * valued if named else 0.45 * valued
            if confidence >= _ENOUGH:
                yield Candidate(role, column, confidence, reason if named else "its values look like it")
    if not file.header:
        yield from _by_place(file)


def _by_name(role: str, column: UnknownColumn, file: UnknownFile) -> tuple[float, str]:
    """Compare what a column is called, alone and together with what holds it, to the names of a role."""
    if file.format == "csv" and not file.header:
        return 0.0, ""
    parents, last = _called(column)
    if role in _AMOUNTS:
        last = without_unit(last)
    bare = {"id", "name", "title", "type", "price", "number", "text", "category", "quantity"}
    full = plain(parents[-1] + last) if parents else plain(last)
    if parents and plain(last) in bare and plain(parents[-1]) not in {"params", "properties", "lineitems", "items"}:
        forms = [full]
    elif column.within is not None and plain(last) in {"id", "name"}:
        # The id of an element is that of a product only where the list is of products.
        forms = ["product" + plain(last)] if re.search(r"product", column.within, re.IGNORECASE) else []
    else:
        forms = [plain(last), full]
    weight = (
        0.6
        if parents and role in ("category", "country", "product_name") and _OTHER_THINGS.search(column.path)
        else 1.0
    )
    if _OTHER_THINGS.search(".".join(parents)) and role in (
        "price",
        "quantity",
        "product",
        "order",
        "category",
        "event",
    ):
        weight = 0.3
    if parents and role == "status":
        # Payments and parcels of an order have states of their own.
        weight = 0.3
    best = 0.0
    for rank, known in enumerate(NAMES[role]):
        for form in forms:
            if form == known:
                score = 0.5 if known in ("id", "number", "name", "title") else 1.0 - 0.01 * rank
            elif len(known) > 3 and form.endswith(known) and known not in _WHOLE_NAMES_ONLY:
                score = 0.75 - 0.01 * rank - 0.01 * (len(form) - len(known))
            else:
                continue
            best = max(best, score)
    return best * weight, f"called {last}"


def _called(column: UnknownColumn) -> tuple[list[str], str]:
    keyed = re.search(r"\[key=([^\]]+)\]", column.path)
    if keyed:
        return [], keyed[1]
    names = re.sub(r"\[[^\]]*\]", "", column.path).split(".")
    # Names of schemas carry their version: ..._product_1.
    parents = [re.sub(r"_\d+$", "", name).rpartition("_")[2] for name in names[:-1]]
    return parents, names[-1]


def _by_values(role: str, column: UnknownColumn) -> float | None:
    """Say how much the values look like a role's: 0 for nothing told, None where they cannot be it."""
    kind, texts = column.kind, column.texts.drop_nulls()
    is_number = kind in ("integer", "decimal")
    if role == "time":
        return 1.0 if kind == "time" and "session" not in column.path else None
    if role in _AMOUNTS:
        return 0.3 if is_number and not (role == "tax" and is_rate(column)) else None
    if role == "status":
        kinds = texts.n_unique()
        if kind != "text" or kinds > _FEW_KINDS or (kinds == len(texts) and kinds > _FEW_STATES):
            return None
        return share_of_states(column)
    if role == "quantity":
        return 0.3 if kind == "integer" else None
    if role == "rating":
        value = texts.cast(pl.Float64, strict=False)
        return 0.5 if is_number and (value.is_between(0, 5)).mean() >= _COMMON else None
    if role == "currency":
        return 1.0 if texts.str.contains("^[A-Z]{3}$").mean() >= _MOST and texts.n_unique() < _FEW_KINDS else None
    if role == "email":
        return 1.0 if texts.str.contains(r"^[^@\s]+@[^@\s]+\.\w+$").mean() >= _COMMON else None
    if role == "event":
        kinds = texts.unique()
        if len(kinds) > _FEW_KINDS or kind in ("time", "boolean", "decimal") or column.filled < 0.5:
            return None
        known = sum(plain(each) in EVENTS or plain(each) in PURCHASES for each in kinds)
        # Codes say nothing by themselves; then the name must.
        return known / len(kinds) if kind == "text" else 0.1
    if role in ("customer", "visitor", "session", "order", "product"):
        if (
            kind in ("boolean",)
            or (kind == "time" and role != "session")
            or (texts.str.len_chars() > 80).mean() > 1 - _COMMON
        ):
            return None
        return 0.3 if texts.n_unique() > 1 else 0.0
    return None if kind in ("time", "boolean") and role in ("product_name", "brand", "category", "country") else 0.2


def _by_place(file: UnknownFile) -> Iterator[Candidate]:
    """Guess of a file without names: who, then what, as logs are written."""
    numbers = [column for column in file.columns if column.kind in ("integer", "text") and column.filled > _COMMON]
    kinds = [column for column in numbers if (_by_values("event", column) or 0) >= 0.3]
    ids = [column for column in numbers if not any(column is each for each in kinds)]
    for role, column in zip(("customer", "product"), ids, strict=False):
        yield Candidate(role, column, 0.45, "its place: logs name who, then what")
    # Amounts stand behind what they are of.
    amounts = [c for c in file.columns if c.kind in ("integer", "decimal") and not any(c is each for each in ids[:2])]
    if not kinds and len(amounts) == 2:
        yield Candidate("price", amounts[0], 0.42, "its place: the first of two numbers behind the product")
        yield Candidate("quantity", amounts[1], 0.42, "its place: the second of two numbers behind the product")


def _choose(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    """Give each role its best column, and a column to one role; what an e-mail address tells is a customer as well."""
    chosen: dict[str, Candidate] = {}
    taken: set[int] = set()
    if any(each.role == "status" and each.confidence >= _SURE for each in candidates):
        # Orders have types too; what happened would show in words that are known.
        candidates = [each for each in candidates if each.role != "event" or each.confidence >= _SURE]
    lists = [c.column.within for c in candidates if c.role in ("product", "price", "quantity") and c.column.within]
    items = max(set(lists), key=lists.count) if lists else None
    is_log = any(each.role == "event" for each in candidates)
    in_items = {"product", "product_name", "category", "brand", "price", "quantity"}
    for each in candidates:
        column = each.column
        if each.role in chosen or id(column) in taken or column.within not in (None, items):
            continue
        # Products of orders stand in their list, and nothing else does.
        # Tax and shipping stand beside the list, or in it.
        either = each.role in ("tax", "shipping")
        if items is not None and not either and (each.role in in_items) != (column.within == items):
            continue
        # Whether prices in a list of products hold the discount already cannot be told.
        if each.role == "discount" and items is not None:
            continue
        if each.role == "status" and is_log:
            continue
        # Every row of orders names one.
        if each.role == "order" and not is_log and column.filled < 0.5:
            continue
        chosen[each.role] = each
        taken.add(id(column))
    if "customer" not in chosen and "email" in chosen:
        chosen["customer"] = chosen["email"]
    # A number of its own is an order only where rows are of orders.
    if "order" in chosen and chosen["order"].confidence < 0.5 and (is_log or (items is None and "price" not in chosen)):
        del chosen["order"]
    return {role: chosen[role] for role in NAMES if role in chosen}


def _place(column: UnknownColumn) -> str:
    return f"{column.within}[].{column.path}" if column.within else column.path


class _Writer:
    """Writes the contract of a proposal, and collects what it could not decide."""

    def __init__(self, proposal: Proposal) -> None:
        """Name the columns."""
        self.proposal = proposal
        self.file = proposal.file
        self.chosen = proposal.chosen
        self.questions: list[str] = []
        self.names = self._column_names()
        self.items = next((c.column.within for c in self.chosen.values() if c.column.within), None)
        self.meanings, self.is_coded = (
            event_meanings(self.chosen["event"].column) if "event" in self.chosen else ({}, False)
        )

    def _column_names(self) -> dict[int, str]:
        taken = set(ENGINE_FILLED | POSITION.keys() | BESIDE_DELIVERED) | {"items_list"}
        roles = {id(found.column): role for role, found in self.chosen.items()}
        names = {}
        for place, column in enumerate(self.file.columns, start=1):
            parents, last = _called(column)
            plain = _snake(last) or roles.get(id(column)) or f"column_{place}"
            options = [plain, _snake("_".join([*parents[-1:], last])) or plain]
            options += [f"{plain}_delivered", *(f"{plain}_{number}" for number in range(2, place + 2))]
            name = next(each for each in options if each not in taken and _is_sql_name(each))
            taken.add(name)
            names[id(column)] = name
        return names

    def sql(self, role: str) -> str | None:
        """Name the column of a role; None where there is none."""
        found = self.chosen.get(role)
        return self.names[id(found.column)] if found else None

    def ask(self, question: str) -> str:
        """Note what a person must decide, and give the comment that says so."""
        self.questions.append(question)
        return f"# TODO: {question}"

    def contract(self) -> str:
        """Write the whole contract."""
        name = self.proposal.name
        parts = [
            "apiVersion: v3.1.0", "kind: DataContract", f"id: {name}", f"name: {name}", "version: 1.0.0",
            "status: draft", "domain: sources", "description:",
            f"  purpose: {_quoted(f'One row is one row of files like {self.file.name}')}",
            "team: {name: insight}", "customProperties:", *self._reading(), "schema:", *self._delivered(),
            *self._mappings(),
        ]  # fmt: skip
        return "\n".join(parts) + "\n"

    def _reading(self) -> Iterator[str]:
        time, file = self.chosen["time"].column, self.file
        yield f"  - {{property: format, value: {file.format}}}"
        if file.format == "csv" and file.delimiter != ",":
            yield f"  - {{property: delimiter, value: {_quoted(file.delimiter)}}}"
        if file.encoding != "utf-8":
            yield f"  - {{property: encoding, value: {file.encoding}}}"
        if not file.header:
            yield "  - {property: header, value: false}"
        yield f"  - {{property: time_column, value: {self.names[id(time)]}}}"
        yield f"  - {{property: time_format, value: {_quoted(time.time_format)}}}"
        if time.time_format in _SWAPPED and _both_ways(time):
            yield "  " + self.ask("day and month of the time can be read either way; look at the format")
        if not time.has_offset:
            yield "  " + self.ask(
                "the time has no offset: 'shop' is the shop's own zone; name another, such as UTC, if it is another"
            )
        yield f"  - {{property: timezone, value: {'UTC' if time.has_offset else 'shop'}}}"
        yield "  - {property: reject_budget, value: 0.05}"

    def _delivered(self) -> Iterator[str]:
        yield from ("  - name: delivered", "    logicalType: object", "    properties:")
        needed = {id(self.chosen[role].column) for role in ("time", "event", "product", "order") if role in self.chosen}
        lists: dict[str, list[UnknownColumn]] = {}
        for column in self.file.columns:
            if column.within is not None:
                lists.setdefault(column.within, []).append(column)
            elif column.kind != "empty" or self.file.format == "csv":
                yield "      " + self._column(column, required=id(column) in needed and column.filled > _COMMON)
        for within, columns in lists.items():
            if within != self.items:
                continue
            yield "      - name: items_list"
            yield f"        physicalName: {_quoted(within)}"
            yield "        logicalType: array"
            yield "        classification: internal"
            yield "        description: Products of the row"
            yield "        items:"
            yield "          logicalType: object"
            yield "          properties:"
            for column in columns:
                yield "            " + self._column(column, required=False)

    def _column(self, column: UnknownColumn, *, required: bool) -> str:
        roles = [role for role, found in self.chosen.items() if found.column is column]
        name = self.names[id(column)]
        told = (
            f"Taken for the {' and the '.join(roles).replace('_', ' ')}"
            if roles
            else f"{column.kind.capitalize()}, filled in {column.filled:.0%} of the rows"
        )
        path = f"physicalName: {_quoted(column.path)}, " if column.path != name else ""
        must = "required: true, " if required else ""
        return (
            f"- {{name: {name}, {path}logicalType: string, {must}"
            f"classification: {_classification(column, roles)}, description: {_quoted(told)}}}"
        )

    def _mappings(self) -> Iterator[str]:
        event, purchases = self.sql("event"), self._purchases()
        is_order = bool(self.chosen.keys() & {"order", "price"}) and bool(self.chosen.keys() & {"order", "quantity"})
        if event is None and "rating" in self.chosen:
            yield from self._events(None, "'product_reviewed'")
        elif event is None and is_order and "product" in self.chosen:
            yield from self._order_lines(None)
        elif event is None:
            comment = self.ask("no column tells what happened: every row is taken for a view of a product")
            yield from self._events(None, "'product_viewed'", comment)
        else:
            words = ", ".join(purchases)
            sql, comment = self._kinds()
            if self.items is None:
                yield from self._events(f"COALESCE({event}, '') NOT IN ({words})" if purchases else None, sql, comment)
            else:
                about = ", ".join(self._kinds_about_products()) or "''"
                rest = ", ".join(each for each in (words, about) if each)
                yield from self._events(f"COALESCE({event}, '') NOT IN ({rest})", sql, comment)
                yield from self._events(f"{event} IN ({about})", sql, each_item=True)
            if purchases:
                yield from self._order_lines(f"{event} IN ({words})")

    def _purchases(self) -> list[str]:
        if "product" not in self.chosen:
            return []
        return sorted(_literal(each) for each, event in self.meanings.items() if event == PURCHASE)

    def _kinds_about_products(self) -> list[str]:
        return sorted(_literal(each) for each, event in self.meanings.items() if event in _ABOUT_PRODUCTS)

    def _kinds(self) -> tuple[str, str]:
        event = self.sql("event")
        kinds = self.chosen["event"].column.texts.drop_nulls().unique().sort().to_list()
        known = {each: event for each, event in self.meanings.items() if event != PURCHASE}
        cases = " ".join(f"WHEN {_literal(each)} THEN '{canonical}'" for each, canonical in known.items())
        unknown = [each for each in kinds if each not in self.meanings]
        comments = []
        if self.is_coded:
            read = ", ".join(f"{each} as {meant}" for each, meant in self.meanings.items())
            comments.append(self.ask(f"REVIEW: the codes of {event} are read by custom of large shops: {read}"))
        if unknown:
            comments.append(
                self.ask(
                    f"{len(unknown)} kinds of event are not mapped; until they are, their rows are quarantined "
                    "event.enum"
                )
            )
        return (f"CASE {event} {cases} ELSE {event} END" if cases else event), "\n      ".join(comments)

    def _who(self) -> Iterator[tuple[str, str, str]]:
        customer, visitor = self.sql("customer"), self.sql("visitor")
        if customer is not None:
            texts = self.chosen["customer"].column.texts.drop_nulls()
            decimal = texts.str.contains(r"^\d+\.0$").mean() >= _COMMON
            yield "customer_id", f"REGEXP_REPLACE({customer}, '[.]0$', '')" if decimal else customer, ""
        if visitor is not None:
            yield "visitor_id", visitor, ""
        elif customer is None and "session" in self.chosen:
            yield "visitor_id", self.sql("session"), ""
        for role in ("email", "phone"):
            if role in self.chosen:
                yield role, self.sql(role), ""

    def _identity(self, *parts: str | None, apart: pl.Series | None = None) -> tuple[str, str]:
        """Put an identity together from columns that tell all rows of the sample apart, else from the row's place.

        Rows with another value of `apart` have an identity of their own already.
        """
        kind = pl.Series([False] * self.file.rows if apart is None else apart).alias("apart")
        for column in self.file.columns:
            named = re.search(r"(event|message|review|line|_track)_?id$", column.path, re.IGNORECASE)
            if column.within is not None or not named or column.filled < 1:
                continue
            if pl.DataFrame([column.texts.alias("id"), kind]).is_unique().all():
                return self.names[id(column)], ""
        names = {self.names[id(c)]: c for c in self.file.columns if c.within is None}
        columns = [names[part] for part in parts if part in names]
        # Rows that are equal in everything may be one row delivered twice; rows that are not must be told apart. A
        # state that moves on makes no other row.
        says = {name: column for name, column in names.items() if apart is None or name != self.sql("status")}
        whole = pl.DataFrame([*(column.texts.alias(name) for name, column in says.items()), kind]).unique()
        known = [*(part for part in dict.fromkeys(parts) if part in names), "apart"]
        if columns and whole.select(known).n_unique() == whole.height:
            sql = " || ':' || ".join(f"COALESCE({self.names[id(column)]}, '')" for column in columns)
            return sql, ""
        comment = self.ask(
            "rows have no identity of their own: each is known by its place, so a second file with it counts it twice"
        )
        return "file_hash || ':' || line", comment

    def _events(self, where: str | None, event: str, comment: str = "", *, each_item: bool = False) -> Iterator[str]:
        who = self.sql("customer") or self.sql("visitor") or self.sql("session")
        product = self.sql("product") if self.items is None else None
        names_product = self.items is None or each_item
        identity, unsure = self._identity(self.sql("time"), who, self.sql("event"), product)
        identity += " || ':' || item" if each_item else ""
        rows = [("event_id", identity, unsure), ("event", event, comment), *self._who()]
        for column, role in (
            ("delivered_session", "session"),
            ("query", "query"),
            ("order_id", "order"),
            ("coupon", "coupon"),
        ):
            if role in self.chosen:
                rows.append((column, self.sql(role), ""))
        rows.append(("channel", "'web'", self.ask("the channel is set to web")))
        if names_product:
            rows += [
                (role if role != "product" else "product_id", self.sql(role), "")
                for role in ("product", "category", "brand")
                if role in self.chosen
            ]
            if "price" in self.chosen:
                rows.append(("price", *self._money("price")))
                rows.append(("currency", *self._currency()))
        if "rating" in self.chosen and "product_reviewed" in event:
            rows.append(("rating", f"TRY_CAST(REGEXP_REPLACE({self.sql('rating')}, '[.]0$', '') AS BIGINT)", ""))
            if "review_text" in self.chosen:
                rows.append(("review_text", self.sql("review_text"), ""))
        yield from self._mapping("events", where, "items_list" if each_item else None, rows)

    def _currency(self) -> tuple[str, str]:
        if "currency" in self.chosen:
            return f"UPPER({self.sql('currency')})", ""
        return "'XXX'", self.ask("no column tells the currency: put its ISO 4217 code in place of XXX")

    def _money(self, role: str) -> tuple[str, str]:
        """Give the SQL for an amount, in whole units, and the comment on what is unsure of it."""
        column, name = self.chosen[role].column, self.sql(role)
        currency = self.chosen.get("currency")
        in_cents, reason = minor_units(column, currency.column if currency else None)
        sql = f"TRY_CAST({name} AS DECIMAL(18,4))"
        if in_cents:
            return f"{sql} / 100", self.ask(f"REVIEW: {name} looks like minor units ({reason}) and is divided by 100")
        if reason:
            return sql, self.ask(f"{name} may count minor units ({reason}); if so, divide it by 100")
        return sql, ""

    def _order_lines(self, where: str | None) -> Iterator[str]:
        """Map sales; and where a column tells what became of them, the rows that take them back."""
        columns, identity, is_placed = self._lines()
        items = "items_list" if self.items else None
        if "status" not in self.chosen:
            yield from self._mapping("order_lines", where, items, columns)
            return
        column = self.chosen["status"].column
        state, words = plain_sql(self.sql("status")), state_words(column)
        told = [word for word, kind in words.items() if kind != SALE]
        refund, cancelled = (*REFUNDED, *REFUND_DOCUMENTS), (*CANCELLED, *CANCELLATION_DOCUMENTS)
        comments = [
            self.ask(
                f"{self.sql('status')} tells what became of a line ({len(told)} such words in the sample). Rows that "
                "are refunded or cancelled are no further sales: each stands for its sale, where no other row tells of "
                "it, and for its taking back, on the day of the row; names of documents (refund, return, void) for the "
                "taking back alone"
            )
        ]
        unknown = column.texts.drop_nulls().map_elements(plain, return_dtype=pl.String).is_in([*words]).not_().sum()
        if unknown:
            comments.append(
                self.ask(f"{unknown} rows have a {self.sql('status')} that is not known; they count as sales")
            )
        if has_states_in_part(column):
            comments.append(
                self.ask("what was given back of partly refunded lines is not mapped; they count as sales in full")
            )

        def also(test: str) -> str:
            return f"({where}) AND {test}" if where else test

        back = {name: sql for name, sql, _ in columns}
        of_order = [name for name in ("order_discount", "order_tax", "order_shipping") if name in back]
        order = self.chosen.get("order")
        if of_order and differs_within(column, order.column if order else None):
            comments.append(
                self.ask(
                    f"lines of one order are taken back apart; what of {', '.join(of_order)} is given back is not "
                    "mapped"
                )
            )
            back = {name: sql for name, sql in back.items() if name not in of_order}
        units, goods = back["quantity"], self._goods_given_back()
        sold = f"COALESCE({state}, '') NOT IN ({_listed(*refund, *cancelled)})"
        yield from self._mapping("order_lines", also(sold), items, columns, comments)
        concluded = f"{state} IN ({_listed(*REFUNDED, *CANCELLED)}) AND {units} > 0"
        bare = [(name, sql, "") for name, sql, _ in columns]
        unless = "product_id" if is_placed else "order_line_id"
        yield from self._mapping("order_lines", also(concluded), items, bare, unless_told=unless)
        for kind, amount, listed in (("refund", "refunded", refund), ("cancellation", "cancelled", cancelled)):
            lacking = {"discount", "gross", "refunded", "order_discount"}
            rows = [(name, sql, "") for name, sql in back.items() if name not in lacking]
            changed = {
                "order_line_id": f"{identity} || ':back'", "kind": f"'{kind}'", "quantity": f"-1 * ABS({units})",
                "unit_price": f"ABS({back['unit_price']})",
            } | {
                name: f"-1 * ABS({back[name]})"
                for name in ("tax", "shipping", "order_tax", "order_shipping")
                if name in back
            }  # fmt: skip
            rows = [(name, changed.get(name, sql), comment) for name, sql, comment in rows]
            place = [name for name, *_ in rows].index("unit_price") + 1
            rows[place:place] = [("gross", "0", ""), (amount, goods, "")]
            if "order_discount" in back:
                rows.insert(place + 2, ("order_discount", back["order_discount"], ""))
            yield from self._mapping("order_lines", also(f"{state} IN ({_listed(*listed)})"), items, rows)

    def _goods_given_back(self) -> str:
        price, units = self._price()[0], self._units()
        sql = f"ABS({units} * {price})"
        if "discount" in self.chosen and self._level("discount")[0] == LINE:
            sql += f" - COALESCE(ABS({self._money('discount')[0]}), 0)"
        return sql

    def _units(self) -> str:
        quantity = self.sql("quantity")
        units = f"TRY_CAST({quantity} AS BIGINT)" if quantity else "1"
        return f"COALESCE({units}, 1)" if quantity and self.chosen["quantity"].column.filled < 1 else units

    def _price(self) -> tuple[str, str]:
        if "price" not in self.chosen:
            return "1", self.ask("no column tells the price: a unit is counted as 1")
        sql, comment = self._money("price")
        called = plain(_called(self.chosen["price"].column)[1])
        if called.endswith(("amount", "金额")) and "unit" not in called and "quantity" in self.chosen:
            more = self.ask(f"{self.sql('price')} is taken for the price of one unit; is it that of the whole line?")
            comment = "\n      ".join(each for each in (comment, more) if each)
        return sql, comment

    def _level(self, role: str) -> tuple[str, bool]:
        order = self.chosen.get("order")
        usual = ORDER if self.items is not None else LINE
        return level(self.chosen[role].column, order.column if order else None, usual=usual)

    def _beside_goods(self) -> Iterator[tuple[str, str, str]]:
        """Map tax and shipping, of each line or of the whole order."""
        for role in ("tax", "shipping"):
            if role not in self.chosen:
                continue
            sql, comment = self._money(role)
            where, is_told = self._level(role)
            comments = [comment] if comment else []
            if not is_told:
                comments.append(self.ask(self._unsure_of_level(role, where)))
            if role == "tax":
                comments.append(
                    self.ask(
                        f"{self.sql(role)} is taken to stand beside the prices; if prices include it, add the custom "
                        "property prices_include_tax with the value true, and map it as tax of the line"
                    )
                )
            yield role if where == LINE else f"order_{role}", sql, "\n      ".join(comments)

    def _unsure_of_level(self, role: str, where: str) -> str:
        name, own, whole = self.sql(role), role, f"order_{role}"
        taken, other = (own, whole) if where == LINE else (whole, own)
        of = "each line" if where == LINE else "the whole order"
        return (
            f"nothing tells whether {name} is of a line or of the whole order; it is taken for {of} "
            f"({taken}, else {other})"
        )

    def _lines(self) -> tuple[list[tuple[str, str, str]], str, bool]:
        """Give the mapped columns of a sale, its identity, and whether that is only its place in the file."""
        units, (each, comment) = self._units(), self._price()
        discounts: list[tuple[str, str, str]] = []
        taken_back = f"{units} < 0"
        if "discount" in self.chosen:
            sql, unsure = self._money("discount")
            # Some write what is taken off as a number below 0.
            off = f"COALESCE(ABS({sql}), 0)"
            where_off, is_told = self._level("discount")
            if not is_told:
                more = self.ask(self._unsure_of_level("discount", where_off))
                unsure = "\n      ".join(one for one in (unsure, more) if one)
            if where_off == LINE:
                discounts = [("discount", f"CASE WHEN {taken_back} THEN 0 ELSE {off} END", unsure)]
            else:
                discounts = [("order_discount", f"ABS({sql})", unsure)]
        further = next((_place(rival.column) for rival in self.proposal.rivals if rival.role == "discount"), None)
        not_mapped = (
            self.ask(f"{further} may be a discount that prices do not hold; it is not mapped") if further else ""
        )
        order = self.sql("order")
        who = self.sql("customer") or self.sql("visitor") or self.sql("session")
        if self.items is None:
            identity, unsure = self._identity(
                order, self.sql("product"), None if order else self.sql("time"), who, apart=self._taken_back_rows()
            )
        else:
            identity, unsure = (
                f"COALESCE({order or self.sql('time')}, '') || ':' || {self.sql('time')} || ':' || item",
                "",
            )
        no_order = "" if order else self.ask("no column tells the order: what one person buys at one moment is one")
        kind = f"CASE WHEN {each} = 0 OR {units} = 0 THEN 'adjustment' WHEN {taken_back} THEN 'refund' ELSE 'sale' END"
        rows = [
            ("order_line_id", identity, unsure),
            ("order_id", order or f"{self.sql('time')} || ':' || {who}", no_order),
            ("kind", kind, ""),
            *self._who(),
            ("product_id", self.sql("product"), ""),
            ("is_product", "TRUE", ""),
            *((role, self.sql(role), "") for role in ("product_name", "category", "brand") if role in self.chosen),
            ("quantity", units, ""),
            ("unit_price", each, comment),
            ("gross", f"CASE WHEN {taken_back} THEN 0 ELSE {units} * {each} END", not_mapped),
            *discounts,
            *self._beside_goods(),
            ("refunded", f"CASE WHEN {taken_back} THEN -1 * {units} * {each} ELSE 0 END", ""),
            ("currency", *self._currency()),
            ("channel", "'web'", self.ask("the channel is set to web")),
            *((role, self.sql(role), "") for role in ("country", "coupon") if role in self.chosen),
        ]  # fmt: skip
        return rows, identity, identity.startswith("file_hash")

    def _taken_back_rows(self) -> pl.Series | None:
        """Tell rows that take back from others; None where no column does."""
        if "status" not in self.chosen:
            return None
        column = self.chosen["status"].column
        back = [word for word, kind in state_words(column).items() if kind != SALE]
        return column.texts.map_elements(plain, return_dtype=pl.String).is_in(back).fill_null(value=False)

    def _mapping(
        self,
        table: str,
        where: str | None,
        rows: str | None,
        mapped: Sequence[tuple[str, str | None, str]],
        comments: Sequence[str] = (),
        *,
        unless_told: str | None = None,
    ) -> Iterator[str]:
        yield from (f"  {comment}" for comment in comments)
        yield f"  - name: {table}"
        yield "    logicalType: object"
        custom = [f"{{property: rows, value: {rows}}}"] if rows else []
        custom += [f"{{property: where, value: {_quoted(where)}}}"] if where else []
        custom += [f"{{property: unless_told, value: {unless_told}}}"] if unless_told else []
        if custom:
            yield f"    customProperties: [{', '.join(custom)}]"
        yield "    properties:"
        for name, sql, comment in mapped:
            if comment:
                yield f"      {comment}"
            yield f"      - {{name: {name}, transformLogic: {_quoted(sql)}}}"


_SWAPPED = {each for each in ("%d/%m/%Y", "%m/%d/%Y") for each in (each, f"{each} %H:%M", f"{each} %H:%M:%S")}


def _both_ways(column: UnknownColumn) -> bool:
    parts = column.texts.drop_nulls().str.extract_groups(r"^(\d+)/(\d+)/").struct.unnest()
    return parts.select(pl.all().cast(pl.Int64, strict=False).max() <= 12).row(0) == (True, True)


def _classification(column: UnknownColumn, roles: Sequence[str]) -> str:
    if set(roles) & {"customer", "visitor", "email", "phone"}:
        return "personal"
    if set(roles) & {"product", "product_name", "category", "brand", "price"}:
        return "public"
    if set(roles) & {"query", "review_text"}:
        return "free_text"
    if not roles and (_PERSONAL.search(column.path) or _looks_personal(column)):
        return "personal"
    return (
        "free_text"
        if not roles and column.kind == "text" and (column.texts.drop_nulls().str.len_chars() > 40).mean() > 0.1
        else "internal"
    )


def _looks_personal(column: UnknownColumn) -> bool:
    texts = column.texts.drop_nulls()
    return column.kind == "text" and len(texts) > 0 and texts.str.contains("@", literal=True).mean() > 0.1


def _snake(name: str) -> str | None:
    """Turn a name into snake case; None where nothing is left of it."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    snake = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return snake if SNAKE_CASE.fullmatch(snake) else None


def _is_sql_name(name: str) -> bool:
    """Tell a name that SQL reads as a column from one that it keeps for itself."""
    try:
        return bool(SNAKE_CASE.fullmatch(name)) and pl.sql_expr(name).meta.root_names() == [name]
    except pl.exceptions.PolarsError:
        return False


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(*words: str) -> str:
    return ", ".join(map(_literal, words))


def _quoted(text: str | None) -> str:
    return json.dumps(text, ensure_ascii=False)
