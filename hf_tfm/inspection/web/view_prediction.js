"use strict";
// 1. What comes next: the probabilities of the head.

function word(index) {
  return report.vocabulary[index];
}

// Whether there is a prediction for each token, or one (or a start and an end) for the whole text.
function predictsTokens() {
  return report.prediction.positions[0] !== null;
}

// Where in the predictions the selected token stands, -1 if nothing is predicted there.
function predictionIndex() {
  return predictsTokens() ? report.prediction.positions.indexOf(tokenOf(predictedSequence().name)) : 0;
}

// Where a prediction stands: after a token, if it is about the next one.
function atToken(index) {
  const name = /next/.test(report.prediction ? report.prediction.question : "") ? "after" : "at";
  return `${name} token ${index + 1}, ${quoted(predictedSequence().tokens[index])}`;
}

// The upper end of an axis of probabilities: a round number not far above the highest.
function niceTop(value) {
  return [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001].filter((top) => top >= value).pop() || 1;
}

function probabilityBars(label, labels, values, notes = []) {
  const top = niceTop(Math.max(...values));
  return [bars(label, briefs(labels).map((text, i) => ({label: text, value: values[i], text: percent(values[i]), note: notes[i]})), {high: top}),
    make("p", {class: "axis-note"}, `full width: ${percent(top)}`)];
}

function addPredictionView() {
  const {prediction} = report, missing = reasonFor("prediction");
  const sentence = missing || predictsTokens()
    ? "The model turns the vector of each token into a probability for every token that it knows. These are the most probable ones at the selected token."
    : "The model turns what it has read into a score for each answer.";
  return addView("prediction", missing ? "What comes next?" : prediction.question, sentence, missing, (body, how) => {
    const answers = make("div"), all = make("div");
    body.append(make("div", {class: "pair"}, answers, all));
    const {name} = predictedSequence(), next = /next/.test(prediction.question);
    const labelsAt = (row) => [...prediction.labels.row(row)].map(word);

    const drawAnswers = (row, title) => {
      const labels = labelsAt(row), values = [...prediction.probabilities.row(row)], logits = [...prediction.logits.row(row)];
      const parts = [title && make("h3", {}, title)];
      if (values.some(Number.isNaN)) {
        parts.push(bars("Scores", labels.map((label, i) => ({label: shown(label), value: logits[i], text: signed(logits[i], 4)})), {signs: true}));
        return parts;
      }
      const note = next ? "← the text goes on so" : "← stands in the text";
      parts.push(...probabilityBars("Most probable", labels, values, labels.map((label) => label === prediction.actual[row] ? note : "")));
      const rest = 1 - values.reduce((a, b) => a + b, 0);
      if (rest >= 5e-4) parts.push(make("p", {class: "note"}, `All others share ${percent(rest)}.`));
      return parts;
    };
    const drawHow = (row) => {
      const labels = labelsAt(row), values = [...prediction.probabilities.row(row)], total = values.reduce((a, b) => a + b, 0);
      how.replaceChildren(formula(total > 1.001 ? "pᵢ = 1 ⁄ (1 + exp(−zᵢ))" : "pᵢ = exp(zᵢ) ⁄ Σⱼ exp(zⱼ)"),
        make("p", {}, "z are the logits that the head computes from the last vector."),
        scrolling("Logits", table("Logits and probabilities", ["label", "logit", "probability"], labels.map((label, i) =>
          [shown(label), number(prediction.logits.at(row, i), 5), number(values[i], 4)]), [1, 2])));
      if (total <= 1.001) how.append(make("p", {}, `The probabilities shown add up to ${number(total, 6)}; the labels not shown have the other ${number(Math.max(1 - total, 0), 2)}.`));
    };

    // probability of a token itself, given what stands before it (or around it); 0 if it is not among the best
    const expected = (index) => {
      const row = prediction.positions.indexOf(next ? index - 1 : index);
      if (row < 0 || prediction.actual[row] === null) return null;
      const rank = labelsAt(row).indexOf(prediction.actual[row]);
      return rank < 0 ? 0 : prediction.probabilities.at(row, rank);
    };
    const strip = predictsTokens() && prediction.actual.some((label) => label !== null)
      ? new TokenStrip(name, "Tokens by how much the model expected them") : null;
    const drawAll = () => {
      const values = sequence(name).tokens.map((_, index) => expected(index));
      strip.mark(tokenOf(name));
      strip.paint((index) => values[index] === null ? null : amountColor(values[index]), (index) => {
        if (values[index] === null) return "not predicted";
        return values[index] ? `expected with ${percent(values[index])}` : "not among the most probable";
      });
      if (!strip.element.isConnected) all.append(make("h3", {}, "What it expected, over the whole text"), strip.element, make("p", {class: "note"}));
      all.lastChild.replaceChildren(legend("0 %", "100 %"), next ? "probability of the token, given those before it" : "probability of the token at its place");
    };
    return () => {
      const row = predictionIndex();
      if (row < 0) {
        const places = prediction.positions.map((index) => `${index + 1} ${quoted(sequence(name).tokens[index])}`).join(", ");
        answers.replaceChildren(make("p", {class: "absent"}, `Nothing is predicted at token ${tokenOf(name) + 1}. Predictions stand at: ${places}.`));
        how.replaceChildren();
      } else if (predictsTokens()) {
        answers.replaceChildren(...drawAnswers(row, atToken(tokenOf(name)).replace("a", "A")).filter(Boolean));
        drawHow(row);
      } else {
        const names = prediction.positions.length > 1 ? ["start", "end"] : [""];
        answers.replaceChildren(...prediction.positions.flatMap((_, i) => drawAnswers(i, names[i])).filter(Boolean));
        drawHow(0);
      }
      if (strip) drawAll();
    };
  });
}
