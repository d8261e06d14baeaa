"use strict";
// 5. Which heads are what: scores of every head, and what the answer loses without it.

const SCORES = {
  "pictures": {sentence: "The attention map of every head, small, each up to its own largest weight."},
  "previous token": {sentence: "Mean weight on the token just before.", formula: "mean over q of a(q, q − 1)", top: 1},
  "next token": {sentence: "Mean weight on the token just after.", formula: "mean over q of a(q, q + 1)", top: 1},
  "induction": {sentence: "Mean weight on the token that followed an earlier copy of this one: the head continues repetitions.", formula: "mean over q of Σ a(q, k + 1), tokens k and q equal", top: 1},
  "random induction": {sentence: "The induction score on random tokens that are repeated once: only the pattern helps there.", formula: "mean over q of a(q, q − n + 1) on a sequence of n random tokens, twice", top: 1},
  "first token": {sentence: "Mean weight on the first token, where many heads park attention that they do not need.", formula: "mean over q of a(q, 1)", top: 1},
  "sink": {sentence: "Mean weight that the learned sink takes.", formula: "mean over q of 1 − Σ a(q, k)", top: 1},
  "distance": {most: "looks farthest", sentence: "How far back the head looks, in tokens, on average.", formula: "mean over q of Σ a(q, k) |q − k|"},
  "entropy": {most: "spreads widest", sentence: "How widely the head spreads its attention: 0 is one single token, 1 all visible tokens alike.", formula: "mean over q of −Σ a(q, k) ln a(q, k) ⁄ ln(number of visible keys)", top: 1},
  "knock-out: logit": {most: "most needed by the answer", sentence: "How the score of the answer changes when the head writes nothing: blue, it rises; orange, it falls — the head was needed.", formula: "logit without the head − logit", signs: true},
  "knock-out: distribution": {best: false, sentence: "How much all probabilities change when the head writes nothing, in nats.", formula: "KL(whole ‖ without the head)"},
};

