"""Archives and texts of unknown origin: what is read, what is refused, and that nothing is unpacked to disk."""

import gzip
import io
import lzma
import re
import stat
import tarfile
import time
import tracemalloc
import unicodedata
import zipfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransfer.apparatus.archives import file_lines, tar_members, zip_lines
from minitransfer.apparatus.errors import DataError
from minitransfer.text.cleaning import clean_text, decode, text_lines

WANTED = re.compile(r"set/[a-z]+\.txt")
KNOWN = re.compile(r"set/README")
CAPS = {"max_members": 20, "max_member_bytes": 5000, "max_total_bytes": 1_000_000}
NAMES = ("set/train", "set/valid", "set/test")


def header(name, size=0, **fields):
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_file(path, *members, form=tarfile.GNU_FORMAT, pack=gzip.compress):
    """Write a tar file of (name or header, bytes) pairs."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as tar:
        for info, content in members:
            info = header(info) if isinstance(info, str) else info
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(pack(plain.getvalue()))
    return path


def zip_file(path, *entries):
    """Write a zip file of (name or ZipInfo, text) pairs; the three names of NAMES are there by default."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries or [(name, f"{name}\n") for name in NAMES]:
            packed.writestr(name, content)
    return path


def read_tar(path, skipped=None, **caps):
    return dict(tar_members(path, WANTED, KNOWN, skipped=[] if skipped is None else skipped, **CAPS | caps))


