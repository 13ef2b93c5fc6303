"""The page of a finished run: its findings, every neuron, the answers and the tables, in one file without a server."""
