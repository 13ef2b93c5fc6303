"""What the model and dataset hub's refusals mean, in one line."""


def explain(error: Exception) -> tuple[str, str | None]:
    """Why the hub, or what reads from it, failed, without the token that was sent.

    Args:
        error: what was raised.

    Returns:
        the reason; and the remedy where the hub knows the user too little, else None.
    """
    from huggingface_hub import errors

    # Of the hub's refusal datasets keeps the text alone.
    if isinstance(error, errors.GatedRepoError) or "is a gated dataset" in str(error):
        remedy = "accept its licence on its page on the hub, and set HF_TOKEN to a token of that account"
        return "it is gated", f"{remedy} that may read gated repositories"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision", None
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is none of this name, or it is private and HF_TOKEN lacks access", None
    return str(error).strip().partition("\n")[0] or type(error).__name__, None
