"use strict";
// 6. How the stream grows: lengths of the vectors and of what is added to them.

function addStreamView() {
  const normed = report.facts.residual_type === "post" ? ", and a norm then scales the sum" : "";
  const sentence = `A vector starts as an embedding and is never replaced: every half block adds something to it${normed}. Here is how long it becomes, and how much each half block adds.`;
  return addView("stream", "How does the stream grow?", sentence, reasonFor("streams"), (body, how) => {
    const holder = make("div");
    body.append(holder);
    const drawStream = (stream) => {
      const {taps, norms, writes, cosines} = stream, [count, length] = norms.shape, name = stream.stack, token = tokenOf(name);
      const column = (array) => Array.from({length: array.shape[0]}, (_, tap) => array.at(tap, token));
      const over = (array, f) => Array.from({length: array.shape[0]}, (_, tap) => f([...array.row(tap)]));
      const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
      const chosen = `token ${token + 1}, ${quoted(sequence(name).tokens[token])}`;
      const length_ = column(norms), written = column(writes), angles = column(cosines);
      const label = (title, values, names) => `${title} of ${chosen}: ${names.map((tap, i) => `${tap} ${number(values[i], 2)}`).join(", ")}`;
      const added = taps.slice(1);
      return make("div", {}, report.streams.length > 1 ? make("h3", {}, stream.stack) : "", make("div", {class: "pair"},
        lineChart(label("Length of the vector", length_, taps), {
          names: taps, axis: "length of the vector", across: "layer: first its attention, then its feed-forward",
          series: [{name: chosen, kind: 0, values: length_}, {name: `mean of ${length} tokens`, kind: 1, dashed: true, values: over(norms, mean), dots: false}],
          band: {name: "shortest to longest", low: over(norms, (row) => Math.min(...row)), high: over(norms, (row) => Math.max(...row))},
        }),
        lineChart(label("Length of what is added", written, added), {
          names: added, axis: "length of what is added", across: "layer: first its attention, then its feed-forward",
          series: [{name: chosen, kind: 0, values: written}, {name: `mean of ${length} tokens`, kind: 1, dashed: true, values: over(writes, mean), dots: false}],
        }),
        lineChart(label("Cosine", angles, added), {
          names: added, axis: "direction of what is added (cosine)", across: "1: the same direction; 0: new; −1: takes away", range: [-1, 1],
          series: [{name: chosen, kind: 0, values: angles}, {name: `mean of ${length} tokens`, kind: 1, dashed: true, values: over(cosines, mean), dots: false}],
        }),
      ), make("details", {}, make("summary", {}, "The numbers"), scrolling(`Lengths after every half block, ${stream.stack}`, table(`Vector of ${chosen}`, ["half block", "length after", "length added", "cosine"],
          taps.map((tap, i) => [tap, number(length_[i], 4), i ? number(written[i - 1], 4) : "", i ? number(angles[i - 1], 3) : ""]), [1, 2, 3]))));
    };
    how.append(formula(normed ? "vector after a half block = norm(vector before + what the half block adds)" : "vector after a half block = vector before + what the half block adds"),
      make("p", {}, "Length is the Euclidean norm. The cosine compares what is added with the vector before. The check adds everything up anew, from the embeddings to the last half block."),
      ...report.streams.map((stream) => make("p", {}, `Largest relative difference${report.streams.length > 1 ? ` in the stack of the ${stream.stack}` : ""}: ${number(stream.gap, 2)}.`)));
    return (change) => {
      if (change.token || change.theme || change.resized || !holder.firstChild) holder.replaceChildren(...report.streams.map(drawStream));
    };
  });
}
