// Draws a picture and what the model looked at in it. Boxes are [x0, y0, x1, y1] in pixels of the upright file.

const LONGEST_SIDE = 1400; // of what is kept and shown
const SHORTEST_SIDE = 1000; // the longer side of a small picture is brought to this, so that lines on it are sharp
const OBJECT = [255, 176, 0];
const PARTS = [[94, 200, 255], [255, 110, 180], [120, 230, 160], [180, 150, 255]]; // from small windows to large
const SAME_SIZE = 1.15; // windows of one size may differ by this factor of area after clipping
const HEAT_CELLS = 160; // of the longer side of the smoothed heat map
const HEAT_STRENGTH = 0.55;

// Even steps of the "inferno" map (public domain), as in the pictures that `tlaam predict --overlays` writes.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [188, 55, 84], [227, 89, 51], [249, 142, 9], [249, 201, 50],
  [252, 255, 164],
];

export const colour = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

let last = Promise.resolve();

/**
 * Resolve to a canvas with the picture, upright and not larger than is shown; null where the browser cannot read it.
 * One after the other: a photograph takes a hundred megabytes while it is decoded.
 */
export function decoded(blob) {
  last = last.then(() => decode(blob));
  return last;
}

async function decode(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  const longer = Math.max(bitmap.width, bitmap.height);
  const scale = Math.min(Math.max(longer, SHORTEST_SIDE), LONGEST_SIDE) / longer;
  const canvas = sheet(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // the model sees transparency on white
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

/** Return a grey sheet in the shape of a picture that the browser cannot show. */
export function blank([width, height]) {
  const scale = SHORTEST_SIDE / Math.max(width, height);
  const canvas = sheet(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#8a8f98";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Return each box's colour: boxes of nearly equal area share one, from small to large. */
export function partColours(boxes) {
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  const order = boxes.map((_, index) => index).sort((a, b) => area(boxes[a]) - area(boxes[b]));
  const colours = [];
  let group = 0;
  order.forEach((index, place) => {
    if (place > 0 && area(boxes[index]) > SAME_SIZE * area(boxes[order[place - 1]])) group += 1;
    colours[index] = PARTS[group % PARTS.length];
  });
  return colours;
}

export const OBJECT_COLOUR = OBJECT;

/** Return the heat map as a small canvas, transparent where it is low; it is stretched over the picture. */
export function heatSheet(levels, [width, height]) {
  const scale = HEAT_CELLS / Math.max(width, height);
  const columns = Math.max(1, Math.round(width * scale));
  const rows = Math.max(1, Math.round(height * scale));
  const canvas = sheet(columns, rows);
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(columns, rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const value = smooth(levels, ((x + 0.5) / columns) * levels[0].length - 0.5, ((y + 0.5) / rows) * levels.length - 0.5);
      const [r, g, b] = inferno(value);
      image.data.set([r, g, b, 255 * HEAT_STRENGTH * value ** 0.8], 4 * (y * columns + x));
    }
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Draw the picture with its layers.
 * `found` has size, heat (of heatSheet, or null), object (box or null), parts (boxes) and colours;
 * `shown` says which layers, and `marked` which box is brought out: "object", a part's index or null.
 */
export function draw(canvas, picture, found, shown, marked = null) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  if (!found) return;
  const scale = [picture.width / found.size[0], picture.height / found.size[1]];
  const line = Math.max(1.5, Math.sqrt(picture.width * picture.height) / 170);
  if (shown.heatmap && found.heat && marked === null) {
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(found.heat, 0, 0, picture.width, picture.height);
  }
  if (marked !== null) {
    const box = marked === "object" ? found.object : found.parts[marked];
    dimmed(pen, picture, box, scale);
    frame(pen, box, scale, colour(marked === "object" ? OBJECT : found.colours[marked]), 1.6 * line);
    return;
  }
  if (shown.object) for (const box of found.others) frame(pen, box, scale, colour(OBJECT), 0.6 * line);
  if (shown.parts) found.parts.forEach((box, index) => frame(pen, box, scale, colour(found.colours[index]), line));
  if (shown.object && found.object) frame(pen, found.object, scale, colour(OBJECT), 1.7 * line);
}

/** Return what lies in a box as a canvas of this height at most. */
export function cut(picture, [x0, y0, x1, y1], size, height) {
  const sx = picture.width / size[0];
  const sy = picture.height / size[1];
  const from = [x0 * sx, y0 * sy, Math.max(1, (x1 - x0) * sx), Math.max(1, (y1 - y0) * sy)];
  const scale = height / from[3];
  const canvas = sheet(Math.max(1, Math.round(Math.min(from[2] * scale, 3 * height))), height);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, ...from, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function sheet(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function frame(pen, [x0, y0, x1, y1], [sx, sy], style, width) {
  const inside = [x0 * sx + width / 2, y0 * sy + width / 2, (x1 - x0) * sx - width, (y1 - y0) * sy - width];
  if (!(inside[2] > 0 && inside[3] > 0)) return;
  pen.beginPath();
  pen.roundRect(...inside, Math.min(2 * width, inside[2] / 4, inside[3] / 4));
  pen.strokeStyle = "rgb(20 20 24 / 70%)";
  pen.lineWidth = width * 1.7;
  pen.stroke();
  pen.strokeStyle = style;
  pen.lineWidth = width;
  pen.stroke();
}

function dimmed(pen, picture, [x0, y0, x1, y1], [sx, sy]) {
  pen.fillStyle = "rgb(10 10 14 / 62%)";
  pen.beginPath();
  pen.rect(0, 0, picture.width, picture.height);
  pen.rect(x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy);
  pen.fill("evenodd");
}

function inferno(value) {
  const place = Math.min(Math.max(value, 0), 1) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[low].map((from, channel) => from + (place - low) * (INFERNO[low + 1][channel] - from));
}

/** Interpolate between cells with a cubic curve through them, so that no cell's edges are seen. */
function smooth(levels, x, y) {
  const row = Math.floor(y);
  const across = (r) => {
    const cells = levels[Math.min(Math.max(r, 0), levels.length - 1)];
    const column = Math.floor(x);
    return cubic([-1, 0, 1, 2].map((step) => cells[Math.min(Math.max(column + step, 0), cells.length - 1)]), x - column);
  };
  return Math.min(Math.max(cubic([-1, 0, 1, 2].map((step) => across(row + step)), y - row), 0), 1);
}

function cubic([a, b, c, d], t) {
  return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}
