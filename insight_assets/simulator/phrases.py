"""What simulated customers write: reviews, support tickets and searches, in English and Chinese.

A text is up to four phrases; an event holds their positions in one pool, packed into one number,
and `delivery` joins them. Each phrase speaks of one thing with one feeling, so that a text agrees
with the rating and the hidden quality behind it, and a reader of texts can be graded against that.
How often people write is in `fulfilment`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from insight_assets.simulator.catalogue import CATEGORIES, MAKERS, Catalogue

LANGUAGE_COUNT = 2
FEELINGS = ("bad", "mixed", "good")
ASPECTS = ("quality", "size", "delivery", "service", "price")
TOPICS = ("delivery", "quality", "size", "refund", "payment", "coupon", "account", "other")
SLOT_BITS = 15
SLOTS = 4

# Everything below is (English, Chinese). Chinese phrases bring their own punctuation; English ones
# are joined by a blank.
_OPENINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bad": (
        ("Very disappointed.", "I regret buying this.", "Would not recommend.", "Not what I hoped.",
         "A waste of money.", "Terrible experience."),
        ("非常失望。", "后悔买了。", "不推荐购买。", "和期待的差太多。", "浪费钱。", "体验很糟糕。"),
    ),
    "mixed": (
        ("It is okay.", "Average overall.", "Good and bad points.", "Does the job, no more.",
         "Neither great nor terrible."),
        ("一般般。", "中规中矩。", "有好有坏。", "还可以吧，没有惊喜。", "勉强能用。"),
    ),
    "good": (
        ("Love it!", "Very happy with this.", "Highly recommended.", "Exactly what I wanted.",
         "Great buy!", "Second time I order this."),
        ("非常喜欢！", "很满意。", "强烈推荐！", "和想象中一样好。", "买得值！", "第二次回购了。"),
    ),
}  # fmt: skip
_ASPECT_PHRASES: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("quality", "bad"): (
        ("It broke after a week.", "The quality is poor.", "Feels cheap and flimsy.",
         "Fell apart almost at once.", "The finish is rough."),
        ("用了一周就坏了。", "质量很差。", "做工粗糙。", "感觉很廉价。", "没几天就出问题了。"),
    ),
    ("quality", "good"): (
        ("The quality is excellent.", "Well made and solid.", "Feels premium.",
         "Still like new after weeks of use.", "Great workmanship."),
        ("质量很好。", "做工精细。", "很有质感。", "用了几周还像新的一样。", "结实耐用。"),
    ),
    ("size", "bad"): (
        ("The size runs small.", "Much bigger than described.", "Does not fit at all.",
         "The size chart is wrong."),
        ("尺码偏小。", "比描述的大很多。", "完全不合适。", "尺码表不准。"),
    ),
    ("size", "good"): (
        ("Fits perfectly.", "True to size.", "Just the right size.", "The size chart is accurate."),
        ("大小正合适。", "尺码很准。", "尺寸刚刚好。", "按尺码表买很合身。"),
    ),
    ("delivery", "bad"): (
        ("Delivery took far too long.", "The box arrived crushed.", "The courier was late twice.",
         "Shipping was painfully slow."),
        ("物流太慢了。", "包装都压坏了。", "快递一拖再拖。", "等了很久才发货。"),
    ),
    ("delivery", "good"): (
        ("Fast delivery.", "Arrived earlier than promised.", "Well packed, quick shipping.",
         "The courier was very friendly."),
        ("物流很快。", "比预计的早到。", "包装很好，发货迅速。", "快递员态度很好。"),
    ),
    ("service", "bad"): (
        ("Customer service never answered.", "Support was rude.", "Nobody could help me.",
         "Getting an answer took days."),
        ("客服一直不回复。", "客服态度差。", "没人能解决问题。", "等了好几天才有回复。"),
    ),
    ("service", "good"): (
        ("Customer service was very helpful.", "Friendly support.", "Questions answered at once.",
         "The seller was patient and kind."),
        ("客服很耐心。", "服务态度很好。", "有问必答。", "售后处理得很及时。"),
    ),
    ("price", "bad"): (
        ("Too expensive for what it is.", "Cheaper elsewhere.", "Not worth the price.",
         "The price dropped the day after."),
        ("太贵了，不值。", "别家更便宜。", "性价比低。", "刚买就降价了。"),
    ),
    ("price", "good"): (
        ("Good value for money.", "Great price.", "Worth every cent.", "A bargain with the coupon."),
        ("性价比很高。", "价格实惠。", "物超所值。", "用券后很划算。"),
    ),
}  # fmt: skip
_CLOSINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bad": (
        ("I want my money back.", "Never again.", "One star is too many.", ""),
        ("想退货。", "不会再买了。", "一星都嫌多。", ""),
    ),
    "mixed": (
        ("Maybe on sale.", "We will see how it lasts.", "", ""),
        ("打折的话可以考虑。", "再用用看。", "", ""),
    ),
    "good": (
        ("Will buy again.", "Five stars.", "My family likes it too.", ""),
        ("会回购的。", "五星好评。", "家人也很喜欢。", ""),
    ),
}  # fmt: skip
_TICKET_OPENINGS: tuple[tuple[str, ...], tuple[str, ...]] = (
    ("Hello,", "Hi there,", "Good day,", ""),
    ("你好，", "您好，", "在吗？", ""),
)
_TICKET_BODIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "delivery": (
        ("where is my parcel?", "the tracking has not moved for days.",
         "the parcel is marked delivered but I have nothing.", "can I change the delivery address?"),
        ("我的快递到哪了？", "物流信息好几天没更新了。", "显示已签收但我没收到。", "可以改收货地址吗？"),
    ),
    "quality": (
        ("the item arrived broken.", "it stopped working after two days.",
         "there is a scratch on the product.", "a part is missing from the box."),
        ("收到的商品是坏的。", "用了两天就不能用了。", "商品上有划痕。", "盒子里少了配件。"),
    ),
    "size": (
        ("the size is wrong, can I exchange it?", "which size should I take?",
         "it is too small for me.", "the size differs from the page."),
        ("尺码不对，可以换吗？", "我应该买多大的？", "太小了穿不上。", "尺寸和页面写的不一样。"),
    ),
    "refund": (
        ("when will I get my refund?", "I would like to return my order.",
         "the refund is less than I paid.", "how do I send it back?"),
        ("退款什么时候到账？", "我想退货。", "退款金额不对。", "怎么寄回去？"),
    ),
    "payment": (
        ("my payment failed but I was charged.", "the card is refused every time.",
         "I was charged twice.", "I need an invoice."),
        ("付款失败但是扣钱了。", "银行卡一直支付不了。", "被重复扣款了。", "我需要开发票。"),
    ),
    "coupon": (
        ("the coupon does not work.", "my coupon expired too early.",
         "why is the discount smaller than shown?", "I forgot to use my coupon."),
        ("优惠券用不了。", "券提前过期了。", "为什么优惠比显示的少？", "忘记用券了，能补吗？"),
    ),
    "account": (
        ("I cannot sign in.", "please change my phone number.",
         "please delete my account.", "I do not get the verification code."),
        ("登录不上去。", "请帮我换绑手机号。", "请注销我的账号。", "收不到验证码。"),
    ),
    "other": (
        ("will this item be back in stock?", "do you deliver to Hong Kong?",
         "is the gift wrapping free?", "the app crashes when I search."),
        ("这个什么时候补货？", "可以送到香港吗？", "礼品包装免费吗？", "搜索的时候程序闪退。"),
    ),
}  # fmt: skip
# Some writers leave contact data in free text; privacy tests must have something to find.
_TICKET_CLOSINGS: tuple[tuple[str, ...], tuple[str, ...]] = (
    ("Thanks.", "Please answer soon.", "", "This is urgent.", "You can reach me at jane.doe@example.com.",
     "Call me on +86 139 0000 1234."),
    ("谢谢。", "请尽快回复。", "", "很着急。", "我的邮箱是wang.wei@example.com。", "我的手机号是13900001234。"),
)  # fmt: skip
CONTACT_CLOSINGS = 2
CONTACT_SHARE = 0.02

QUERIES_PER_CATEGORY = 20
_QUERY_ADDITIONS: tuple[tuple[str, ...], tuple[str, ...]] = (
    ("cheap {}", "best {}", "{} sale", "{} for women", "{} gift", "{} reviews"),
    ("便宜的{}", "{}推荐", "{}特价", "女款{}", "{}送礼", "{}评价"),
)


@dataclass(frozen=True)
class _Block:
    """A run of phrases in the pool."""

    first: int
    size: int


@dataclass(frozen=True)
class PhraseBook:
    """All phrases in one pool, and where each sort of phrase stands in it.

    Attributes:
        pool: The phrases; position 0 is empty.
        firsts: First position of each sort, by name; arrays over language and the sort's own keys.
        sizes: Number of phrases of each sort, same shapes as `firsts`.
    """

    pool: tuple[str, ...]
    firsts: dict[str, np.ndarray]
    sizes: dict[str, np.ndarray]

    def draw(
        self, sort: str, keys: tuple[np.ndarray, ...], *, random: np.random.Generator
    ) -> np.ndarray:
        """Draw one phrase of a sort for each row of keys, shape (n,)."""
        sizes = self.sizes[sort][keys]
        return self.firsts[sort][keys] + np.floor(random.random(len(sizes)) * sizes).astype(
            np.int64
        )


@cache
def phrase_book() -> PhraseBook:
    """Lay all phrases into one pool."""
    pool: list[str] = [""]

    def lay(texts: Sequence[str], *, spaced: bool) -> _Block:
        first = len(pool)
        pool.extend(text + (" " if spaced and text else "") for text in texts)
        return _Block(first, len(texts))

    def table(banks: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> list[list[_Block]]:
        return [
            [lay(bank[language], spaced=language == 0) for bank in banks]
            for language in range(LANGUAGE_COUNT)
        ]

    blocks = {
        "opening": table([_OPENINGS[feeling] for feeling in FEELINGS]),
        "aspect": table(
            [_ASPECT_PHRASES[aspect, tone] for aspect in ASPECTS for tone in ("bad", "good")]
        ),
        "closing": table([_CLOSINGS[feeling] for feeling in FEELINGS]),
        "ticket_opening": table([_TICKET_OPENINGS]),
        "ticket_body": table([_TICKET_BODIES[topic] for topic in TOPICS]),
        "ticket_closing": table(
            [
                tuple(texts[:-CONTACT_CLOSINGS] for texts in _TICKET_CLOSINGS),  # type: ignore[list-item]
                tuple(texts[-CONTACT_CLOSINGS:] for texts in _TICKET_CLOSINGS),  # type: ignore[list-item]
            ]
        ),
    }
    return PhraseBook(
        pool=tuple(pool),
        firsts={
            sort: np.array([[block.first for block in row] for row in rows])
            for sort, rows in blocks.items()
        },
        sizes={
            sort: np.array([[block.size for block in row] for row in rows])
            for sort, rows in blocks.items()
        },
    )


def pack(*slots: np.ndarray) -> np.ndarray:
    """Pack up to four positions in the pool into one number each, shape (n,)."""
    packed = np.zeros(len(slots[0]), dtype=np.int64)
    for place, slot in enumerate(slots):
        packed |= slot.astype(np.int64) << (SLOT_BITS * place)
    return packed


def unpack(packed: np.ndarray) -> list[np.ndarray]:
    """Give back the four positions of each packed number; -1 gives four times 0."""
    held = np.maximum(packed, 0)
    return [(held >> (SLOT_BITS * place)) & ((1 << SLOT_BITS) - 1) for place in range(SLOTS)]


def write_reviews(
    *,
    language: np.ndarray,
    rating: np.ndarray,
    quality: np.ndarray,
    sized: np.ndarray,
    slow: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Write reviews whose words agree with the stars and with what lies behind them.

    Args:
        language: 0 English, 1 Chinese, shape (n,).
        rating: Stars 1 to 5, shape (n,).
        quality: Hidden quality of the product, about standard normal, shape (n,).
        sized: Whether the product has a size that can be wrong, shape (n,).
        slow: Whether the delivery was slow, shape (n,).
        random: Source of the words.

    Returns:
        Packed phrases, shape (n,).
    """
    book = phrase_book()
    count = len(rating)
    feeling = np.where(rating <= 2, 0, np.where(rating == 3, 1, 2))
    opening = book.draw("opening", (language, feeling), random=random)
    closing = book.draw("closing", (language, feeling), random=random)

    # Quality is what most reviews speak of; a slow parcel is rarely left unsaid.
    weights = np.tile(np.array([3.0, 0.6, 1.2, 0.7, 1.3]), (count, 1))
    weights[:, 1] = np.where(sized, 2.5, 0.2)
    weights[:, 2] = np.where(slow, 4.0, 1.2)
    order = np.argsort(-(np.log(weights) + random.gumbel(size=weights.shape)), axis=1)
    mood = 1.3 * (rating - 3.0)
    phrases = []
    for place in range(2):
        aspect = order[:, place]
        tilt = np.where(aspect == 0, 0.8 * quality, np.where((aspect == 2) & slow, -3.0, 0.3))
        happy = random.random(count) < 1.0 / (1.0 + np.exp(-(mood + tilt)))
        phrases.append(book.draw("aspect", (language, aspect * 2 + happy), random=random))
    second = np.where(random.random(count) < 0.6, phrases[1], 0)
    return pack(opening, phrases[0], second, closing)


