// From a photograph's rows to the square input image, level for level as Pillow makes it (tlaam.data.input_image).

const UNIT = 1 << 22; // what a weight of 1 is in Pillow's fixed-point arithmetic
const HALF = 1 << 21;

/** By how much a photograph is reduced before it is squashed: both sides keep at least `side` pixels. */
export function reduction(width, height, side) {
  return [8, 4, 2].find((by) => Math.min(width, height) >= by * side) ?? 1;
}

/**
 * Pillow's bilinear filter from `length` pixels, of which those between two edges count (fractions of pixels may), to
 * `size`: the first pixel that each output sees, how many, and their weights one behind the other.
 */
export function taps(length, [low, high], size) {
  const begin = Math.fround(low); // Pillow keeps edges as single floats
  const scale = Math.fround(Math.fround(high) - begin) / size;
  const support = Math.max(scale, 1);
  const most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(size);
  const count = new Int32Array(size);
  const weights = new Int32Array(size * most);
  const shares = new Float64Array(most);
  for (let out = 0; out < size; out++) {
    const centre = begin + (out + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - support + 0.5));
    const to = Math.min(length, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let at = from; at < to; at++) {
      const away = Math.abs((at - centre + 0.5) * (1 / support));
      sum += shares[at - from] = away < 1 ? 1 - away : 0;
    }
    for (let at = 0; at < to - from; at++) weights[out * most + at] = Math.trunc(0.5 + (shares[at] / sum) * UNIT);
    first[out] = from;
    count[out] = to - from;
  }
  return { first, count, weights, most };
}

/** Takes the rows of a photograph from top to bottom, as RGBA, and makes the input image of them. */
export class Squasher {
  /**
   * `by` is how much the photograph is reduced first, `cut` [x0, y0, x1, y1] the part of it that fills the input image.
   * `window` then says which of its pixels are seen, {x, y, width, height}: rows of these are to be taken.
   */
  constructor(width, height, side, { by = reduction(width, height, side), cut = [0, 0, width, height] } = {}) {
    this.side = side;
    this.by = by;
    const [columns, lines] = [Math.ceil(width / by), Math.ceil(height / by)];
    this.across = taps(columns, [cut[0] / by, cut[2] / by], side);
    this.down = taps(lines, [cut[1] / by, cut[3] / by], side);
    const [x, right] = moved(this.across);
    const [y, bottom] = moved(this.down);
    this.window = {
      x: x * by, y: y * by, width: Math.min(width, right * by) - x * by, height: Math.min(height, bottom * by) - y * by,
    };
    this.width = this.window.width;
    this.height = this.window.height;
    this.columns = right - x;
    // Since release 13 Pillow begins with the height where it shrinks by more than twice as many pixels as the width.
    this.downFirst = lines > side && lines - side > 2 * (columns - side);
    const breadth = 3 * (this.downFirst ? this.columns : side);
    this.sums = new Int32Array(side * breadth).fill(HALF);
    this.breadth = breadth;
    this.line = new Uint8Array(3 * this.columns);
    this.squashed = new Uint8Array(3 * side);
    this.block = by > 1 ? new Uint32Array(3 * this.columns) : null;
    this.taken = 0; // rows of the window
    this.first = 0; // the first output row that a coming row can be seen by
  }

  /** Take RGBA rows of the window that follow those before. */
  take(pixels) {
    const { width, by, line, block } = this;
    const rows = pixels.length / (4 * width);
    for (let row = 0; row < rows; row++, this.taken++) {
      let from = 4 * width * row;
      if (by === 1) {
        for (let to = 0; to < 3 * width; from += 4) {
          line[to++] = pixels[from];
          line[to++] = pixels[from + 1];
          line[to++] = pixels[from + 2];
        }
        this.add(this.taken);
        continue;
      }
      for (let x = 0; x < width; x++, from += 4) {
        const to = 3 * Math.trunc(x / by);
        block[to] += pixels[from];
        block[to + 1] += pixels[from + 1];
        block[to + 2] += pixels[from + 2];
      }
      if ((this.taken + 1) % by === 0 || this.taken + 1 === this.height) {
        const high = (this.taken % by) + 1;
        for (let x = 0; x < this.columns; x++) {
          const area = high * Math.min(by, width - x * by);
          for (let at = 3 * x; at < 3 * x + 3; at++) line[at] = Math.trunc((block[at] + area / 2) / area);
        }
        block.fill(0);
        this.add(Math.trunc(this.taken / by));
      }
    }
  }

  add(y) {
    const { first, count, weights, most } = this.down;
    const { sums, breadth, side } = this;
    const source = this.downFirst ? this.line : this.turned(this.line);
    while (this.first < side && first[this.first] + count[this.first] <= y) this.first++;
    for (let out = this.first; out < side && first[out] <= y; out++) {
      if (first[out] + count[out] <= y) continue;
      const weight = weights[out * most + y - first[out]];
      for (let at = 0, to = out * breadth; at < breadth; at++, to++) sums[to] += weight * source[at];
    }
  }

  /** Squash a row of RGB to the side. */
  turned(row) {
    const { first, count, weights, most } = this.across;
    const { squashed, side } = this;
    for (let out = 0; out < side; out++) {
      let red = HALF, green = HALF, blue = HALF;
      for (let tap = 0, at = 3 * first[out], by = out * most; tap < count[out]; tap++, by++) {
        const weight = weights[by];
        red += weight * row[at++];
        green += weight * row[at++];
        blue += weight * row[at++];
      }
      squashed[3 * out] = level(red);
      squashed[3 * out + 1] = level(green);
      squashed[3 * out + 2] = level(blue);
    }
    return squashed;
  }

  /** Return the input image, RGB (side, side, 3), when all rows are in. */
  done() {
    const { sums, breadth, side, downFirst } = this;
    const image = new Uint8Array(3 * side * side);
    for (let y = 0; y < side; y++) {
      const row = new Uint8Array(breadth);
      for (let at = 0; at < breadth; at++) row[at] = level(sums[y * breadth + at]);
      image.set(downFirst ? this.turned(row) : row, 3 * side * y);
    }
    return image;
  }
}

function level(sum) {
  return Math.min(255, Math.max(0, sum >> 22));
}

/** Let the pixels that are seen begin at 0, and return between which they lay. */
function moved({ first, count }) {
  let low = Infinity;
  let high = 0;
  for (let out = 0; out < first.length; out++) {
    low = Math.min(low, first[out]);
    high = Math.max(high, first[out] + count[out]);
  }
  for (let out = 0; out < first.length; out++) first[out] -= low;
  return [low, high];
}
