"""What other tools take from lape: a model of EleutherAI's lm-evaluation-harness."""
