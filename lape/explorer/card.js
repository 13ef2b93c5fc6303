// The card of one neuron, by the page's fragment: #neuron=method/model/layer/index.

const NEAREST = 8;

async function showCard() {
  const dialog = document.getElementById("card");
  const row = byFragment.get(location.hash);
  if (!row) {
    if (dialog.open) dialog.close();
    if (location.hash.startsWith("#neuron=")) warn("There is no such neuron in this run.");
    return;
  }
  const selection = selections[row[0]];
  const close = element("button", { type: "button", class: "close", "aria-label": "Close the card", click: () => dialog.close() }, "✕");
  const heading = element("h2", { id: "card-title", tabindex: -1 }, title(row));
  dialog.replaceChildren(element("div", { class: "card-head" }, heading, close), summary(row));
  if (!dialog.open) dialog.showModal();
  heading.focus();
  dialog.scrollTop = 0;
  if (selection.cards) {
    const group = await content(`cards-${row[0]}-${Math.floor(row[1] / selection.cards)}`);
    if (location.hash !== fragment(row)) return; // another card was opened meanwhile
    dialog.append(...contexts(row, group));
  }
  dialog.append(...profile(row), python(row));
}

function warn(text) {
  document.querySelector("main > .warning[role]")?.remove();
  document.querySelector("main").prepend(element("p", { class: "warning", role: "alert" }, text));
}

const fact = (label, ...value) => element("div", {}, element("dt", {}, label), element("dd", {}, ...value));

function summary(row) {
  const { method, model, site } = selections[row[0]];
  const list = element("dl", { class: "facts" },
    fact("Model", model),
    fact("Method", method),
    fact("Languages", owners(row).join(", ") || "none"),
    fact("Place", `layer ${cell(row, "layer")} (index ${cell(row, "layer") - 1}), neuron ${cell(row, "index")}`));
  const more = [
    ["entropy", "Entropy", (value) => value.toFixed(4)],
    ["frequency", "Selected again", percent],
    ["promoted", "Promoted words of its language", percent],
  ];
  for (const [name, label, format] of more) if (cell(row, name) !== null) list.append(fact(label, format(cell(row, name))));
  if (site) {
    const address = site.neurons ? `${site.address}/${cell(row, "layer") - 1}/${cell(row, "index")}` : site.address;
    const text = site.neurons ? "this neuron there" : "this model there (features, not neurons)";
    list.append(fact("Neuronpedia", element("a", { href: address, rel: "noreferrer" }, text)));
  }
  return list;
}

function profile(row) {
  const { sets, units, by_language } = selections[row[0]];
  if (!by_language.probability && !by_language.average_precision) return [];
  const ranked = "rank" in by_language;
  const head = ["language", "fires at", ...(ranked ? ["average precision", `rank among ${units ?? "all"} units`] : [])];
  const lines = sets.map((name) => {
    const share = ofLanguage(row, "probability", name);
    const shown = share === null ? "" : element("span", { class: "bar", style: `--share:${share}` }, percent(share));
    const precision = ofLanguage(row, "average_precision", name);
    const rest = ranked ? [precision === null ? "" : precision.toFixed(3), String(ofLanguage(row, "rank", name) ?? "")] : [];
    const label = owners(row).includes(name) ? `${name} (its own)` : name;
    return element("tr", {}, element("th", { scope: "row" }, label), ...[shown, ...rest].map((value) => element("td", { class: "share" }, value)));
  });
  const table = element("table", { class: "profile" },
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...lines));
  const near = nearest(row).flatMap((other) => [neuronLink(other), ", "]).slice(0, -1);
  return [
    element("h3", {}, "Profile"), table,
    near.length ? element("p", { class: "links" }, "Nearest by the shares at which they fire: ", ...near) : null,
  ].filter(Boolean);
}

// Other neurons of the selection, by the distance of their shares.
function nearest(row) {
  const { owners: all, by_language } = selections[row[0]];
  const shares = by_language.probability;
  if (!shares) return [];
  const distance = (place) => shares.reduce((sum, values) => sum + (values[place] - values[row[1]]) ** 2, 0);
  return all.map((_, place) => [distance(place), place])
    .filter(([, place]) => place !== row[1])
    .sort((one, other) => one[0] - other[0])
    .slice(0, NEAREST)
    .map(([, place]) => [row[0], place]);
}

