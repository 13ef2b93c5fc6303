"""The figures of perplexity and of layers, each drawn from its table and nothing else, as PDF, SVG and PNG."""


rule deactivation:
    input:
        table="<results>/tables/deactivation.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/deactivation.svg",
            caption="captions/deactivation.rst",
            category="Figures",
            labels={"item": "LAPE and its control: change of perplexity"},
        ),
        pdf="<results>/figures/deactivation.pdf",
        others=multiext("<results>/figures/deactivation", ".png", ".json"),
    log:
        "<logs>/figures/deactivation.log",
    benchmark:
        "<benchmarks>/figures/deactivation.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule deactivation deactivation {input.table} --output {output.pdf}"


rule deactivation_log_ratio:
    input:
        table="<results>/tables/deactivation.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/deactivation_log_ratio.svg",
            caption="captions/deactivation_log_ratio.rst",
            category="Figures",
            labels={"item": "LAPE and its control: log ratio of perplexities"},
        ),
        pdf="<results>/figures/deactivation_log_ratio.pdf",
        others=multiext("<results>/figures/deactivation_log_ratio", ".png", ".json"),
    log:
        "<logs>/figures/deactivation_log_ratio.log",
    benchmark:
        "<benchmarks>/figures/deactivation_log_ratio.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule deactivation_log_ratio deactivation_log_ratio {input.table} --output {output.pdf}"


rule figure2:
    input:
        table="<results>/tables/figure2.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure2.svg",
            caption="captions/figure2.rst",
            category="Figures",
            labels={"item": "Figure 2: change of perplexity, all methods"},
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


rule figure3:
    input:
        table="<results>/tables/figure3.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure3.svg",
            caption="captions/figure3.rst",
            category="Figures",
            labels={"item": "Figure 3: change of perplexity and of bits per byte, all models"},
        ),
        pdf="<results>/figures/figure3.pdf",
        others=multiext("<results>/figures/figure3", ".png", ".json"),
    log:
        "<logs>/figures/figure3.log",
    benchmark:
        "<benchmarks>/figures/figure3.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure3 figure3 {input.table} --output {output.pdf}"


rule figure4:
    input:
        table="<results>/tables/figure4.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure4.svg",
            caption="captions/figure4.rst",
            category="Figures",
            labels={"item": "Figure 4: change of perplexity by share of neurons selected"},
        ),
        pdf="<results>/figures/figure4.pdf",
        others=multiext("<results>/figures/figure4", ".png", ".json"),
    log:
        "<logs>/figures/figure4.log",
    benchmark:
        "<benchmarks>/figures/figure4.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure4 figure4 {input.table} --output {output.pdf}"


rule figure5:
    input:
        table="<results>/tables/tables6_10.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
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


rule figure8:
    input:
        table="<results>/tables/figure8.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure8.svg",
            caption="captions/figure8.rst",
            category="Figures",
            labels={"item": "Figure 8: change of perplexity, random neurons"},
        ),
        pdf="<results>/figures/figure8.pdf",
        others=multiext("<results>/figures/figure8", ".png", ".json"),
    log:
        "<logs>/figures/figure8.log",
    benchmark:
        "<benchmarks>/figures/figure8.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure8 figure8 {input.table} --output {output.pdf}"
