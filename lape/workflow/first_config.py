"""A first configuration for one's own model and text: where both are, and budgets that the text can meet."""

import itertools
import json
import os.path
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lape.config import check_config, expand_paths, with_defaults
from lape.errors import LapeError, first_line
from lape.workflow.sources import check_files, files_of

# In a folder of text a language has one file or a folder. The first of these that is there is taken.
_PLACES = (*(f"{{language}}{suffix}" for suffix in (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")),)
_PLACES += ("{language}/*",)
# What a document of .txt files is: the first of these that gives every language so many documents.
_DOCUMENTS, _ENOUGH = ("file", "paragraph", "line"), 20
# Documents of a language that are read to know how much text there is.
_READ = 20_000
# Bytes that a token covers at most, on average over a text. It is assumed where the tokenizer is not at hand.
_BYTES = 6
_SHARE, _SEED = 0.2, 0  # tokens.valid_share and tokens.seed of the defaults, by which documents are divided
# Budgets and lengths of chunks: the defaults, and shorter chunks where the text is short. So many chunks are wanted.
_TRAIN, _TRAIN_LENGTHS, _TRAIN_CHUNKS = 24_576, (512, 256, 128, 64, 32, 16), 16
_VALID, _VALID_LENGTHS, _VALID_CHUNKS = 1_536, (96, 64, 32, 16), 4
_MARGIN = 0.95  # of the text; cleaning takes duplicates out


@dataclass(frozen=True)
class Model:
    """A model as the catalogue names it.

    Attributes:
        name: its name in the catalogue.
        entry: its entry; None for one that the defaults have.
        context: positions that it can read; None where that is not known.
        tokenizer: its tokenizer.json; None where it is not on this machine.
    """

    name: str
    entry: dict | None
    context: int | None = None
    tokenizer: Path | None = None


@dataclass(frozen=True)
class Text:
    """Where a folder has the text of each language, and how long it is.

    Attributes:
        pattern: of `corpus.files`.
        document: what a document of a .txt file is.
        column: of JSON lines and Parquet.
        tokens: language -> tokens of each document, by its id.
    """

    pattern: str | dict[str, str]
    document: str
    column: str
    tokens: dict[str, dict[str, int]]


def named_model(given: str, catalogue: Sequence[str]) -> Model:
    """The model that a user names: a folder, a GGUF file, a repository of the hub, or a name of the catalogue.

    Args:
        given: a path, OWNER/NAME or OWNER/NAME@REVISION, or a name.
        catalogue: the names of the defaults.

    Raises:
        LapeError: it is none of them, or the hub does not tell its newest revision.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        tokenizer = path / "tokenizer.json"
        found = tokenizer if tokenizer.is_file() else None
        return Model(_as_name(path.resolve().name), {"source": "path", "path": given}, _context(path), found)
    if path.is_file():
        return Model(_as_name(path.stem), {"source": "gguf", "path": given})
    if given in catalogue:
        return Model(given, None)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", given) or given.startswith("."):
        raise LapeError(
            f"{given}: no such folder or GGUF file; name one, OWNER/NAME of the hub, or one of {', '.join(catalogue)}"
        )
    repository, _, revision = given.partition("@")
    entry = {"source": "hub", "hub": repository, "revision": revision or _newest(repository)}
    return Model(_as_name(repository.partition("/")[2]), entry)


def found_text(folder: str, languages: Sequence[str], column: str | None, tokenizer: Path | None) -> Text:
    """The text of some languages in a folder.

    Args:
        folder: holds LANGUAGE.txt, .jsonl (also compressed) or .parquet, or a folder LANGUAGE, for each language.
        languages: the languages.
        column: of JSON lines and Parquet; None: "text", or the only one that holds texts.
        tokenizer: the model's tokenizer.json, by which text is counted; None: by its bytes.

    Raises:
        LapeError: a language has no text there, or a file cannot be read.
    """
    patterns = {language: os.path.join(folder, _place(folder, language)) for language in languages}
    first = patterns[languages[0]]
    pattern = first if set(patterns.values()) == {first} else patterns
    column = column or _column(files_of(pattern, languages[0], "corpus.files.pattern")[0])
    length = _length(tokenizer)
    for document in _DOCUMENTS:
        read = {language: _documents(pattern, language, document, column) for language in languages}
        tokens = {language: {name: length(text) for name, text in documents} for language, documents in read.items()}
        if all(len(documents) >= _ENOUGH for documents in tokens.values()):
            break
    if empty := [language for language, documents in tokens.items() if not documents]:
        raise LapeError(f"--text {folder}: no text of {empty[0]} can be read; look at its files, which are UTF-8")
    return Text(pattern, document, column, tokens)


def budgets(text: Text, context: int | None) -> dict[str, int]:
    """The section `tokens` that every language's text can meet: budgets in positions, and lengths of chunks.

    The documents are divided as `lape tokens` divides them. Of a document for evaluation one chunk is taken.

    Args:
        text: the text.
        context: positions that the model can read.

    Raises:
        LapeError: a language has too little text for 16 short chunks to count on, and 4 to evaluate on.
    """
    from lape.text.tokens import split_rows

    def chunks(split: str, length: int, language: str) -> int:
        names, counts = zip(*text.tokens[language].items(), strict=True)
        longest = length - 1 if split == "valid" else None  # BOS has a position
        own = [counts[row] for row in split_rows(names, split, _SHARE, _SEED)]
        return int(_MARGIN * sum(min(count, longest or count) for count in own)) // (length - 1)

    found = {}
    for split, key, most, lengths, wanted in (
        ("train", "chunk_length", _TRAIN, _TRAIN_LENGTHS, _TRAIN_CHUNKS),
        ("valid", "valid_chunk_length", _VALID, _VALID_LENGTHS, _VALID_CHUNKS),
    ):
        for length in [length for length in lengths if length <= (context or length)] or [context]:
            held = {language: chunks(split, length, language) for language in text.tokens}
            if min(held.values()) >= wanted:
                break
        else:
            least = min(held, key=held.get)
            counts = text.tokens[least].values()
            raise LapeError(
                f"text of {least}: has {sum(counts)} tokens in {len(counts)} documents, too few to count on some and "
                "to evaluate on the others; add text, in more files, paragraphs or lines"
            )
        found |= {split: min(most // length, *held.values()) * length, key: length}
    return found


def write_first_config(
    path: Path, defaults: Path, model: Model, languages: Sequence[str], text: Text | None, newly: bool = True
) -> None:
    """Write a commented configuration, checked as a run checks it.

    Args:
        path: of the file, which must not exist, unless it holds the same.
        defaults: the folder of config.yaml and schema.yaml.
        model: the model.
        languages: the languages.
        text: the text; None for the embedded one.
        newly: whether it is an error that the file exists and holds the same.

    Raises:
        LapeError: the file is there, or a run would refuse the configuration.
    """
    written = "".join(f"{line}\n" for line in _lines(path, model, languages, text))
    if path.exists():
        if newly or path.read_text(encoding="utf-8") != written:
            raise LapeError(
                f"{path}: exists already with other settings; run it as it is (lape run {path}), or move it away"
            )
        return
    merged = with_defaults(yaml.safe_load(written), defaults / "config.yaml")
    check_config(merged, defaults / "schema.yaml")
    expand_paths(merged)
    check_files(merged)
    with open(path, "x", encoding="utf-8") as file:
        file.write(written)


def _lines(path: Path, model: Model, languages: Sequence[str], text: Text | None) -> Iterator[str]:
    yield "# What differs from the defaults. Those, and what every key means: config/config.yaml and config/README.md."
    yield f"# lape run {path}    or    snakemake --cores all --configfile {path}"
    yield ""
    yield f"run: {_value(run_name(model, languages))}  # the folder below results/; another name keeps an earlier run"
    yield f"models: {_value([model.name])}"
    yield f"languages: {_value([*languages])}  # in the order of tables and figures"
    if model.entry is not None:
        yield ""
        yield "catalogue:"
        yield f"  {model.name}:"
        for key, content in model.entry.items():
            yield f"    {key}: {_value(content)}"
        yield "    # dtype: bfloat16     # float32, float16; the default is what the device computes fastest in"
        yield "    # device_map: auto    # where the model does not fit one GPU"
        yield "    # chat: true          # questions go through its chat template"
    if text is not None:
        yield ""
        yield "corpus:"
        yield "  source: files"
        yield "  files:"
        yield f"    pattern: {_value(text.pattern)}"
        yield f"    document: {text.document}  # what a document of a .txt file is: file, paragraph or line"
        yield f"    text_column: {_value(text.column)}  # of .jsonl and .parquet"
        yield ""
        for language in languages:
            counts = text.tokens[language]
            more = " or more" if len(counts) >= _READ else ""
            yield f"# {language}: {len(counts):,} documents, about {sum(counts.values()):,} tokens{more}"
        yield "tokens:               # positions per language; a larger budget makes numbers surer and the run longer"
        for key, number in budgets(text, model.context).items():
            yield f"  {key}: {number}"
    elif model.context is not None and model.context < _TRAIN_LENGTHS[0]:
        yield ""
        yield f"tokens: {{chunk_length: {model.context}, valid_chunk_length: {min(model.context, _VALID_LENGTHS[0])}}}"
    yield ""
    yield "# neurons: {ratio: 0.01}    # share of all neurons that is selected"
    yield "# threads: 4                # of a job; a large model is fastest with all cores in one job"


def _value(content: object) -> str:
    return json.dumps(content, ensure_ascii=False)  # YAML reads JSON


def run_name(model: Model, languages: Sequence[str]) -> str:
    """The name of a run: its model, and its languages where they are few."""
    few = "-".join(map(_as_name, languages)) if len(languages) <= 5 else f"{len(languages)}-languages"
    return f"{model.name}-{few}"


def _as_name(text: str) -> str:
    """A text as a name of the catalogue."""
    return re.sub(r"\.\.+", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", text)).strip("-._") or "model"


def _context(folder: Path) -> int | None:
    """The number of positions that a checkpoint says it can read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # the check of the folder tells what is wrong
    sections = [config, *(config[key] for key in ("text_config",) if isinstance(config.get(key), dict))]
    keys = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
    numbers = [section[key] for section in sections for key in keys if isinstance(section.get(key), int)]
    return numbers[0] if numbers else None


def _newest(repository: str) -> str:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repository).sha
    except Exception as error:  # the hub's library and its HTTP client raise many kinds
        raise LapeError(
            f"{repository}: the hub does not tell its newest revision ({first_line(error)}); name a commit: "
            f"{repository}@COMMIT"
        ) from error


def _place(folder: str, language: str) -> str:
    for place in _PLACES:
        try:
            files_of(os.path.join(folder, place), language, "--text")
        except LapeError:
            continue
        return place
    named = ", ".join(place.replace("{language}", language) for place in _PLACES)
    raise LapeError(f"--text {folder}: has no text of {language}; put one of these there: {named}")


def _column(file: str) -> str:
    """The column of a file that holds the text."""
    if file.endswith(".txt"):
        return "text"
    if file.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            columns = [field.name for field in pq.read_schema(file) if str(field.type) in ("string", "large_string")]
        except (pa.ArrowException, OSError) as error:
            raise LapeError(f"{file}: is no Parquet file that can be read ({first_line(error)}); mend it") from error
    else:
        from lape.text.files import json_lines
        from lape.text.reading import Reading

        row = next((row for _, row in json_lines(Path(file), file, Reading())), {})
        columns = [key for key, value in row.items() if isinstance(value, str)]
    if "text" in columns or len(columns) == 1:
        return "text" if "text" in columns else columns[0]
    raise LapeError(f"{file}: has the columns {', '.join(columns) or 'of no text'}; name the text's with --text-column")


def _length(tokenizer: Path | None) -> Callable[[str], int]:
    """A function from a text to its number of tokens, at least about."""
    if tokenizer is None:
        return lambda text: len(text.encode()) // _BYTES
    from lape.model.tokenizer import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def _documents(pattern: str | dict[str, str], language: str, document: str, column: str) -> Iterator[tuple[str, str]]:
    from lape.text.files import read_files
    from lape.text.reading import Reading

    reading = Reading()
    found = read_files(language, reading, pattern=pattern, text_column=column, id_column=None, document=document)
    return itertools.islice(found, _READ)