function contexts(row, group) {
  const card = group.cards[row[1] % selections[row[0]].cards];
  const names = Object.keys(card.languages);
  const mine = owners(row);
  names.sort((one, other) => mine.includes(other) - mine.includes(one));
  const all = names.flatMap((name) => [...card.languages[name].strongest, ...card.languages[name].below]);
  const largest = Math.max(0, ...all.map(([, values, centre]) => Math.abs(values[centre])));
  const histogram = element("div", { class: "wide" });
  chart(histogram, { ...histogramChart, datasets: { histogram: bins(card) } });
  return [
    element("h3", {}, "Where it is active"),
    ...names.map((name) => language(name, card.languages[name], group.tokens, largest, mine.includes(name))),
    element("h3", {}, "How strongly it is active"), histogram,
    element("h3", {}, "What it writes"),
    words("A positive output raises", card.raised), words("and lowers", card.lowered),
    frequent(card),
    element("p", { class: "note" }, "The direct effect on the vocabulary. In a GLU the up projection may make the output negative, which exchanges the two."),
  ];
}

function bins(card) {
  return Object.entries(card.languages).flatMap(([language, { histogram }], order) => {
    const total = histogram.reduce((sum, number) => sum + number, 0) || 1;
    return histogram.map((number, bin) => ({
      language, order, share: number / total, low: card.low + (bin - 1) * card.width, high: card.low + bin * card.width,
    }));
  });
}

const words = (label, list) =>
  element("p", { class: "words" }, `${label} `, ...list.flatMap((word) => [element("code", { dir: "auto" }, visible(word)), " "]));

function frequent({ raised_share: raised, lowered_share: lowered }) {
  const list = (shares) => Object.entries(shares).map(([language, share]) => `${language} ${percent(share)}`).join(", ");
  const told = [["raised", raised], ["lowered", lowered]].filter(([, shares]) => Object.keys(shares).length)
    .map(([what, shares]) => `Of the 50 words ${what} most, these shares are frequent in a language: ${list(shares)}.`);
  return element("p", {}, told.join(" "));
}

const visible = (text) => text.replace(/\n/g, "⏎").replace(/\t/g, "⇥");

function language(name, found, tokens, largest, open) {
  const told = `${name}: fires at ${percent(found.share)} of the tokens, mean ${short(found.mean)}; half of it on ${found.words} different tokens`;
  const list = (label, some) => some.length
    ? [element("h4", {}, label), element("ol", { class: "contexts" }, ...some.map((one) => context(one, tokens, largest)))]
    : [];
  return element("details", { open }, element("summary", {}, told),
    ...list("Strongest, each from another document", found.strongest),
    ...list("Weaker, from the quantiles below", found.below));
}

function context([ids, values, centre], tokens, largest) {
  const line = element("span", { class: "context", dir: "auto" });
  ids.forEach((id, place) => {
    const text = tokens[id];
    const share = largest ? Math.min(Math.abs(values[place]) / largest, 1) : 0;
    const kind = values[place] > 0 ? "above" : "below";
    const byte = text.match(/^<+(0x[0-9A-F]{2})>+$/)?.[1];
    const tag = place === centre ? "mark" : "span";
    line.append(element(tag, { class: byte ? `${kind} byte` : kind, style: `--share:${share.toFixed(3)}`, title: short(values[place]) }, byte ?? visible(text)));
  });
  return element("li", {}, element("span", { class: "value" }, short(values[centre])), line);
}

function python(row) {
  const { file } = selections[row[0]];
  const layer = cell(row, "layer") - 1;
  const expert = cell(row, "expert");
  const conditions = [["layer", layer], ["expert", expert], ["index", cell(row, "index")]].filter(([, value]) => value !== null);
  const where = conditions.map(([name, value]) => `(table["${name}"] == ${value})`).join(" & ");
  const text = [
    `table = lape.Neurons.load(${JSON.stringify(file)}).table`,
    `table[${where}]`,
    `lape.inspect(model, tokenizer, ${layer}, ${cell(row, "index")}, texts${expert === null ? "" : `, expert=${expert}`})`,
  ].join("\n");
  const copy = element("button", { type: "button", click: () => navigator.clipboard?.writeText(text) }, "Copy");
  return element("div", {}, element("h3", {}, "In Python"), element("pre", {}, text), copy);
}

function cards(charts) {
  histogramChart = charts.histogram;
  const dialog = document.getElementById("card");
  dialog.addEventListener("close", () => {
    if (location.hash.startsWith("#neuron=")) history.pushState(null, "", "#neurons");
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  addEventListener("hashchange", showCard);
  return showCard();
}

let histogramChart;
