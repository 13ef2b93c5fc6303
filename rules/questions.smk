"""Open questions in every language, aligned by number: what the model is asked, and the aligned
text of Figures 6 and 7.

Input: a file for each language, from this repository (the default's), from a download, or the user's.
Output: JSON lines with number and question, by number: as many as are asked, and all of them or those that `structure`
names.
"""


rule questions:
    input:
        rows=questions_input,
        code=code("lape.commands.questions"),
    output:
        questions="<results>/questions/{language}.jsonl",
        header="<results>/questions/{language}.json",
    log:
        "<logs>/questions/{language}.log",
    benchmark:
        "<benchmarks>/questions/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        rule="questions",
        settings=lambda wildcards: json.dumps(questions_settings(wildcards)),
        number=optional("--number", config["questions"]["number"]),
    shell:
        "lape questions --log {log} --rule {params.rule} --language {wildcards.language} --settings {params.settings:q} "
        "{params.number} --output {output.questions}"


use rule questions as aligned with:
    input:
        rows=aligned_input,
        code=code("lape.commands.questions"),
    output:
        questions="<results>/aligned/{language}.jsonl",
        header="<results>/aligned/{language}.json",
    log:
        "<logs>/aligned/{language}.log",
    benchmark:
        "<benchmarks>/aligned/{language}.tsv"
    params:
        rule="aligned",
        settings=lambda wildcards: json.dumps(aligned_settings(wildcards)),
        number="",
