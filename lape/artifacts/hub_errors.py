"""Explain in one line why the hub of models and data sets refused a request."""

from lape.errors import first_line


def explain(error: Exception) -> tuple[str, str | None]:
    """Why the hub, or a library that reads from it, failed. The token that was sent is left out.

    Args:
        error: the exception that was raised.

    Returns:
        the reason; and a remedy where the hub wants to know the user (a token, accepted terms), else None.
    """
    from huggingface_hub import errors

    # The library datasets keeps only the text of the hub's refusal.
    if isinstance(error, errors.GatedRepoError) or "is a gated dataset" in str(error):
        remedy = "accept its licence on its page on the hub, and set HF_TOKEN to a token of that account"
        return "it is gated", f"{remedy} that may read gated repositories"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision", None
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is none of this name, or it is private and HF_TOKEN lacks access", None
    return first_line(error), None
