"""Atomic writing and headers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_data import ROOT

from lape.artifacts import files
from lape.artifacts.files import read_json, sha256, write_header, write_json, writing
from lape.artifacts.kept_parts import remove_others
from lape.errors import LapeError


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError), writing(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_success_replaces_the_file_with_the_usual_permissions(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with writing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new" and os.listdir(path.parent) == ["a.txt"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_files_are_whole_where_there_are_no_locks(tmp_path, monkeypatch):
    """As on Windows, which has no fcntl."""
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".a.txt.left").mkdir()
    with writing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert sorted(os.listdir(tmp_path)) == [".a.txt.left", "a.txt"] and (tmp_path / "a.txt").read_text() == "new"


WRITER = """
import sys
from lape.artifacts.files import writing
for number in range(150):
    with writing(sys.argv[1]) as temporary:
        temporary.write_text(sys.argv[2] * 1000)
"""


def test_several_processes_may_write_one_file_at_once(tmp_path):
    """As under --nolock, or on two machines: none fails, and who reads sees one of them whole."""
    path = tmp_path / "a.txt"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, letter], cwd=ROOT) for letter in "abc"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert seen <= {letter * 1000 for letter in "abc"} and os.listdir(tmp_path) == ["a.txt"]


def test_a_living_writer_keeps_its_temporary_file_and_a_dead_one_does_not(tmp_path):
    path = tmp_path / "a.txt"
    imports = "import os; from lape.artifacts.files import writing"
    dead = f"{imports}; kept = writing({str(path)!r}); kept.__enter__(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", dead], cwd=ROOT).returncode == 9
    (left,) = os.listdir(tmp_path)
    with writing(path) as slow:
        assert not (tmp_path / left).exists()
        slow.write_text("slow")
        with writing(path) as fast:
            fast.write_text("fast")
        assert path.read_text() == "fast"
        remove_others(tmp_path, [path])
    assert path.read_text() == "slow" and os.listdir(tmp_path) == ["a.txt"]


def test_a_path_below_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LapeError, match="cannot be written"), writing(tmp_path / "file" / "a.txt"):
        pass


def test_headers_name_hashes_of_inputs_and_outputs(tmp_path):
    data, source = tmp_path / "a.npy", tmp_path / "in.txt"
    data.write_bytes(b"data")
    source.write_bytes(b"source")
    write_header(tmp_path / "a.json", "tokens", language="fr", parameters={"seed": 1}, inputs=[source], outputs=[data])
    header = read_json(tmp_path / "a.json", "tokens")
    assert header["inputs"] == {str(source): sha256(source)}
    assert header["outputs"] == {"a.npy": sha256(data)}
    assert header["parameters"] == {"seed": 1} and header["language"] == "fr"
    assert header["versions"]["torch"] and header["versions"]["python"]
    with pytest.raises(LapeError, match="'tokens', not of 'neurons'"):
        read_json(tmp_path / "a.json", "neurons")


@pytest.mark.parametrize(
    "text, message", [("{", "not valid JSON"), ("[1]", "not the header of an artifact; pass the .json")]
)
def test_broken_headers_are_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(LapeError, match=message):
        read_json(tmp_path / "a.json")


def test_whoever_passes_another_file_is_told_which_one_is_meant(tmp_path, monkeypatch):
    """A table of neurons, an item made from them, the pages of the run and its folder; each is a whole file."""
    monkeypatch.chdir(tmp_path)
    run, neurons = Path("results/default"), Path("results/default/neurons/tiny/lape.json")
    for folder in (neurons.parent, run / "tables"):
        folder.mkdir(parents=True)
    neurons.with_suffix(".tsv").write_text("layer\tindex\n0\t1\n")
    write_header(neurons, "neurons", parameters={}, inputs=[], outputs=[neurons.with_suffix(".tsv")])
    (run / "tables" / "counts.csv").write_text("model\ntiny\n")
    (run / "report.html").write_text("<html>")
    write_header(run / "tables" / "counts.json", "table", parameters={}, inputs=[neurons], outputs=[])
    write_header(run / "manifest.json", "manifest", parameters={}, inputs=[], outputs=[])
    for path in (
        neurons.with_suffix(".tsv"),
        neurons.with_suffix(""),
        run / "tables/counts.csv",
        run / "tables/counts.json",
    ):
        with pytest.raises(LapeError, match=f"; pass {neurons}$"):
            read_json(path, "neurons")
    for path in (run, run / "report.html", run / "tables/counts.csv", neurons):
        with pytest.raises(LapeError, match=r"; pass results/default/manifest\.json$"):
            read_json(path, "manifest")
    for path in (".", "alone.tsv", run / "report.html"):
        with pytest.raises(LapeError, match=r"; pass the \.json header of 'tokens'$"):
            read_json(path, "tokens")


def test_nan_never_reaches_a_header(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"nll": float("nan")})
    assert not os.listdir(tmp_path)


def test_the_recorded_command_has_no_log_and_no_mirror(lape, tmp_path):
    status, _ = lape(
        "table", "--log", tmp_path / "log", "deactivation_by_method", "--output", "x.csv", tmp_path / "missing.json"
    )
    assert status == 1 and str(tmp_path / "log") not in files.command
    assert files.command == [
        "lape",
        "table",
        "deactivation_by_method",
        "--output",
        "x.csv",
        str(tmp_path / "missing.json"),
    ]
    # A mirror's address may hold a password.
    options = ["--package", "p", "--version", "1", "--file", "f", "--sha256", "0", "--output", str(tmp_path / "o")]
    lape("download", "--index", "ftp://user:secret@127.0.0.1/simple", *options)
    assert files.command == ["lape", "download", *options]
    lape("download", "--index=ftp://user:secret@127.0.0.1/simple", *options)
    assert files.command == ["lape", "download", *options]


def test_the_commit_marks_changes(tmp_path, monkeypatch):
    (tmp_path / "lape").mkdir()
    (tmp_path / "a").write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "lape" / "artifacts" / "files.py"))
    commit = files._commit()
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert files._commit() == commit + "-dirty"
