"""Text of one language as documents, from a download, from the Hugging Face hub or from the user's files."""

from lape.corpus.build import SOURCES, build_corpus, documents
from lape.corpus.reading import Reading

__all__ = ["SOURCES", "Reading", "build_corpus", "documents"]
