"""Generation: the settings of the experiments, prompts, greedy answers and their scores."""
