// The table of neurons. A row is [selection, number of the neuron in the selection].

let selections = [];
const shownOnly = { method: "", model: "", language: "", layer: "" };

const cell = (row, name) => selections[row[0]].columns[name]?.[row[1]] ?? null;
const owners = (row) => selections[row[0]].owners[row[1]].map((place) => selections[row[0]].sets[place]);

function ofLanguage(row, kind, language) {
  const selection = selections[row[0]];
  return selection.by_language[kind]?.[selection.sets.indexOf(language)]?.[row[1]] ?? null;
}

// The highest value among the neuron's own languages.
function own(row, kind) {
  const values = owners(row).map((name) => ofLanguage(row, kind, name)).filter((value) => value !== null);
  return values.length ? Math.max(...values) : null;
}

function fragment(row) {
  const { method, model } = selections[row[0]];
  const place = ["layer", "expert", "index"].map((name) => cell(row, name)).filter((part) => part !== null);
  return `#neuron=${[method, model, ...place].map(encodeURIComponent).join("/")}`;
}

function title(row) {
  const expert = cell(row, "expert");
  return `layer ${cell(row, "layer")}${expert === null ? "" : `, expert ${expert}`}, neuron ${cell(row, "index")}`;
}

const byFragment = new Map();

function neuronLink(row, text = title(row)) {
  return element("a", { href: fragment(row) }, text);
}

const bar = (value) => `<span class="bar" style="--share:${value}">${value.toFixed(3)}</span>`;

// A column of numbers: rounded on the page, all digits in the sorting and in what is saved.
function numbers(heading, value, format = short, more = {}) {
  const render = (_, type, row) => {
    const found = value(row);
    if (type === "display") return found === null ? "" : format(found);
    if (type === "sort") return found === null ? -Infinity : found;
    return found ?? "";
  };
  return { title: heading, data: null, render, className: "dt-right", searchable: false, orderSequence: ["desc", "asc"], ...more };
}

function columns(DataTable, languages) {
  const has = (name) => selections.some((selection) => name in selection.columns);
  const hasOf = (kind) => selections.some((selection) => kind in selection.by_language);
  const text = DataTable.render.text().display;
  const words = (heading, value) => ({ title: heading, data: null, className: "dt-left", render: (_, type, row) => (type === "display" ? text(value(row)) : value(row)) });
  const link = (_, type, row) =>
    type === "display" ? `<a href="${text(fragment(row))}" aria-label="${text(title(row))}">${cell(row, "index")}</a>` : cell(row, "index");
  const severalModels = new Set(selections.map((selection) => selection.model)).size > 1;
  return [
    words("method", (row) => selections[row[0]].method),
    severalModels && words("model", (row) => selections[row[0]].model),
    words("languages", (row) => owners(row).join(", ")),
    numbers("layer", (row) => cell(row, "layer"), String, { searchable: true }),
    has("expert") && numbers("expert", (row) => cell(row, "expert"), String),
    { title: "neuron", data: null, render: link, className: "dt-right" },
    has("entropy") && numbers("entropy", (row) => cell(row, "entropy"), (value) => value.toFixed(3), { orderSequence: ["asc", "desc"] }),
    ...(hasOf("probability") ? languages : []).map((name) =>
      numbers(name, (row) => ofLanguage(row, "probability", name), bar, { className: "share" })),
    has("strongest") && numbers("strongest", (row) => cell(row, "strongest")),
    has("promoted") && numbers("promoted words", (row) => cell(row, "promoted"), percent),
    has("frequency") && numbers("selected again", (row) => cell(row, "frequency"), percent),
    hasOf("average_precision") && numbers("AP", (row) => own(row, "average_precision"), (value) => value.toFixed(3)),
  ].filter(Boolean);
}

async function neuronTable(data) {
  selections = data.selections;
  const rows = selections.flatMap((selection, number) => selection.owners.map((_, place) => [number, place]));
  for (const row of rows) byFragment.set(fragment(row), row);
  const { default: DataTable, set_or_remove_dark_class: followTheme } = await library("datatables");
  followTheme();
  document.head.prepend(element("style", {}, await part("datatables-style")));
  DataTable.ext.search.push((settings, _, index) => settings.nTable.id !== "neuron-table" || passes(rows[index]));
  const shown = columns(DataTable, data.order);
  const byEntropy = shown.findIndex((column) => column.title === "entropy");
  const table = new DataTable("#neuron-table", {
    data: rows,
    columns: shown,
    deferRender: true,
    autoWidth: false,
    pageLength: 15,
    lengthMenu: [15, 50, 200],
    order: byEntropy < 0 ? [] : [[byEntropy, "asc"]],
    layout: {
      topStart: "search",
      topEnd: { buttons: [{ extend: "csvHtml5", text: "Save as CSV", filename: "neurons", exportOptions: { orthogonal: "export" } }] },
      bottomStart: ["info", "pageLength"],
      bottomEnd: "paging",
    },
    language: { search: "Search", info: "_START_ to _END_ of _TOTAL_ neurons", infoFiltered: "(of _MAX_)", infoEmpty: "no neurons", zeroRecords: "no neuron passes the filters" },
  });
  filters(rows, data.order, table);
  return table;
}

function passes(row) {
  const { method, model } = selections[row[0]];
  return (
    (!shownOnly.method || method === shownOnly.method) &&
    (!shownOnly.model || model === shownOnly.model) &&
    (!shownOnly.language || owners(row).includes(shownOnly.language)) &&
    (!shownOnly.layer || String(cell(row, "layer")) === shownOnly.layer)
  );
}

const lists = {}; // filter -> its list of choices

// Leave the neurons of a chart's mark.
function filterBy(wanted) {
  for (const [name, value] of Object.entries(wanted)) {
    if (!lists[name]) continue;
    lists[name].value = value;
    lists[name].dispatchEvent(new Event("change"));
  }
  document.getElementById("neurons").scrollIntoView();
}

function filters(rows, languages, table) {
  const place = document.getElementById("filters");
  const options = {
    method: [...new Set(selections.map((selection) => selection.method))],
    model: [...new Set(selections.map((selection) => selection.model))],
    language: languages,
    layer: [...new Set(rows.map((row) => cell(row, "layer")))].sort((a, b) => a - b).map(String),
  };
  for (const [name, known] of Object.entries(options)) {
    if (known.length < 2) continue;
    if (name === "method") shownOnly.method = known[0];
    const label = chooser(name, [["", "all"], ...known], shownOnly[name], (value) => {
      shownOnly[name] = value;
      table.draw();
    });
    lists[name] = label.querySelector("select");
    place.append(label);
  }
  place.addEventListener("submit", (event) => event.preventDefault());
  table.draw();
}