def write_tickets(
    *, language: np.ndarray, topic: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Write support tickets about given topics.

    Args:
        language: 0 English, 1 Chinese, shape (n,).
        topic: Position in `TOPICS`, shape (n,).
        random: Source of the words.

    Returns:
        Packed phrases, shape (n,).
    """
    book = phrase_book()
    opening = book.draw("ticket_opening", (language, np.zeros_like(language)), random=random)
    body = book.draw("ticket_body", (language, topic), random=random)
    contact = (random.random(len(topic)) < CONTACT_SHARE).astype(np.int64)
    closing = book.draw("ticket_closing", (language, contact), random=random)
    return pack(opening, body, closing)


@cache
def queries() -> tuple[str, ...]:
    """Give all search texts: QUERIES_PER_CATEGORY for each language and category, in this order.

    The first six of a run are the category's nouns as they are.
    """
    texts: list[str] = []
    for language in range(LANGUAGE_COUNT):
        for place, category in enumerate(CATEGORIES):
            nouns = [noun[language] for noun in category.nouns]
            plain = [noun.lower() for noun in nouns]
            added = [
                addition.format(noun)
                for addition, noun in zip(_QUERY_ADDITIONS[language], plain, strict=True)
            ]
            maker = MAKERS[place * 3 % len(MAKERS)]
            branded = [f"{maker} {noun}" for noun in plain[:4]]
            whole = category.zh if language else category.slug
            # Misspelt searches find nothing.
            misspelt = [noun[: len(noun) // 2] + "x" + noun[len(noun) // 2 :] for noun in plain[:3]]
            texts.extend([*plain, *added, *branded, whole, *misspelt])
    return tuple(texts)


MISSPELT_PER_CATEGORY = 3
NOUN_QUERIES = 6


def search(
    *,
    language: np.ndarray,
    product: np.ndarray,
    catalogue: Catalogue,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose what people type who end up looking at a product, and how much they find.

    Args:
        language: 0 English, 1 Chinese, shape (n,).
        product: The product that they then look at, shape (n,).
        catalogue: The products.
        random: Source of the choice.

    Returns:
        Positions in `queries()` and numbers of results, both of shape (n,).
    """
    count = len(product)
    category = catalogue.category[product].astype(np.int64)
    first = (language.astype(np.int64) * len(CATEGORIES) + category) * QUERIES_PER_CATEGORY
    correct = QUERIES_PER_CATEGORY - MISSPELT_PER_CATEGORY
    other = random.integers(NOUN_QUERIES, correct, count)
    wrong = random.integers(correct, QUERIES_PER_CATEGORY, count)
    draw = random.random(count)
    place = np.where(draw < 0.6, catalogue.noun[product], np.where(draw < 0.96, other, wrong))
    matches = np.diff(catalogue.starts)[category]
    found = np.ceil(matches * random.uniform(0.05, 0.4, count)).astype(np.int64)
    return first + place, np.where(place >= correct, 0, found)
