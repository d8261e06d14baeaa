"use strict";
// 1. What comes next: the probabilities of the head.

function word(index) {
  return report.vocabulary[index];
}

// Where in the predictions a token stands; one prediction for the whole text stands at 0.
function predictionIndex() {
  const {positions} = report.prediction;
  return positions[0] === null ? 0 : positions.indexOf(tokenOf(predictedSequence().name));
}

// The upper end of an axis of probabilities: a round number not far above the highest.
function niceTop(value) {
  return [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001].filter((top) => top >= value).pop() || 1;
}

function addPredictionView() {
  const prediction = report.prediction, perToken = prediction && prediction.positions[0] !== null;
  const sentence = perToken
    ? "The model turns the vector of each token into a probability for every token that it knows. These are the most probable ones at the selected token."
    : "The model turns one vector for the whole text into a probability for each answer.";
  return addView("prediction", prediction ? prediction.question : "What comes next?", sentence, reasonFor("prediction"), (body, how) => {
    const title = make("h3"), place = make("div"), note = make("p", {class: "note"});
    body.append(title, place, note);
    const known = prediction.actual.some((label) => label !== null);
    let strip = null;
    const key = make("p", {class: "note"});
    if (perToken && known) {
      strip = new TokenStrip(predictedSequence().name, "Tokens by how much the model expected them");
      body.append(make("h3", {}, "What the model expected, over the whole text"), strip.element, key);
    }
    const shift = prediction.question.includes("next") ? 1 : 0;
    // probability of the token itself, given what stands before it (or around it)
    const expected = (index) => {
      const place = prediction.positions.indexOf(index - shift);
      if (place < 0 || prediction.actual[place] === null) return null;
      const rank = labelsAt(place).indexOf(prediction.actual[place]);
      return rank < 0 ? 0 : prediction.probabilities.at(place, rank);
    };
    const labelsAt = (place) => [...prediction.labels.row(place)].map(word);
    return () => {
      const place_ = predictionIndex(), name = predictedSequence().name;
      if (place_ < 0) {
        place.replaceChildren(make("p", {class: "absent"}, `Nothing is predicted at token ${tokenOf(name) + 1}; predictions stand at tokens ${prediction.positions.map((i) => i + 1).join(", ")}.`));
        title.textContent = note.textContent = "";
      } else {
        const labels = labelsAt(place_), values = prediction.probabilities.row(place_), actual = prediction.actual[place_];
        const top = niceTop(values[0]), total = values.reduce((a, b) => a + b, 0);
        title.textContent = perToken ? `${shift ? "After" : "At"} token ${tokenOf(name) + 1}, ${quoted(sequence(name).tokens[tokenOf(name)])}` : "";
        place.replaceChildren(bars("Most probable", labels.map((label, i) => ({
          label: shown(label), value: values[i], text: percent(values[i]), note: label === actual ? (shift ? "← the text goes on so" : "← stands in the text") : "",
        })), {high: top}), make("p", {class: "axis-note"}, `full width: ${percent(top)}`));
        const rest = Math.max(1 - total, 0);
        note.textContent = rest < 5e-4 ? "" : `All others share ${percent(rest)}.`;
        how.replaceChildren(formula("pᵢ = exp(zᵢ) ⁄ Σⱼ exp(zⱼ)"),
          make("p", {}, "z are the logits: the last vector, through the final norm, times the row of each label in the head."),
          scrolling("Logits", table("Logits and probabilities", ["label", "logit", "probability"], labels.map((label, i) =>
            [shown(label), number(prediction.logits.at(place_, i), 5), number(values[i], 4)]), [1, 2])),
          make("p", {}, `The probabilities shown add up to ${number(total, 5)}; the gap to 1 belongs to the labels not shown.`));
      }
      if (strip) {
        strip.mark(tokenOf(name));
        strip.paint((index) => expected(index) === null ? null : amountColor(Math.sqrt(expected(index))),
          (index) => expected(index) === null ? "not predicted" : expected(index) ? `expected with ${percent(expected(index))}` : "not among the most probable");
        key.replaceChildren(legend("unexpected", "expected"), " Each token is colored by the probability that the model gave it; lighter or darker by its square root.");
      }
    };
  });
}
