"""Expert units: outputs of linear layers that tell one language from the others (Kojima et al. 2024)."""
