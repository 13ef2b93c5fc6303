"""A downloaded wheel or zip file whose members are documents: TOML or JSON files with a text in some fields.

Packages of benchmarks have this layout: a folder per language, and in it a file per question.
"""

import fnmatch
import json
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lape.errors import LapeError
from lape.text.reading import Reading

_PARSERS = {".toml": tomllib.loads, ".json": json.loads}


def read_archive(
    language: str,
    reading: Reading,
    *,
    file: str | Path,
    download: str,
    members: str,
    codes: Mapping[str, str],
    fields: Sequence[str],
) -> Iterator[tuple[str, str]]:
    """Yield the documents of one language: the texts of the members that match, in the order of their names.

    Args:
        language: the language to read.
        reading: takes note of the file and of unusable members.
        file: the archive.
        download: name of the download; ids are `<download>-<path of the member>`.
        members: glob of the members' paths, in which {code} stands for the archive's code of the language.
        codes: language -> the archive's code.
        fields: fields of a member that hold text; the texts are joined by line breaks.

    Raises:
        LapeError: the language has no code, the file cannot be read, or no member matches.
    """
    if language not in codes:
        raise LapeError(f"{file}: has no code of language {language!r}; choose among {', '.join(codes)}")
    wanted = members.replace("{code}", codes[language])
    try:
        archive = zipfile.ZipFile(file)
    except OSError as error:
        raise LapeError(f"{file}: cannot be read ({error.strerror}); run the step that downloads it") from error
    except zipfile.BadZipFile as error:
        raise LapeError(f"{file}: is no zip file ({error}); name another download") from error
    with archive:
        found = sorted(name for name in archive.namelist() if fnmatch.fnmatchcase(name, wanted))
        if not found:
            raise LapeError(f"{file}: no member matches {wanted}; correct `members`, or `codes` of {language}")
        reading.inputs.append(Path(file))
        for name in found:
            text = _text(archive, name, fields, reading)
            if text is not None and (document := reading.document(name, f"{download}-{name}", text)):
                yield document


def _text(archive: zipfile.ZipFile, name: str, fields: Sequence[str], reading: Reading) -> str | None:
    """The text of a member; None for one that has none, which the reading notes."""
    parse = _PARSERS.get(Path(name).suffix)
    if parse is None:
        return reading.refuse(name, f"is neither {' nor '.join(_PARSERS)}")
    try:
        content = parse(archive.read(name).decode())
    except (ValueError, RecursionError, zipfile.BadZipFile) as error:
        return reading.refuse(name, f"cannot be parsed ({error})")
    missing = [field for field in fields if not isinstance(content, dict) or not isinstance(content.get(field), str)]
    if missing:
        return reading.refuse(name, f"has no text in {missing[0]}")
    return "\n".join(content[field].strip() for field in fields)
