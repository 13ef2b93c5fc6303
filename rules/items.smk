"""The tables and figures: two loops over the registry of items, `lape.items.registry`.

Input: for a table the headers that its entry names, and the data beside them; for a figure its table and nothing else.
Output: for a table tidy CSV with one observation per row, Markdown, and a folder with a LaTeX file per section; for a
figure PDF, SVG and PNG. The same inputs and seed give the same bytes. The name of an item is a target that makes its
table and its figure, and so is each alias, such as `figure2`.
"""

for name, item in ((name, item) for item in ITEMS for name in (item.name, *item.aliases)):

    rule:
        name:
            name
        input:
            targets.of_item(item),
        localrule: True


for item in (item for item in ITEMS if item.table):

    rule:
        name:
            f"{item.name}_table"
        input:
            headers=in_one_line(tables.headers(item)),
            data=in_one_line(tables.data(item)),
        output:
            csv=report(
                f"<results>/tables/{item.name}.csv",
                caption=f"captions/{item.name}.rst",
                category=item.table.category,
                labels={"item": item.table.title},
            ),
            texts=multiext(f"<results>/tables/{item.name}", ".md", ".json"),
            latex=directory(f"<results>/tables/{item.name}.latex"),
        log:
            f"<logs>/tables/{item.name}.log",
        group:
            "items"
        conda:
            "../envs/lape.yaml"
        params:
            code=code_hash(*item.table.modules, "lape.commands.table"),
            rule=f"{item.name}_table",
            item=item.name,
            options=in_one_line(tables.options(item)),
        shell:
            "lape table --log {log} --rule {params.rule} {params.item} {input.headers} {params.options} --output {output.csv}"


for item in (item for item in ITEMS if item.figure):

    rule:
        name:
            f"{item.name}_figure"
        input:
            table=f"<results>/tables/{item.figure.table or item.name}.csv",
        output:
            svg=report(
                f"<results>/figures/{item.name}.svg",
                caption=f"captions/{item.name}.rst",
                category="Figures",
                labels={"item": item.figure.title},
            ),
            pdf=f"<results>/figures/{item.name}.pdf",
            others=multiext(f"<results>/figures/{item.name}", ".png", ".json"),
        log:
            f"<logs>/figures/{item.name}.log",
        group:
            "items"
        conda:
            "../envs/lape.yaml"
        params:
            code=code_hash(*item.figure.modules, "lape.commands.figure"),
            rule=f"{item.name}_figure",
            item=item.name,
        shell:
            "lape figure --log {log} --rule {params.rule} {params.item} {input.table} --output {output.pdf}"
