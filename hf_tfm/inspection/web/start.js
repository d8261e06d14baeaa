"use strict";
// Builds the page from its data, and offers the numbers behind the drawings as window.hfTfm.

function buildHeader() {
  const [written] = report.sequences.slice(-1), lengths = report.sequences.map((item) => `${item.tokens.length} ${report.sequences.length > 1 ? `${item.name} ` : ""}tokens`);
  const shape = report.attention.map((item) => `${attentionName(item)}: ${item.shape[0]} layers × ${item.shape[1]} heads`);
  const text = (item) => make("p", {class: "text"}, report.sequences.length > 1 ? make("span", {class: "strip-name"}, `${item.name} `) : "",
    make("bdi", {}, item.tokens.map((token, i) => make("span", {class: item.generated !== null && i >= item.generated ? "written" : null}, readable(token)))));
  document.getElementById("header").append(
    make("p", {class: "kicker"}, "Inside a Transformer"),
    make("h1", {}, make("bdi", {}, shown(report.model))),
    make("p", {class: "facts"}, [report.architecture, report.head, report.dtype, ...lengths, ...shape].map((fact) => make("span", {}, fact))),
    ...report.sequences.map(text),
    written.generated !== null ? make("p", {class: "note"}, make("span", {class: "written"}, "Underlined"), " tokens were written by the model.") : "",
    ...report.warnings.map((warning) => make("p", {class: "warning"}, make("b", {}, "Note: "), warning)),
    make("details", {}, make("summary", {}, "More about this model"), make("div", {class: "fold"},
      make("dl", {}, Object.entries(report.facts).map(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])),
      ...report.sequences.map((item) => make("p", {class: "ids"}, `ids of the ${item.name}: ${item.ids.join(" ")}`)))));
}

// A token in running text, spaces as spaces.
function readable(token) {
  const text = token.replace(/^[▁Ġ]/, " ");
  return text.trim() === "" && text !== "" ? text.replace(/[^\n]/g, " ") : shown(text.trim()).replace(/^/, /^\s/.test(text) ? " " : "") + (/\s$/.test(text) ? " " : "");
}

function buildNavigation(entries) {
  const jump = (id) => (event) => {
    event.preventDefault();
    const section = document.getElementById(id);
    section.focus({preventScroll: true});
    section.scrollIntoView({behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
  };
  document.querySelector(".skip").addEventListener("click", jump("views"));
  document.getElementById("header").append(make("nav", {"aria-label": "Views"}, make("ol", {}, entries.map(({id, question}) =>
    make("li", {}, make("a", {href: `#${id}`, onclick: jump(id)}, question))))));
}

async function start() {
  report = await readReport();
  buildHeader();
  selectFirst();
  const change = readAddress();
  const entries = [addPredictionView(), addLensView(), addAttributionView(), addAttentionView(), addHeadsView()];
  if (report.patching) entries.push(addPatchingView());
  entries.push(addStreamView(), addPositionsView(), addCostsView());
  buildNavigation(entries);
  for (const key of ["attention", "layer", "head"]) if (key in change) selection[key] = change[key];
  buildSelectionBar();
  select({...change, token: null});
  document.getElementById("footer").textContent = "One file; nothing on this page comes from a network. Layers, heads and tokens are counted from 1.";
  addEventListener("hashchange", () => select(readAddress()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  let width = innerWidth, resized = null;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(resized);
    resized = setTimeout(() => select({token: null, resized: true}), 150);
  });
  // a printed page shows what is folded
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((item) => { item.open = true; }));
}

// What the page shows, as numbers: counted from 0.
window.hfTfm = {
  ready: start(),
  report: () => report,
  select,
  get: async (attention, layer, head, query) => {
    const {weights, width, error} = await headMap(attention, layer, head);
    return {weights: [...weights.subarray(query * width, (query + 1) * width)], error};
  },
};
