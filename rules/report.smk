"""A record of the run: its configuration, and for each of three targets a manifest, a report and the explorer's page.

Input: the target's tables and figures and its neurons' contexts, from which the manifest follows every header back to
the downloads; captions.
Output: config.json, the merged configuration; report.html, a self-contained page of tables and figures, which begins
with summary.rst, what was run and found; manifest.json, which `lape audit` checks; and index.html, a page of the
findings, the neurons, the answers and the tables of a manifest, which audits them. The targets `paper` and
`expert_units` have folders of their own for the four.
"""


rule config:
    output:
        "<results>/config.json",
    log:
        "<logs>/config.log",
    localrule: True
    conda:
        "../envs/lape.yaml"
    params:
        config=lambda wildcards: json.dumps(config, indent=2, ensure_ascii=False),
    shell:
        "(printf '%s\\n' {params.config:q} > {output}.partial && sync {output}.partial && mv {output}.partial {output}) "
        "2> {log}"


for target, prefix, folder in (
    ("all", "", ""),
    ("paper", "paper_", "paper/"),
    ("expert_units", "expert_", "expert_units/"),
):

    rule:
        name:
            f"{prefix}manifest"
        input:
            headers=targets.headers(targets.of_target(config, target)),
            looked_at=inputs.looked_at() if target != "expert_units" else [],
            config="<results>/config.json",
            report=f"<results>/{folder}report.html",
        output:
            f"<results>/{folder}manifest.json",
        log:
            f"<logs>/{folder}manifest.log",
        localrule: True
        conda:
            "../envs/lape.yaml"
        params:
            rule=f"{prefix}manifest",
        shell:
            "lape manifest --log {log} --rule {params.rule} {input.headers} {input.looked_at} --config {input.config} "
            "--report {input.report} --output {output}"

    rule:
        name:
            f"{prefix}report"
        input:
            content=targets.of_target(config, target),
            config="<results>/config.json",
            found=targets.headers(targets.findings(config, target)),
            captions=repository_files("rules/captions/*.rst"),
        output:
            html=f"<results>/{folder}report.html",
            summary=f"<results>/{folder}summary.rst",
        log:
            f"<logs>/{folder}report.log",
        localrule: True
        conda:
            "../envs/lape.yaml"
        params:
            snakefile=repository_files("Snakefile"),
            code=code_hash("lape.commands.summary"),
        # A second Snakemake reads the metadata of the finished items. It takes no lock, because the Snakemake that runs
        # this job holds it.
        shell:
            "(lape summary {input.found} --config {input.config} --output {output.summary} && "
            "LAPE_SUMMARY={output.summary} snakemake --nolock --snakefile {params.snakefile:q} "
            "--configfile {input.config} --report {output.html}.partial.html {input.content} && "
            "sync {output.html}.partial.html && mv {output.html}.partial.html {output.html}) > {log} 2>&1"

    rule:
        name:
            f"{prefix}explorer"
        input:
            manifest=f"<results>/{folder}manifest.json",
            captions=repository_files("rules/captions/*.rst"),
        output:
            f"<results>/{folder}index.html",
        log:
            f"<logs>/{folder}explorer.log",
        localrule: True
        conda:
            "../envs/lape.yaml"
        params:
            code=code_hash("lape.explorer.page"),
            rule=f"{prefix}explorer",
        shell:
            "lape explorer --log {log} --rule {params.rule} {input.manifest} --output {output}"
