"""How many neurons each language has, where they lie and which languages share them, of every model.

Input: the neurons that LAPE selected.
Output: one table an item, and the figures of shared neurons, each drawn from its table and nothing else. Tables of
models that the paper counts have its numbers and the difference beside ours.
"""


rule table3:
    input:
        headers=expand("<results>/neurons/{model}/lape.json", model=models_of("table3")),
        tables=expand("<results>/neurons/{model}/lape.tsv", model=models_of("table3")),
        code=repository_files(
            "lape/neurons/table.py",
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/table3.csv",
            caption="captions/table3.rst",
            category="Tables",
            labels={"item": "Table 3: neurons per language"},
        ),
        texts=multiext("<results>/tables/table3", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/table3.log",
    benchmark:
        "<benchmarks>/tables/table3.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule table3 table3 {input.headers} --output {output.csv}"


rule tables6_10:
    input:
        headers=expand("<results>/neurons/{model}/lape.json", model=models_of("tables6_10")),
        tables=expand("<results>/neurons/{model}/lape.tsv", model=models_of("tables6_10")),
        code=repository_files(
            "lape/neurons/table.py",
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/tables6_10.csv",
            caption="captions/tables6_10.rst",
            category="Tables",
            labels={"item": "Tables 6-10: neurons per layer and language"},
        ),
        texts=multiext("<results>/tables/tables6_10", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/tables6_10.log",
    benchmark:
        "<benchmarks>/tables/tables6_10.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule tables6_10 tables6_10 {input.headers} --output {output.csv}"


rule sharing_table:
    input:
        headers=expand("<results>/neurons/{model}/lape.json", model=models_of("sharing")),
        tables=expand("<results>/neurons/{model}/lape.tsv", model=models_of("sharing")),
        code=repository_files("lape/neurons/table.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/sharing.csv",
            caption="captions/sharing.rst",
            category="Tables",
            labels={"item": "Data of shared neurons by pairs of languages"},
        ),
        texts=multiext("<results>/tables/sharing", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/sharing.log",
    benchmark:
        "<benchmarks>/tables/sharing.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule sharing_table sharing {input.headers} --output {output.csv}"


rule sharing_histogram_table:
    input:
        headers=expand("<results>/neurons/{model}/lape.json", model=models_of("sharing")),
        tables=expand("<results>/neurons/{model}/lape.tsv", model=models_of("sharing")),
        code=repository_files("lape/neurons/table.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/sharing_histogram.csv",
            caption="captions/sharing_histogram.rst",
            category="Tables",
            labels={"item": "Data of shared neurons by the number of languages"},
        ),
        texts=multiext("<results>/tables/sharing_histogram", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/sharing_histogram.log",
    benchmark:
        "<benchmarks>/tables/sharing_histogram.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule sharing_histogram_table sharing_histogram {input.headers} --output {output.csv}"


rule table7:
    input:
        headers=expand("<results>/neurons/{model}/lape.json", model=models_of("table7")),
        tables=expand("<results>/neurons/{model}/lape.tsv", model=models_of("table7")),
        code=repository_files(
            "lape/neurons/table.py",
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/table7.csv",
            caption="captions/table7.rst",
            category="Tables",
            labels={"item": "Table 7: pre-training shares beside neurons"},
        ),
        texts=multiext("<results>/tables/table7", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/table7.log",
    benchmark:
        "<benchmarks>/tables/table7.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule table7 table7 {input.headers} --output {output.csv}"


rule sharing:
    input:
        table="<results>/tables/sharing.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/sharing.svg",
            caption="captions/sharing.rst",
            category="Figures",
            labels={"item": "Shared neurons by pairs of languages"},
        ),
        pdf="<results>/figures/sharing.pdf",
        others=multiext("<results>/figures/sharing", ".png", ".json"),
    log:
        "<logs>/figures/sharing.log",
    benchmark:
        "<benchmarks>/figures/sharing.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule sharing sharing {input.table} --output {output.pdf}"


rule sharing_histogram:
    input:
        table="<results>/tables/sharing_histogram.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/sharing_histogram.svg",
            caption="captions/sharing_histogram.rst",
            category="Figures",
            labels={"item": "Shared neurons by the number of languages"},
        ),
        pdf="<results>/figures/sharing_histogram.pdf",
        others=multiext("<results>/figures/sharing_histogram", ".png", ".json"),
    log:
        "<logs>/figures/sharing_histogram.log",
    benchmark:
        "<benchmarks>/figures/sharing_histogram.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule sharing_histogram sharing_histogram {input.table} --output {output.pdf}"
