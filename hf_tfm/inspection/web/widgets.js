"use strict";
// Parts that several views use: tokens in a row, bars, and keyboard movement inside them.

// Items of a container become one tab stop; arrows, Home and End move, Enter and Space choose. `columns`: of a grid.
function roving(container, items, {onchoose, onmove = null, columns = () => 0}) {
  const focused = () => Math.max(items().indexOf(document.activeElement), 0);
  container.addEventListener("keydown", (event) => {
    const all = items(), now = focused(), width = columns();
    const row = width ? Math.floor(now / width) * width : 0, last = width ? Math.min(row + width, all.length) - 1 : all.length - 1;
    const steps = {
      ArrowRight: now + 1, ArrowLeft: now - 1, ArrowDown: now + (width || 1), ArrowUp: now - (width || 1),
      Home: event.ctrlKey ? 0 : row, End: event.ctrlKey ? all.length - 1 : last,
    };
    if (event.key === "Enter" || event.key === " ") onchoose(now);
    else if (event.key in steps) {
      const next = steps[event.key];
      if (next >= 0 && next < all.length) {
        enter(all, next);
        all[next].focus();
        if (onmove) onmove(next);
      }
    } else return;
    event.preventDefault();
  });
  container.addEventListener("click", (event) => {
    const index = items().indexOf(event.target.closest("[tabindex]"));
    if (index >= 0) onchoose(index);
  });
}

function enter(items, index) {
  for (const item of items) if (item.tabIndex === 0) item.tabIndex = -1;
  if (items[index]) items[index].tabIndex = 0;
}

// Scrolls a long box, never the page, to one of its items.
function reveal(box, item) {
  requestAnimationFrame(() => {
    if (!box.checkVisibility({contentVisibilityAuto: true}) || box.scrollHeight <= box.clientHeight) return;
    const top = item.offsetTop, bottom = top + item.offsetHeight;
    if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
  });
}

// The tokens of a sequence in running text. `paint(colorOf, titleOf)` colors them and says what a token's color means,
// which is written down when a token is pointed at or focused; a click or Enter selects one. Only what changes is
// touched: a text has hundreds of tokens.
class TokenStrip {
  constructor(name, label, {onhover = null, onchoose = null} = {}) {
    this.name = name;
    const tokens = sequence(name).tokens, generated = sequence(name).generated;
    const classes = (index) => ["token", generated !== null && index >= generated && "written", continues(tokens, index) && "joined"];
    this.items = tokens.map((token, index) => make("span", {
      role: "option", tabindex: "-1", "aria-selected": "false", class: classes(index).filter(Boolean).join(" "),
    }, make("bdi", {}, brief(token))));
    this.element = make("div", {class: "strip", role: "listbox", "aria-label": label}, this.items);
    roving(this.element, () => this.items, {onchoose: onchoose || ((index) => select({token: [name, index]}))});
    this.colors = new Array(tokens.length);
    this.titleOf = () => "";
    const index = (event) => this.items.indexOf(event.target.closest(".token"));
    this.element.addEventListener("focusin", (event) => this.describe(index(event)));
    this.element.addEventListener("pointerover", (event) => {
      this.describe(index(event));
      if (onhover && index(event) >= 0) onhover(index(event));
    });
    if (onhover) this.element.addEventListener("pointerleave", () => onhover(null));
  }
  describe(index) {
    if (index < 0) return;
    const title = this.titleOf(index), item = this.items[index];
    item.title = title;
    item.setAttribute("aria-label", `${index + 1} ${shown(sequence(this.name).tokens[index])} ${title}`);
  }
  mark(selected) {
    if (this.marked !== undefined) this.items[this.marked].setAttribute("aria-selected", "false");
    this.items[selected].setAttribute("aria-selected", "true");
    this.marked = selected;
    enter(this.items, selected);
    reveal(this.element, this.items[selected]);
  }
  paint(colorOf, titleOf) {
    this.titleOf = titleOf;
    for (const [index, item] of this.items.entries()) {
      const color = colorOf(index);
      if (this.colors[index] === color) continue;
      this.colors[index] = color;
      if (color) paint(item, color);
      else unpaint(item);
    }
  }
}

