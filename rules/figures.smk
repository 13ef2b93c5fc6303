"""The figures, each drawn from its table and nothing else, as PDF, SVG and PNG."""


rule figure2:
    input:
        table="<results>/tables/figure2.csv",
        code=code("lape/figures/*.py", "lape/tables/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure2.svg",
            caption="captions/figure2.rst",
            category="Figures",
            labels={"item": "Figure 2 (LAPE): change of perplexity"},
        ),
        pdf="<results>/figures/figure2.pdf",
        others=multiext("<results>/figures/figure2", ".png", ".json"),
    log:
        "<logs>/figures/figure2.log",
    benchmark:
        "<benchmarks>/figures/figure2.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure2 figure2 {input.table} --output {output.pdf}"


rule figure2_log_ratio:
    input:
        table="<results>/tables/figure2.csv",
        code=code("lape/figures/*.py", "lape/tables/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure2_log_ratio.svg",
            caption="captions/figure2_log_ratio.rst",
            category="Figures",
            labels={"item": "Figure 2 (LAPE): log ratio of perplexities"},
        ),
        pdf="<results>/figures/figure2_log_ratio.pdf",
        others=multiext("<results>/figures/figure2_log_ratio", ".png", ".json"),
    log:
        "<logs>/figures/figure2_log_ratio.log",
    benchmark:
        "<benchmarks>/figures/figure2_log_ratio.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure2_log_ratio figure2_log_ratio {input.table} --output {output.pdf}"


rule figure5:
    input:
        table="<results>/tables/figure5.csv",
        code=code("lape/figures/*.py", "lape/tables/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure5.svg",
            caption="captions/figure5.rst",
            category="Figures",
            labels={"item": "Figure 5: neurons per layer and language"},
        ),
        pdf="<results>/figures/figure5.pdf",
        others=multiext("<results>/figures/figure5", ".png", ".json"),
    log:
        "<logs>/figures/figure5.log",
    benchmark:
        "<benchmarks>/figures/figure5.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure5 figure5 {input.table} --output {output.pdf}"
