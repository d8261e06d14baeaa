"use strict";
// 3. Who wrote it: a logit as an exact sum over blocks, heads and source tokens.

function addAttributionView() {
  const sentence = "The score of an answer is a sum: every part of every block wrote a piece of it. Bars to the right speak for the answer, bars to the left against it.";
  return addView("attribution", "Who wrote it?", sentence, reasonFor("attributions"), (body, how) => {
    let chosen = null;
    const {name} = predictedSequence();
    const title = (item) => item.position === null ? quoted(item.label) : `${quoted(item.label)} ${atToken(item.position)}`;
    const picker = make("div", {class: "controls"}), note = make("p", {class: "note"}), sum = make("p", {class: "sum"});
    const blocks = make("div"), heads = make("div"), source = make("div");
    body.append(picker, note, sum, make("div", {class: "pair"}, make("div", {}, make("h3", {}, "Parts of the model"), blocks), make("div", {}, heads, source)));
    const inputs = make("div");
    body.append(inputs);

    const kept = new Map();
    // the strip of a sequence in one of the two drawings, made once
    const stripOf = (drawing, name_, label) => {
      const key = `${drawing} ${name_}`;
      if (!kept.has(key)) kept.set(key, new TokenStrip(name_, label));
      kept.get(key).element.setAttribute("aria-label", label);
      return kept.get(key);
    };
    const headParts = (item) => item.parts.filter((part) => part.kind === "head");
    const mapIndex = (part) => report.attention.findIndex((maps) => maps.kind === part.attention && (!part.stack || maps.stack === part.stack));
    const isHere = (part) => mapIndex(part) === selection.attention && maps() && part.layer === layerNumber(selection.layer);
    const partName = (part) => {
      if (part.kind === "head") return `${part.layer + 1} ${part.attention === "cross" ? "cross-attention" : "attention"}`;
      if (part.layer !== null && part.kind === "feed-forward") return part.name || `${part.layer + 1} feed-forward`;
      return part.name || part.kind;
    };
    // one row for each part, the heads of one attention together
    const rows = (item) => {
      const groups = new Map();
      for (const part of item.parts) {
        const key = part.kind === "head" ? `${part.stack} ${partName(part)}` : groups.size;
        if (!groups.has(key)) groups.set(key, {label: partName(part), value: 0, part});
        groups.get(key).value += part.value;
      }
      return [...groups.values()];
    };
    const drawBlocks = (item) => {
      const all = rows(item), texts = signedAlike(all.map(({value}) => value));
      refill(blocks, bars("Parts of the sum", all.map(({label, value, part}, i) => ({
        label, value, text: texts[i],
        selected: part.kind === "head" && isHere(part),
      })), {signs: true, onchoose: (index) => {
        const {part, label, value} = all[index];
        const attention = mapIndex(part);
        if (part.kind === "head" && attention >= 0) select({attention, layer: layerIndex(part.layer, report.attention[attention])});
        announce(`${label} ${signed(value)}`);
      }}));
    };
    const drawHeads = (item) => {
      const all = headParts(item), here = all.filter(isHere), layer = maps() ? layerNumber(selection.layer) + 1 : 0;
      const texts = signedAlike(here.map((part) => part.value));
      if (!here.length) {
        heads.replaceChildren(make("h3", {}, "Heads"), make("p", {class: "absent"}, `${maps() ? attentionName(maps()) : "Attention"} of layer ${layer} writes nothing into this sum directly. Choose an attention row.`));
        source.replaceChildren();
        return;
      }
      refill(heads, make("h3", {}, `Heads of layer ${layer}${report.attention.length > 1 ? `, ${attentionName(maps())}` : ""}`),
        bars(`Heads of layer ${layer}`, here.map((part, i) => ({
          label: `head ${part.head + 1}`, value: part.value, text: texts[i], selected: part.head === selection.head,
        })), {signs: true, onchoose: (index) => select({head: here[index].head})}));
      const part = here.find((one) => one.head === selection.head);
      const values = part && item.sources[all.indexOf(part)];
      if (!values) return source.replaceChildren();
      drawSource(part, values.values);
    };
    const drawSource = (part, values) => {
      const keys = maps().keys, strip = stripOf("source", keys, `What head ${part.head + 1} took from each token`);
      const top = Math.max(...values.map(Math.abs), 1e-12), total = values.reduce((a, b) => a + b, 0);
      strip.mark(tokenOf(keys));
      strip.paint((i) => Math.abs(values[i]) / top < 0.02 ? null : signColor(values[i] / top), (i) => signed(values[i]));
      const [heading, sums] = [make("h3", {}, `Where head ${part.head + 1} took it from`), make("p", {class: "note"},
        legend(number(-top, 2), signed(top, 2), true), ` The tokens add up to ${signed(total, 5)}, the head to ${signed(part.value, 5)}.`)];
      // a strip that is there stays there: moving hundreds of tokens takes longer than coloring them
      if (source.children[1] === strip.element) {
        source.firstChild.replaceWith(heading);
        source.lastChild.replaceWith(sums);
      } else source.replaceChildren(heading, strip.element, sums);
    };
    let drawnInputs = "";
    const drawInputs = (item) => {
      for (const {name: key} of report.sequences) if (kept.has(`inputs ${key}`)) kept.get(`inputs ${key}`).mark(tokenOf(key));
      if (drawnInputs === `${chosen} ${isDark()}`) return;
      drawnInputs = `${chosen} ${isDark()}`;
      const found = report.inputs.find((one) => one.position === item.position && one.label === item.label);
      if (!found) return inputs.replaceChildren();
      const parts = [], top = Math.max(...Object.values(found.scores).flatMap((values) => [...values.values].map(Math.abs)), 1e-12);
      for (const [key, values] of Object.entries(found.scores)) {
        if (!sequence(key)) continue;
        const strip = stripOf("inputs", key, `Integrated gradients of the ${key}`);
        strip.mark(tokenOf(key));
        strip.paint((i) => Math.abs(values.at(i)) / top < 0.02 ? null : signColor(values.at(i) / top), (i) => signed(values.at(i)));
        if (report.sequences.length > 1) parts.push(make("p", {class: "strip-name"}, key));
        parts.push(strip.element);
      }
      refill(inputs, make("h3", {}, "And through all paths: which input tokens it rests on"), ...parts, make("p", {class: "note"}, legend(number(-top, 2), signed(top, 2), true),
        ` Integrated gradients of this logit, in ${found.steps} steps from ${found.baseline}; off by ${percent(found.completeness)}`,
        found.completeness > 0.01 ? make("strong", {}, " — more than 1 %: read it with care.") : "."));
    };
    const drawHow = (item) => {
      const total = item.parts.reduce((a, part) => a + part.value, 0);
      how.replaceChildren(formula("logit = Σ embeddings + Σ heads + Σ feed-forwards + Σ biases,   head = Σₖ aₖ vₖ W_O · direction"),
        make("p", {}, "Each part wrote a vector into the stream. Its share is that vector, through the norms that follow with the factors recorded in this run, times the direction of the answer in the head. With those factors held the sum is exact; it says who wrote the score, not what would happen without the writer (the knock-out below does)."),
        make("p", {}, `Sum of parts ${number(total, 7)}, logit ${number(item.logit, 7)}, gap ${number(item.gap, 2)}.`));
      if (item.cap || item.scale !== 1) how.append(make("p", {}, `After ${item.cap ? `the soft cap of ${number(item.cap)} ` : ""}${item.cap && item.scale !== 1 ? "and " : ""}${item.scale !== 1 ? `the scale ${number(item.scale)} ` : ""}the model's logit is ${number(item.final_logit, 7)}.`));
    };
    return (change) => {
      const fits = report.attributions.findIndex((item) => item.position === tokenOf(name));
      if (chosen === null || (change.token && fits >= 0)) chosen = Math.max(fits, 0);
      const item = report.attributions[chosen], total = item.parts.reduce((a, part) => a + part.value, 0);
      if (report.attributions.length > 1) {
        picker.replaceChildren(choice("answer", report.attributions.map((one, i) => [i, title(one)]), chosen, (value) => {
          chosen = Number(value);
          const {position} = report.attributions[chosen];
          if (position === null) select({});
          else select({token: [name, position]});
        }));
      } else picker.replaceChildren(make("h3", {}, `The score of ${title(item)}`));
      const away = item.position !== null && item.position !== tokenOf(name);
      note.textContent = [away ? `No sum was taken for token ${tokenOf(name) + 1}; this is the one at token ${item.position + 1}.` : "", item.note].filter(Boolean).join(" ");
      sum.replaceChildren("Sum of parts ", make("b", {}, number(total, 6)), ", logit ", make("b", {}, number(item.logit, 6)), `, gap ${number(item.gap, 2)}`);
      drawBlocks(item);
      drawHeads(item);
      drawInputs(item);
      drawHow(item);
    };
  });
}
