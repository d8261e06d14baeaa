"use strict";
// 2. When did it know: the head, applied after every half block.

function addLensView() {
  const sentence = "Each half block adds to the vector of a token. If the model had to answer early, from the vector so far, it would say this.";
  return addView("lens", "When did it know?", sentence, reasonFor("lens"), (body, how) => {
    const {taps, entropy, divergence, probabilities, labels} = report.lens, last = taps.length - 1;
    const positions = report.prediction.positions, perToken = positions[0] !== null;
    const measures = {
      probability: {name: "probability of the best guess", value: (tap, n) => probabilities.at(tap, n, 0), top: 1, low: "0 %", high: "100 %"},
      divergence: {name: "distance to the final answer", value: (tap, n) => divergence.at(tap, n), top: Math.max(...divergence.values, 1e-9), low: "same answer", high: "far from it"},
      entropy: {name: "doubt (entropy)", value: (tap, n) => entropy.at(tap, n), top: Math.max(...entropy.values, 1e-9), low: "sure", high: "in doubt"},
    };
    let measure = "probability", cursor = null, column = 0;
    const grid = make("div", {class: "scrolling lens", role: "region", "aria-label": "Best guess after every half block"});
    const chart = make("div"), detail = make("div"), key = make("div", {class: "legend-line"});
    const picker = choice("color", Object.entries(measures).map(([name, {name: text}]) => [name, text]), measure, (value) => {
      measure = value;
      update({});
    });
    body.append(make("div", {class: "controls"}, picker, key), grid, make("div", {class: "pair"}, chart, detail));

    // the prediction whose details are shown: of the selected token, or the one that was chosen here
    const shownPrediction = () => perToken ? Math.max(predictionIndex(), 0) : column;
    const describe = (tap, n) => `${taps[tap]}: ${quoted(word(labels.at(tap, n, 0)))} ${percent(probabilities.at(tap, n, 0))}, distance ${number(divergence.at(tap, n))}, entropy ${number(entropy.at(tap, n))} nats`;
    const drawGrid = () => {
      const selected = shownPrediction(), columns = columnsAround(positions.length, selected, document.getElementById("views").clientWidth), tokens = predictedSequence().tokens;
      const head = make("tr", {role: "row"}, make("th", {scope: "col", role: "columnheader"}, perToken ? atToken(0).split(" ")[0] : ""), columns.map((n) => make("th", {
        scope: "col", role: "columnheader", class: n === selected ? "selected" : null,
      }, perToken ? make("span", {}, make("small", {}, positions[n] + 1), " ", make("bdi", {}, brief(tokens[positions[n]]))) : positions.length > 1 ? ["start", "end"][n] : "text")));
      const rows = taps.map((name, tap) => make("tr", {role: "row"}, make("th", {scope: "row", role: "rowheader"}, name), columns.map((n) => {
        const share = measures[measure].value(tap, n) / measures[measure].top;
        const cell = make("td", {role: "gridcell", tabindex: "-1", class: n === selected ? "selected" : null,
          "aria-label": `${describe(tap, n)}`, title: describe(tap, n)}, make("bdi", {}, brief(word(labels.at(tap, n, 0)))));
        paint(cell, amountColor(share));
        return cell;
      })));
      const table_ = make("table", {class: "cells", role: "grid", "aria-label": "Best guess after every half block, for each token"},
        make("thead", {role: "rowgroup"}, head), make("tbody", {role: "rowgroup"}, rows.reverse()));
      // few columns stay narrow
      table_.style.maxWidth = `${9 + 9 * columns.length}rem`;
      const items = () => [...table_.querySelectorAll("td")];
      const at = (index) => [last - Math.floor(index / columns.length), columns[index % columns.length]];
      roving(table_, items, {
        columns: () => columns.length,
        onmove: (index) => announce(describe(...at(index))),
        onchoose: (index) => {
          const [tap, n] = at(index);
          cursor = tap;
          column = n;
          announce(describe(tap, n));
          if (perToken) select({token: [predictedSequence().name, positions[n]]});
          else update({});
        },
      });
      refill(grid, table_);
      enter(items(), Math.max(columns.indexOf(selected), 0));
    };
    const drawDetail = () => {
      const n = shownPrediction(), tap = cursor === null ? last : cursor;
      chart.replaceChildren(lineChart(`Distance to the final answer after every half block: ${taps.map((name, i) => `${name} ${number(divergence.at(i, n), 2)}`).join(", ")}`, {
        names: taps, mark: tap, axis: "How far from the final answer, in nats", across: "layer: first its attention, then its feed-forward",
        series: [
          {name: "distance to the final answer (KL)", kind: 0, values: taps.map((_, i) => divergence.at(i, n))},
          {name: "doubt (entropy)", kind: 1, dashed: true, values: taps.map((_, i) => entropy.at(i, n))},
        ],
      }));
      const values = probabilities.row(tap, n);
      detail.replaceChildren(make("h3", {}, `Best guesses after ${taps[tap]}`),
        ...probabilityBars(`Best guesses after ${taps[tap]}`, [...labels.row(tap, n)].slice(0, 8).map(word), values));
    };
    const update = (change) => {
      key.replaceChildren(legend(measures[measure].low, measures[measure].high));
      const moved = !("layer" in change || "head" in change || "attention" in change) || "token" in change;
      if (moved) {
        drawGrid();
        drawDetail();
      }
    };
    how.append(formula("guess after a half block = softmax(head(final norm(vector so far)))"),
      make("p", {}, "The norm is computed anew for every vector, with the model's own final norm and head. Distance is KL(final answer ‖ guess) in nats, which is 0 where the guess equals the final answer; entropy is −Σ p ln p."),
      make("p", {}, `Largest difference between the last row's logits and the model's own: ${number(report.lens.gap, 2)}.`),
      make("p", {}, "An early guess is a reading, not a thought: early vectors are not written for the head."));
    return update;
  });
}
