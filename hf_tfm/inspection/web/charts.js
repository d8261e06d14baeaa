"use strict";
// Lines over an axis of named steps, as SVG that grows with the page.

// a narrow screen gets a narrow drawing, so that its texts stay readable
function chartSize() {
  return {width: innerWidth < 560 ? 340 : 520, height: 210, left: 46, right: 12, top: 10, bottom: 40};
}

function niceSteps(low, high, count = 4) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const steps = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 * step; value += step) steps.push(Number(value.toPrecision(12)));
  return steps;
}

// Steps of layers are named by the layer's number, where the layer begins.
function shortNames(names) {
  const layers = names.map((name) => (name.match(/^(\d+) /) || [])[1]);
  if (!layers.some(Boolean)) {
    const step = niceSteps(0, names.length, 6)[1];
    return names.every((name) => /^-?\d+$/.test(name)) ? names.map((name) => Number(name) % step ? "" : name.replace("-", "−")) : names;
  }
  return names.map((name, i) => layers[i] ? (layers[i] !== layers[i - 1] ? layers[i] : "") : i ? "" : "start");
}

// series: [{name, values, kind, dashed, dots}]; band: {low, high} values that are shaded
function lineChart(label, {names, series, band = null, axis, across, mark = null, range = null}) {
  const {width, height, left, right, top, bottom} = chartSize(), all = series.flatMap((item) => [...item.values]);
  if (band) all.push(...band.low, ...band.high);
  const known = all.filter((value) => Number.isFinite(value));
  const low = range ? range[0] : Math.min(...known, 0), top_ = Math.max(...known, low + 1e-6);
  const step = niceSteps(low, top_)[1] - niceSteps(low, top_)[0];
  const high = range ? range[1] : Math.ceil(top_ / step - 1e-9) * step;
  const count = names.length, x = (i) => left + (width - left - right) * (count > 1 ? i / (count - 1) : 0.5);
  const y = (value) => top + (height - top - bottom) * (1 - (value - low) / (high - low));
  const path = (values) => [...values].map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const svg = makeSvg("svg", {viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label});
  for (const value of niceSteps(low, high)) {
    svg.append(makeSvg("line", {x1: left, x2: width - right, y1: y(value), y2: y(value), class: value === 0 ? "axis zero" : "axis"}),
      makeSvg("text", {x: left - 6, y: y(value) + 4, class: "tick end"}, number(value, 2)));
  }
  let free = -Infinity;
  shortNames(names).forEach((name, i) => {
    if (!name || x(i) < free) return;
    free = x(i) + 12 + 7 * name.length;
    svg.append(makeSvg("text", {x: x(i), y: height - bottom + 16, class: i ? "tick middle" : "tick start"}, name));
  });
  svg.append(makeSvg("text", {x: left + (width - left - right) / 2, y: height - 4, class: "tick middle title"}, across));
  if (band) {
    const back = [...band.low].map((value, i) => [value, i]).reverse().map(([value, i]) => `L${x(i)} ${y(value)}`).join("");
    svg.append(makeSvg("path", {d: `${path(band.high)}${back}Z`, class: "band"}));
  }
  if (mark !== null) svg.append(makeSvg("line", {x1: x(mark), x2: x(mark), y1: top, y2: height - bottom, class: "mark"}));
  for (const item of series) {
    const color = kindColor(item.kind);
    svg.append(makeSvg("path", {d: path(item.values), class: item.dashed ? "line dashed" : "line", stroke: color}));
    if (count <= 60 && item.dots !== false) {
      [...item.values].forEach((value, i) => svg.append(makeSvg("circle", {cx: x(i), cy: y(value), r: 2.6, fill: color},
        makeSvg("title", {}, `${names[i]}: ${number(value)}`))));
    }
  }
  const key = series.map((item) => make("span", {class: "key"},
    make("span", {class: item.dashed ? "dash dashed" : "dash", "aria-hidden": "true", style: {borderColor: kindColor(item.kind)}}), item.name));
  if (band) key.push(make("span", {class: "key"}, make("span", {class: "dash shade", "aria-hidden": "true"}), band.name));
  return make("figure", {}, make("figcaption", {}, make("span", {class: "axis-name"}, axis), ...key), svg);
}
