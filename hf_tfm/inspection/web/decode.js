"use strict";
// Data of the page: one buffer of arrays, and attention maps that are decoded when they are looked at.
// compressed_maps.py says what the codes mean; decodeMap is its decode_map.

const FINE = 0, DENSE = 1, LARGEST = 2, ESCAPE = 255;

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function float16(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
}

// An array of any rank: at(i, j, ...) is a number, row(i, j, ...) the last axis.
class NumberArray {
  constructor(values, shape) {
    this.values = values;
    this.shape = shape;
  }
  offset(indices) {
    let offset = 0;
    for (let axis = 0; axis < this.shape.length; axis++) offset = offset * this.shape[axis] + (indices[axis] || 0);
    return offset;
  }
  at(...indices) {
    return this.values[this.offset(indices)];
  }
  row(...indices) {
    const start = this.offset(indices), size = this.shape.slice(indices.length).reduce((a, b) => a * b, 1);
    return this.values.subarray(start, start + size);
  }
}

const TYPES = {f4: Float32Array, i4: Int32Array, u1: Uint8Array};

// Replaces every {array, offset, shape} of the report by the array it stands for.
function withArrays(value, buffer) {
  if (value === null || typeof value !== "object") return value;
  if (typeof value.array === "string") {
    const size = value.shape.reduce((a, b) => a * b, 1);
    return new NumberArray(new TYPES[value.array](buffer, value.offset, size), value.shape);
  }
  for (const key of Object.keys(value)) value[key] = withArrays(value[key], buffer);
  return value;
}

async function readReport() {
  const report = JSON.parse(document.getElementById("report").textContent);
  const arrays = await inflate(bytesOf(document.getElementById("arrays").textContent));
  return withArrays(report, arrays.buffer);
}

function decodeMap(raw, code, kept, visible, length, width) {
  const view = new DataView(raw.buffer, raw.byteOffset), weights = new Float32Array(length * width);
  for (let query = 0; query < length; query++) {
    const largest = float16(view.getUint16(2 * query, true)), start = query * width;
    if (code === FINE) {
      for (let key = 0; key < width; key++) {
        weights[start + key] = largest * view.getUint16(2 * (length + start + key), true) / 65535;
      }
    } else if (code === DENSE) {
      for (let key = 0; key < width; key++) weights[start + key] = largest * (raw[2 * length + start + key] / 255) ** 2;
    } else {
      const row = weights.subarray(start, start + width).fill(-1), gaps = 4 * length + query * kept;
      for (let slot = 0, key = -1; slot < kept && key < width; slot++) {
        const gap = raw[gaps + slot];
        key += gap === ESCAPE ? ESCAPE : gap + 1;
        if (gap !== ESCAPE && key < width) row[key] = largest * (raw[gaps + length * kept + slot] / 255) ** 2;
      }
      let spread = 0;
      for (let key = 0; key < width; key++) spread += row[key] < 0 && visible[start + key];
      const share = float16(view.getUint16(2 * (length + query), true)) / Math.max(spread, 1);
      for (let key = 0; key < width; key++) if (row[key] < 0) row[key] = visible[start + key] ? share : 0;
    }
  }
  return weights;
}

// The last layers that were looked at, as bytes; and the last heads, as weights.
const recentLayers = new Map(), recentHeads = new Map();

function remember(map, key, value, limit) {
  map.delete(key);
  map.set(key, value);
  if (map.size > limit) map.delete(map.keys().next().value);
  return value;
}

async function layerBytes(index, layer) {
  const key = `${index}-${layer}`;
  if (recentLayers.has(key)) return remember(recentLayers, key, recentLayers.get(key), 3);
  const bytes = bytesOf(document.getElementById(`attention-${key}`).textContent);
  const size = new DataView(bytes.buffer).getUint32(0, true);
  const packed = await inflate(bytes.subarray(4, 4 + size)), [, , length, width] = report.attention[index].shape;
  const visible = new Uint8Array(length * width);
  for (let i = 0; i < visible.length; i++) visible[i] = (packed[i >> 3] >> (i & 7)) & 1;
  return remember(recentLayers, key, {bytes, visible, first: 4 + size}, 3);
}

// {weights (T S), visible (T S), length, width, error} of one head.
async function headMap(index, layer, head) {
  const key = `${index}-${layer}-${head}`;
  if (recentHeads.has(key)) return remember(recentHeads, key, recentHeads.get(key), 16);
  const {bytes, visible, first} = await layerBytes(index, layer);
  const maps = report.attention[index], coded = maps.blocks[layer], [, , length, width] = maps.shape;
  const start = first + coded.bytes.slice(0, head).reduce((a, b) => a + b, 0);
  const raw = await inflate(bytes.subarray(start, start + coded.bytes[head]));
  const weights = decodeMap(raw, coded.code[head], coded.kept, visible, length, width);
  return remember(recentHeads, key, {weights, visible, length, width, error: coded.error[head]}, 16);
}
