"use strict";
// 8. What it costs: the block as a diagram, with parameters, operations and bytes.

const COST_COLUMNS = [
  ["parameters", "parameters", ""], ["flops_dense", "FLOPs per token", ""], ["flops_causal", "… of visible pairs", ""],
  ["weight_bytes", "weights", "B"], ["gradient_bytes", "gradients", "B"], ["optimizer_bytes", "optimizer", "B"],
  ["cache_bytes", "key-value cache", "B"], ["activation_bytes", "activations", "B"],
];
const COST_KINDS = ["embedding", "attention", "cross-attention", "feed-forward", "norm", "head"];

// "source 3 cross-attention": the stack, the layer (null outside the blocks) and the kind of a part.
function withPlace(row) {
  const [, stack, layer, name] = row.name.match(/^(source |target )?(\d+ )?(.*)$/);
  const kind = COST_KINDS.find((one) => name === one || name === `${one}s` || name.endsWith(` ${one}`)) || "other";
  return {...row, kind, part: name, stack: stack ? stack.trim() : null, layer: layer ? Number(layer) : null};
}

function addCostsView() {
  const sentence = "Where the parameters sit, and what one token costs in operations and memory.";
  return addView("costs", "What does it cost?", sentence, reasonFor("costs"), (body, how) => {
    const rows = report.costs.filter((row) => row.name !== "total").map(withPlace), whole = report.costs.find((row) => row.name === "total");
    const total = (field, some = rows) => some.reduce((sum, row) => sum + row[field], 0);
    const stacks = [...new Set(rows.map((row) => row.stack).filter(Boolean))], lastStack = stacks.length ? stacks[stacks.length - 1] : null;
    const all = total("parameters") || 1;
    const holder = make("div");
    body.append(holder);

    const box = (row, kind) => make("div", {class: `box ${kind.replace(/\W/g, "-")}`}, make("b", {}, kind),
      make("span", {}, `${counted(row.parameters)} parameters`), make("span", {}, `${counted(row.flops_dense)} FLOPs per token`));
    const summed = (some) => Object.fromEntries(COST_COLUMNS.map(([field]) => [field, total(field, some)]));
    // one block of a stack, with the stream as a line through it
    const diagram = (stack) => {
      const mine = rows.filter((row) => row.stack === stack || (stack === lastStack && row.stack === null)), layers = [...new Set(mine.map((row) => row.layer).filter((layer) => layer !== null))];
      const first = mine.filter((row) => row.layer === layers[0]), outside = mine.filter((row) => row.layer === null);
      const before = outside.filter((row) => row.kind === "embedding"), after = outside.filter((row) => row.kind !== "embedding");
      const branches = COST_KINDS.filter((kind) => !["embedding", "head", "norm"].includes(kind) && first.some((row) => row.kind === kind));
      const norms = first.filter((row) => row.kind === "norm");
      return make("div", {class: "diagram", role: "group", "aria-label": `${stack ? `The stack of the ${stack}` : "The model"} as a diagram`}, stacks.length > 1 ? make("p", {class: "stack-name"}, `stack of the ${stack}`) : "",
        before.map((row) => box(row, row.part)),
        layers.length ? make("div", {class: "block"}, make("div", {class: "repeat"}, `${layers.length} × block`),
          branches.map((kind) => make("div", {class: "branch"}, make("span", {class: "plus", "aria-hidden": "true"}, "+"), box(summed(first.filter((row) => row.kind === kind)), kind))),
          norms.length ? make("p", {class: "note"}, `with norms of ${counted(total("parameters", norms))} parameters`) : "") : "",
        after.map((row) => box(row, row.part)));
    };
    const byKind = [...COST_KINDS, "other"].map((kind) => [kind, rows.filter((row) => row.kind === kind)]).filter(([, some]) => some.length);
    const texts = (row) => COST_COLUMNS.map(([field, , unit]) => counted(row[field], unit));
    const numeric = COST_COLUMNS.map((_, i) => i + 1);
    const draw = () => {
      const shares = (field) => bars(`Share of the ${field}`, byKind.map(([kind, some]) => ({
        label: kind, value: total(field, some), text: `${percent(total(field, some) / (total(field) || 1))}`,
      })), {high: total(field) || 1});
      holder.replaceChildren(
        make("p", {class: "figures"}, make("span", {}, make("b", {}, counted(all)), " parameters"), make("span", {}, make("b", {}, counted(total("flops_dense"))), " FLOPs per token"),
          make("span", {}, make("b", {}, counted(total("weight_bytes"), "B")), " of weights"),
          make("span", {}, make("b", {}, counted(total("weight_bytes") + total("gradient_bytes") + total("optimizer_bytes") + total("activation_bytes"), "B")), ` to train, ${report.cost_batch} × ${report.cost_length} tokens`)),
        make("div", {class: "pair"}, make("div", {class: "diagrams"}, (stacks.length ? stacks : [null]).map(diagram)),
          make("div", {}, make("h3", {}, "Parameters"), shares("parameters"), make("h3", {}, "FLOPs per token"), shares("flops_dense"))),
        scrolling("Costs by kind of part", table(`Costs by kind of part, for ${report.cost_batch} × ${report.cost_length} tokens`, ["part", ...COST_COLUMNS.map(([, name]) => name)],
          [...byKind.map(([kind, some]) => [kind, ...texts(summed(some))]), ["all", ...texts(summed(rows))]], numeric)));
    };
    how.append(formula("FLOPs of a matrix product (n, k) · (k, m) = 2 n k m"),
      make("p", {}, "Every product is counted, and the attention of every query with every key; “of visible pairs” leaves out those that the mask hides. Parameters that two parts share are counted once. Bytes are those of this run's dtype."),
      scrolling("Costs of every part", table("Every part", ["part", ...COST_COLUMNS.map(([, name]) => name)], rows.map((row) => [row.name, ...texts(row)]), numeric)),
      make("p", {}, `The rows add up to ${all.toLocaleString("en")} parameters, the model has ${(whole ? whole.parameters : all).toLocaleString("en")}: gap ${whole ? Math.abs(whole.parameters - all) : 0}.`));
    return (change) => {
      if (!holder.firstChild || change.theme) draw();
    };
  });
}
