"use strict";
// An attention map as pixels, one for each query and key, and a cursor over it that the keyboard moves. The cursor is a
// grid of which one cell is in the page: a grid of 512 x 512 elements would be too slow.

// rows and columns up to which their tokens are written beside the map
const NAMED = 40;

class Matrix {
  constructor({onmove, onchoose}) {
    this.canvas = make("canvas", {"aria-hidden": "true"});
    this.cell = make("div", {role: "gridcell", tabindex: "0", class: "cursor"});
    this.grid = make("div", {class: "matrix", role: "grid", "aria-label": "Attention map: rows are queries, columns are keys"},
      this.canvas, make("div", {role: "row", class: "cursor-row"}, this.cell));
    this.left = make("div", {class: "row-names", "aria-hidden": "true"});
    this.below = make("div", {class: "column-names", "aria-hidden": "true"});
    this.element = make("div", {class: "matrix-frame"}, this.left, this.grid, this.below);
    this.place = [0, 0];
    this.onmove = onmove;
    this.onchoose = onchoose;
    this.pending = null;
    this.grid.addEventListener("pointermove", (event) => {
      const first = this.pending === null;
      this.pending = event;
      if (first) requestAnimationFrame(() => this.hover());
    });
    this.grid.addEventListener("click", (event) => {
      this.move(...this.at(event));
      this.onchoose(...this.place);
    });
    this.cell.addEventListener("keydown", (event) => this.key(event));
  }
  // The cell under a pointer, by arithmetic.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [clamp(Math.floor((event.clientY - box.top) / box.height * this.length), this.length),
      clamp(Math.floor((event.clientX - box.left) / box.width * this.width), this.width)];
  }
  hover() {
    this.onmove(...this.at(this.pending), false);
    this.pending = null;
  }
  key(event) {
    const [row, column] = this.place, page = Math.max(Math.floor(this.length / 10), 1);
    const steps = {
      ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1], ArrowDown: [row + 1, column], ArrowUp: [row - 1, column],
      Home: [event.ctrlKey ? 0 : row, 0], End: [event.ctrlKey ? this.length - 1 : row, this.width - 1],
      PageDown: [row + page, column], PageUp: [row - page, column],
    };
    if (event.key === "Enter" || event.key === " ") this.onchoose(row, column);
    else if (event.key in steps) {
      this.move(...steps[event.key]);
      this.onmove(...this.place, true);
    } else return;
    event.preventDefault();
  }
  move(row, column) {
    this.place = [clamp(row, this.length), clamp(column, this.width)];
    const style = this.cell.style, [y, x] = this.place;
    style.top = `${100 * y / this.length}%`;
    style.left = `${100 * x / this.width}%`;
    style.height = `${100 / this.length}%`;
    style.width = `${100 / this.width}%`;
    this.cell.parentElement.setAttribute("aria-rowindex", y + 1);
    this.cell.setAttribute("aria-colindex", x + 1);
  }
  label(text) {
    this.cell.setAttribute("aria-label", text);
  }
  // share(query, key): 0 to 1, or null where the mask hides the key
  draw(length, width, share, rowNames, columnNames) {
    this.length = length;
    this.width = width;
    this.grid.setAttribute("aria-rowcount", length);
    this.grid.setAttribute("aria-colcount", width);
    this.canvas.width = width;
    this.canvas.height = length;
    const image = new ImageData(width, length), {amounts, hidden} = ramps();
    for (let query = 0, at = 0; query < length; query++) {
      for (let key = 0; key < width; key++, at += 4) {
        const value = share(query, key);
        const color = value === null ? hidden : amounts[value >= 1 ? 255 : value > 0 ? Math.round(255 * value) : 0];
        image.data[at] = color[0];
        image.data[at + 1] = color[1];
        image.data[at + 2] = color[2];
        image.data[at + 3] = 255;
      }
    }
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    this.element.style.setProperty("--across", width);
    // cells are squares, unless the map is much longer than wide
    this.grid.style.aspectRatio = Math.min(Math.max(width / length, 0.75), 2.5);
    for (const [place, list] of [[this.left, rowNames], [this.below, columnNames]]) {
      place.hidden = list.length > NAMED;
      place.replaceChildren(...(place.hidden ? [] : list).map((name) => make("span", {}, make("bdi", {}, brief(name)))));
    }
  }
  selectRow(row) {
    for (const [index, name] of [...this.left.children].entries()) name.classList.toggle("selected", index === row);
  }
}

// A picture of at most 64 x 64 cells that keeps the largest weight of each; as in the matrix, the largest of all has the
// strongest colour. The pixels are square roots.
function drawThumbnail(canvas, index, layer, head) {
  const values = report.attention[index].thumbnails, [, , height, width] = values.shape, pixels = values.row(layer, head);
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height), {amounts} = ramps(), top = Math.max(1, ...pixels);
  for (let i = 0; i < pixels.length; i++) {
    const color = amounts[Math.round(255 * (pixels[i] / top) ** 2)];
    image.data.set([color[0], color[1], color[2], 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
