// The charts, in the colours of the page; drawn anew where the reader turns from light to dark.

const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map(); // element -> its specification, what is called with the view, and its lists of choices

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  const font = getComputedStyle(document.body).fontFamily;
  return {
    background: "transparent",
    font,
    view: { stroke: line },
    axis: { labelColor: ink, titleColor: ink, domainColor: line, tickColor: line, gridColor: line, titleFontWeight: "normal" },
    header: { labelColor: ink, titleColor: ink },
    legend: { labelColor: ink, titleColor: ink },
    title: { color: ink, fontWeight: "normal" },
    text: { color: ink, fill: ink },
  };
}

async function chart(place, specification, onview = () => {}) {
  const controls = drawn.get(place)?.controls ?? element("div", { class: "controls" });
  drawn.set(place, { specification, onview, controls });
  controls.replaceChildren();
  place.before(controls);
  await library("vega");
  const actions = { export: true, source: false, compiled: false, editor: false };
  const tooltip = { theme: dark.matches ? "dark" : "light" };
  const options = { actions, bind: controls, renderer: "svg", config: colours(), tooltip };
  const { view } = await window.vegaEmbed(place, structuredClone(specification), options);
  onview(view);
}

dark.addEventListener("change", () => {
  for (const [place, { specification, onview }] of drawn) {
    if (place.isConnected) chart(place, specification, onview);
    else drawn.delete(place);
  }
});
