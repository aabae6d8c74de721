import sys

import pytest

from testbed.activations.text import documents, fingerprint
from testbed.contracts import InvalidInput


def test_the_default_is_the_language_reference_in_sorted_order():
    found = documents()
    titles = [title for title, _ in found]
    assert titles == sorted(titles)
    assert {"assert", "lambda", "while"} <= set(titles)
    assert all(text.strip() for _, text in found)
    assert documents("pydoc") == found


def test_docstrings_are_read_and_nothing_is_imported():
    before = set(sys.modules)
    found = dict(documents("stdlib"))
    assert set(sys.modules) == before
    assert "Command-line parsing library" in found["argparse"]
    assert "test.test_ast" not in found
    assert list(found) == sorted(found)


def test_files_and_folders_are_documents(tmp_path):
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "b.txt").write_text("two", encoding="utf-8")
    (tmp_path / "texts" / "deep" / "a.md").write_text("drei", encoding="utf-8")
    (tmp_path / "texts" / "image.png").write_bytes(b"\xff\xfe")
    (tmp_path / "one.text").write_text("eins ä", encoding="utf-8")
    found = documents([tmp_path / "one.text", str(tmp_path / "texts")])
    assert found == [("one.text", "eins ä"), ("b.txt", "two"), ("deep/a.md", "drei")]
    assert documents(tmp_path / "one.text") == found[:1]


def test_texts_that_cannot_be_used_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("für".encode("latin-1"))
    (tmp_path / "nothing").mkdir()
    for place, sentence in {
        "missing.txt": "there is no text .*missing.txt",
        "empty.txt": "is empty: leave it out",
        "latin.txt": r"not UTF-8 text \(byte 1\)",
        "nothing": "holds no text",
    }.items():
        with pytest.raises(InvalidInput, match=sentence) as raised:
            documents([tmp_path / place])
        assert "\n" not in str(raised.value)
    with pytest.raises(InvalidInput, match="an empty list"):
        documents([])


def test_the_fingerprint_is_that_of_titles_texts_and_order():
    a, b = ("t", "one"), ("u", "two")
    prints = {fingerprint(texts) for texts in ([a, b], [b, a], [a], [("t", "one two"), ("u", "")])}
    assert len(prints) == 4
    assert fingerprint([a, b]) == fingerprint([("t", "one"), ("u", "two")])