function addHeadsView() {
  const sentence = "Heads specialise. Each cell is one head: a row is a layer, a column a head. Choose one to see it everywhere on this page.";
  return addView("heads", "Which heads are what?", sentence, report.heads.length || report.knock_outs.length ? null : reasonFor("heads"), (body, how) => {
    const controls = make("div", {class: "controls"}), grid = make("div", {class: "scrolling", role: "region", "aria-label": "All heads"});
    const explained = make("p", {class: "note"}), key = make("div", {class: "legend-line"});
    const best = make("div");
    body.append(controls, explained, make("div", {class: "beside"}, make("div", {}, grid, key), best));
    let measure = "pictures", offered = "";
    const belongs = (item) => item.stack === maps().stack && item.attention === maps().kind;

    // name -> {values: NumberArray (L H), feed: values of the feed-forwards (L) or null, rows}
    const measures = () => {
      const found = {pictures: {}}, scores = report.heads.find(belongs), knocked = report.knock_outs.find(belongs);
      for (const [name, values] of Object.entries(scores ? scores.scores : {})) found[name] = {values, rows: scores.rows[name]};
      if (scores && scores.random_induction) found["random induction"] = {values: scores.random_induction};
      if (knocked) {
        found["knock-out: logit"] = {values: knocked.logit_change, feed: knocked.mlp_logit_change, knocked};
        found["knock-out: distribution"] = {values: knocked.divergence, feed: knocked.mlp_divergence, knocked};
      }
      return found;
    };
    // scores may be of every layer where maps are of some
    const rowOf = (values, layer) => values.shape[0] === maps().shape[0] ? layer : layerNumber(layer);
    const drawGrid = (found) => {
      const {values, feed} = found[measure], signs = Boolean((SCORES[measure] || {}).signs), [layers, heads] = maps().shape;
      const all = values ? [...values.values, ...(feed ? feed.values : [])].filter(Number.isFinite).map(Math.abs) : [];
      const top = Math.max((SCORES[measure] || {}).top || 0, ...all, 1e-12);
      const texts = (value) => signs ? signed(value, 2) : number(value, 2);
      const cell = (layer, head) => {
        const row = values ? rowOf(values, layer) : 0, value = values ? (head === heads ? feed.at(row) : values.at(row, head)) : null;
        const name = `layer ${layerNumber(layer) + 1} ${head === heads ? "feed-forward" : `head ${head + 1}`}`;
        const item = make("td", {role: "gridcell", tabindex: "-1", "aria-label": values ? `${name}: ${texts(value)}` : name,
          class: layer === selection.layer && head === selection.head ? "selected" : null});
        if (!values) {
          const canvas = make("canvas", {"aria-hidden": "true"});
          drawThumbnail(canvas, selection.attention, layer, head);
          item.append(canvas);
        } else {
          item.append(texts(value));
          if (Number.isFinite(value)) paint(item, signs ? signColor(value / top) : amountColor(value / top));
        }
        return item;
      };
      const columns = heads + (feed ? 1 : 0), names = Array.from({length: heads}, (_, i) => i + 1).concat(feed ? ["feed-fwd."] : []);
      const rows = Array.from({length: layers}, (_, layer) => make("tr", {role: "row"}, make("th", {scope: "row", role: "rowheader"}, layerNumber(layer) + 1),
        Array.from({length: columns}, (_, head) => cell(layer, head))));
      const table_ = make("table", {class: values ? "cells heads" : "cells heads pictured", role: "grid", "aria-label": `${measure} of every head`},
        make("thead", {role: "rowgroup"}, make("tr", {role: "row"}, make("th", {role: "columnheader", scope: "col"}, "layer"),
          names.map((name) => make("th", {role: "columnheader", scope: "col"}, name)))),
        make("tbody", {role: "rowgroup"}, rows));
      table_.style.setProperty("--picture", heads <= 12 ? "4.25rem" : heads <= 20 ? "2.75rem" : "1.55rem");
      const items = () => [...table_.querySelectorAll("td")];
      roving(table_, items, {
        columns: () => columns,
        onmove: (index) => announce(items()[index].getAttribute("aria-label")),
        onchoose: (index) => {
          const layer = Math.floor(index / columns), head = index % columns;
          select(head < heads ? {layer, head} : {layer});
        },
      });
      refill(grid, table_);
      enter(items(), selection.layer * columns + selection.head);
      key.replaceChildren(values ? legend(signs ? signed(-top, 2) : "0", signs ? signed(top, 2) : number(top, 2), signs) : "");
    };
    const drawAll = (found) => {
      const about = SCORES[measure] || {sentence: measure, formula: measure}, {rows, knocked} = found[measure];
      const over = rows === undefined ? "" : rows ? ` Mean over ${rows} rows.` : " No row of this text defines it: –.";
      const answer = knocked ? ` The answer is ${quoted(knocked.label)}${knocked.position === null ? "" : ` ${atToken(knocked.position)}`}.` : "";
      explained.textContent = `${about.sentence}${over}${answer}`;
      drawGrid(found);
      drawBest(found);
      const select_ = controls.querySelector("select");
      if (select_) select_.value = measure;
      how.replaceChildren(...Object.keys(found).filter((name) => SCORES[name] && SCORES[name].formula).map((name) =>
        make("p", {}, make("b", {}, `${name}: `), make("span", {class: "formula"}, SCORES[name].formula), rowsText(found[name].rows))),
      make("p", {}, "a(q, k): weight of key k in the row of query q. Means are over the rows where the score is defined. Scores are read off the recorded weights; knock-outs are runs of the model with one part set to zero. Neither is a sum, so there is no gap."));
    };
    const markSelected = (found) => {
      const columns = maps().shape[1] + (found[measure].feed ? 1 : 0), cells = [...grid.querySelectorAll("td")];
      const chosen = cells[selection.layer * columns + selection.head], before = grid.querySelector("td.selected");
      if (before) before.classList.remove("selected");
      chosen.classList.add("selected");
      enter(cells, cells.indexOf(chosen));
      drawBest(found);
    };
    // for each score the head that has most of it; for the knock-out the one that the answer needs most
    const strongest = (found) => Object.entries(found).filter(([name]) => SCORES[name] && SCORES[name].best !== false && name !== "pictures").map(([name, {values}]) => {
      const sign = name === "knock-out: logit" ? -1 : 1, [layers, heads] = maps().shape;
      let top = null;
      for (let layer = 0; layer < layers; layer++) {
        for (let head = 0; head < heads; head++) {
          const value = values.at(rowOf(values, layer), head);
          if (Number.isFinite(value) && (!top || sign * value > sign * top.value)) top = {name, layer, head, value};
        }
      }
      return top;
    }).filter(Boolean);
    const drawBest = (found) => {
      const list = strongest(found);
      const items = list.map(({name, layer, head, value}) => make("div", {class: "finding", role: "option", tabindex: "-1",
        "aria-selected": String(layer === selection.layer && head === selection.head)},
      make("span", {}, SCORES[name].most || `most ${name}`), make("b", {}, `layer ${layerNumber(layer) + 1} head ${head + 1}`),
      make("span", {class: "bar-value"}, SCORES[name].signs ? signed(value, 2) : number(value, 2))));
      const listbox = make("div", {class: "findings", role: "listbox", "aria-label": "Heads that stand out"}, items);
      enter(items, 0);
      roving(listbox, () => items, {onchoose: (index) => {
        const {name, layer, head} = list[index];
        if (measure !== "pictures") measure = name;
        select({layer, head});
      }});
      refill(best, items.length ? make("h3", {}, "What stands out") : "", items.length ? listbox : "");
    };
    const rowsText = (rows) => rows === undefined ? "" : ` (${rows} rows)`;
    let drawn = "";
    return (change) => {
      const found = measures();
      if (!found[measure]) measure = "pictures";
      if (offered !== Object.keys(found).join()) {
        offered = Object.keys(found).join();
        controls.replaceChildren(choice("show", Object.keys(found).map((name) => [name, name]), measure, (value) => {
          measure = value;
          drawAll(measures());
        }));
      }
      const now = `${selection.attention} ${measure} ${isDark()}`;
      if (drawn !== now) drawAll(found);
      else markSelected(found);
      drawn = now;
    };
  });
}
