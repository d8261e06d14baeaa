"use strict";
// Colors: cividis for amounts (light theme: white to dark blue, dark theme: background to yellow), blue and orange for
// signs, Okabe and Ito's set for kinds. Lightness is monotone in each scale, so that it survives color blindness.

const LIGHT = {
  amounts: ["#ffffff", "#f5efcf", "#d9cb83", "#a59c74", "#7c7b78", "#575d6d", "#2c3f6b", "#00224e"],
  signs: ["#8a3b00", "#c95f12", "#eba666", "#ffffff", "#8fbbdf", "#3581ba", "#0a4a80"],
  hidden: "#e4e6ea",
};
const DARK = {
  amounts: ["#15181d", "#14284f", "#2d406c", "#575d6d", "#7c7b78", "#a59c74", "#d2c060", "#fee838"],
  signs: ["#ffb469", "#d98836", "#7d4c1c", "#15181d", "#1f4b70", "#3f8ac4", "#8cc8f5"],
  hidden: "#2a2f37",
};
const KINDS = {
  light: ["#0072b2", "#b85000", "#00785a", "#a04f7f", "#6b6b00", "#3a3a3a"],
  dark: ["#56b4e9", "#e69f00", "#2fc797", "#e08fbf", "#f0e442", "#c8c8c8"],
};

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function channels(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// 256 colors between equally spaced stops.
function ramp(stops) {
  const points = stops.map(channels);
  return Array.from({length: 256}, (_, i) => {
    const place = i / 255 * (points.length - 1), low = Math.min(Math.floor(place), points.length - 2);
    return points[low].map((value, c) => Math.round(value + (points[low + 1][c] - value) * (place - low)));
  });
}

const RAMPS = {
  light: {amounts: ramp(LIGHT.amounts), signs: ramp(LIGHT.signs), hidden: channels(LIGHT.hidden)},
  dark: {amounts: ramp(DARK.amounts), signs: ramp(DARK.signs), hidden: channels(DARK.hidden)},
};

function ramps() {
  return RAMPS[isDark() ? "dark" : "light"];
}

function kindColor(index) {
  const colors = KINDS[isDark() ? "dark" : "light"];
  return colors[index % colors.length];
}

function luminance(color) {
  const [r, g, b] = color.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// Black or white, whichever contrasts more: at least 4.58 : 1 on any color.
function textOn(color) {
  const light = luminance(color);
  return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? "#000000" : "#ffffff";
}

function amountColor(share) {
  return ramps().amounts[Math.round(255 * Math.min(Math.max(share, 0), 1))];
}

// share from -1 to 1
function signColor(share) {
  return ramps().signs[Math.round(127.5 * (1 + Math.min(Math.max(share, -1), 1)))];
}

function paint(element, color) {
  element.style.backgroundColor = `rgb(${color})`;
  element.style.color = textOn(color);
}

function unpaint(element) {
  element.style.backgroundColor = element.style.color = "";
}

// What the colors mean: a bar from the lowest to the highest value.
function legend(low, high, signs = false) {
  const colors = signs ? ramps().signs : ramps().amounts, stops = [];
  for (let i = 0; i < 256; i += 17) stops.push(`rgb(${colors[i]})`);
  return make("span", {class: "legend"}, make("span", {}, low),
    make("span", {class: "ramp", "aria-hidden": "true", style: {backgroundImage: `linear-gradient(to right, ${stops})`}}),
    make("span", {}, high));
}
