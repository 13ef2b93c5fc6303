"""Labelled sentences of every language: what the expert units are scored on, and what is held out.

Input: the language's corpus, of which the documents of the train split are scored and the others held out (the
default); datasets of the hub; or files.
Output: JSON lines with split, id and text; no sentence is in both splits.
"""


rule sentences:
    input:
        texts=sentences_input,
        code=code("lape.commands.sentences"),
    output:
        sentences="<results>/sentences/{language}.jsonl",
        header="<results>/sentences/{language}.json",
    log:
        "<logs>/sentences/{language}.log",
    benchmark:
        "<benchmarks>/sentences/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        source=config["sentences"]["source"],
        settings=lambda wildcards: json.dumps(sentences_settings(wildcards)),
        flags=sentences_flags,
        number=config["sentences"]["number"],
        held_out=config["sentences"]["held_out"],
    shell:
        "lape sentences --log {log} --rule sentences --language {wildcards.language} --source {params.source} "
        "--settings {params.settings:q} {params.flags} --number {params.number} --held-out {params.held_out} "
        "--output {output.sentences}"
