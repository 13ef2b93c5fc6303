# Runs in the activated conda environment, in the folder from which Snakemake was started (the repository).
set -euo pipefail
python -m pip install --no-build-isolation --no-deps --editable .
