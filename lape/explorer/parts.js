// The packed parts of the page, and small helpers to build elements. Text becomes an element's text, never markup.

const beside = new Map(); // name of a part -> the function that takes its text

window.takePart = (name, text) => beside.get(name)?.(text);

// A file beside the page is a script, since a page that was opened from a file may read no other.
function loaded(name) {
  return new Promise((resolve, reject) => {
    beside.set(name, resolve);
    const script = document.createElement("script");
    script.src = `${document.body.dataset.folder}/${name}.js`;
    script.onerror = () => reject(new Error(`${script.src} is missing: keep it beside the page`));
    document.head.append(script);
  });
}

const unpacked = new Map();

// The text of a part.
function part(name) {
  if (!unpacked.has(name)) unpacked.set(name, unpack(name));
  return unpacked.get(name);
}

async function unpack(name) {
  const text = document.getElementById(`part-${name}`)?.textContent ?? (await loaded(name));
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const content = async (name) => JSON.parse(await part(name));

// A library of the page.
async function library(name) {
  const address = URL.createObjectURL(new Blob([await part(name)], { type: "text/javascript" }));
  return import(address);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A list of choices with its label; an option is a text, or [value, text].
function chooser(label, options, chosen, onchange) {
  const select = element("select", { change: () => onchange(select.value) });
  for (const option of options) {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    select.append(element("option", { value, selected: value === chosen }, text));
  }
  return element("label", {}, `${label} `, select);
}

function save(name, text, type = "text/plain") {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const short = (value, digits = 3) =>
  value === null || value === undefined ? "" : String(Number(value.toPrecision(digits))).replace("-", "\u2212");
const percent = (value) => (value === null || value === undefined ? "" : `${short(100 * value)}%`);
