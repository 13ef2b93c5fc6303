"""The figures of expert units, each drawn from its table and nothing else, as PDF, SVG and PNG."""


rule expert_layers:
    input:
        table="<results>/tables/expert_layers.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/expert_layers.svg",
            caption="captions/expert_layers.rst",
            category="Figures",
            labels={"item": "Expert units by layer and kind of layer"},
        ),
        pdf="<results>/figures/expert_layers.pdf",
        others=multiext("<results>/figures/expert_layers", ".png", ".json"),
    log:
        "<logs>/figures/expert_layers.log",
    benchmark:
        "<benchmarks>/figures/expert_layers.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule expert_layers expert_layers {input.table} --output {output.pdf}"


rule expert_histogram:
    input:
        table="<results>/tables/expert_histogram.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/expert_histogram.svg",
            caption="captions/expert_histogram.rst",
            category="Figures",
            labels={"item": "Average precision of all units"},
        ),
        pdf="<results>/figures/expert_histogram.pdf",
        others=multiext("<results>/figures/expert_histogram", ".png", ".json"),
    log:
        "<logs>/figures/expert_histogram.log",
    benchmark:
        "<benchmarks>/figures/expert_histogram.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule expert_histogram expert_histogram {input.table} --output {output.pdf}"


rule expert_share:
    input:
        table="<results>/tables/expert_share.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/expert_share.svg",
            caption="captions/expert_share.rst",
            category="Figures",
            labels={"item": "Texts in the target language under expert units"},
        ),
        pdf="<results>/figures/expert_share.pdf",
        others=multiext("<results>/figures/expert_share", ".png", ".json"),
    log:
        "<logs>/figures/expert_share.log",
    benchmark:
        "<benchmarks>/figures/expert_share.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule expert_share expert_share {input.table} --output {output.pdf}"


rule expert_sizes:
    input:
        table="<results>/tables/expert_sizes.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/expert_sizes.svg",
            caption="captions/expert_sizes.rst",
            category="Figures",
            labels={"item": "Texts in the target language, by number of units"},
        ),
        pdf="<results>/figures/expert_sizes.pdf",
        others=multiext("<results>/figures/expert_sizes", ".png", ".json"),
    log:
        "<logs>/figures/expert_sizes.log",
    benchmark:
        "<benchmarks>/figures/expert_sizes.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule expert_sizes expert_sizes {input.table} --output {output.pdf}"


rule expert_deactivation:
    input:
        table="<results>/tables/expert_deactivation.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/expert_deactivation.svg",
            caption="captions/expert_deactivation.rst",
            category="Figures",
            labels={"item": "LAPE and expert units: change of perplexity"},
        ),
        pdf="<results>/figures/expert_deactivation.pdf",
        others=multiext("<results>/figures/expert_deactivation", ".png", ".json"),
    log:
        "<logs>/figures/expert_deactivation.log",
    benchmark:
        "<benchmarks>/figures/expert_deactivation.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule expert_deactivation expert_deactivation {input.table} --output {output.pdf}"


rule expert_steering:
    input:
        table="<results>/tables/expert_steering.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/expert_steering.svg",
            caption="captions/expert_steering.rst",
            category="Figures",
            labels={"item": "LAPE and expert units: steering"},
        ),
        pdf="<results>/figures/expert_steering.pdf",
        others=multiext("<results>/figures/expert_steering", ".png", ".json"),
    log:
        "<logs>/figures/expert_steering.log",
    benchmark:
        "<benchmarks>/figures/expert_steering.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule expert_steering expert_steering {input.table} --output {output.pdf}"
