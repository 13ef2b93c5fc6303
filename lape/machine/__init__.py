"""The machine that a command runs on: ranks, GPUs, memory, the allocator, progress."""
