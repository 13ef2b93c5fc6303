"""One neuron at a time: on which words it fires, and which words it writes."""
