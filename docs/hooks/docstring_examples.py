"""What mkdocstrings' parser of docstrings calls for every object: our sections "Example:" are its "Examples:"."""

from griffe import Extension, Object


class Examples(Extension):
    """Let a section "Example:" be read as code and its output, not as prose."""

    def on_object(self, *, obj: Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
