// The UpSet plot, and the neurons of one of its columns.

const LISTED = 200;

async function upset(data) {
  const select = document.getElementById("intersection");
  let view = data.views[0];
  const list = () => shared(view, view.intersections[select.value]);
  const offer = () => {
    const options = view.intersections.map((each, place) =>
      element("option", { value: place }, `${each.sets.join(" & ")} (${each.neurons})`));
    const first = Math.max(view.intersections.findIndex((each) => each.sets.length > 1), 0);
    select.replaceChildren(...options);
    select.value = first;
    list();
  };
  select.addEventListener("change", list);
  offer();
  await chart(document.querySelector('[data-chart="upset"]'), data.charts.upset, (drawn) => {
    if (data.views.length > 1) drawn.addSignalListener("view", (_, title) => {
      view = data.views.find((each) => each.title === title);
      offer();
    });
    drawn.addEventListener("click", (_, item) => {
      if (item?.datum?.place === undefined) return;
      select.value = item.datum.place;
      list();
    });
  });
}

function shared(view, { sets, neurons }) {
  const places = new Map(); // of methods: place of a neuron -> its row and methods
  const rows = [];
  selections.forEach((selection, number) => {
    if (selection.model !== view.model || (view.method && selection.method !== view.method)) return;
    selection.owners.forEach((_, place) => {
      const row = [number, place];
      if (view.method) {
        if (owners(row).join() === sets.join()) rows.push(row);
      } else {
        const key = title(row);
        places.set(key, [row, [...(places.get(key)?.[1] ?? []), selection.method]]);
      }
    });
  });
  for (const [row, methods] of places.values()) if (methods.join() === sets.join()) rows.push(row);
  const links = rows.slice(0, LISTED).flatMap((row) => [neuronLink(row), ", "]).slice(0, -1);
  const more = rows.length > LISTED ? [` and ${rows.length - LISTED} more`] : [];
  document.getElementById("shared").replaceChildren(`${neurons} neurons: `, ...links, ...more);
}
