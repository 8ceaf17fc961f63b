"""What an article of WikiText is, and which of its files are refused or remarked upon."""

import pytest
from corpus_files import WIKI, corpus_of, wikitext_folder, wikitext_zip

from minitransfer.apparatus.errors import DataError
from minitransfer.text.wikitext import articles


def test_an_article_is_its_lines_without_blank_ones_and_escapes(tmp_path):
    corpus = corpus_of(["wikitext-2"], wikitext_folder(tmp_path))
    assert corpus.train == [
        "= Ada <unk> =\nShe wrote well - known notes , 1 , 234 of them .\n= = Later = =\nThe end .",
        "= Bo =\nA dog ."]
    assert corpus.validation == ["= Cy =\nA cat ."] and corpus.marks_unknown


def test_no_word_of_wikitext_is_lost_or_added(tmp_path):
    corpus = corpus_of(["wikitext-2"], wikitext_folder(tmp_path))
    assert [len(" ".join(texts).split()) for texts in (corpus.train, corpus.validation)] == [
        len(WIKI[split].split()) for split in ("train", "valid")]


@pytest.mark.parametrize("middle, count", [
    (["", "= Real =", ""], 2), (["", "= Played , W =", "Won"], 1), (["Key : Pld", "= Played , W =", ""], 1),
    (["", "= = Section = =", ""], 1), (["", "= = = Deep = = =", ""], 1), (["", "= a = b =", ""], 2),
    (["", "= broken = =", ""], 1), (["", "no = title", ""], 1), (["", "= =", ""], 1)])
def test_a_title_has_one_mark_on_each_side_and_blank_lines_around(middle, count):
    lines = ["", "= First =", "", "Text .", *middle, "More ."]
    found = list(articles(lines))
    assert len(found) == count
    assert "\n".join(found).split("\n") == [line for line in lines if line]


def test_lines_before_the_first_title_are_kept_and_a_title_may_open_the_file():
    assert list(articles(["Stray .", "", "= A =", "", "b"])) == ["Stray .", "= A =\nb"]
    assert list(articles(["= A =", "", "b"])) == ["= A =\nb"]
    assert list(articles(["", "", ""])) == [] == list(articles([]))


def test_only_an_escape_that_stands_alone_is_undone():
    assert list(articles(["a @-@ b @.@ c @,@ d @-@ @-@ me@-@you @/@ @-@"])) == ["a - b . c , d - - me@-@you @/@ -"]


def test_archive_and_folder_give_the_same_documents(tmp_path):
    (tmp_path / "z").mkdir()
    one, two = wikitext_folder(tmp_path), wikitext_zip(tmp_path / "z")
    assert corpus_of(["wikitext-2"], one).train == corpus_of(["wikitext-2"], two).train


def test_another_number_of_articles_is_remarked_upon(tmp_path):
    said = []
    corpus_of(["wikitext-2"], wikitext_folder(tmp_path), said)
    assert any("2 + 1 articles" in line and "600 + 60" in line for line in said)


@pytest.mark.parametrize("text", ["", " \n \n\n"])
def test_a_blank_file_is_refused_with_counts(tmp_path, text):
    with pytest.raises(DataError, match="wiki.valid.tokens holds 0 articles and 0 words"):
        corpus_of(["wikitext-2"], wikitext_folder(tmp_path, texts=WIKI | {"valid": text}))


def test_a_missing_split_and_an_undecodable_one_are_named(tmp_path):
    wikitext_folder(tmp_path)
    (tmp_path / "wikitext-2" / "wiki.valid.tokens").write_bytes(b"fine\n" + "naïve".encode("latin-1"))
    with pytest.raises(DataError, match="wiki.valid.tokens is not UTF-8 text: byte 0xef at offset 7.*iconv"):
        corpus_of(["wikitext-2"], tmp_path)
    (tmp_path / "wikitext-2" / "wiki.valid.tokens").unlink()
    with pytest.raises(DataError, match="cannot read .*wiki.valid.tokens"):
        corpus_of(["wikitext-2"], tmp_path)