def read_zip(path, member="set/train", limit=5000):
    return list(zip_lines(path, member, NAMES, limit))


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A folder to work in whose surroundings must not change: the canary stays, and no file joins it."""
    inside = tmp_path / "deep" / "box"
    inside.mkdir(parents=True)
    (tmp_path / "canary").write_text("sings")
    monkeypatch.chdir(inside)
    yield inside
    assert (tmp_path / "canary").read_text() == "sings"
    outside = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.parent != inside}
    assert outside == {"canary", "deep", "deep/box"}
    assert all(path.suffix in (".gz", ".xz", ".zip") for path in inside.iterdir())


@pytest.mark.parametrize("suffix, pack", [("tar.gz", gzip.compress), ("tar.xz", lzma.compress)])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_wanted_members_are_read_whatever_the_packer(box, suffix, pack, form):
    path = tar_file(box / f"a.{suffix}", (header("set", type=tarfile.DIRTYPE), b""), ("set/a.txt", b"one"),
                    ("./set/b.txt", b"x" * 4999), ("set/README", b"hello"), form=form, pack=pack)
    skipped = []
    assert read_tar(path, skipped) == {"set/a.txt": b"one", "set/b.txt": b"x" * 4999}
    assert skipped == []


def test_strangers_are_passed_over_and_named(box):
    skipped = []
    path = tar_file(box / "a.tar.gz", ("set/._a.txt", b"by a Mac"), ("set/a.txt", b"one"), ("else/b.txt", b"two"))
    assert read_tar(path, skipped) == {"set/a.txt": b"one"}
    assert skipped == ["set/._a.txt", "else/b.txt"]


HOSTILE = {
    "parent": header("../canary"), "inner parent": header("set/../../canary"),
    "backslashes": header("set\\..\\c.txt"),
    "absolute": header("/tmp/canary.txt"), "dotted absolute": header(".//tmp/canary.txt"),
    "symlink": header("set/a.txt", type=tarfile.SYMTYPE, linkname="../../canary"),
    "hard link": header("set/a.txt", type=tarfile.LNKTYPE, linkname="../../canary"),
    "character device": header("set/a.txt", type=tarfile.CHRTYPE), "pipe": header("set/a.txt", type=tarfile.FIFOTYPE),
    "block device": header("set/a.txt", type=tarfile.BLKTYPE),
    "folder outside": header("../deep", type=tarfile.DIRTYPE), "known extra as a link":
        header("set/README", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
}


@pytest.mark.parametrize("flaw", HOSTILE)
def test_a_hostile_tar_member_is_refused_by_name(box, flaw):
    path = tar_file(box / "a.tar.gz", ("set/fine.txt", b"fine"), (HOSTILE[flaw], b""))
    with pytest.raises(DataError) as caught:
        read_tar(path)
    named = HOSTILE[flaw].name.removeprefix("./")
    assert caught.value.exit_code == 3 and repr(named) in caught.value.what and str(path) in caught.value.what
    assert "official" in caught.value.fix


def test_a_name_that_comes_twice_is_refused(box):
    path = tar_file(box / "a.tar.gz", ("set/a.txt", b"good"), ("./set/a.txt", b"evil"))
    with pytest.raises(DataError, match="'set/a.txt' .* comes twice"):
        read_tar(path)


def test_too_many_members_are_refused(box):
    path = tar_file(box / "a.tar.gz", *((f"set/{'a' * n}.txt", b"") for n in range(1, 8)))
    assert len(read_tar(path, max_members=7)) == 7
    with pytest.raises(DataError, match="more than 6 members"):
        read_tar(path, max_members=6)


def test_a_member_past_its_cap_is_refused_unread(box):
    path = tar_file(box / "a.tar.gz", ("set/a.txt", bytes(5001)))
    with pytest.raises(DataError, match="claims 5,001 bytes, more than 5,000"):
        read_tar(path)


def bomb_of(kind):
    """A tar stream whose 50 MB hide where a reader of members does not look for them."""
    junk = bytes(50_000_000)
    if kind == "known extra":
        return header("set/README", len(junk)).tobuf(tarfile.GNU_FORMAT) + junk
    if kind == "stranger":
        return header("set/other", len(junk)).tobuf(tarfile.GNU_FORMAT) + junk
    if kind == "after the end":
        return header("set/README").tobuf(tarfile.GNU_FORMAT) + bytes(1024) + junk
    kinds = {"long name": tarfile.GNUTYPE_LONGNAME, "attributes": tarfile.XHDTYPE}
    honest, bomb = header("set/README"), header("x", len(junk), type=kinds[kind])
    return honest.tobuf(tarfile.GNU_FORMAT) + bomb.tobuf(tarfile.GNU_FORMAT) + b"a" * len(junk) + bytes(10240)


@pytest.mark.parametrize("kind", ["known extra", "stranger", "after the end", "long name", "attributes"])
def test_a_bomb_stops_at_the_cap_and_never_fills_the_memory(box, kind):
    path = box / "a.tar.gz"
    path.write_bytes(gzip.compress(bomb_of(kind), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match="unpacks to more than the [0-9,]+ bytes"):
        # What tarfile takes into memory whole is bounded even where the file as a whole may be large.
        read_tar(path, max_total_bytes=1 << 30 if kind in ("long name", "attributes") else 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_damage_is_found_wherever_it_is(box):
    members = [(f"set/{letter}.txt", bytes(range(256)) * 8) for letter in "abcdefgh"]
    whole = tar_file(box / "a.tar.gz", *members).read_bytes()
    assert len(read_tar(box / "a.tar.gz")) == 8
    flipped = [bytes([byte ^ (16 if place == n else 0) for place, byte in enumerate(whole)])
               for n in (0, 2, len(whole) // 3, len(whole) - 6)]
    for broken in [b"", b"<html>sign in</html>", whole[:-4], whole[:len(whole) // 2], *flipped]:
        (box / "a.tar.gz").write_bytes(broken)
        with pytest.raises(DataError, match="a.tar.gz"):
            read_tar(box / "a.tar.gz")


def test_lines_of_a_zip_member_are_read(box):
    path = zip_file(box / "a.zip", ("set/", ""), ("set/train", "one\n\ntwo"), ("set/valid", "v"), ("set/test", "t"),
                    ("__MACOSX/set/._train", "by a Mac"))
    assert read_zip(path) == [b"one\n", b"\n", b"two"]
    assert read_zip(path, "set/valid") == [b"v"]


def zip_link():
    info = zipfile.ZipInfo("set/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("entry, reason", [("../canary", "leads outside"), ("/tmp/canary", "absolute"),
                                           ("set/train", "comes twice"), (zip_link(), "a link")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_zip_entry_is_refused_by_name(box, entry, reason):
    path = zip_file(box / "a.zip", *[(name, "fine") for name in NAMES], (entry, "../../canary"))
    with pytest.raises(DataError, match=reason) as caught:
        read_zip(path)
    assert repr(getattr(entry, "filename", entry)) in caught.value.what


def test_a_zip_bomb_is_refused_by_its_claim_and_a_liar_by_its_bytes(box):
    path = zip_file(box / "a.zip", ("set/train", "a" * 10_000_000), ("set/valid", ""), ("set/test", ""))
    with pytest.raises(DataError, match="claims 10,000,000 bytes, more than 5,000"):
        read_zip(path)
    true_size, claimed = (10_000_000).to_bytes(4, "little"), (4000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(true_size, claimed))
    with pytest.raises(DataError, match="not a whole, readable archive"):
        read_zip(path)


def test_an_encrypted_or_incomplete_or_broken_zip_is_named(box):
    whole = bytearray(zip_file(box / "a.zip").read_bytes())
    flags = whole.index(b"PK\x01\x02") + 8
    encrypted = bytes(whole[:flags]) + b"\x01" + bytes(whole[flags + 1:])
    for content, reason in [(encrypted, "encrypted"), (whole[:-9], "not a whole"), (b"<html>", "not a whole")]:
        (box / "a.zip").write_bytes(content)
        with pytest.raises(DataError, match=reason):
            read_zip(box / "a.zip")
    zip_file(box / "a.zip", ("set/train", ""))
    with pytest.raises(DataError, match=r"holds no set/valid \(found set/train\)"):
        read_zip(box / "a.zip")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot read .*gone.txt: No such file"):
        list(file_lines(tmp_path / "gone.txt"))


@pytest.mark.parametrize("raw, offset", [
    ("naïve\n".encode("latin-1"), 2), ("plain text\n".encode("utf-16"), 0), (b"fine\nfine\n\x89PNG\r\n", 10),
    ("a line without a byte-order mark\n".encode("utf-16-le"), 1), (b"fine\n" + b"\x00\x01\x02" * 99, 5)])
def test_what_is_not_utf8_is_named_with_file_and_offset(raw, offset):
    with pytest.raises(DataError, match="iconv") as caught:
        list(text_lines(io.BytesIO(raw), "wiki.txt", Counter()))
    assert caught.value.what == f"wiki.txt is not UTF-8 text: byte 0x{raw[offset]:02x} at offset {offset}"


def test_lines_are_stripped_and_line_ends_of_every_system_understood():
    raw = io.BytesIO(b"\xef\xbb\xbf one \r\n\t\r\n two\rthree\n\n")
    assert list(text_lines(raw, "x", Counter())) == ["one", "", "two", "three", ""]


@pytest.mark.parametrize("dirty, clean, count", [
    ("\ufeffstart", "start", 1), ("a\x00b", "a b", 1), ("zero\u200bwidth\u200d", "zerowidth", 2),
    ("\u202eabc", "abc", 1), ("so\xadft", "soft", 1), ("lone \ud83d end", "lone   end", 1),
    ("film\x97and \x91so\x92\x85", "film—and ‘so’…", 4),
    ("undefined\x8d!", "undefined !", 1), ("cafe\u0301", "café", 0), ("\u212bngstr\u00f6m", "Ångström", 0),
    ("two\u2028lines", "two lines", 1), ("🎬 עברית", "🎬 עברית", 0), ("a\tb\u2000c", "a\tb\u2002c", 0), ("", "", 0)])
def test_characters_that_cannot_be_seen_are_taken_out_and_counted(dirty, clean, count):
    tally = Counter()
    assert clean_text(dirty, tally) == clean
    assert tally["normalised"] == count


@given(st.text(st.characters()))
def test_cleaning_leaves_no_control_character_and_has_nothing_left_to_do(text):
    clean = clean_text(text, Counter())
    assert {char for char in clean if unicodedata.category(char) in ("Cc", "Cs")} <= {"\n", "\t"}
    assert clean_text(clean, again := Counter()) == clean and not again["normalised"]
    assert unicodedata.is_normalized("NFC", clean)


@given(st.binary())
def test_any_bytes_are_text_or_a_data_error(raw):
    try:
        assert isinstance(decode(raw, "x", Counter()), str)
    except DataError as error:
        assert "at offset" in error.what


def test_floods_take_time_in_proportion_to_their_length():
    floods = ["e" + "\u0301\u0316" * 300_000, " " * 600_000 + "é", "é" * 1_000_000, "\u200b" * 1_000_000]
    started = time.process_time()
    for flood in floods:
        clean_text(flood, Counter())
    assert time.process_time() - started < 3
