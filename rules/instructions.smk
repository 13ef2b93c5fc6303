"""One language's instruction data, which parameter variation trains on; the corpus is a benchmark and must not be.

Input: files on disk (files; the default's are in this repository), or a dataset of the hub, which is streamed.
Output: JSON lines with instruction, input (may be empty) and output, in the source's order, and a report in their
header: examples, those with an input, rows that are no example.
"""


rule instructions:
    input:
        rows=instructions_input,
        code=code("lape.commands.instructions"),
    output:
        examples="<results>/instructions/{language}.jsonl",
        header="<results>/instructions/{language}.json",
    log:
        "<logs>/instructions/{language}.log",
    benchmark:
        "<benchmarks>/instructions/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        source=config["instructions"]["source"],
        settings=lambda wildcards: json.dumps(instructions_settings(wildcards)),
        examples=optional("--examples", config["instructions"]["examples"]),
    shell:
        "lape instructions --log {log} --rule instructions --language {wildcards.language} --source {params.source} "
        "--settings {params.settings:q} {params.examples} --output {output.examples}"
