"""What a run costs before anything runs: its jobs, the shapes of its models, the machine's speed, and the bill."""
