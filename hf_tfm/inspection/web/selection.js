"use strict";
// One selection drives every view: a token of each sequence, a kind of attention, a layer and a head. It stands in the
// address as #text=5&attention=1&layer=3&head=2, counted from 1.

let report = null;
const selection = {tokens: {}, attention: 0, layer: 0, head: 0};
const views = [];

function maps() {
  return report.attention[selection.attention];
}

function sequence(name) {
  return report.sequences.find((item) => item.name === name);
}

// Maps may be of some layers only: the layer's number in its stack, and the index of its maps, -1 without.
function layerNumber(index, item = maps()) {
  return item.layers.length ? item.layers[index] : index;
}

function layerIndex(layer, item = maps()) {
  return item.layers.length ? item.layers.indexOf(layer) : layer < item.shape[0] ? layer : -1;
}

// The sequence whose tokens are predicted: the text, or what a decoder writes.
function predictedSequence() {
  return report.sequences[report.sequences.length - 1];
}

function tokenOf(name) {
  return selection.tokens[name];
}

function attentionName(item) {
  const kind = item.kind === "cross" ? "cross-attention" : "self-attention";
  return report.attention.length > 1 ? `${item.stack} ${kind}` : kind;
}

function clamp(value, size) {
  return Math.min(Math.max(Math.round(value) || 0, 0), Math.max(size - 1, 0));
}

// change: any of {token: [sequence name, index], attention, layer, head}
function select(change) {
  if (change.token) selection.tokens[change.token[0]] = change.token[1];
  for (const key of ["attention", "layer", "head"]) if (change[key] !== undefined) selection[key] = change[key];
  for (const item of report.sequences) selection.tokens[item.name] = clamp(tokenOf(item.name), item.tokens.length);
  selection.attention = clamp(selection.attention, report.attention.length);
  const [layers, heads] = maps() ? maps().shape : [0, 0];
  selection.layer = clamp(selection.layer, layers);
  selection.head = clamp(selection.head, heads);
  writeAddress();
  updateSelectionBar();
  for (const view of views) view.update(change);
}

function writeAddress() {
  const parts = report.sequences.map((item) => `${encodeURIComponent(item.name)}=${tokenOf(item.name) + 1}`);
  if (maps()) parts.push(`attention=${selection.attention + 1}`, `layer=${layerNumber(selection.layer) + 1}`, `head=${selection.head + 1}`);
  try {
    history.replaceState(null, "", `#${parts.join("&")}`);
  } catch {
    // a frame without an address of its own, as in a notebook
  }
}

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1)), change = {};
  for (const item of report.sequences) {
    if (given.has(item.name)) selection.tokens[item.name] = Number(given.get(item.name)) - 1;
  }
  for (const key of ["attention", "layer", "head"]) if (given.has(key)) change[key] = Number(given.get(key)) - 1;
  if (change.layer !== undefined && maps()) {
    change.layer = layerIndex(change.layer, report.attention[clamp(change.attention || 0, report.attention.length)]);
  }
  return change;
}

// Where a reader looks first: a token whose logit was taken apart, in the middle of the stack.
function selectFirst() {
  for (const item of report.sequences) selection.tokens[item.name] = item.tokens.length - 1;
  const explained = report.attributions.find((item) => item.position !== null);
  if (explained) selection.tokens[predictedSequence().name] = explained.position;
  const crossed = report.attention.findIndex((item) => item.kind === "cross");
  selection.attention = Math.max(crossed, 0);
  selection.layer = maps() ? Math.floor(maps().shape[0] / 2) : 0;
}

let selectors = {};

function stepper(name, label, options, value, onchange) {
  const step = (by) => onchange(clamp(Number(select.value) + by, options.length));
  const select = make("select", {"aria-label": label, onchange: () => onchange(Number(select.value))},
    options.map((text, index) => make("option", {value: index}, text)));
  select.value = value;
  selectors[name] = select;
  return make("div", {class: "stepper"}, make("span", {"aria-hidden": "true"}, label),
    make("button", {type: "button", "aria-label": `previous ${label}`, onclick: () => step(-1)}, "‹"), select,
    make("button", {type: "button", "aria-label": `next ${label}`, onclick: () => step(1)}, "›"));
}

function buildSelectionBar() {
  selectors = {};
  const bar = document.getElementById("selection"), count = (size) => Array.from({length: size}, (_, i) => i + 1);
  const items = report.sequences.map((item) => stepper(item.name, report.sequences.length > 1 ? `${item.name} token` : "token",
    item.tokens.map((token, i) => `${i + 1} ${quoted(token)}`), tokenOf(item.name), (index) => select({token: [item.name, index]})));
  if (report.attention.length > 1) {
    items.push(stepper("attention", "attention", report.attention.map(attentionName), selection.attention,
      (index) => select({attention: index})));
  }
  if (maps()) {
    const [layers, heads] = maps().shape;
    items.push(stepper("layer", "layer", count(layers).map((_, i) => layerNumber(i) + 1), selection.layer, (index) => select({layer: index})),
      stepper("head", "head", count(heads), selection.head, (index) => select({head: index})));
  }
  bar.replaceChildren(make("div", {class: "inner"}, ...items, themeButton()));
}

function updateSelectionBar() {
  const [layers, heads] = maps() ? maps().shape : [0, 0];
  if (selectors.layer && (selectors.layer.length !== layers || selectors.head.length !== heads)) {
    const name = Object.keys(selectors).find((key) => selectors[key] === document.activeElement);
    buildSelectionBar();
    if (name) selectors[name].focus();
  }
  for (const item of report.sequences) selectors[item.name].value = tokenOf(item.name);
  for (const key of ["attention", "layer", "head"]) if (selectors[key]) selectors[key].value = selection[key];
}

const THEMES = {"": "auto", light: "light", dark: "dark"};

function themeButton() {
  const current = document.documentElement.dataset.theme || "";
  const button = make("button", {type: "button", class: "theme", onclick: () => {
    const keys = Object.keys(THEMES), next = keys[(keys.indexOf(document.documentElement.dataset.theme || "") + 1) % 3];
    button.textContent = `theme: ${THEMES[next]}`;
    setTheme(next);
    announce(`theme ${THEMES[next]}`);
  }}, `theme: ${THEMES[current]}`);
  return button;
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  repaint();
}

// Everything that is colored by script, once more.
function repaint() {
  for (const view of views) view.update({theme: true});
}

function announce(text) {
  document.getElementById("live").textContent = text;
}
