"use strict";
// 7. How order is told: the position scheme of this model, drawn.

const SCHEME_LENGTH = 64;

function drawHeat(label, rows, columns, color, down, across) {
  const canvas = make("canvas", {class: "heat", role: "img", "aria-label": label});
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) image.data.set([...color(Math.floor(i / columns), i % columns), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return make("figure", {}, make("figcaption", {}, make("span", {class: "axis-name"}, down)), canvas, make("p", {class: "axis-note"}, across));
}

// Drawings of each array that a scheme has.
const SCHEME_DRAWINGS = {
  "table similarity": (values) => {
    const [size] = values.shape;
    return [make("div", {}, drawHeat(`Similarity of the vectors of ${size} positions`, size, size, (i, j) => signColor(values.at(i, j)), "cosine of the vectors of two positions, first position on top", `position 1 to ${size}`),
      make("p", {class: "note"}, legend("−1", "+1", true), "A bright diagonal band: near positions have similar vectors."))];
  },
  "frequencies": (values) => {
    const count = values.values.length, distances = Array.from({length: SCHEME_LENGTH}, (_, i) => i);
    return [make("div", {}, drawHeat(`Cosine of the angle of ${count} pairs of channels at positions 1 to ${SCHEME_LENGTH}`, count, SCHEME_LENGTH,
      (pair, position) => signColor(Math.cos(position * values.at(pair))), `cosine of the angle, one row for each of ${count} pairs of channels`, `position 1 to ${SCHEME_LENGTH}`),
    make("p", {class: "note"}, legend("−1", "+1", true), `The first pair turns once in ${number(2 * Math.PI / values.at(0), 3)} tokens, the last in ${counted(Math.round(2 * Math.PI / values.at(count - 1)))}: fast pairs tell neighbours apart, slow ones far tokens.`)),
    lineChart("What the rotation leaves of a score, by distance", {
      names: distances.map(String), axis: "what is left of the score of two equal vectors", across: "distance between them, in tokens", range: [-1, 1],
      series: [{name: `mean cosine of ${count} pairs`, kind: 0, values: distances.map((far) => values.values.reduce((sum, speed) => sum + Math.cos(far * speed), 0) / count), dots: false}],
    })];
  },
  "bias by distance": (values, arrays) => {
    const [heads, size] = values.shape, distances = arrays.distances ? [...arrays.distances.values] : Array.from({length: size}, (_, i) => i);
    const few = heads <= 6 ? Array.from({length: heads}, (_, i) => i) : [0, 1, 2, 3, 4, 5].map((i) => Math.round(i * (heads - 1) / 5));
    return [lineChart(`Bias of the scores by distance, for ${few.length} heads`, {
      names: distances.map(String), axis: "added to the score", across: distances.some((value) => value < 0) ? "position of the key minus that of the query" : "distance between query and key, in tokens",
      series: few.map((head, i) => ({name: `head ${head + 1}`, kind: i, dashed: i % 2 === 1, values: [...values.row(head)], dots: false})),
    })];
  },
  "slopes": (values) => [make("div", {}, make("h3", {}, "slope of every head"), bars("Slope of every head", [...values.values].map((value, head) => ({label: `head ${head + 1}`, value, text: number(value)}))))],
  "distances": () => [],
};

// "frequencies of full_attention" is drawn as "frequencies"
function drawingOf(name) {
  return SCHEME_DRAWINGS[name] || SCHEME_DRAWINGS[name.split(" of ")[0]];
}

function addPositionsView() {
  const sentence = "Attention by itself sees a set, not a row: this is what tells the model which token stands where.";
  return addView("positions", "How is order told?", sentence, reasonFor("positions"), (body, how) => {
    const holder = make("div");
    body.append(holder);
    // stacks that tell order in the same way are drawn once
    const unique = report.positions.filter((item, i) => report.positions.findIndex((other) => other.kind === item.kind && other.sentence === item.sentence) === i);
    how.append(...Object.entries({
      rotary: "q and k are turned by position × frequency, pair by pair; their product then depends on the distance alone.",
      alibi: "score(q, k) = q·k ⁄ √d − slope · |q − k|", sinusoidal: "PE(p, 2i) = sin(p · f ᵢ), PE(p, 2i + 1) = cos(p · f ᵢ)",
      learned: "x = token embedding + position table[p]",
    }).filter(([kind]) => unique.some((item) => item.kind.includes(kind))).map(([, text]) => formula(text)),
    make("p", {}, "Drawn from the numbers that the model uses; nothing is summed, so there is no gap."));
    return (change) => {
      if (holder.firstChild && !change.theme && !change.resized) return;
      holder.replaceChildren(...unique.map((item) => make("div", {},
        make("h3", {}, report.positions.length > 1 && unique.length > 1 ? `${item.stack}: ${item.kind}` : item.kind), make("p", {}, item.sentence),
        make("div", {class: "pair"}, ...Object.entries(item.arrays).flatMap(([name, values]) =>
          drawingOf(name) ? drawingOf(name)(values, item.arrays) : [])))));
    };
  });
}
