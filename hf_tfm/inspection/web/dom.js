"use strict";
// Elements, texts and numbers. Tokens are foreign text: they reach the page through textContent alone.

const SVG = "http://www.w3.org/2000/svg";

// make("button", {class: "x", onclick: f}, "text", child, ...)
function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function makeSvg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(element.style, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Characters that draw nothing or change the direction of what follows, by their number.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\p{Cs}]/gu;
const MARKS = {"\n": "↵", "\t": "⇥", "\r": "␍"};

function shown(text) {
  if (text === "") return "∅";
  const visible = text.replace(UNSEEN, (mark) => {
    return MARKS[mark] || `‹U+${mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`;
  });
  return visible.replace(/^ | $/g, "␣").replace(/  +/g, (run) => "␣".repeat(run.length));
}

// Without the mark of a space before it, which only says that a new word begins.
function brief(text) {
  const all = shown(text);
  return all.length > 1 ? all.replace(/^[␣▁Ġ]/, "") : all;
}

function quoted(text) {
  return `‘${brief(text)}’`;
}

// Short names, but whole ones where two would be the same.
function briefs(texts) {
  const short = texts.map(brief);
  return short.map((text, i) => short.indexOf(text) === short.lastIndexOf(text) ? text : shown(texts[i]));
}

// Whether a token continues the word before it, in a vocabulary that marks where words begin.
function continues(tokens, index) {
  const begins = (token) => /^[ ▁Ġ]/.test(token);
  return index > 0 && tokens.some(begins) && /^[\p{L}\p{N}'’]/u.test(tokens[index]) && /[\p{L}\p{N}]$/u.test(tokens[index - 1]);
}

function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(Math.max(digits - 2, 0)).replace("-", "−").replace("e-", "e−").replace("e+", "e");
  const places = Math.min(Math.max(digits - 1 - Math.floor(Math.log10(size)), 0), 6);
  return value.toFixed(places).replace("-", "−");
}

function signed(value, digits = 3) {
  return value > 0 ? `+${number(value, digits)}` : number(value, digits);
}

// Numbers of one list with the same places after the point, three digits for the largest.
function signedAlike(values) {
  const top = Math.max(...values.map(Math.abs)), places = Math.min(Math.max(3 - Math.ceil(Math.log10(top || 1)), 0), 6);
  return values.map((value) => `${value > 0 ? "+" : ""}${value.toFixed(places)}`.replace("-", "−"));
}

function percent(value) {
  return `${value >= 0.0995 ? (100 * value).toFixed(0) : value >= 0.00095 ? (100 * value).toFixed(1) : "<0.1"} %`;
}

function counted(value, unit = "") {
  if (Math.abs(value) < 1000) return `${Number.isInteger(value) ? value : number(value)}${unit && ` ${unit}`}`;
  const names = ["", "k", "M", "G", "T", "P"];
  const step = Math.min(Math.floor(Math.log10(Math.abs(value)) / 3), 5);
  return `${(value / 1000 ** step).toPrecision(3)} ${names[step]}${unit}`;
}

// A table of texts; `numeric`: columns that are aligned right.
function table(caption, head, rows, numeric = []) {
  const side = (index) => numeric.includes(index) ? "number" : null;
  return make("table", {class: "plain"},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, head.map((text, i) => make("th", {scope: "col", class: side(i)}, text)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map((text, i) =>
      i ? make("td", {class: side(i)}, text) : make("th", {scope: "row", class: side(i)}, text))))));
}

function scrolling(label, ...children) {
  return make("div", {class: "scrolling", tabindex: "0", role: "region", "aria-label": label}, ...children);
}

function choice(label, options, value, onchange) {
  const select = make("select", {onchange: () => onchange(select.value)},
    options.map(([key, text]) => make("option", {value: key}, text)));
  select.value = value;
  return make("label", {class: "choice"}, make("span", {}, label), select);
}
