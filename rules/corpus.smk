"""One language's text as documents.

Input: the downloaded file (embedded), files on disk (files), or a dataset of the hub, which is streamed.
Output: a parquet of documents (id, text), without duplicates, and a report in its header: documents,
characters, scripts, detected languages, bad lines.
"""


rule corpus:
    input:
        text=corpus_input,
        code=code("lape.commands.corpus"),
    output:
        documents="<results>/corpus/{language}.parquet",
        header="<results>/corpus/{language}.json",
    log:
        "<logs>/corpus/{language}.log",
    benchmark:
        "<benchmarks>/corpus/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        source=config["corpus"]["source"],
        # A function: Snakemake would replace {language} in a plain string.
        settings=lambda wildcards: json.dumps(corpus_settings()),
        file=lambda wildcards, input: optional(
            "--file", input.text if config["corpus"]["source"] == "embedded" else None
        ),
        language_check=language_check(),
        minimum_characters=config["corpus"]["minimum_characters"],
        exclude=lambda wildcards: optional("--exclude", config["corpus"][config["corpus"]["source"]]["exclude"]),
    shell:
        "lape corpus --log {log} --rule corpus --language {wildcards.language} --source {params.source} "
        "--settings {params.settings:q} {params.file} --language-check {params.language_check} "
        "--minimum-characters {params.minimum_characters} {params.exclude} --threads {threads} "
        "--output {output.documents}"
