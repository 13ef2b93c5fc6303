"""What the model and dataset hub's refusals mean, in one line."""


def explain(error: Exception) -> tuple[str, str | None]:
    """Why the hub, or what reads from it, failed, without the token that was sent.

    Args:
        error: what was raised, with its causes.

    Returns:
        the reason; and the remedy where the hub knows the user too little, else None.
    """
    from huggingface_hub import errors

    causes, cause = [], error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for cause in causes:
        if isinstance(cause, errors.GatedRepoError):
            remedy = "accept its licence on its page on the hub, and set HF_TOKEN to a token of that account"
            return "it is gated", f"{remedy} that may read gated repositories"
    known = {errors.RevisionNotFoundError: "it has no such revision"}
    known |= {errors.RepositoryNotFoundError: "there is none of this name, or it is private and HF_TOKEN lacks access"}
    for kind, reason in known.items():
        if isinstance(error, kind):
            return reason, None
    return str(error).strip().partition("\n")[0] or type(error).__name__, None
