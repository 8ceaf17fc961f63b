"""Part I, chapter 1, cleaning. How do bytes of unknown origin become text in one form?

**Text normalisation**: bytes must be UTF-8; characters are brought into Unicode's composed form (NFC), and those that
cannot be seen are taken out, so that two spellings of a word that look alike are one word.

Read next: `minitransfer.text.wikitext`.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from minitransfer.apparatus.errors import DataError
from minitransfer.apparatus.progress import say

MAX_NORMALISED = 1000  # characters of one word: canonical ordering takes time quadratic in a run of accents
# What Windows-1252 puts where Unicode has control characters: text converted carelessly still has dashes there.
WINDOWS = {chr(code): bytes([code]).decode("cp1252", errors="replace").replace("\ufffd", " ")
           for code in range(0x80, 0xA0)}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
INVISIBLE = re.compile(r"[\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def text_lines(raw_lines: Iterable[bytes], where: str, tally: Counter) -> Iterator[str]:
    """Yield the clean, stripped lines of a file's raw ones; blank lines come out as ""."""
    offset = 0
    for raw in raw_lines:
        for line in decode(raw.rstrip(b"\r\n"), where, tally, offset).split("\n"):
            yield line.strip()
        offset += len(raw)


def decode(raw: bytes, where: str, tally: Counter, offset: int = 0) -> str:
    """Return bytes as clean text (see `clean_text`).

    where: the name of the file, and offset: the place of the first byte in it, for messages.
    Raises: DataError for bytes that are not UTF-8, or so full of NULs that they are UTF-16 or no text at all.
    """
    nuls = raw.count(0)
    if nuls > 16 and 4 * nuls > len(raw):
        bad = raw.index(0)
    else:
        try:
            return clean_text(raw.decode("utf-8"), tally)
        except UnicodeDecodeError as error:
            bad = error.start
    raise DataError(f"{where} is not UTF-8 text: byte 0x{raw[bad]:02x} at offset {offset + bad:,}",
                    "convert it from the encoding that it has, for instance by `iconv -f CP1252 -t UTF-8 OLD > NEW` "
                    "(CP932 for Japanese, UTF-16 where every other byte is zero), or remove it if it is no text")


def clean_text(text: str, tally: Counter) -> str:
    """Return a text in Unicode's composed form (NFC), with "\\n" line ends and without what cannot be seen.

    Control characters become what Windows-1252 means by them, else a space, so that no two words are joined; so do
    lone surrogates. Zero-width characters vanish, a byte-order mark among them. tally["normalised"] counts both.
    Words of more than MAX_NORMALISED characters keep the accents that they have.

    Example: "cafe\\u0301\\x00a\\u200bb" -> "café ab"
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and text.isprintable():
        return text
    text, controls = CONTROL.subn(lambda match: WINDOWS.get(match[0], " "), text)
    text, invisible = INVISIBLE.subn("", text)
    tally["normalised"] += controls + invisible
    if text.isascii():
        return text
    return re.sub(r"\S+|\s+", _composed, text)  # two of the spaces are composed as well


def say_normalised(tally: Counter, name: str) -> None:
    """Report how many characters `clean_text` took out of a corpus or replaced, if any."""
    if tally["normalised"]:
        say(f"{name}: {tally['normalised']:,} control or zero-width characters normalised")


def _composed(word: re.Match[str]) -> str:
    """Compose the accents of a word, if it is short enough."""
    return unicodedata.normalize("NFC", word[0]) if len(word[0]) <= MAX_NORMALISED else word[0]
