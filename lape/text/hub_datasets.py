"""A dataset of the Hugging Face hub, or a local folder in the hub's layout, read as a stream."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager

from lape.artifacts.hub_errors import explain
from lape.errors import LapeError
from lape.text.reading import Reading


def read_hub(
    language: str,
    reading: Reading,
    *,
    path: str,
    config: str | None,
    revision: str | None,
    split: str,
    text_column: str,
    id_column: str | None,
    documents: int | None,
    newest: int | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield the first documents of one language's configuration, and then its newest pages.

    No code of the dataset's repository is run.

    Args:
        language: the language to read.
        reading: takes note of unusable rows, and of the smallest id of the newest pages.
        path: the dataset's name on the hub, or a local folder.
        config: configuration, in which `{language}` stands for the language; None for the only one.
        revision: commit of the dataset; a local folder has none.
        split: split to read.
        text_column: column that holds the text.
        id_column: column that holds the id; None for the row's number, from 0.
        documents: stop after so many usable documents; None for all.
        newest: number of pages of the highest ids to keep for evaluation. They are read in addition to `documents`,
            which never holds one of them. The dataset must consist of Parquet files, and its ids must be integers.
            None for no such pages.

    Raises:
        LapeError: the dataset cannot be reached or read, lacks the configuration, split or column, or has no newest
            pages.
    """
    config = config and config.replace("{language}", language)
    name = dataset_name(path, config)
    pages = None
    if newest is not None:
        if id_column is None:
            raise LapeError("corpus.hub.newest: a row's number does not grow with time; name the corpus.hub.id_column")
        from lape.text.newest import find_newest, read_newest

        pages = find_newest(name, dataset_files(path, config, revision, split), id_column, newest)
        reading.newest = pages.smallest_id
    found = 0
    with closing(dataset_rows(path, config, revision, split)) as rows:
        for number, row in enumerate(rows):
            require_columns(row, [text_column, id_column], name)
            identity = number if id_column is None else row[id_column]
            if pages is not None and identity is not None and int(identity) >= pages.smallest_id:
                continue
            if document := reading.document(f"row {number}", identity, row[text_column]):
                yield document
                found += 1
                if found == documents:
                    break
    for identity, text in () if pages is None else read_newest(name, pages, id_column, text_column):
        if document := reading.document(f"page {identity}", identity, text):
            yield document


def require_columns(row: Iterable[str], columns: Iterable[str | None], name: str) -> None:
    """Check that a row, or a list of columns, has all the named columns; None among them names no column.

    Raises:
        LapeError: a named column is missing. The message calls the dataset `name`.
    """
    for column in columns:
        if column is not None and column not in row:
            raise LapeError(f"dataset {name}: has no column {column!r}, but {', '.join(row)}; correct its name")


def with_languages(template: str | None, names: Mapping[str, str] | None, **languages: str) -> str | None:
    """Put languages into a setting, such as the name of a configuration.

    Args:
        template: text with placeholders for languages, such as `{language}`; None stays None.
        names: language -> what the dataset calls it, such as eng_Latn; None where it uses the run's codes.
        languages: placeholder -> language of the run.

    Raises:
        LapeError: `names` lacks a language.
    """
    for placeholder, language in languages.items():
        if names is not None and language not in names:
            raise LapeError(f"names: has no name of {language!r}, only of {', '.join(names)}; add one")
        template = template and template.replace(f"{{{placeholder}}}", names[language] if names else language)
    return template


def dataset_name(path: str, config: str | None) -> str:
    """What messages call a dataset."""
    return path if config is None else f"{path} ({config})"


def dataset_rows(
    path: str,
    config: str | None,
    revision: str | None,
    split: str,
    data_dir: str | None = None,
    data_files: str | None = None,
) -> Iterator[dict]:
    """The rows of a dataset, as a generator that the caller must close.

    Where it is still open when the interpreter ends, Arrow's threads abort the process.

    Args:
        path, revision, split: see `read_hub`.
        config: name of the configuration in the dataset, without a placeholder; None for the only one.
        data_dir: folder of the repository to read; None for the whole repository.
        data_files: address of the file to read, where `path` names a format of files such as "csv".

    Raises:
        LapeError: the dataset cannot be reached or read, or lacks the configuration or split.
    """
    from datasets import load_dataset

    options = {"data_dir": data_dir, "data_files": data_files, "revision": revision, "split": split}
    with reading_dataset(dataset_name(path, config or data_files)):
        dataset = load_dataset(path, config, **options, streaming=True)
        with closing(iter(dataset)) as rows:
            yield from rows


def dataset_files(path: str, config: str | None, revision: str | None, split: str) -> list[str]:
    """Addresses of the files of a split, on this machine or on the hub (hf://).

    Raises:
        LapeError: the dataset cannot be reached, or lacks the configuration or split.
    """
    from datasets import load_dataset_builder

    name = dataset_name(path, config)
    with reading_dataset(name):
        files = load_dataset_builder(path, config, revision=revision).config.data_files
    if split not in files:
        raise LapeError(f"dataset {name}: has no split {split!r}, but {', '.join(files)}; correct its name")
    return list(files[split])


@contextmanager
def reading_dataset(name: str) -> Iterator[None]:
    """Turn every exception that reading a dataset raises into a LapeError of one line.

    Args:
        name: what the message calls the dataset.
    """
    try:
        yield
    except LapeError:
        raise
    except Exception as error:
        # The network, the hub and each file format have exceptions of their own.
        reason, remedy = explain(error)
        remedy = remedy or "check its name, configuration, revision and split, and the network, or set another source"
        raise LapeError(f"dataset {name}: cannot be read ({reason}); {remedy}") from error
