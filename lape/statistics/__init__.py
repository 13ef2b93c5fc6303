"""How often every FFN neuron fires on a language: exact sums, and the hooks that record them."""
