"""A run folder is whole, or visibly not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulator.foundation.errors import RunFolderError
from simulator.results import open_run
from simulator.results.finished_run import SCHEMA_VERSION
from simulator.results.folder import MARK, RunFolder


def finish(target: Path, text: str = "{}") -> Path:
    with RunFolder(target) as folder:
        (folder.path / "run.json").write_text(text)
        return folder.finish()


def test_nothing_stands_at_the_name_until_all_is_written(tmp_path):
    with RunFolder(tmp_path / "a") as folder:
        assert not (tmp_path / "a").exists()
        assert folder.path.name.startswith(".a.incomplete-")
        assert (folder.path / MARK).exists()
        (folder.path / "run.json").write_text("{}")
        folder.finish()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["run.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "deep" / "a"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_a_marked_folder_that_is_not_read(tmp_path):
    killed = RunFolder(tmp_path / "a").path
    (killed / "run.json").write_text("{}")
    with pytest.raises(RunFolderError, match="incomplete"):
        open_run(killed)
    (killed / MARK).unlink()
    with pytest.raises(RunFolderError, match="incomplete"):
        open_run(killed)


def test_an_earlier_run_is_replaced_as_a_whole(tmp_path):
    first = finish(tmp_path / "a")
    (first / "old.parquet").write_text("old")
    finish(tmp_path / "a", '{"new": 1}')
    assert [path.name for path in first.iterdir()] == ["run.json"]
    assert json.loads((first / "run.json").read_text()) == {"new": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failing_run_keeps_the_earlier_one(tmp_path):
    finish(tmp_path / "a", '{"old": 1}')
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "a"):
        _ = 1 / 0
    assert json.loads((tmp_path / "a" / "run.json").read_text()) == {"old": 1}


def test_other_peoples_files_are_never_replaced(tmp_path):
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.tex").write_text("...")
    with pytest.raises(RunFolderError, match="not a run's"):
        RunFolder(mine)
    assert (mine / "chapter.tex").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a JSON object"),
        ("{}", "schema version None"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}), f"schema version {SCHEMA_VERSION + 1}"),
    ],
)
def test_a_damaged_or_foreign_run_json_is_refused(tmp_path, text, said):
    finish(tmp_path / "a", text)
    with pytest.raises(RunFolderError, match=said):
        open_run(tmp_path / "a")


def test_what_is_no_run_folder_is_refused_by_name(tmp_path):
    with pytest.raises(RunFolderError, match="no such run folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"holds no run\.json"):
        open_run(tmp_path)
