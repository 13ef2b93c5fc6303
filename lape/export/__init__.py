"""What a run found, for tools that know nothing of lape: checkpoints with languages switched, and its questions."""
