// Fills the page: first what is seen first.

function savers() {
  for (const button of document.querySelectorAll("button[data-item]")) {
    button.addEventListener("click", async () => {
      const { item, kind } = button.dataset;
      save(`${item}.${kind}`, (await content("files"))[item][kind], kind === "svg" ? "image/svg+xml" : "text/plain");
    });
  }
}

// A figure is an image, in which no script runs.
async function figure(place) {
  const { svg } = (await content("files"))[place.dataset.figure];
  place.querySelector("img").src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
}

async function figures() {
  for (const details of document.querySelectorAll("details:has([data-figure])")) {
    const show = () => details.open && figure(details.querySelector("[data-figure]"));
    details.addEventListener("toggle", show, { once: true });
    await show();
  }
}

// A bar, or a cell of the layers, leads to its neurons.
function linked(view) {
  view.addEventListener("click", (_, item) => {
    const { language, layer = "", model, method } = item?.datum ?? {};
    if (language) filterBy({ language, layer, model, method });
  });
}

async function begin() {
  const data = await content("content");
  savers();
  await Promise.all([...document.querySelectorAll("[data-chart]")]
    .filter((place) => place.dataset.chart !== "upset")
    .map((place) => chart(place, data.charts[place.dataset.chart], linked)));
  if (data.selections.length) {
    await neuronTable(data);
    await cards(data.charts);
  }
  if (data.views.length) await upset(data);
  if (document.getElementById("answers")) await answers();
  await figures();
  document.getElementById(location.hash.slice(1))?.scrollIntoView({ behavior: "instant" }); // what was filled moved it
  document.body.dataset.ready = "";
}

addEventListener("beforeprint", () => document.querySelectorAll("#tables details").forEach((details) => (details.open = true)));
begin().catch((error) => {
  warn(`This page could not be filled: ${error.message}`);
  throw error;
});
