"""What a run found, for others: checkpoints with languages switched, neuron sets, hooks, and its questions."""
