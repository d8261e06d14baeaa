"use strict";
// Builds the page from its data, and offers the numbers behind the drawings as window.hfTfm.

function buildHeader() {
  const [written] = report.sequences.slice(-1), lengths = report.sequences.map((item) => `${item.tokens.length} ${report.sequences.length > 1 ? `${item.name} ` : ""}tokens`);
  const shape = report.attention.map((item) => `${attentionName(item)}: ${item.shape[0]} layers × ${item.shape[1]} heads`);
  const text = (item) => make("p", {class: "text"}, report.sequences.length > 1 ? make("span", {class: "strip-name"}, `${item.name} `) : "",
    make("bdi", {}, runningText(item.tokens).map((text, i) => make("span", {class: item.generated !== null && i >= item.generated ? "written" : null}, text))));
  document.getElementById("header").append(
    make("p", {class: "kicker"}, "Inside a Transformer"),
    make("h1", {}, make("bdi", {}, shown(`${report.model} (${report.architecture})`))),
    make("p", {class: "facts"}, [report.head, report.dtype, ...lengths, ...shape].map((fact) => make("span", {}, fact))),
    ...report.sequences.map(text),
    written.generated !== null ? make("p", {class: "note"}, make("span", {class: "written"}, "Underlined"), " tokens were written by the model.") : "",
    ...report.warnings.map((warning) => make("p", {class: "warning"}, make("b", {}, "Note: "), warning)),
    make("div", {class: "folds"}, make("details", {}, make("summary", {}, "Six words that this page uses"), make("div", {class: "fold"},
      make("dl", {}, Object.entries(WORDS).map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])))),
    make("details", {}, make("summary", {}, "More about this model"), make("div", {class: "fold"},
      make("dl", {}, Object.entries(report.facts).map(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])),
      ...report.sequences.map((item) => make("p", {class: "ids"}, `ids of the ${item.name}: ${item.ids.join(" ")}`))))));
}

// Tokens as running text, spaces as spaces. A vocabulary of whole words without marked spaces gets one between words.
function runningText(tokens) {
  const marked = report.sequences.some((item) => item.tokens.some((token) => /^[ ▁Ġ]/.test(token)));
  const spaced = marked || tokens.every((token) => token.length < 2 || /^<.*>$/.test(token));
  return tokens.map((token, i) => {
    const text = token.replace(/^[▁Ġ]/, " "), before = spaced ? /^ /.test(text) : i && !text.startsWith("##");
    if (text !== "" && text.trim() === "") return text.includes("\n") ? "\n" : " ";
    return (before ? " " : "") + shown(spaced ? text.trim() : text.replace(/^##/, "")) + (/ $/.test(text) ? " " : "");
  });
}

// tokens from which on views out of sight are not laid out
const LONG = 200;

const WORDS = {
  token: "A piece of text, often a word: the model reads and writes tokens.",
  vector: "A list of numbers. Every token has one, and the model works on nothing else.",
  stream: "The vector of a token on its way through the model. Each block reads it and adds to it.",
  block: "One layer of the model: an attention, which moves information between tokens, and a feed-forward, which works on each token alone.",
  head: "One of several attentions that work side by side in a layer, each with its own way of looking. (The last part of the model, which makes the answer, is called a head too.)",
  logit: "The score of an answer before the scores are turned into probabilities.",
};

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
  document.body.classList.toggle("long", report.sequences.some((item) => item.tokens.length > LONG));
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
  let theme = null;
  // a printed page shows what is folded, in the light theme
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((item) => { item.open = true; });
    theme = document.documentElement.dataset.theme || "";
    setTheme("light");
  });
  addEventListener("afterprint", () => setTheme(theme));
}

// What the page shows, as numbers: counted from 0.
window.hfTfm = {
  ready: start().catch((error) => {
    const needs = "It needs Chrome 123, Firefox 120, Safari 17.5 or a later one.";
    document.getElementById("views").prepend(make("p", {class: "warning"}, `The page could not be drawn: ${error.message}. ${needs}`));
    throw error;
  }),
  report: () => report,
  select,
  drawn: async () => {
    while (drawing) await new Promise((resolve) => setTimeout(resolve, 5));
  },
  get: async (attention, layer, head, query) => {
    const {weights, width, error} = await headMap(attention, layer, head);
    return {weights: [...weights.subarray(query * width, (query + 1) * width)], error};
  },
};
