"""What an answer of a mirror means for what is to be done next, and what is pinned of each archive."""

import contextlib

import mirror_server
import pytest
from mirror_server import CONTENT

from minitransfer.apparatus.mirrors import (
    ARCHIVES,
    Dropped,
    NotResumed,
    Refused,
    ask,
    chunks,
    first_byte,
)


@pytest.fixture
def mirror(monkeypatch):
    """A running server; `mirror(fault)` is an archive that this fault has an address for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with mirror_server.running() as archive:
        yield archive


def answered(archive, have):
    """Where the answer of the first mirror begins, and its bytes."""
    with contextlib.closing(ask(archive.urls[0], have, timeout=0.3)) as answer:
        return first_byte(answer, have, archive), b"".join(chunks(answer))


@pytest.mark.parametrize("fault, have, start", [("none", 0, 0), ("none", 1234, 1234), ("noresume", 1234, 0)])
def test_an_answer_tells_where_its_bytes_belong(mirror, fault, have, start):
    assert answered(mirror(fault), have) == (start, CONTENT[start:])


@pytest.mark.parametrize("have", [0, 1234])
@pytest.mark.parametrize("fault, kind", [
    ("missing", Refused), ("html", Refused), ("size", Refused), ("elsewhere", Refused), ("unasked", NotResumed),
    ("overloaded", Dropped), ("nonsense", Dropped)])
def test_a_failure_tells_what_to_do_next(mirror, fault, kind, have):
    with pytest.raises((Dropped, Refused)) as caught:
        answered(mirror(fault), have)
    assert caught.type is kind and "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["wrongrange", "unsatisfiable"])
def test_a_mirror_that_does_not_go_on_is_told_from_one_that_has_not_the_file(mirror, fault):
    with pytest.raises(NotResumed):
        answered(mirror(fault), 1234)
    assert answered(mirror(fault), 0) == (0, CONTENT)


def test_a_stall_is_a_dropped_connection(mirror):
    with pytest.raises(Dropped, match="timed out"):
        answered(mirror("stalls"), 0)


def test_every_pinned_archive_is_fully_described_and_the_dead_bucket_is_not_among_them():
    assert set(ARCHIVES) == {"wikitext-2", "wikitext-2-raw", "wikitext-103", "wikitext-103-raw", "imdb"}
    for archive in ARCHIVES.values():
        assert len(bytes.fromhex(archive.sha256)) == 32 and archive.size > 4_000_000 and archive.urls
        assert all(url.endswith(archive.name) and "metamind" not in url for url in archive.urls)
