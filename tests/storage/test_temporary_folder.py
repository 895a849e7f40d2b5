"""Temporary folders belong to their writer while it lives, whatever other processes clear away beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from limbeck.storage import temporary_folder

CLAIMS = textwrap.dedent("""
    import sys
    from pathlib import Path

    from limbeck.storage import temporary_folder

    parent, lost = Path(sys.argv[1]), 0
    for number in range(400):
        temporary_folder.remove_left_behind(parent)
        try:
            with temporary_folder.folder(parent) as folder:
                (folder / "image").write_bytes(b"pixels")
                temporary_folder.remove_left_behind(parent)
                if number % 2:
                    folder.rename(parent / f"{sys.argv[2]}-{number}")
                elif not (folder / "image").is_file():
                    lost += 1
        except FileNotFoundError:
            lost += 1
    print(lost)
""")


def test_processes_that_clear_away_beside_each_other_lose_no_folder(tmp_path):
    words = [sys.executable, "-c", CLAIMS, str(tmp_path)]
    writers = [
        subprocess.Popen([*words, str(i)], env={"PYTHONPATH": ":".join(sys.path)}, stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    lost = [writer.communicate(timeout=60)[0] for writer in writers]
    assert lost == ["0\n"] * 4
    assert len(os.listdir(tmp_path)) == 800  # those that were renamed; nothing is left of the others


def test_a_folder_that_nobody_holds_is_removed_and_one_in_work_stays(tmp_path):
    left = tmp_path / ".tmp-left"
    left.mkdir()
    (tmp_path / "photos").mkdir()
    with temporary_folder.folder(tmp_path) as mine:
        temporary_folder.remove_left_behind(tmp_path)
        assert mine.is_dir()
        assert not left.exists()
    assert os.listdir(tmp_path) == ["photos"]
