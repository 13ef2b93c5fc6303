"""What makes other tools measure a switched model: EleutherAI's lm-evaluation-harness."""
