"use strict";
// Only where the text was compared with another one.
function addPatchingView() {
  const {other, taps, recovered, label, stack} = report.patching, name = stack;
  const sentence = `One vector at a time is replaced by the one of another text, “${shown(other)}”. The cells show how much of the difference in the score of ${quoted(label)} comes over with it.`;
  return addView("patching", "Where does the difference to the other text sit?", sentence, null, (body, how) => {
    const holder = make("div", {class: "scrolling lens", tabindex: "0", role: "region", "aria-label": "Recovered share, by half block and token"});
    body.append(holder, make("p", {class: "note"}, "Columns are the tokens around the selected one."));
    how.append(formula("(logit with the patch − logit) ⁄ (logit of the other text − logit)"), make("p", {}, "1 brings the whole difference over, 0 none of it. Shares of different cells do not add up."));
    return () => {
      const {tokens} = sequence(name), columns = columnsAround(Math.min(tokens.length, recovered.shape[1]), tokenOf(name), document.getElementById("views").clientWidth);
      const head = make("tr", {}, make("th", {scope: "col"}, "after"), columns.map((i) =>
        make("th", {scope: "col", class: i === tokenOf(name) ? "selected" : null}, make("small", {}, i + 1), " ", make("bdi", {}, brief(tokens[i])))));
      const rows = taps.map((tap, p) => make("tr", {}, make("th", {scope: "row"}, tap), columns.map((i) => {
        const cell = make("td", {}, recovered.at(p, i).toFixed(2).replace("-", "−").replace("−0.00", "0.00"));
        paint(cell, signColor(recovered.at(p, i)));
        return cell;
      })));
      holder.replaceChildren(make("table", {class: "cells"}, make("thead", {}, head), make("tbody", {}, rows.reverse())));
    };
  });
}
