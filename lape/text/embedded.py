"""A downloaded JSON file whose examples stand in blocks, one block per language.

BIG-bench's copy of WikiLingua has this layout: its list `examples` has 18 blocks of 152 articles.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from lape.errors import LapeError
from lape.text.reading import Reading


def read_embedded(
    language: str,
    reading: Reading,
    *,
    file: str | Path,
    download: str,
    field: str,
    block: int,
    order: Sequence[str],
) -> Iterator[tuple[str, str]]:
    """Yield the documents of one language's block.

    Args:
        language: the language to read, one of `order`.
        reading: takes note of the file and of unusable examples.
        file: the JSON file.
        download: name of the download; ids are `<download>-<position among all examples, from 0>`.
        field: key of an example that holds the text.
        block: examples per language.
        order: languages of the blocks.

    Raises:
        LapeError: the file cannot be read, its layout is not the one of the settings, or it lacks the language.
    """
    if language not in order:
        raise LapeError(f"{file}: has no block of language {language!r}; choose among {', '.join(order)}")
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise LapeError(f"{file}: cannot be read ({error.strerror}); run the step that downloads it") from error
    except (ValueError, RecursionError) as error:
        raise LapeError(f"{file}: is not valid JSON ({error}); name another download") from error
    examples = content.get("examples") if isinstance(content, dict) else None
    if not isinstance(examples, list):
        raise LapeError(f"{file}: has no list named 'examples'; name another download")
    if len(examples) != block * len(order):
        raise LapeError(
            f"{file}: has {len(examples)} examples, not {len(order)} blocks of {block}; correct 'block' or 'order'"
        )
    reading.inputs.append(Path(file))
    start = order.index(language) * block
    for position, example in enumerate(examples[start : start + block], start):
        text = example.get(field) if isinstance(example, dict) else None
        if document := reading.document(f"{Path(file).name}:example {position}", f"{download}-{position}", text):
            yield document
