"""The encoding of delivered text, where its contract leaves that open.

A guess is only taken when nothing else explains the bytes nearly as well; text is never decoded with replacements.
Splitting into lines is in `lines`; what happens to a file whose encoding stays unknown is decided in `readers`.
"""

import codecs
import itertools

import charset_normalizer

AUTO = "auto"
KNOWN = frozenset(
    {
        "gb18030", "gbk", "gb2312", "big5", "big5hkscs", "cp950", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949",
        "utf_16", "utf_16_le", "utf_16_be", "latin_1", "iso8859_15", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254",
    }
)  # fmt: skip
SAMPLE_BYTES = 1 << 16
_CONFIDENCE = 0.9
# Bytes beyond ASCII below which any guess is luck.
_FEWEST = 12
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Difference in confidence below which two guesses are as good as each other.
_CLOSE = 0.025
_NUL_SHARE = 0.2
_BIG5 = frozenset({"big5", "big5hkscs", "cp950"})


def marked_encoding(data: bytes) -> str | None:
    """Tell the encoding by the mark before the text, or by the zeros that UTF-16 puts between Latin letters.

    Args:
        data: the bytes of a file.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    sample = data[:SAMPLE_BYTES]
    for encoding, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if zeros.count(0) > _NUL_SHARE * len(sample) and sample.count(0) == zeros.count(0):
            return encoding
    return None


def guess_encoding(data: bytes) -> str | None:
    """Guess the encoding of bytes that are no UTF-8.

    Args:
        data: the bytes of a file.

    Returns:
        Python's name of it; None unless one known encoding explains a sample with a confidence of 0.9 and no other
        that would read other letters comes close.
    """
    sample = _sample(data)
    if sum(byte >= 0x80 for byte in sample) < _FEWEST:
        return None
    found = sorted(charset_normalizer.from_bytes(sample, cp_isolation=sorted(KNOWN)), key=lambda match: match.chaos)
    if not found or 1 - found[0].chaos < _CONFIDENCE:
        return None
    # Where letters explain the bytes equally well, the language does.
    best = max((match for match in found if match.chaos - found[0].chaos < _CLOSE), key=lambda match: match.coherence)
    text = str(best)
    if best.encoding in _BIG5 and _is_euc(sample):
        return None
    rivals = [match for match in found if match.chaos - best.chaos < _CLOSE and str(match) != text]
    if any(rival.coherence >= best.coherence for rival in rivals):
        return None
    return "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding


def _sample(data: bytes) -> bytes:
    """Take whole lines with bytes beyond ASCII from the beginning of a file."""
    head = data[: 1 << 22].split(b"\n")
    kept = itertools.accumulate((line for line in head[: len(head) - 1 or 1] if not line.isascii()), lambda a, b: a + b"\n" + b)
    text = b""
    for text in kept:
        if len(text) >= SAMPLE_BYTES:
            break
    return text[:SAMPLE_BYTES] if len(text) > 2 * SAMPLE_BYTES else text


def _is_euc(sample: bytes) -> bool:
    """Tell bytes of which each pair beyond ASCII has its second one beyond ASCII too, as Big5 has not."""
    high = bytes(byte if byte >= 0x80 else 0x20 for byte in sample)
    return all(len(run) % 2 == 0 for run in high.split())
