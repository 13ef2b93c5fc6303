// The answers to each question side by side.

const WHAT = {
  normal: () => "normal",
  random: (setting, language) => `random neurons off, as many as of ${language}`,
  deactivated: (setting) => `${setting.language} off`,
  steered: (setting, language) => `${language} steered`,
  steered_random: () => "random neurons steered",
  cross: (setting, _, target) => `${setting.language} off, ${target} steered`,
  cross_random: () => "random neurons off and steered",
};

async function answers() {
  const groups = await content("answers");
  const place = document.getElementById("answer-filters");
  const chosen = { group: 0, language: "", target: "", success: "", doses: "" };
  place.addEventListener("submit", (event) => event.preventDefault());

  function redraw() {
    const group = groups[chosen.group];
    const languages = Object.keys(group.questions);
    if (!languages.includes(chosen.language)) chosen.language = languages[0];
    const settings = group.settings.filter((setting) => chosen.doses || !setting.name.includes("@")).map((setting) => [setting, block(setting, chosen.language, chosen.target || chosen.language)])
      .filter(([, rows]) => rows.size);
    controls(group, languages, settings);
    list(group, settings);
  }

  // The answers of a setting to one language's questions, by number. A normal answer stands beside those in another language.
  function block(setting, language, target) {
    const wanted = setting.kind === "normal" ? language : target;
    return new Map(setting.rows.filter((row) => row.language === language && row.target === wanted).map((row) => [row.number, row]));
  }

  function controls(group, languages, settings) {
    const change = (name) => (value) => {
      chosen[name] = name === "group" ? Number(value) : value;
      if (name !== "success") chosen.success = "";
      if (name === "language" || name === "group") chosen.target = "";
      const lists = () => [...place.querySelectorAll("select")];
      const focused = lists().indexOf(document.activeElement);
      redraw();
      lists()[focused]?.focus();
    };
    const targets = [...new Set(group.settings.flatMap((setting) =>
      setting.rows.filter((row) => row.language === chosen.language).map((row) => row.target)))];
    const wanted = chosen.target || chosen.language;
    const outcomes = settings.flatMap(([setting]) => {
      const told = label(setting, wanted);
      return [[`+${setting.name}`, `in ${wanted}: ${told}`], [`-${setting.name}`, `not in ${wanted}: ${told}`]];
    });
    place.replaceChildren(
      groups.length > 1 ? chooser("model and prompt", groups.map((each, number) => [String(number), `${each.model}, ${each.prompt}`]), String(chosen.group), change("group")) : "",
      chooser("question in", languages, chosen.language, change("language")),
      chooser("answer wanted in", targets, wanted, change("target")),
      group.settings.some((setting) => setting.name.includes("@"))
        ? chooser("doses", [["", "the run's own"], ["all", "all"]], chosen.doses, change("doses")) : "",
      chooser("show", [["", "all questions"], ...outcomes], chosen.success, change("success")));
  }

  const label = (setting, target) => {
    const dose = setting.name.split("@")[1];
    return WHAT[setting.kind](setting, chosen.language, target) + (dose ? ` (${dose})` : "");
  };

  function list(group, settings) {
    const wanted = chosen.target || chosen.language;
    const judge = settings.find(([setting]) => setting.name === chosen.success.slice(1));
    const questions = Object.entries(group.questions[chosen.language] ?? {}).filter(([number]) => {
      const row = judge?.[1].get(Number(number));
      return !judge || (row && row.hit === chosen.success.startsWith("+"));
    });
    document.getElementById("answer-count").textContent = `${questions.length} questions`;
    document.getElementById("answer-list").replaceChildren(...questions.map(([number, question]) =>
      element("article", {}, element("h3", { dir: "auto" }, `${number}. ${question}`),
        element("div", { class: "answers" }, ...settings.map(([setting, rows]) => answer(label(setting, wanted), rows.get(Number(number))))))));
  }

  redraw();
}

function answer(label, row) {
  if (!row) return element("div", {}, element("h4", {}, label), "no answer");
  const untold = { "": "", short: "(too short to tell)", unknown: "(no language told)" }[row.found];
  const found = untold ?? element("span", { class: row.hit ? "hit" : "miss" }, `${row.hit ? "✓" : "✗"} ${row.found}`);
  return element("div", {}, element("h4", {}, `${label} `, found), element("p", { dir: "auto" }, row.output || "(empty)"));
}
