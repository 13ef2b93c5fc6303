"""The tables, and the data of the figures, of every model: tidy CSV, and Markdown and LaTeX to read.

Input: headers of the perplexity rows or of the neurons.
Output: one file an item, named as in the paper; one observation a row.
"""


rule baseline_table:
    input:
        headers=expand("<results>/perplexity/{model}/none/baseline.json", model=config["models"]),
        code=code("lape/tables/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/baseline.csv",
            caption="captions/baseline.rst",
            category="Tables",
            labels={"item": "Perplexity without deactivation"},
        ),
        texts=multiext("<results>/tables/baseline", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/baseline.log",
    benchmark:
        "<benchmarks>/tables/baseline.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule baseline_table baseline {input.headers} --output {output.csv}"


rule figure2_table:
    input:
        headers=perplexity_headers,
        code=code("lape/tables/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/figure2.csv",
            caption="captions/figure2.rst",
            category="Tables",
            labels={"item": "Data of Figure 2: perplexity under deactivation"},
        ),
        texts=multiext("<results>/tables/figure2", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure2.log",
    benchmark:
        "<benchmarks>/tables/figure2.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule figure2_table figure2 {input.headers} --output {output.csv}"


rule table3:
    input:
        headers=expand("<results>/neurons/{model}/lape.json", model=config["models"]),
        code=code("lape/neurons.py", "lape/tables/*.py", "lape/commands/table.py"),
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
        headers=expand("<results>/neurons/{model}/lape.json", model=config["models"]),
        code=code("lape/neurons.py", "lape/tables/*.py", "lape/commands/table.py"),
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


rule figure5_table:
    input:
        headers=expand("<results>/neurons/{model}/lape.json", model=config["models"]),
        code=code("lape/neurons.py", "lape/tables/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/figure5.csv",
            caption="captions/figure5.rst",
            category="Tables",
            labels={"item": "Data of Figure 5: neurons per layer and language"},
        ),
        texts=multiext("<results>/tables/figure5", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure5.log",
    benchmark:
        "<benchmarks>/tables/figure5.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule figure5_table figure5 {input.headers} --output {output.csv}"
