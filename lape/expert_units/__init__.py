"""Expert units: outputs of linear layers that tell a language from the others (Kojima et al. 2024)."""