// Bars of numbers. rows: {label, value, text, key, selected, note}; with a sign they grow from the middle.
function bars(label, rows, {signs = false, high = null, onchoose = null, kind = null} = {}) {
  const top = high || Math.max(...rows.map((row) => Math.abs(row.value)), 1e-12);
  const items = rows.map((row) => {
    const size = Math.min(Math.abs(row.value) / top, 1) * (signs ? 50 : 100);
    const side = !signs ? "from-left" : row.value < 0 ? "negative" : "positive";
    return make("div", {
      class: "bar", role: onchoose ? "option" : "listitem", tabindex: onchoose ? "-1" : null,
      "aria-selected": onchoose ? String(Boolean(row.selected)) : null,
    },
    make("span", {class: "bar-label", title: row.label}, make("bdi", {}, row.label), row.note && make("small", {}, ` ${row.note}`)),
    make("span", {class: signs ? "track signed" : "track", "aria-hidden": "true"},
      make("span", {class: `fill ${side}`, style: {width: `${size}%`, backgroundColor: kind === null ? "" : kindColor(kind)}})),
    make("span", {class: "bar-value"}, row.text));
  });
  const list = make("div", {class: "bars", role: onchoose ? "listbox" : "list", "aria-label": label}, items);
  if (onchoose) {
    enter(items, Math.max(rows.findIndex((row) => row.selected), 0));
    roving(list, () => items, {onchoose});
  }
  return list;
}

// Indices of the columns around a chosen one, as many as the width holds.
function columnsAround(count, middle, width) {
  const size = Math.min(count, Math.max(Math.floor(((width || 900) - 130) / 84), 2));
  const first = clamp(middle - Math.floor(size / 2), count - size + 1);
  return Array.from({length: size}, (_, i) => first + i);
}

// Replaces the content of a place; a long list stays scrolled, and the focus on the item with the same number.
function refill(place, ...children) {
  const all = [...place.querySelectorAll("[tabindex]")], index = all.indexOf(document.activeElement);
  const before = place.querySelector(".bars"), top = before ? before.scrollTop : 0;
  place.replaceChildren(...children);
  const list = place.querySelector(".bars");
  if (top && list) list.scrollTop = top;
  const selected = list && list.querySelector("[aria-selected=true]");
  if (selected) reveal(list, selected);
  if (index >= 0) {
    const now = place.querySelectorAll("[tabindex]");
    if (now[index]) now[index].focus();
  }
}

function fold(title, ...children) {
  return make("details", {}, make("summary", {}, title), make("div", {class: "fold"}, ...children));
}

function formula(text) {
  return make("p", {class: "formula"}, text);
}

// A view: one question, one sentence, what it shows, and how that is computed. `build(body, how)` returns update(change).
function addView(id, question, sentence, reason, build) {
  const body = make("div", {class: "body"}), how = make("div", {class: "fold"});
  const heading = make("h2", {id: `${id}-title`}, question);
  const section = make("section", {id, class: reason ? "view not-shown" : "view", "aria-labelledby": `${id}-title`, tabindex: "-1"}, heading);
  if (reason) section.append(make("p", {class: "absent"}, `Not shown: ${reason}`));
  else {
    section.append(make("p", {class: "sentence"}, sentence), body, make("details", {class: "how"}, make("summary", {}, "How this is computed"), how));
    views.push({id, update: build(body, how)});
  }
  document.getElementById("views").append(section);
  return {id, question};
}

// Why a part of the report is missing, or null if it is there.
function reasonFor(...names) {
  const missing = names.find((name) => report[name] === null || (Array.isArray(report[name]) && !report[name].length));
  return missing ? report.absent[missing] || "this report was made without it." : null;
}
