r"""What personal values look like in text: patterns, the arithmetic of check digits, and the words around a number.

Only the rules are here; how they are tried on a column is in `masking.py`. A `Pattern` is Rust's and decides alone, a
`Check` is Python's and asks a function besides. `(?-u:\b)` is the boundary of an ASCII word: between Chinese signs and
digits there is none of Unicode's.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

MARKS = ("url", "email", "id_card", "iban", "bank_card", "order", "phone", "account", "ip", "mac", "address", "name")

FIRST_LOOK = (
    r"[0-9０-９@＠]|://|[wW]{3}\.|\((?i:at)\)"
    r"|(?i:name is|name's|name ist|ich heiße|m'appelle|me llamo|nome é|chamo)|我叫|我的名字|姓名"
)
"""Text without this holds nothing that any rule finds."""

# A number begins where neither a digit nor a letter nor the point or dash of a longer number stands before it.
_BEFORE = r"(^|[^0-9A-Za-z#_.\-]|[^0-9][.\-]|(?i:tel|phone|mobile|whatsapp|wechat|wx|vx|call)\.?)"
_END = r"(?-u:\b)"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_HEX = r"[0-9A-Fa-f]"

URL = (
    r"(?i)(?:(?:https?|ftp)://|(?-u:\b)www\.)[a-z0-9][!#-&(-;=?-~]*[a-z0-9/#=&_\-]"
    r"|(?-u:\b)[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.(?:com|cn|net|org|de|fr|br|io|me|co|info|shop|top)"
    r"/[!#-&(-;=?-~]*[a-z0-9/#=&_\-]"
)
_AT, _DOT = r"(?:@|\(at\)|\[at\])", r"(?:\.|\(dot\)|\[dot\])"
EMAIL = (
    r"(?i)[a-z0-9À-ɏ._%+'\-]+" + _AT + r"[a-z0-9À-ɏ\-]+(?:" + _DOT + r"[a-z0-9\-]+)*" + _DOT + r"[a-z]{2,24}" + _END
)


@dataclass(frozen=True)
class Pattern:
    """One rule that a pattern alone decides: what it finds, and what is put in its place."""

    mark: str
    pattern: str
    replacement: str


@dataclass(frozen=True)
class Check:
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


def _numbers() -> Iterator[str]:
    """Give telephone numbers that their own groups tell: of China, of North America, of France and of Brazil."""
    yield r"(?:\(?(?:\+|00)?86\)?[ \-]?)?1[3-9][0-9][ \-]?[0-9]{4}[ \-]?[0-9]{4}"
    yield r"\(?0[1-9][0-9]{1,2}\)?[ \-][0-9]{7,8}(?:[\-转][0-9]{1,6})?"
    yield r"\(0[1-9][0-9]{1,4}\) ?[0-9]{3,8}(?:[ \-][0-9]{2,8})?"
    yield r"[48]00[ \-][0-9]{3,4}[ \-][0-9]{3,4}"
    yield r"(?:1[ .\-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .\-])[2-9][0-9]{2}[ .\-][0-9]{4}"
    yield r"0[1-9](?:[ .\-][0-9]{2}){4}"
    yield r"\([1-9]{2}\) ?9?[0-9]{4}[ \-][0-9]{4}"


_CALLED = (
    r"(?i:(?-u:\b)(?:tel|telephone|phone|mobile|cell|call|text|whatsapp|telefon|handy|mobil|rufnummer|ruf|telefone"
    r"|celular)|电话|手机|座机|致电|联系方式|号码)"
    r"(?i:[ :：.#是为]|number|nummer|no|nr|is|ist|me|at|on|mich|an|unter|é){0,6}"
)
_MESSENGER = r"(?i:(?-u:\b)qq|微信|wechat|(?-u:\b)[vw]x)(?i:号|id|[ :：是为]|is){1,4}"
_HANDLE = r"(?:[A-Za-z][\-_A-Za-z0-9]*[0-9][\-_A-Za-z0-9]*|[0-9]{5,11})"

_PLACE = r"[\p{Han}--[我住在是寄送到发址的了请于给买家您你他她就从这那]]"
_NUMERAL = r"[0-9一二三四五六七八九十百]{1,5}"
_REGION = r"(?:" + _PLACE + r"{2,8}?(?:省|自治区|自治州|市|区|县|镇|乡|街道|村))"
_ROAD = r"(?:路|街|大道|大街|巷|胡同|弄|道)"
_ESTATE = r"(?:小区|花园|大厦|公寓|新村|苑|城|广场|家园)"
_ROOM = r"(?:[\-之]?[0-9A-Za-z一二三四五六七八九十]{1,5}(?:号楼|栋|幢|座|单元|楼|层|室|号|户|弄)?)"

_CAPITALISED = r"[A-ZÄÖÜ][\p{L}'’.\-]*"
_HOUSE_BEFORE = r"(?-u:\b)[0-9]{1,5}[A-Za-z]?,? "
_HOUSE_BEHIND = r" ?[0-9]{1,4} ?[a-z]?(?-u:\b)"
_TOWN = r"(?:,? ?[0-9]{4,5} [A-ZÄÖÜ][\p{L}\-]+)"
_UNIT = r",? (?i:apt|apartment|suite|unit|flat)\.? ?#?[A-Za-z0-9\-]+"
_FLAT = r"(?:,? (?i:apt|apartment|suite|unit|flat|floor)\.? ?#?[A-Za-z0-9\-]+)?"
_STREET = r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Terrace|Parkway|Pkwy|Highway|Hwy|Crescent)"
# Words of products too (USB Drive), so only with what follows them in an address.
_DRIVE = r"(?:Drive|Dr|Way|Place|Court|Ct|Close|Square)"
_WELL_KNOWN = r"(?i:main|high|oak|elm|park|church|mill|station|kings?|queens?|[0-9]{1,3}(?:st|nd|rd|th))"
_NAME = r"\p{Lu}[\p{L}'\-]+"


def _addresses() -> Iterator[str]:
    """Give postal addresses of China, of English, German, French, Spanish and Portuguese speaking countries."""
    yield _REGION + r"{0,5}" + _PLACE + r"{1,8}?" + _ROAD + _NUMERAL + r"(?:号|弄)" + _ROOM + r"{0,5}"
    building = _ESTATE + _NUMERAL + r"(?:号楼|栋|幢|座|单元|号)"
    yield _REGION + r"{1,5}" + _PLACE + r"{1,10}?" + building + _ROOM + r"{0,4}"
    named = _HOUSE_BEFORE + r"(?:" + _CAPITALISED + r" ){1,4}"
    yield named + _STREET + r"(?-u:\b)\.?" + _FLAT
    yield named + _DRIVE + r"(?-u:\b)\.?(?:, [A-Z]\p{L}+|" + _UNIT + r")"
    yield _HOUSE_BEFORE + _WELL_KNOWN + r" (?i:street|avenue|road|st|ave)(?-u:\b)" + _FLAT
    yield r"(?i:(?-u:\b)p\.? ?o\.? box|postfach) [0-9 ]*[0-9]"
    of_one_word = _CAPITALISED + r"(?:straße|strasse|str\.|weg|allee|gasse|damm|ufer)"
    yield r"(?:" + _CAPITALISED + r" )?" + of_one_word + _HOUSE_BEHIND + _TOWN + r"?"
    of_two_words = _CAPITALISED + r"(?:er|e)? (?:Straße|Strasse|Str\.|Weg|Allee|Gasse|Damm|Ufer|Platz)"
    yield of_two_words + _HOUSE_BEHIND + _TOWN + r"?"
    yield _CAPITALISED + r"platz" + _HOUSE_BEHIND + _TOWN
    rue = r"(?:bis |ter )?(?:rue|avenue|boulevard|chemin|allée|impasse|quai) (?:de la |de l'|du |des |de |d')?"
    yield _HOUSE_BEFORE + rue + _NAME + r"(?: " + _NAME + r")*"
    calle = r"(?-u:\b)(?:Calle|Rua|Avenida|Av\.|Viale|Travessa)(?: (?:de|da|do|das|dos|la|las|los|del))* "
    yield calle + _NAME + r"(?: (?:de |da |do |dos |das )?" + _NAME + r")*,? (?:nº? ?|no\.? )?[0-9]{1,5}" + _END


_INTRODUCED = r"(?i:my name is|my name's|mein name ist|ich heiße|je m'appelle|me llamo|meu nome é|me chamo)"
_CALLED_SO = r"\p{Lu}[\p{L}'’\-]+(?: (?:(?i:von|van|de|da|dos|del) )?\p{Lu}[\p{L}'’\-]+){0,2}"
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆"
    "汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)


def _patterns() -> Iterator[Pattern]:
    """Give the rules that need no arithmetic, those of one mark together."""
    kept = r"${1}"
    for number in _numbers():
        yield Pattern("phone", _BEFORE + number + _END, kept + "[phone]")
    yield Pattern("phone", r"(" + _CALLED + r")\+?[0-9]{7,12}" + _END, kept + "[phone]")
    yield Pattern("account", r"(" + _MESSENGER + r")" + _HANDLE + _END, kept + "[account]")
    yield Pattern("mac", r"(?-u:\b)(?:" + _HEX + r"{2}[:\-]){5}" + _HEX + r"{2}" + _END, "[mac]")
    yield Pattern("ip", r"(?-u:\b)(?:" + _HEX + r"{1,4}:){7}" + _HEX + r"{1,4}" + _END, "[ip]")
    shortened = r"(?:" + _HEX + r"{1,4}(?::" + _HEX + r"{1,4}){0,4})?"
    yield Pattern("ip", r"(?-u:\b)(?:" + _HEX + r"{1,4}:){2,6}:" + shortened, "[ip]")
    for address in _addresses():
        yield Pattern("address", address, "[address]")
    yield Pattern("name", r"((?-u:\b)" + _INTRODUCED + r" )" + _CALLED_SO, kept + "[name]")
    chinese = r"(我叫|我的名字[是叫]|姓名[是为:： ]{0,2})[" + _SURNAMES + r"]\p{Han}{1,2}"
    yield Pattern("name", chinese, kept + "[name]")


PATTERNS: Mapping[str, tuple[Pattern, ...]] = {
    mark: tuple(rules) for mark, rules in itertools.groupby(_patterns(), key=lambda rule: rule.mark)
}
"""Rules that need no arithmetic, by mark."""

HOLDS: Mapping[str, str] = {
    "phone": r"[0-9][0-9 ()./\-]{4,}[0-9]",
    "account": r"(?i)qq|微信|wechat|[vw]x",
    "mac": r"[0-9A-Fa-f]{2}[:\-][0-9A-Fa-f]{2}[:\-]",
    "ip": r"[0-9A-Fa-f]:[0-9A-Fa-f:]{3,}",
    "name": r"(?i:name is|name's|name ist|ich heiße|m'appelle|me llamo|nome é|chamo)|我叫|我的名字|姓名",
    "address": (
        r"[路街巷弄道同][0-9一二三四五六七八九十百]|[区园厦寓村苑城场][0-9一二三四五六七八九十百]"
        r"|(?i:street|avenue|road|boulevard|box|postfach)"
        r"|(?-u:\b)(?:St|Ave?|Rd|Blvd|Lane|Ln|Terrace|Parkway|Pkwy|Highway|Hwy|Crescent)(?-u:\b)"
        r"|(?-u:\b)(?:Drive|Dr|Way|Place|Court|Ct|Close|Square)(?-u:\b)"
        r"|(?:straße|strasse|str\.|weg|allee|gasse|damm|ufer|platz) ?[0-9]"
        r"|(?:Straße|Strasse|Str\.|Weg|Allee|Gasse|Damm|Ufer|Platz) ?[0-9]"
        r"|(?:rue|boulevard|chemin|allée|impasse|quai|Calle|Rua|Avenida|Viale|Travessa) "
    ),
}
"""What each find of a mark holds, so that most rows are looked at once instead of by every rule."""


def _digits(match: re.Match[str]) -> str:
    return "".join(sign for sign in match["found"] if sign.isdigit())


def has_luhn_digit(digits: str) -> bool:
    """Tell whether the last digit of a number is its check digit (ISO/IEC 7812), as that of a bank card is."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def is_id_card(text: str) -> bool:
    """Tell whether the last of 18 signs is the check sign of a Chinese identity number (GB 11643)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(weight * int(digit) for weight, digit in zip(weights, text[:17], strict=True))
    return text[17].upper() == "10X98765432"[total % 11]


def is_iban(text: str) -> bool:
    """Tell whether a text without blanks is an account number with right check digits (ISO 13616)."""
    shortest, longest = 15, 34
    turned = text[4:] + text[:4]
    return shortest <= len(text) <= longest and int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def _is_bank_card(match: re.Match[str]) -> bool:
    digits = _digits(match)
    # Fourteen and more: thirteen digits are an article number far more often than a card.
    return 14 <= len(digits) <= 19 and len(set(digits)) > 1 and has_luhn_digit(digits)


_VERSION = re.compile(r"version|firmware|driver|software|update|release|build|版本|固件|系统|升级|\bv\.? ?$")


def _is_host(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - 24) : match.start()].lower()
    # What begins with one digit is a version number more often than a host.
    return _VERSION.search(before) is None and int(match["found"].split(".")[0]) >= 10


_DATE = re.compile(r"(?:19|20)\d\d-?[01]\d-?[0-3]\d|[0-3]?\d-[01]?\d-(?:19|20)\d\d")


def _is_order(match: re.Match[str]) -> bool:
    return len(_digits(match)) >= 5 and not _DATE.fullmatch(match["found"])


def _is_national_phone(match: re.Match[str]) -> bool:
    return 9 <= len(_digits(match)) <= 15 and not _DATE.fullmatch(match["found"])


def _is_international_phone(match: re.Match[str]) -> bool:
    return 8 <= len(_digits(match)) <= 15


_ORDER = (
    r"(?:\border|\bpurchase|\binvoice|\btracking|\bparcel|\bshipment|\bticket|\bbestell(?:ung|nummer)"
    r"|\bauftrag(?:snummer)?|\brechnung(?:snummer)?|\bsendung(?:snummer)?|\bkundennummer|\bpedido|\bcommande|\brastreio"
    r"|订单|运单|快递单|单号|物流)"
)
_NUMBERED = (
    r"(?:[ \t:：#.\-是为号]|编号|单|number|nummer|numéro|número|code|num|no|nr|nº|id|ist|is|was|lautet|é)*"
)
_ALONE, _AHEAD = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"
_NO_PRICE = r"(?![0-9A-Za-z]|[.,]\d)"
_BORN = r"(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_GROUPED_IBAN = r"[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?\d[A-Z0-9]{0,2})?"
_CARD = r"[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{2,4}(?:[ -]?\d{1,3})?|3\d{3}[ -]?\d{6}[ -]?\d{4,5}"
_ABROAD = r"00[1-9]\d{0,2}(?:[ \-/.]\(?\d+\)?){1,6}"
_AT_HOME = r"0[1-9]\d{1,4}(?:[ /.\-]\d{2,8}){1,4}"


def _found(pattern: str) -> str:
    return r"(?P<found>" + pattern + r")"


CHECKS: tuple[Check, ...] = (
    Check(
        "id_card",
        r"[1-9][0-9]{5}[ \-]?(?:18|19|20)[0-9]{6}[ \-]?[0-9]{3}[0-9Xx]",
        re.compile(_ALONE + _found(r"[1-9]\d{5}[ -]?" + _BORN + r"[ -]?\d{3}[\dXx]") + _AHEAD, re.ASCII),
        lambda match: is_id_card(re.sub("[ -]", "", match["found"])),
    ),
    Check(
        "iban",
        r"[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]{4}){2}",
        re.compile(_ALONE + _found(_GROUPED_IBAN + r"|[A-Za-z]{2}\d\d[A-Za-z0-9]{11,30}") + _AHEAD, re.ASCII),
        lambda match: is_iban(match["found"].replace(" ", "").upper()),
    ),
    Check(
        "bank_card",
        r"[2-6][0-9]{3}[ \-]?[0-9]{4}[ \-]?[0-9]{2}[ \-]?[0-9]{2}|3[0-9]{3}[ \-]?[0-9]{6}[ \-]?[0-9]{4}",
        re.compile(r"(?<![0-9A-Za-z.])" + _found(_CARD) + _AHEAD, re.ASCII),
        _is_bank_card,
    ),
    Check(
        "order",
        r"(?i:" + _ORDER.replace(r"\b", r"(?-u:\b)") + r").{0,20}[0-9]",
        re.compile(
            r"(?i:" + _ORDER.replace(r"\b", r"(?<![A-Za-z])") + _NUMBERED + r")"
            + _found(r"[A-Za-z0-9][A-Za-z0-9\-]{3,28}[A-Za-z0-9]") + _NO_PRICE
        ),
        _is_order,
    ),
    Check(
        "phone",
        r"\+[1-9]",
        re.compile(_ALONE + _found(r"\+[1-9](?:(?: ?[/\-]? ?|\.)\(?\d+\)?){1,9}") + _NO_PRICE, re.ASCII),
        _is_international_phone,
    ),
    Check(
        "phone",
        r"(?:0[0-9]{2,5}[ /.\-]|00[1-9][0-9]{0,2}[ \-])",
        re.compile(r"(?<![0-9A-Za-z#_.\-])(?<![0-9] )" + _found(_ABROAD + r"|" + _AT_HOME) + _NO_PRICE, re.ASCII),
        _is_national_phone,
    ),
    Check(
        "ip",
        _OCTET + r"(?:\." + _OCTET + r"){3}",
        re.compile(r"(?<![\w.])" + _found(_OCTET + r"(?:\." + _OCTET + r"){3}") + r"(?![\w]|\.\d)", re.ASCII),
        _is_host,
    ),
)
"""Rules that need arithmetic or a look at the words before, in the order in which they are tried."""
