"use strict";
// 4. Where did it look: the attention of one head, as text and as a matrix.

// whether the map of the selection is still being decoded
let drawing = false;

const WEIGHTINGS = {
  plain: "weight",
  value: "weight × size of what is read",
  later: "without the first token",
};

// The rows of a head in one weighting, each as shares of a whole: {rows (T S), missing (T) or null, top}.
function weightedMap(found, weighting, index, layer, head) {
  const {weights, length, width} = found, {missing, value_norms: norms} = report.attention[index];
  const taken = missing && missing.row(layer, head);
  if (weighting === "plain") return {rows: weights, missing: taken};
  const rows = new Float32Array(weights.length), sizes = norms.row(layer, head);
  for (let query = 0; query < length; query++) {
    const start = query * width;
    let total = 0;
    for (let key = 0; key < width; key++) {
      const value = weighting === "value" ? weights[start + key] * sizes[key] : key ? weights[start + key] : 0;
      rows[start + key] = value;
      total += value;
    }
    for (let key = 0; total > 0 && key < width; key++) rows[start + key] /= total;
  }
  return {rows, missing: null};
}

function largestOf(values) {
  let top = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > top) top = values[i];
  return top;
}

function addAttentionView() {
  const sentence = "For each token a head spreads its attention, 100 % in all, over the tokens that it may see, and mixes what they hold into the vector.";
  return addView("attention", "Where did it look?", sentence, reasonFor("attention"), (body, how) => {
    // weights of long texts are small
    let weighting = "plain", scale = report.sequences.some((item) => item.tokens.length > 64) ? "root" : "linear", shownMap = null, hovered = null, run = 0;
    const controls = make("div", {class: "controls"}), pictures = make("div", {class: "pictures", role: "listbox", "aria-label": "Heads of this layer"});
    const readout = make("p", {class: "readout"}), key = make("div", {class: "legend-line"}), texts = make("div"), top = make("div");
    const title = make("h3");
    const cell = (row, column, aloud) => {
      hovered = [row, column];
      readout.textContent = describeCell(row, column);
      if (aloud) {
        matrix.label(readout.textContent);
        announce(readout.textContent);
      }
    };
    const matrix = new Matrix({onmove: cell, onchoose: (row, column) => {
      cell(row, column, true);
      select({token: [maps().queries, row]});
    }});
    matrix.grid.addEventListener("pointerleave", () => cell(...matrix.place, false));
    body.append(controls, pictures, make("div", {class: "pair wide-left"},
      make("div", {}, matrix.element, readout, key), make("div", {}, title, texts, top)));

    const draw = () => {
      const {visible, length, width, weights, error} = shownMap.found, {rows, missing} = shownMap;
      const columns = width + (missing ? 1 : 0);
      const share = scale === "linear" ? (value) => value / shownMap.top : (value) => Math.sqrt(value / shownMap.top);
      const keys = sequence(maps().keys).tokens;
      matrix.draw(length, columns, (query, key) => {
        if (key === width) return share(missing[query]);
        return visible[query * width + key] ? share(rows[query * width + key]) : null;
      }, sequence(maps().queries).tokens, missing ? [...keys, "(sink)"] : keys);
      const hidden = visible.includes(0);
      key.replaceChildren(legend("0", number(shownMap.top, 2)), hidden ? make("span", {class: "key"}, make("span", {class: "swatch", "aria-hidden": "true"}), "hidden by the mask") : "",
        make("span", {class: "note"}, `rows look, columns are looked at${missing ? "; the last column is the learned sink" : ""}`));
    };
    const describeCell = (row, column) => {
      if (!shownMap) return "";
      const {found, rows, missing} = shownMap, from = `${quoted(sequence(maps().queries).tokens[row])} → `;
      if (column >= found.width) return `${from}learned sink: ${number(missing[row])}`;
      const to = quoted(sequence(maps().keys).tokens[column]);
      if (!found.visible[row * found.width + column]) return `${from}${to}: hidden by the mask`;
      const error = weighting === "plain" ? ` ± ${number(found.error, 1)}` : "";
      return `${from}${to}: ${number(rows[row * found.width + column])}${error}`;
    };
    const rowOf = (query) => shownMap.rows.subarray(query * shownMap.found.width, (query + 1) * shownMap.found.width);
    const ranked = (query) => [...rowOf(query)].map((value, index) => [value, index]).sort((a, b) => b[0] - a[0]);

    let strips = [];
    const buildStrips = () => {
      const {queries, keys} = maps();
      const preview = (index) => paintStrips(index === null ? tokenOf(queries) : index);
      const strip = new TokenStrip(keys, `${keys} tokens by attention`, queries === keys ? {onhover: preview} : {});
      strips = [strip];
      texts.replaceChildren();
      if (queries !== keys) {
        const reader = new TokenStrip(queries, `${queries} tokens: the one that looks`, {onhover: preview});
        strips.unshift(reader);
        texts.append(make("p", {class: "strip-name"}, `${queries}: who looks`), reader.element, make("p", {class: "strip-name"}, `${keys}: what is looked at`));
      }
      texts.append(strip.element);
    };
    const paintStrips = (query) => {
      const row = rowOf(query), high = Math.max(largestOf(row), 1e-12), target = strips[strips.length - 1];
      const {found} = shownMap;
      target.paint((i) => row[i] / high < 0.01 ? null : amountColor(scale === "linear" ? row[i] / high : Math.sqrt(row[i] / high)),
        (i) => found.visible[query * found.width + i] ? number(row[i]) : "hidden by the mask");
    };
    const drawRow = () => {
      const {queries, keys} = maps(), query = tokenOf(queries), list = ranked(query).slice(0, 10).filter(([value]) => value > 0);
      const names = sequence(keys).tokens, {missing, found} = shownMap;
      title.textContent = `${quoted(sequence(queries).tokens[query])} (token ${query + 1}) looks at`;
      for (const strip of strips) strip.mark(tokenOf(strip.name));
      if (strips.length > 1) strips[0].paint(() => null, () => "");
      paintStrips(query);
      matrix.selectRow(query);
      const rows = list.map(([value, index]) => [`${index + 1} ${brief(names[index])}`, number(value)]);
      if (missing) rows.push(["(learned sink)", number(missing[query])]);
      top.replaceChildren(table(`Most looked at, head ${selection.head + 1} of layer ${layerNumber(selection.layer) + 1}`, ["token", WEIGHTINGS[weighting]], rows, [1]),
        weighting === "plain" ? make("p", {class: "note"}, `Weights on this page differ from the recorded ones by at most ${number(found.error, 2)} in this head.`) : "");
      const most = list.slice(0, 3).map(([value, index]) => `${quoted(names[index])} ${number(value, 2)}`).join(", ");
      const kind = report.attention.length > 1 ? `${attentionName(maps())}, ` : "";
      announce(`${kind}layer ${layerNumber(selection.layer) + 1} head ${selection.head + 1}: ${quoted(sequence(queries).tokens[query])} → ${most}`);
    };
    const drawPictures = () => {
      const heads = maps().shape[1];
      const items = Array.from({length: heads}, (_, head) => {
        const canvas = make("canvas", {"aria-hidden": "true"});
        drawThumbnail(canvas, selection.attention, selection.layer, head);
        return make("div", {class: "picture", role: "option", tabindex: "-1", "aria-selected": String(head === selection.head), "aria-label": `head ${head + 1}`},
          canvas, make("span", {"aria-hidden": "true"}, head + 1));
      });
      refill(pictures, ...items);
      enter(items, selection.head);
    };
    roving(pictures, () => [...pictures.children], {onchoose: (head) => select({head})});
    const drawHow = () => {
      const {found} = shownMap, error = number(found.error, 2);
      how.replaceChildren(formula("a(q, k) = softmaxₖ( q·k ⁄ √d + bias + mask )"),
        make("p", {}, "“Size of what is read” multiplies each weight with the length of the vector that the head would write for this token, ‖vₖ W_O‖, and shows its share of the row: a token with a large weight and a small vector changes little. “Without the first token” leaves out the first column, where many heads park attention that they do not need, and scales the rest to 100 %."),
        make("p", {}, `Rows of all heads${maps().missing ? ", with what the learned sinks take," : ""} add up to 1; largest gap ${number(maps().sum_gap, 2)}. The page holds shortened numbers, in this head off by at most ${error}; --npz holds the exact ones.`));
    };
    const drawControls = () => {
      const pick = (name, options, value, onchange) => choice(name, Object.entries(options), value, onchange);
      controls.replaceChildren(pick("show", WEIGHTINGS, weighting, (value) => {
        weighting = value;
        update({weighting});
      }), pick("colors", {linear: "linear", root: "square root (shows small weights)"}, scale, (value) => {
        scale = value;
        update({scale});
      }));
    };
    let builtFor = null, pictured = "";
    const update = async (change) => {
      drawing = true;
      const mine = ++run, {attention, layer, head} = selection;
      if (builtFor !== attention) buildStrips();
      builtFor = attention;
      const pictures_ = `${attention} ${layer} ${head} ${isDark()}`;
      if (pictured !== pictures_) drawPictures();
      pictured = pictures_;
      const found = await headMap(attention, layer, head);
      if (mine !== run) return;
      const same = shownMap && shownMap.found === found && !("weighting" in change || "scale" in change || "theme" in change);
      if (!same) {
        shownMap = {found, ...weightedMap(found, weighting, attention, layer, head)};
        shownMap.top = Math.max(largestOf(shownMap.rows), shownMap.missing ? largestOf(shownMap.missing) : 0, 1e-12);
        draw();
        drawHow();
      }
      drawRow();
      const query = tokenOf(maps().queries), best = ranked(query)[0];
      matrix.move(query, best ? best[1] : 0);
      cell(...matrix.place, false);
      matrix.label(readout.textContent);
      drawing = false;
    };
    drawControls();
    return update;
  });
}
