import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from testbed.activations.folders import cache_folder, made_once


def test_of_those_who_ask_at_once_one_makes_the_folder_and_all_see_it_whole(tmp_path):
    made = []

    def make(draft):
        made.append(1)
        (draft / "half").write_text("1")
        time.sleep(0.2)
        (draft / "whole").write_text("2")

    # The lock belongs to whoever opened the file, so that threads exclude each other as processes do.
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: made_once(tmp_path / "made", make), range(3)))
    assert [(folder / "whole").read_text() for folder in folders] == ["2"] * 3
    assert len(made) == 1


def test_what_a_killed_maker_left_is_thrown_away(tmp_path):
    def killed(draft):
        (draft / "half").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "made", killed)
    assert not (tmp_path / "made").exists()
    folder = made_once(tmp_path / "made", lambda draft: (draft / "whole").write_text("2"))
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_the_cache_folder_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TESTBED_CACHE", raising=False)
    assert cache_folder() == tmp_path / "testbed"
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
