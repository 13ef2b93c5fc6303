"""What the run was: its configuration, a manifest of every artifact, and the report.

Input: the tables and figures, from which the manifest follows every header back to the downloads; the captions.
Output: config.json (the configuration as it was merged), report.html, a self-contained page of tables and figures, and
manifest.json, which `lape audit` checks; in paper/ and expert_units/ the last two for the targets `paper` and
`expert_units`.
"""


rule config:
    output:
        "<results>/config.json",
    log:
        "<logs>/config.log",
    conda:
        "../envs/lape.yaml"
    params:
        config=lambda wildcards: json.dumps(config, indent=2, ensure_ascii=False),
    shell:
        "(printf '%s\\n' {params.config:q} > {output}.partial && sync {output}.partial && mv {output}.partial {output}) "
        "2> {log}"


rule manifest:
    input:
        headers=[str(Path(item).with_suffix(".json")) for item in DEFAULT_ITEMS],
        config="<results>/config.json",
        report="<results>/report.html",
    output:
        "<results>/manifest.json",
    log:
        "<logs>/manifest.log",
    conda:
        "../envs/lape.yaml"
    shell:
        "lape manifest --log {log} --rule manifest {input.headers} --config {input.config} --report {input.report} "
        "--output {output}"


rule report:
    input:
        content=DEFAULT_ITEMS,
        config="<results>/config.json",
        captions=repository_files("rules/captions/*.rst"),
    output:
        "<results>/report.html",
    log:
        "<logs>/report.log",
    conda:
        "../envs/lape.yaml"
    params:
        snakefile=repository_files("Snakefile"),
    # A second Snakemake reads the finished items' metadata; the lock belongs to the one that runs this job.
    shell:
        "(snakemake --nolock --snakefile {params.snakefile:q} --configfile {input.config} "
        "--report {output}.partial.html {input.content} && sync {output}.partial.html && "
        "mv {output}.partial.html {output}) > {log} 2>&1"


use rule manifest as paper_manifest with:
    input:
        headers=[str(Path(item).with_suffix(".json")) for item in PAPER_ITEMS],
        config="<results>/config.json",
        report="<results>/paper/report.html",
    output:
        "<results>/paper/manifest.json",
    log:
        "<logs>/paper/manifest.log",


use rule report as paper_report with:
    input:
        content=PAPER_ITEMS,
        config="<results>/config.json",
        captions=repository_files("rules/captions/*.rst"),
    output:
        "<results>/paper/report.html",
    log:
        "<logs>/paper/report.log",


use rule manifest as expert_manifest with:
    input:
        headers=[str(Path(item).with_suffix(".json")) for item in EXPERT_ITEMS],
        config="<results>/config.json",
        report="<results>/expert_units/report.html",
    output:
        "<results>/expert_units/manifest.json",
    log:
        "<logs>/expert_units/manifest.log",


use rule report as expert_report with:
    input:
        content=EXPERT_ITEMS,
        config="<results>/config.json",
        captions=repository_files("rules/captions/*.rst"),
    output:
        "<results>/expert_units/report.html",
    log:
        "<logs>/expert_units/report.log",
