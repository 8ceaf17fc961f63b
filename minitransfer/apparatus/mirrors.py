"""Apparatus: mirrors. Who gives the archives out, and what may be made of an answer?

An archive is pinned by its size and its sha256, so it does not matter which mirror sent it, over how many
connections, or how honest the network between was. A mirror is asked for the bytes from a certain one on, so that a
download goes on where it broke. What goes wrong then is of three kinds, because one of three things is to be done
next: ask again, ask for everything from byte 0, or ask another mirror.

Next: download.py, which makes a file of the answers.
"""

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 16  # bytes asked of a connection at once
NETWORK_FAILURES = (OSError, http.client.HTTPException, ValueError)  # the last for addresses sent in redirects
USER_AGENT = "minitransfer/1 (+textbook)"  # one of the mirrors turns urllib's own name away
BUSY = {408, 425, 429}  # the only answers of the 4xx family after which the same question may be answered


@dataclass(frozen=True)
class Archive:
    """A file of known content: its name, its size in bytes, its sha256 in hex, and where it may be had."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


ARCHIVES = {
    "wikitext-2": Archive(
        "wikitext-2-v1.zip", 4_475_746,
        "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
        ("https://wikitext.smerity.com/wikitext-2-v1.zip",)),
    "wikitext-2-raw": Archive(
        "wikitext-2-raw-v1.zip", 4_721_645,
        "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
        ("https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
         "https://huggingface.co/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip")),
    "wikitext-103": Archive(
        "wikitext-103-v1.zip", 190_229_076,
        "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
        ("https://wikitext.smerity.com/wikitext-103-v1.zip",)),
    "wikitext-103-raw": Archive(
        "wikitext-103-raw-v1.zip", 191_984_949,
        "91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
        ("https://wikitext.smerity.com/wikitext-103-raw-v1.zip",
         "https://huggingface.co/datasets/mattdangerw/wikitext-103-raw/resolve/main/wikitext-103-raw-v1.zip")),
    "imdb": Archive(
        "aclImdb_v1.tar.gz", 84_125_825,
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
         "http://d2l-data.s3-accelerate.amazonaws.com/aclImdb_v1.tar.gz")),
}


class Dropped(Exception):
    """The connection failed in a way that another try may mend."""


class Refused(Exception):
    """This mirror does not give out the right file: another try would end the same way."""


class NotResumed(Refused):
    """This mirror does not go on from the byte asked for; from byte 0 it may give out the right file."""


def by_hand(archive: Archive, directory: Path) -> str:
    """Say in half a sentence where a file fetched by other means belongs, and how to know the right one."""
    return (f"put the file by hand at {directory / archive.name} (from {' or '.join(archive.urls)}; "
            f"{archive.size:,} bytes, sha256 {archive.sha256})")


def ask(url: str, have: int, timeout: float) -> http.client.HTTPResponse:
    """Return a mirror's answer to the request for all bytes from byte `have` on; the caller reads and closes it.

    Only http and https are spoken, also after a redirect: no file:, no ftp:.
    timeout: seconds without a byte before a connection counts as stalled.
    Raises: Dropped, Refused, or NotResumed where there is no byte `have`.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Refused("only http and https addresses are opened")
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
                    urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler,
                    urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler):
        opener.add_handler(handler())
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:  # an HTTPError holds the connection open until it is closed
            raise _status_failure(error.code, have) from error
    except NETWORK_FAILURES as error:
        raise Dropped(_one_line(error)) from error


def first_byte(answer: http.client.HTTPResponse, have: int, archive: Archive) -> int:
    """Return where in the archive the answer's bytes belong: at `have` if the mirror goes on from there, else at 0.

    Raises: NotResumed for another range than the one asked for; Refused for a web page, or for a wrong length.
    """
    start, rest = 0, answer.headers.get("Content-Length")
    if answer.status == http.client.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)", answer.headers.get("Content-Range", "").strip())
        if not match or match[1] != str(have) or match[2] not in ("*", str(archive.size)):
            raise NotResumed(f"it answered another range than asked: {answer.headers.get('Content-Range')!r}")
        start = have
    if answer.headers.get_content_type() == "text/html":
        raise Refused("it sent a web page (text/html: a sign-in or error page?), not the archive")
    if rest is not None and rest != str(archive.size - start):  # compared as text: a server may send any nonsense
        raise Refused(f"wrong size: expected {archive.size - start} bytes, got {rest[:20]}")
    return start


def chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield an answer's bytes as they come in. Raises: Dropped on a stall or a broken connection."""
    try:
        while chunk := answer.read1(CHUNK):
            yield chunk
    except NETWORK_FAILURES as error:
        raise Dropped(_one_line(error)) from error


def _status_failure(status: int, have: int) -> Exception:
    """Return what an HTTP status means that answers the request for the bytes from byte `have` on."""
    kind: type[Exception]
    if have and status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        kind = NotResumed
    else:
        kind = Dropped if status >= 500 or status in BUSY else Refused
    return kind(f"HTTP {status} {http.client.responses.get(status, '')}".strip())


def _one_line(error: Exception) -> str:
    """Return an exception's message on one line; a URLError's own reason says it best."""
    return " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())
