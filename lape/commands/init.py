"""Write a commented configuration for your own model and text, with budgets that the text can meet.

What no option names is asked for, where there is a terminal. The file is never overwritten.
"""

import argparse
import sys
from pathlib import Path

from lape.errors import LapeError

_MODEL = "folder of save_pretrained(), GGUF file, OWNER/NAME[@REVISION] of the hub, or a name in config/config.yaml"
_TEXT = (
    "folder with LANGUAGE.txt, .jsonl or .parquet, or a folder LANGUAGE, for each language (default: the embedded text)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help=_MODEL)
    add_text_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("my.yaml"), help="file to write")


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """What `lape run` takes, too."""
    parser.add_argument("--languages", type=_languages, help="two or more, such as fr,de,sw")
    parser.add_argument("--text", metavar="FOLDER", help=_TEXT)
    parser.add_argument("--text-column", metavar="NAME", help="of .jsonl and .parquet (default: text, or the only one)")


def run(arguments: argparse.Namespace) -> None:
    if arguments.output.exists():
        raise LapeError(f"{arguments.output}: exists already, and is left as it is; name another file with --output")
    if arguments.model is None:
        arguments.model = _answer("--model", f"Model ({_MODEL}): ")
    asked = arguments.languages is None
    if asked:
        try:
            arguments.languages = _languages(_answer("--languages", "Languages, such as fr,de,sw: "))
        except argparse.ArgumentTypeError as error:
            raise LapeError(f"languages: {error}") from error
    if asked and arguments.text is None:
        arguments.text = _answer("--text", "Folder of texts (empty: the embedded text): ") or None
    write(arguments, arguments.output)
    print(f"{arguments.output} is written; look at it, then run it: lape run {arguments.output}")


def write(arguments: argparse.Namespace, path: Path | None, newly: bool = True) -> Path:
    """Write the configuration, without a path by the run's name; returns its path.

    Args:
        arguments: of `lape init` or `lape run`.
        path: of the file.
        newly: whether a file that has the same settings already is refused, too.
    """
    from lape.artifacts.shipped import snakefile
    from lape.config import read_config
    from lape.workflow.first_config import found_text, named_model, run_name, write_first_config

    defaults = snakefile().parent / "config"
    catalogue = read_config(defaults / "config.yaml")["catalogue"]
    model, languages = named_model(arguments.model, [*catalogue]), arguments.languages
    text = None
    if arguments.text is not None:
        text = found_text(arguments.text, languages, arguments.text_column, model.tokenizer)
    path = path or Path(f"{run_name(model, languages)}.yaml")
    write_first_config(path, defaults, model, languages, text, newly)
    return path


def _answer(option: str, question: str) -> str:
    if not sys.stdin.isatty():
        raise LapeError(f"{option} is missing, and there is no terminal to ask for it; name it")
    try:
        return input(question).strip()
    except EOFError as error:
        raise LapeError(f"{option} is missing; name it") from error


def _languages(text: str) -> list[str]:
    languages = [language.strip() for language in text.split(",") if language.strip()]
    if len(dict.fromkeys(languages)) < max(2, len(languages)):
        raise argparse.ArgumentTypeError(f"{text!r}: name two or more, each once, such as fr,de,sw")
    return languages
