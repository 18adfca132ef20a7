"""Texts as customers write them, with personal values planted and with what only looks like them.

Values are made here from their own definitions (check digits included), not from the patterns that look for them.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

LANGUAGES = ("english", "european", "chinese")


@dataclass(frozen=True)
class PersonalText:
    """A text, the values planted in it with their kinds, and the harmless values that must stay."""

    text: str
    planted: tuple[tuple[str, str], ...]
    harmless: tuple[str, ...]


def luhn_number(prefix: str, length: int, draw: random.Random) -> str:
    """Complete a number by its Luhn digit."""
    body = prefix + "".join(draw.choices(string.digits, k=length - len(prefix) - 1))
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return body + str(-total % 10)


def identity_number(draw: random.Random) -> str:
    """Make a Chinese identity number with its check sign."""
    born = f"{draw.randint(1940, 2015)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
    body = draw.choice(["110105", "310104", "440305", "330106", "510107"]) + born + f"{draw.randint(1, 999):03}"
    rest = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(body)) % 11
    return body + "10X98765432"[rest]


def iban(draw: random.Random) -> str:
    """Make an account number with its check digits."""
    country, length = draw.choice([("DE", 22), ("FR", 27), ("NL", 18), ("GB", 22), ("ES", 24)])
    body = "".join(draw.choices(string.digits, k=length - 4))
    if country in {"NL", "GB"}:
        body = "ABNA"[:4] + body[4:]
    turned = "".join(str(int(sign, 36)) for sign in body + country + "00")
    return f"{country}{98 - int(turned) % 97:02}{body}"


def ean13(draw: random.Random) -> str:
    """Make an article number with its check digit."""
    body = draw.choice(["400", "590", "692", "978", "761"]) + "".join(draw.choices(string.digits, k=9))
    return body + str(-sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body)) % 10)


def _grouped(text: str, size: int, between: str) -> str:
    return between.join(text[at : at + size] for at in range(0, len(text), size))


def _wide(text: str) -> str:
    return text.translate({ord(each): ord(each) + 0xFEE0 for each in string.digits})


def _number(draw: random.Random, digits: int) -> str:
    return draw.choice("23456789") + "".join(draw.choices(string.digits, k=digits - 1))


def _email(draw: random.Random) -> str:
    name = draw.choice(["anna.k", "j_smith", "li-wei", "zhang.san+shop", "M.Garcia", "o'neil"]) + str(
        draw.randint(1, 999)
    )
    return (
        name
        + draw.choice(["@", "@", "@", "@mail."])
        + draw.choice(["gmail.com", "qq.com", "web.de", "163.com", "shop.co.uk"])
    )


def _url(draw: random.Random) -> str:
    return draw.choice(["https://", "http://www.", "www."]) + draw.choice(
        [
            f"example.com/u/{_number(draw, 6)}",
            f"weibo.com/{_number(draw, 8)}?from=me",
            f"anna-k{draw.randint(1, 99)}.blogspot.com",
        ]
    )


def _card(draw: random.Random) -> str:
    number = luhn_number(draw.choice(["4", "51", "55", "6222", "6217"]), 16, draw)
    if draw.random() < 0.2:
        return luhn_number("6228", 19, draw)
    return draw.choice([number, _grouped(number, 4, " "), _grouped(number, 4, "-")])


def _ip(draw: random.Random) -> str:
    return ".".join(str(draw.randint(low, 250)) for low in (11, 0, 0, 1))


def _us_phone(draw: random.Random) -> str:
    area, exchange, line = _number(draw, 3), _number(draw, 3), f"{draw.randint(0, 9999):04}"
    return draw.choice(
        [
            f"({area}) {exchange}-{line}",
            f"{area}-{exchange}-{line}",
            f"{area}.{exchange}.{line}",
            f"+1 {area} {exchange} {line}",
            f"1-{area}-{exchange}-{line}",
            f"+1{area}{exchange}{line}",
        ]
    )


def _european_phone(draw: random.Random) -> str:
    tail = _number(draw, 7)
    return draw.choice(
        [
            f"+49 151 {_number(draw, 8)}",
            f"0151 {_number(draw, 8)}",
            f"089/{tail}",
            f"+33 6 {_grouped(_number(draw, 8), 2, ' ')}",
            f"06 {_grouped(_number(draw, 8), 2, ' ')}",
            f"+44 20 7946 {draw.randint(0, 9999):04}",
            f"020 7946 {draw.randint(0, 9999):04}",
            f"0049 170 {tail}",
            f"+4915{_number(draw, 9)}",
            f"(030) {tail}",
            f"+351 9{_number(draw, 2)} {_number(draw, 3)} {_number(draw, 3)}",
        ]
    )


def _chinese_phone(draw: random.Random) -> str:
    mobile = f"1{draw.choice('3456789')}{_number(draw, 9)}"
    split = f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}"
    return draw.choice(
        [
            mobile,
            mobile,
            split,
            split.replace("-", " "),
            f"+86 {mobile}",
            f"+86{mobile}",
            _wide(mobile),
            f"010-{_number(draw, 8)}",
            f"0571-{_number(draw, 8)}",
            f"(021){_number(draw, 8)}",
        ]
    )


def _english_address(draw: random.Random) -> str:
    street = draw.choice(
        [
            "Main Street",
            "Oak Ave",
            "N. Lake Shore Road",
            "Fifth Avenue",
            "Elm St.",
            "Martin Luther King Blvd",
            "Cherry Lane",
            "Kings Road",
        ]
    )
    return f"{draw.randint(1, 9999)} {street}" + draw.choice(
        ["", "", f", Apt {draw.randint(1, 90)}B", f" Suite {draw.randint(1, 900)}"]
    )


def _european_address(draw: random.Random) -> str:
    number = draw.randint(1, 199)
    return draw.choice(
        [
            f"Hauptstraße {number}",
            f"Berliner Straße {number}a",
            f"Goethestr. {number}",
            f"Am Mühlenweg {number}",
            f"Lindenallee {number}, 10115 Berlin",
            f"{number} rue de la Paix",
            f"{number} avenue Victor Hugo",
            f"Calle Mayor {number}",
            f"Rua das Flores, {number}",
            f"Postfach {number}",
        ]
    )


def _chinese_address(draw: random.Random) -> str:
    region = draw.choice(
        ["浙江省杭州市西湖区", "上海市浦东新区", "北京市朝阳区", "广东省深圳市南山区", "四川省成都市武侯区", ""]
    )
    street = draw.choice(["文三路", "世纪大道", "建国路", "科技园南路", "人民街", "解放巷"])
    rest = draw.choice(
        ["", f"{draw.randint(1, 9)}栋{draw.randint(1, 4)}单元{draw.randint(101, 2202)}室", f"{draw.randint(1, 20)}号楼"]
    )
    return f"{region}{street}{draw.randint(1, 999)}号{rest}"


def _english_order(draw: random.Random) -> str:
    return draw.choice(
        [f"{_number(draw, 3)}-{_number(draw, 7)}-{_number(draw, 7)}", f"SO-{_number(draw, 7)}", _number(draw, 9)]
    )


_Values = dict[str, tuple[Callable[[random.Random], str], tuple[str, ...]]]
_COMMON: _Values = {"email": (_email, ()), "url": (_url, ()), "bank_card": (_card, ()), "ip": (_ip, ())}
_VALUES: dict[str, _Values] = {
    "english": {
        "email": (_email, ("write to {} please", "My mail: {}.", "contact {}, thanks")),
        "url": (_url, ("see {} for the photo", "posted it on {} yesterday")),
        "bank_card": (_card, ("I paid with {} and it failed", "charged twice on card {}!")),
        "ip": (_ip, ("login from {} was not me", "my address is {} says the router")),
        "phone": (_us_phone, ("call me at {}", "my number is {}, after six", "phone {} please", "reach us on {}.")),
        "address": (_english_address, ("I live at {}", "deliver to {} next time", "it went to {} instead")),
        "order": (
            _english_order,
            ("order number {} never came", "Order #{}: wrong size", "my order {} is late", "tracking no. {} is stuck"),
        ),
        "name": (
            lambda d: d.choice(["John Smith", "Mary O'Brien", "Ana de Souza", "Priya"]),
            ("my name is {}, hello", "Hi, my name is {} and I am cross"),
        ),
    },
    "european": {
        "email": (_email, ("bitte an {} schreiben", "Mail: {}", "écrivez à {} svp")),
        "url": (_url, ("siehe {} dazu", "photo sur {} hier")),
        "bank_card": (_card, ("Karte {} wurde belastet", "payé avec {} hier")),
        "iban": (
            lambda d: d.choice([(x := iban(d)), _grouped(x, 4, " ")]),
            ("bitte auf {} erstatten", "IBAN: {}", "remboursez sur {} svp"),
        ),
        "phone": (_european_phone, ("bitte anrufen: {}", "Tel. {} ab 18 Uhr", "mon numéro {} merci", "ruft {} an")),
        "address": (_european_address, ("ich wohne {}", "geliefert an {} statt zu mir", "livré au {} hier")),
        "order": (
            lambda d: _number(d, 8),
            (
                "Bestellung {} fehlt",
                "Bestellnummer: {}",
                "commande n° {}".replace("° ", "o "),
                "Rechnung Nr. {} falsch",
            ),
        ),
        "name": (
            lambda d: d.choice(["Jürgen Müller", "Anna von Stein", "Zoë"]),
            ("mein Name ist {}, hallo", "ich heiße {} und warte"),
        ),
    },
    "chinese": {
        "email": (_email, ("邮箱是{}谢谢", "发到{}吧")),
        "url": (_url, ("图片在 {} 上", "见{}，谢谢")),
        "bank_card": (_card, ("卡号{}被扣了两次", "退到{}上")),
        "id_card": (
            lambda d: d.choice([(x := identity_number(d)), x.lower(), f"{x[:6]} {x[6:14]} {x[14:]}"]),
            ("身份证{}号", "证件号码：{}，请核对"),
        ),
        "phone": (_chinese_phone, ("电话{}谢谢", "请打{}联系我", "手机：{}。", "我的号码{}，下午在")),
        "address": (_chinese_address, ("地址:{}", "我住在{}，三楼", "请送到{}，谢谢")),
        "order": (
            lambda d: d.choice([_number(d, 18), _number(d, 12), "SF" + _number(d, 12)]),
            ("订单号{}没收到", "订单编号：{}，请查", "快递单号 {} 不动了"),
        ),
        "name": (lambda d: d.choice(["张三", "李小龙", "王伟"]), ("我叫{}，你好", "姓名：{}，请查收")),
    },
}


def _price(draw: random.Random) -> str:
    whole, part = draw.randint(1, 99999), draw.randint(0, 99)
    return draw.choice(
        [
            f"${whole}.{part:02}",
            f"{whole},{part:02} €",
            f"¥{whole}",
            f"{whole}.{part:02}元",
            f"{whole:,}.00",
            f"{whole}元",
        ]
    )


def _date(draw: random.Random) -> str:
    year, month, day = draw.randint(1999, 2026), draw.randint(1, 12), draw.randint(1, 28)
    return draw.choice(
        [
            f"{year}-{month:02}-{day:02}",
            f"{day:02}.{month:02}.{year}",
            f"{month}/{day}/{year}",
            f"{year}年{month}月{day}日",
            f"{year}{month:02}{day:02}",
            f"{year}-{month:02}-{day:02} 12:30:45",
        ]
    )


def _version(draw: random.Random) -> str:
    return draw.choice(["v", "version ", "firmware ", "iOS "]) + ".".join(
        str(draw.randint(0, 9)) for _ in range(draw.randint(2, 4))
    )


_HARMLESS: tuple[Callable[[random.Random], str], ...] = (
    _price,
    _date,
    _version,
    ean13,
    lambda d: f"ISBN 978-3-{_number(d, 2)}-{_number(d, 6)}-{d.randint(0, 9)}",
    lambda d: d.choice(
        [
            "SM-G991B",
            "WH-1000XM4",
            "RTX 4090",
            "iPhone 15 128 256",
            "A1234-5678",
            "i7-12700K",
            "GX-40022",
            "Model 3000-12",
            "AB12CD34",
            "XPS 13 9310",
        ]
    ),
    lambda d: d.choice(
        [
            "20% off 2 for 1",
            "5 stars",
            "10/10",
            "size 42",
            "3 x 500 ml",
            "24/7",
            "100% 2024",
            "4K 60 Hz",
            "1080p",
            "2 for 1",
        ]
    ),
    lambda d: d.choice(
        [
            "3.5 mm",
            "128 GB",
            "1920x1080",
            "12 V 2 A",
            "50-60 cm",
            "220-240 V",
            "10-15 days",
            "64 GB USB Flash Drive",
            "0.125 l",
            "1,000,000",
        ]
    ),
    lambda d: f"{d.randint(1, 23):02}:{d.randint(0, 59):02}",
    lambda d: f"{d.randint(2, 900)} {d.choice(['pieces', 'Stück', '件', 'hours', 'km'])}",
    lambda d: d.choice(
        [
            "order 2 of these",
            "ordered 250 pieces",
            "Bestellung 2024",
            "第2号电池",
            "12号线地铁站",
            "24 hour street food",
            "Speicherplatz 64 GB",
            "订单2024-05-06的",
            "part 0601-22",
            "+20% battery",
        ]
    ),
)
_REMARKS = {
    "english": (
        "I bought {} and it is fine.",
        "Arrived with {} on the box!",
        "{}, would buy again",
        "Not worth {} at all.",
    ),
    "european": (
        "Habe {} gekauft, passt.",
        "{} steht auf der Packung.",
        "Très bien, {} comme promis.",
        "Nie wieder {}!",
    ),
    "chinese": ("买了{}，很好。", "{}不值", "包装上写着{}，还行", "质量不错 {} 推荐"),
}


def write_texts(language: str, count: int, seed: int = 7) -> list[PersonalText]:
    """Write texts: of every four one holds nothing personal, the others one or two personal values."""
    draw = random.Random(f"{language} {seed}")
    found = []
    for number in range(count):
        kinds = draw.sample(sorted(_VALUES[language]), k=(0, 1, 1, 2)[number % 4])
        planted, parts = [], []
        for kind in kinds:
            make, templates = _VALUES[language][kind]
            value = make(draw)
            planted.append((kind, value))
            parts.append(draw.choice(templates).format(value))
        harmless = [draw.choice(_HARMLESS)(draw) for _ in range(draw.randint(1, 2))]
        parts += [draw.choice(_REMARKS[language]).format(value) for value in harmless]
        draw.shuffle(parts)
        found.append(PersonalText(draw.choice(["; ", ". ", "\n"]).join(parts), tuple(planted), tuple(harmless)))
    return found
