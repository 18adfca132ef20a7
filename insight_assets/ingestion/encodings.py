"""The encoding of delivered text, where its contract leaves that open.

A guess is only taken when nothing else explains the bytes nearly as well; text is never decoded with replacements.
Splitting into lines is in `lines`; what happens to a file whose encoding stays unknown is decided in `readers`.
"""

import codecs
import re

import charset_normalizer

AUTO = "auto"
KNOWN = frozenset(
    {
        "gb18030", "gbk", "gb2312", "big5", "big5hkscs", "cp950", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949",
        "utf_16", "utf_16_le", "utf_16_be", "latin_1", "iso8859_15", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254",
    }
)  # fmt: skip
SAMPLE_BYTES = 1 << 16
_SEARCHED_BYTES = 1 << 22
_CONFIDENCE = 0.9
# Bytes beyond ASCII below which any guess is luck.
_FEWEST = 12
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Difference in confidence below which two guesses are as good as each other.
_CLOSE = 0.025
_NUL_SHARE = 0.2
_ONE_SIDED = 0.9
_BEYOND_ASCII = 0x80
_BETWEEN_CELLS = re.compile(rb'[,;\t"\r\n:]+')
_BIG5 = frozenset({"big5", "big5hkscs", "cp950"})
_CHINESE = frozenset({"gb18030", "gbk", "gb2312"}) | _BIG5
_JAPANESE = frozenset({"shift_jis", "cp932", "euc_jp"})
_KOREAN = frozenset({"euc_kr", "cp949"})
_WIDER = {"gb18030": {"gbk", "gb2312"}, "cp1252": {"cp1252"}, "cp949": {"euc_kr"}, "cp932": {"shift_jis"}}
_HAN = re.compile("[\u3400-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff\uff66-\uff9f]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_SECOND_HALF = re.compile(rb"(?<![\x81-\xfe])(?:[\x81-\xfe][\x40-\xfe])*?[\xc9-\xd7][\xa1-\xfe]")
_MIXED = 0.05


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
        if zeros.count(0) > max(_NUL_SHARE * len(sample), _ONE_SIDED * sample.count(0)):
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
    if sum(byte >= _BEYOND_ASCII for byte in sample) < _FEWEST:
        return None
    matches = charset_normalizer.from_bytes(sample, cp_isolation=sorted(KNOWN))
    found = sorted((match for match in matches if _is_one_script(match, sample)), key=lambda match: match.chaos)
    if not found or 1 - found[0].chaos < _CONFIDENCE:
        return None
    # Where letters explain the bytes equally well, the language does.
    best = max((match for match in found if match.chaos - found[0].chaos < _CLOSE), key=lambda match: match.coherence)
    rivals = [match for match in found if match.chaos - best.chaos < _CLOSE and str(match) != str(best)]
    if any(rival.coherence >= best.coherence for rival in rivals):
        return None
    # What holds for the sample holds for the larger set of letters, too.
    explains = {best.encoding, *best.could_be_from_charset}
    return next((wide for wide, narrow in _WIDER.items() if narrow & explains), best.encoding)


def _sample(data: bytes) -> bytes:
    """Take what is written beyond ASCII at the beginning of a file, cell by cell."""
    kept, size = [], 0
    for cell in _BETWEEN_CELLS.split(data[:_SEARCHED_BYTES]):
        if size < SAMPLE_BYTES and not cell.isascii():
            kept.append(cell)
            size += len(cell)
    return b"\n".join(kept)


def _is_one_script(match: charset_normalizer.models.CharsetMatch, sample: bytes) -> bool:
    """Tell whether an East Asian reading mixes scripts no more than people do.

    The double bytes of China, Japan and Korea overlap, and a wrong reading is made of plausible characters.
    """
    text = str(match)
    han, kana, hangul = (len(script.findall(text)) for script in (_HAN, _KANA, _HANGUL))
    letters = max(1, han + kana + hangul)
    if match.encoding in _CHINESE:
        if match.encoding in _BIG5:
            # The second byte of Big5 is as often within ASCII as beyond it.
            return kana + hangul < _MIXED * letters and not _is_euc(sample)
        # Korean lies within the first half of the Chinese plane.
        return kana + hangul < _MIXED * letters and len(_SECOND_HALF.findall(sample)) > 2 * _MIXED * letters
    if match.encoding in _KOREAN:
        return han < _MIXED * letters
    return match.encoding not in _JAPANESE or kana > 2 * _MIXED * letters


def _is_euc(sample: bytes) -> bool:
    """Tell bytes of which each pair beyond ASCII has its second one beyond ASCII too."""
    high = bytes(byte if byte >= _BEYOND_ASCII else 0x20 for byte in sample)
    return all(len(run) % 2 == 0 for run in high.split())
