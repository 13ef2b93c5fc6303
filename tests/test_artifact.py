"""Atomic writing and headers."""

import os
import subprocess

import pytest

from lape import artifact
from lape.artifact import read_json, sha256, write_header, write_json, writing
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


@pytest.mark.parametrize("text, message", [("{", "not valid JSON"), ("[1]", "not an artifact header")])
def test_broken_headers_are_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(LapeError, match=message):
        read_json(tmp_path / "a.json")


def test_nan_never_reaches_a_header(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"nll": float("nan")})
    assert not os.listdir(tmp_path)


def test_the_recorded_command_has_no_log_and_no_mirror(lape, tmp_path):
    status, _ = lape("table", "--log", tmp_path / "log", "figure2", "--output", "x.csv", tmp_path / "missing.json")
    assert status == 1 and str(tmp_path / "log") not in artifact.command
    assert artifact.command == ["lape", "table", "figure2", "--output", "x.csv", str(tmp_path / "missing.json")]
    # A mirror's address may hold a password.
    options = ["--package", "p", "--version", "1", "--file", "f", "--sha256", "0", "--output", str(tmp_path / "o")]
    lape("download", "--index", "ftp://user:secret@127.0.0.1/simple", *options)
    assert artifact.command == ["lape", "download", *options]


def test_the_commit_marks_changes(tmp_path, monkeypatch):
    (tmp_path / "lape").mkdir()
    (tmp_path / "a").write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(artifact, "__file__", str(tmp_path / "lape" / "artifact.py"))
    commit = artifact._commit()
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert artifact._commit() == commit + "-dirty"
