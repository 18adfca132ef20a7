"""Masks what identifies a person in text that people wrote: each find is replaced by a typed mark such as `[email]`.

Rules only: patterns, checksums and the words around a number; no names but those that people introduce themselves by.
Most text holds nothing of the kind, so a first look by one pattern decides which rows the others are tried on, and what
needs arithmetic is computed only for rows that hold a candidate. What is a price, a date, an article or version number
must stay, since the words of a review are worth more to the shop than one more mask.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

MARKS = ("url", "email", "id_card", "iban", "bank_card", "order", "phone", "account", "ip", "mac", "address", "name")

# Written out in full width, digits and @ mean the same; a row is brought to ASCII only if something in it is masked.
_WIDE = "０１２３４５６７８９＠．－＋＃"
_NARROW = "0123456789@.-+#"
_FIRST_LOOK = (
    r"[0-9０-９@＠]|://|[wW]{3}\.|\((?i:at)\)|(?i:name is|name's|name ist|ich heiße|m'appelle|me llamo|nome é|chamo)"
    r"|我叫|我的名字|姓名"
)

# A number begins where neither a digit nor a letter nor the point or dash of a longer number stands before it.
_BEFORE = r"(^|[^0-9A-Za-z#_.\-]|[^0-9][.\-]|(?i:tel|phone|mobile|whatsapp|wechat|wx|vx|call)\.?)"
_END = r"(?-u:\b)"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹"
    "薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
_PLACE = r"[\p{Han}--[我住在是寄送到发址的了请于给买家您你他她就从这那]]"
_NUMERAL = r"[0-9一二三四五六七八九十百]{1,5}"
_ROOM = r"(?:[\-之]?[0-9A-Za-z一二三四五六七八九十]{1,5}(?:号楼|栋|幢|座|单元|楼|层|室|号|户|弄)?)"
_WORD_OF_PLACE = r"[A-ZÄÖÜ][\p{L}'’.\-]*"
_TOWN = r"(?:,? ?[0-9]{4,5} [A-ZÄÖÜ][\p{L}\-]+)"


@dataclass(frozen=True)
class _Pattern:
    """One rule that a pattern alone decides."""

    mark: str
    pattern: str
    replacement: str


def _patterns() -> Iterator[_Pattern]:
    """Give the rules that need no arithmetic, before and after the checked numbers were masked."""

    def rule(mark: str, pattern: str, replacement: str = "[{}]") -> _Pattern:
        return _Pattern(mark, pattern, replacement.format(mark))

    yield rule("phone", _BEFORE + r"(?:\(?(?:\+|00)?86\)?[ \-]?)?1[3-9][0-9][ \-]?[0-9]{4}[ \-]?[0-9]{4}" + _END, "${{1}}[{}]")
    yield rule("phone", _BEFORE + r"\(?0[1-9][0-9]{1,2}\)?[ \-][0-9]{7,8}(?:[\-转][0-9]{1,6})?" + _END, "${{1}}[{}]")
    yield rule("phone", _BEFORE + r"\(0[1-9][0-9]{1,4}\) ?[0-9]{3,8}(?:[ \-][0-9]{2,8})?" + _END, "${{1}}[{}]")
    yield rule("phone", _BEFORE + r"[48]00[ \-][0-9]{3,4}[ \-][0-9]{3,4}" + _END, "${{1}}[{}]")
    area = r"(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .\-])"
    yield rule("phone", _BEFORE + r"(?:1[ .\-])?" + area + r"[2-9][0-9]{2}[ .\-][0-9]{4}" + _END, "${{1}}[{}]")
    yield rule("phone", _BEFORE + r"0[1-9](?:[ .\-][0-9]{2}){4}" + _END, "${{1}}[{}]")
    yield rule("phone", _BEFORE + r"\([1-9]{2}\) ?9?[0-9]{4}[ \-][0-9]{4}" + _END, "${{1}}[{}]")
    spoken = r"(?i:(?-u:\b)(?:tel|telephone|phone|mobile|cell|call|text|whatsapp|telefon|handy|mobil|rufnummer|ruf|telefone|celular)|电话|手机|座机|致电|联系方式|号码)"
    yield rule("phone", r"(" + spoken + r"(?i:[ :：.#是为]|number|nummer|no|nr|is|ist|me|at|on|mich|an|unter|é){0,6})\+?[0-9]{7,12}" + _END, "${{1}}[{}]")
    handle = r"(?:[A-Za-z][\-_A-Za-z0-9]*[0-9][\-_A-Za-z0-9]*|[0-9]{5,11})"
    yield rule("account", r"((?i:(?-u:\b)qq|微信|wechat|(?-u:\b)[vw]x)(?i:号|id|[ :：是为]|is){1,4})" + handle + _END, "${{1}}[{}]")
    yield rule("mac", r"(?-u:\b)(?:[0-9A-Fa-f]{2}[:\-]){5}[0-9A-Fa-f]{2}" + _END)
    yield rule("ip", r"(?-u:\b)(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}" + _END)
    yield rule("ip", r"(?-u:\b)(?:[0-9A-Fa-f]{1,4}:){2,6}:(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,4})?" + _END)
    yield from (rule("address", pattern) for pattern in _addresses())
    introduced = r"(?i:my name is|my name's|mein name ist|ich heiße|je m'appelle|me llamo|meu nome é|me chamo)"
    yield rule("name", r"((?-u:\b)" + introduced + r" )\p{Lu}[\p{L}'’\-]+(?: (?:(?i:von|van|de|da|dos|del) )?\p{Lu}[\p{L}'’\-]+){0,2}", "${{1}}[{}]")
    yield rule("name", r"(我叫|我的名字[是叫]|姓名[是为:： ]{0,2})[" + _SURNAMES + r"]\p{Han}{1,2}", "${{1}}[{}]")


def _addresses() -> Iterator[str]:
    region = r"(?:" + _PLACE + r"{2,8}?(?:省|自治区|自治州|市|区|县|镇|乡|街道|村))"
    yield region + r"{0,5}" + _PLACE + r"{1,8}?(?:路|街|大道|大街|巷|胡同|弄|道)" + _NUMERAL + r"(?:号|弄)" + _ROOM + r"{0,5}"
    yield region + r"{1,5}" + _PLACE + r"{1,10}?(?:小区|花园|大厦|公寓|新村|苑|城|广场|家园)" + _NUMERAL + r"(?:号楼|栋|幢|座|单元|号)" + _ROOM + r"{0,4}"
    number = r"(?-u:\b)[0-9]{1,5}[A-Za-z]?,? "
    flat = r"(?:,? (?i:apt|apartment|suite|unit|flat|floor)\.? ?#?[A-Za-z0-9\-]+)?"
    named = r"(?:" + _WORD_OF_PLACE + r" ){1,4}"
    yield number + named + r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Terrace|Parkway|Pkwy|Highway|Hwy|Crescent)(?-u:\b)\.?" + flat
    yield number + named + r"(?:Drive|Dr|Way|Place|Court|Ct|Close|Square)(?-u:\b)\.?(?:, [A-Z]\p{L}+|,? (?i:apt|apartment|suite|unit|flat)\.? ?#?[A-Za-z0-9\-]+)"
    yield number + r"(?i:main|high|oak|elm|park|church|mill|station|kings?|queens?|[0-9]{1,3}(?:st|nd|rd|th)) (?i:street|avenue|road|st|ave)(?-u:\b)" + flat
    yield r"(?i:(?-u:\b)p\.? ?o\.? box|postfach) [0-9 ]*[0-9]"
    house = r" ?[0-9]{1,4} ?[a-z]?(?-u:\b)"
    yield r"(?:" + _WORD_OF_PLACE + r" )?" + _WORD_OF_PLACE + r"(?:straße|strasse|str\.|weg|allee|gasse|damm|ufer)" + house + _TOWN + r"?"
    yield _WORD_OF_PLACE + r"(?:er|e)? (?:Straße|Strasse|Str\.|Weg|Allee|Gasse|Damm|Ufer|Platz)" + house + _TOWN + r"?"
    yield _WORD_OF_PLACE + r"platz" + house + _TOWN
    yield number + r"(?:bis |ter )?(?:rue|avenue|boulevard|chemin|allée|impasse|quai) (?:de la |de l'|du |des |de |d')?\p{Lu}[\p{L}'\-]+(?: \p{Lu}[\p{L}'\-]+)*"
    yield r"(?-u:\b)(?:Calle|Rua|Avenida|Av\.|Viale|Travessa)(?: (?:de|da|do|das|dos|la|las|los|del))* \p{Lu}[\p{L}'\-]+(?: (?:de |da |do |dos |das )?\p{Lu}[\p{L}'\-]+)*,? (?:nº? ?|no\.? )?[0-9]{1,5}" + _END


_URL = (
    r"(?i)(?:(?:https?|ftp)://|(?-u:\b)www\.)[a-z0-9][!#-&(-;=?-~]*[a-z0-9/#=&_\-]"
    r"|(?-u:\b)[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.(?:com|cn|net|org|de|fr|br|io|me|co|info|shop|top)/[!#-&(-;=?-~]*[a-z0-9/#=&_\-]"
)
_EMAIL = r"(?i)[a-z0-9À-ɏ._%+'\-]+(?:@|\(at\)|\[at\])[a-z0-9À-ɏ\-]+(?:(?:\.|\(dot\)|\[dot\])[a-z0-9\-]+)*(?:\.|\(dot\)|\[dot\])[a-z]{2,24}" + _END


@dataclass(frozen=True)
class _Check:
    """One rule that takes more than a pattern.

    Attributes:
        mark: what is found.
        candidate: rows without it are not looked at any further.
        pattern: with a group `found`, which is what is replaced.
        holds: tells whether a match is what it looks like.
    """

    mark: str
    candidate: str
    pattern: re.Pattern[str]
    holds: Callable[[re.Match[str]], bool]


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdigit())


def has_luhn_digit(digits: str) -> bool:
    """Tell whether the last digit of a number is its check digit (ISO/IEC 7812), as that of a bank card is."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_id_card(text: str) -> bool:
    """Tell whether the last of 18 signs is the check sign of a Chinese identity number (GB 11643)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(weight * int(digit) for weight, digit in zip(weights, text[:17], strict=True))
    return text[17].upper() == "10X98765432"[total % 11]


def is_iban(text: str) -> bool:
    """Tell whether a text without blanks is an account number with right check digits (ISO 13616)."""
    turned = text[4:] + text[:4]
    return 15 <= len(text) <= 34 and int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def _is_bank_card(match: re.Match[str]) -> bool:
    digits = _digits(match["found"])
    # Fourteen and more: thirteen digits are an article number far more often than a card.
    return 14 <= len(digits) <= 19 and len(set(digits)) > 1 and has_luhn_digit(digits)


def _is_address_of_host(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - 24) : match.start()].lower()
    told = re.search(r"version|firmware|driver|software|update|release|build|版本|固件|系统|升级|\bv\.? ?$", before)
    return told is None and int(match["found"].split(".")[0]) >= 10


_DATE = re.compile(r"(?:19|20)\d\d-?[01]\d-?[0-3]\d|[0-3]?\d-[01]?\d-(?:19|20)\d\d")


def _is_order(match: re.Match[str]) -> bool:
    return len(_digits(match["found"])) >= 5 and not _DATE.fullmatch(match["found"])


def _is_phone(match: re.Match[str]) -> bool:
    return 9 <= len(_digits(match["found"])) <= 15 and not _DATE.fullmatch(match["found"])


_ORDER_WORD = (
    r"(?:\border|\bpurchase|\binvoice|\btracking|\bparcel|\bshipment|\bticket|\bbestell(?:ung|nummer)|\bauftrag(?:snummer)?|\brechnung(?:snummer)?"
    r"|\bsendung(?:snummer)?|\bkundennummer|\bpedido|\bcommande|\brastreio|订单|运单|快递单|单号|物流)"
)
_ORDER_FILL = r"(?:[ \t:：#.\-是为号]|编号|单|number|nummer|numéro|número|code|num|no|nr|nº|id|ist|is|was|lautet|é)*"
_CHECKS = (
    _Check(
        "id_card", r"[1-9][0-9]{5}[ \-]?(?:18|19|20)[0-9]{6}[ \-]?[0-9]{3}[0-9Xx]",
        re.compile(
            r"(?<![0-9A-Za-z])(?P<found>[1-9]\d{5}[ -]?(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?\d{3}[\dXx])(?![0-9A-Za-z])",
            re.ASCII,
        ),
        lambda match: is_id_card(re.sub("[ -]", "", match["found"])),
    ),
    _Check(
        "iban", r"[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]{4}){2}",
        re.compile(
            r"(?<![0-9A-Za-z])(?P<found>[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?\d[A-Z0-9]{0,2})?|[A-Za-z]{2}\d\d[A-Za-z0-9]{11,30})"
            r"(?![0-9A-Za-z])",
            re.ASCII,
        ),
        lambda match: is_iban(match["found"].replace(" ", "").upper()),
    ),
    _Check(
        "bank_card", r"[2-6][0-9]{3}[ \-]?[0-9]{4}[ \-]?[0-9]{2}[ \-]?[0-9]{2}|3[0-9]{3}[ \-]?[0-9]{6}[ \-]?[0-9]{4}",
        re.compile(
            r"(?<![0-9A-Za-z.])(?P<found>[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{2,4}(?:[ -]?\d{1,3})?|3\d{3}[ -]?\d{6}[ -]?\d{4,5})"
            r"(?![0-9A-Za-z])",
            re.ASCII,
        ),
        _is_bank_card,
    ),
    _Check(
        "order", r"(?i:" + _ORDER_WORD.replace(r"\b", r"(?-u:\b)") + r").{0,20}[0-9]",
        re.compile(r"(?i:" + _ORDER_WORD + _ORDER_FILL + r")(?P<found>[A-Za-z0-9][A-Za-z0-9\-]{3,28}[A-Za-z0-9])(?![A-Za-z0-9]|[.,]\d)"),
        _is_order,
    ),
    _Check(
        "phone", r"\+[1-9]",
        re.compile(r"(?<![0-9A-Za-z])(?P<found>\+[1-9](?:(?: ?[/\-]? ?|\.)\(?\d+\)?){1,9})(?![0-9A-Za-z]|[.,]\d)", re.ASCII),
        lambda match: 8 <= len(_digits(match["found"])) <= 15,
    ),
    _Check(
        "phone", r"(?:0[0-9]{2,5}[ /.\-]|00[1-9][0-9]{0,2}[ \-])",
        re.compile(
            r"(?<![0-9A-Za-z#_.\-])(?<![0-9] )(?P<found>00[1-9]\d{0,2}(?:[ \-/.]\(?\d+\)?){1,6}|0[1-9]\d{1,4}(?:[ /.\-]\d{2,8}){1,4})"
            r"(?![0-9A-Za-z]|[.,]\d)",
            re.ASCII,
        ),
        _is_phone,
    ),
    _Check(
        "ip", _OCTET + r"(?:\." + _OCTET + r"){3}",
        re.compile(r"(?<![\w.])(?P<found>" + _OCTET + r"(?:\." + _OCTET + r"){3})(?![\w]|\.\d)", re.ASCII),
        _is_address_of_host,
    ),
)
_PATTERNS = {mark: tuple(rules) for mark, rules in itertools.groupby(_patterns(), key=lambda rule: rule.mark)}
# What each find of a mark holds, so that most rows are looked at once instead of by every rule.
_HOLDS = {
    "phone": r"[0-9][0-9 ()./\-]{4,}[0-9]",
    "account": r"(?i)qq|微信|wechat|[vw]x",
    "mac": r"[0-9A-Fa-f]{2}[:\-][0-9A-Fa-f]{2}[:\-]",
    "ip": r"[0-9A-Fa-f]:[0-9A-Fa-f:]{3,}",
    "name": r"(?i:name is|name's|name ist|ich heiße|m'appelle|me llamo|nome é|chamo)|我叫|我的名字|姓名",
    "address": (
        r"[路街巷弄道同][0-9一二三四五六七八九十百]|[区园厦寓村苑城场][0-9一二三四五六七八九十百]|(?i:street|avenue|road|boulevard|box|postfach)"
        r"|\b(?:St|Ave?|Rd|Blvd|Lane|Ln|Terrace|Parkway|Pkwy|Highway|Hwy|Crescent|Drive|Dr|Way|Place|Court|Ct|Close|Square)\b"
        r"|(?:straße|strasse|str\.|weg|allee|gasse|damm|ufer|platz|Straße|Strasse|Str\.|Weg|Allee|Gasse|Damm|Ufer|Platz) ?[0-9]"
        r"|(?:rue|boulevard|chemin|allée|impasse|quai|Calle|Rua|Avenida|Viale|Travessa) "
    ).replace(r"\b", r"(?-u:\b)"),
}


def mask_text(text: pl.Expr) -> pl.Expr:
    """Mask what identifies a person in text.

    Args:
        text: text as people wrote it, in any language.

    Returns:
        The text with each e-mail, address on the web, telephone, identity card, bank card, account number, order
        number, postal address, network address and name of a person who introduces themselves replaced by a mark of
        `MARKS` in square brackets. Null stays null, and text without a find stays as it was, sign by sign.
    """
    return text.map_batches(mask_series, return_dtype=pl.String, is_elementwise=True)


def mask_series(text: pl.Series) -> pl.Series:
    """Mask the texts of a column; see `mask_text`."""
    suspects = text.str.contains(_FIRST_LOOK).fill_null(value=False).arg_true()
    if suspects.is_empty():
        return text
    looked_at = text.gather(suspects)
    wide = looked_at.str.contains(f"[{_WIDE}]")
    narrow = looked_at
    if wide.any():
        narrow = looked_at.str.replace_many(list(_WIDE), list(_NARROW))
    masked = _mask_suspects(narrow)
    frame = pl.DataFrame({"before": looked_at, "narrow": narrow, "masked": masked})
    kept = frame.select(pl.when(pl.col("masked") == pl.col("narrow")).then("before").otherwise("masked")).to_series()
    return text.clone().scatter(suspects, kept)


def _mask_suspects(text: pl.Series) -> pl.Series:
    # What holds other finds goes first: an address on the web may hold an e-mail, a card a telephone.
    text = text.str.replace_all(_URL, "[url]").str.replace_all(_EMAIL, "[email]")
    for check in _CHECKS:
        text = _mask_checked(text, check)
    for mark, rules in _PATTERNS.items():
        rows = text.str.contains(_HOLDS[mark]).arg_true()
        # A pattern costs a millisecond to compile, also for no rows; a day of a small shop has few.
        if rows.is_empty():
            continue
        masked = text.gather(rows)
        for rule in rules:
            masked = masked.str.replace_all(rule.pattern, rule.replacement)
        text = text.clone().scatter(rows, masked)
    return text


def _mask_checked(text: pl.Series, check: _Check) -> pl.Series:
    rows = text.str.contains(check.candidate).arg_true()
    if rows.is_empty():
        return text

    def replaced(match: re.Match[str]) -> str:
        if not check.holds(match):
            return match[0]
        return match[0][: match.start("found") - match.start()] + f"[{check.mark}]" + match[0][match.end("found") - match.start() :]

    masked = [check.pattern.sub(replaced, each) for each in text.gather(rows)]
    return text.clone().scatter(rows, pl.Series(masked, dtype=pl.String))
