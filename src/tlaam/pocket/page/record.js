// From the graph's outputs to the JSON record of `tlaam predict --json` (docs/json.md), with what a card draws.

const TOP = 16; // classes of an answer that ranks are decided by (tlaam.taxonomy.shares)
const WHOLE = 65535;
const NO_THRESHOLD = -1;
const NOTHING_FOUND = "nothing found";
const UNKNOWN = { width: null, height: null, time: null, camera: null, latitude: null, longitude: null };
const BRANCHES = {
  raw: "raw_probabilities", object: "object_probabilities", parts: "parts_probabilities", fused: "probabilities",
};

/** Read what a page needs of a model: its facts (model.json), and the bytes of its look-alikes where it has some. */
export function prepared(facts, alike = null, pictures = null) {
  const detector = facts.detector && {
    ...facts.detector,
    directions: units(halves(bytes(facts.detector.means)), facts.classes.length),
    near: facts.detector.near ? contrastOf(facts.detector.near) : null,
  };
  const looks = facts.look_alikes;
  return {
    ...facts,
    detector,
    look_alikes: looks && alike && { ...looks, directions: units(halves(alike), looks.labels.length), content: pictures },
  };
}

/**
 * Return the record of a photograph.
 * `outputs` has by name the graph's outputs for one input image, {data, dims}; `photo` width, height and what EXIF says.
 * `cut` [x0, y0, x1, y1] is the part of it that the input image shows, `box` the object where it was given.
 */
export function record(model, outputs, path, photo, { top = 5, alike = 4, cut = null, box = null } = {}) {
  const said = Object.fromEntries(
    Object.entries(BRANCHES).filter(([, name]) => name in outputs).map(([branch, name]) => [branch, [...outputs[name].data]]),
  );
  const size = [photo.width, photo.height];
  const seen = cut ?? [0, 0, ...size];
  const objects = box ? [box] : outputs.object_boxes ? boxes(outputs.object_boxes.data, seen, model.source_size) : null;
  const parts = outputs.part_boxes ? boxes(outputs.part_boxes.data, seen, model.source_size) : null;
  const embedding = outputs.embeddings ? unit(outputs.embeddings.data) : null;
  const finite = [...Object.values(said), ...(objects ?? []), ...(parts ?? []), embedding ?? []];
  if (!finite.every((values) => values.every(Number.isFinite))) {
    const message = `The model gives no answer for '${path}': what it computes is not finite. The model may be damaged.`;
    return refused(path, "failed", message);
  }
  const similarity = model.detector && embedding ? similarityOf(model.detector, embedding) : null;
  const ranked = model.answering ? taxon(model.answering, said.fused) : null;
  const sure = ranked ? Number(ranked.depth === 0) : Math.max(...said.fused);
  const verdict = similarity === null ? null : judged(model.detector, similarity, sure);
  const similar = similarity === null ? null : rounded(similarity, 4);
  return {
    path,
    predictions: rows(model.classes, said.fused, top),
    branches: Object.fromEntries(
      Object.entries(said).filter(([name]) => name !== "fused").map(([name, values]) => [name, rows(model.classes, values, top)]),
    ),
    verdict,
    similarity: similar,
    confidence: verdict,
    familiarity: similar,
    ...(ranked ? told(verdict === "stranger" ? NOTHING : ranked) : {}),
    object_box: objects ? objects[0].map((value) => rounded(value, 2)) : null,
    part_boxes: parts ? parts.map((box) => box.map((value) => rounded(value, 2))) : null,
    error: null,
    photo,
    code: null,
    size,
    look_alikes: model.look_alikes && embedding ? nearest(model, embedding, alike) : [],
    heatmap: outputs.heatmaps && !box ? levels(outputs.heatmaps) : null,
  };
}

const OF_OBJECT = [
  "predictions", "branches", "verdict", "similarity", "rank", "taxon", "taxon_probability", "lineage", "object_box",
  "part_boxes", "look_alikes",
];

/** Return the record of a photograph with the records of its objects: that of the first, with all of them. */
export function joined(path, photo, records) {
  const faulty = records.find((found) => found.error !== null);
  if (faulty) return faulty;
  if (!records.length) {
    const size = [photo.width, photo.height];
    return { ...refused(path, null, null), verdict: NOTHING_FOUND, confidence: NOTHING_FOUND, photo, size, look_alikes: [], heatmap: null, objects: [] };
  }
  const objects = records.map((found) => Object.fromEntries(OF_OBJECT.filter((name) => name in found).map((name) => [name, found[name]])));
  return { ...records[0], objects };
}

/** Return the record of a photograph that was not answered. */
export function refused(path, code, message) {
  return {
    path, predictions: [], branches: {}, verdict: null, similarity: null, confidence: null, familiarity: null,
    object_box: null, part_boxes: null, error: message, photo: UNKNOWN, code, size: null,
  };
}

/** Round as Python's round does: of two equally near values to the one with an even last digit. */
export function rounded(value, digits) {
  const up = Number(value.toFixed(digits));
  if (!Number.isInteger(value * 2 ** (digits + 1)) || Number.isInteger(value * 2 ** digits)) return up;
  const exact = value * 10 ** digits;
  const low = Math.floor(exact);
  if (exact - low !== 0.5) return up;
  return Number(((low % 2 === 0 ? low : low + 1) / 10 ** digits).toFixed(digits));
}

function best(values, count) {
  return [...values.keys()].sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
}

function rows(classes, values, top) {
  return best(values, top).map((place) => ({ label: classes[place], probability: rounded(values[place], 6) }));
}

/** Return boxes of an input image in pixels of the photograph, of which it shows the part `seen`. */
function boxes(values, seen, side) {
  const scale = [(seen[2] - seen[0]) / side, (seen[3] - seen[1]) / side];
  const found = [];
  for (let at = 0; at < values.length; at += 4) {
    found.push([...values.subarray(at, at + 4)].map((edge, place) => edge * scale[place % 2] + seen[place % 2]));
  }
  return found;
}

/** How much an embedding looks like the classes (tlaam.reference.ood_detector.OODDetector.similarity). */
function similarityOf(detector, embedding) {
  const nearest = Math.max(...cosines(embedding, detector.directions));
  if (!detector.near) return nearest;
  const { threshold, scale } = detector.near;
  const told = detector.threshold + scale * (contrast(detector.near, embedding) - threshold);
  return Math.min(nearest, Math.max(-1, Math.min(1, told)));
}

/** Squared distance to all images less that to the nearest class (tlaam.reference.contrast). */
function contrast({ mean, axes, centres, spread }, embedding) {
  const rank = spread.length;
  const z = new Float64Array(rank);
  embedding.forEach((value, at) => {
    for (let axis = 0; axis < rank; axis++) z[axis] += (value - mean[at]) * axes[at * rank + axis];
  });
  const distance = (from) => z.reduce((sum, value, axis) => sum + (value - centres[from + axis]) ** 2, 0);
  let nearest = Infinity;
  for (let from = 0; from < centres.length; from += rank) nearest = Math.min(nearest, distance(from));
  return z.reduce((sum, value, axis) => sum + value ** 2 / spread[axis], 0) - nearest;
}

function contrastOf(near) {
  const [mean, centres, spread] = [near.mean, near.centres, near.spread].map((text) => singles(bytes(text)));
  return { ...near, mean, centres, spread, axes: halves(bytes(near.axes)) };
}

function judged(detector, similarity, sure) {
  if (detector.threshold <= NO_THRESHOLD) return null;
  if (similarity < detector.threshold) return "stranger";
  return sure >= detector.sure_from ? "sure" : "unsure";
}

const NOTHING = { depth: null, rank: null, taxon: null, probability: null, lineage: {} };

/** What is said at the deepest rank that is sure enough (tlaam.taxonomy.answers). */
function taxon({ ranks, taxa, codes, thresholds }, probabilities) {
  const places = best(probabilities, TOP);
  const sum = Math.max(places.reduce((total, place) => total + probabilities[place], 0), 1);
  const shares = places.map((place) => Math.floor((probabilities[place] / sum) * WHOLE));
  for (let depth = 0; depth < ranks.length; depth++) {
    const of = places.map((place) => codes[depth][place]);
    const sums = of.map((code) => shares.reduce((total, share, at) => total + (of[at] === code ? share : 0), 0));
    const at = sums.indexOf(Math.max(...sums));
    const member = taxa[places[at]];
    if (member[depth] && sums[at] >= thresholds[depth]) {
      const lineage = ranks.map((rank, number) => [rank, member[number]]).slice(depth).filter(([, name]) => name);
      return {
        depth, rank: ranks[depth], taxon: member[depth], probability: sums[at] / WHOLE, lineage: Object.fromEntries(lineage),
      };
    }
  }
  return NOTHING;
}

function told({ rank, taxon: name, probability, lineage }) {
  return { rank, taxon: name, taxon_probability: probability === null ? null : rounded(probability, 6), lineage };
}

function nearest(model, embedding, count) {
  const { directions, labels, content, ends } = model.look_alikes;
  const similarities = cosines(embedding, directions);
  return best(similarities, count).map((place) => ({
    label: model.classes[labels[place]],
    similarity: rounded(similarities[place], 4),
    thumbnail: content ? jpeg(content.subarray(place ? ends[place - 1] : 0, ends[place])) : null,
  }));
}

function jpeg(content) {
  let text = "";
  for (const byte of content) text += String.fromCharCode(byte);
  return `data:image/jpeg;base64,${btoa(text)}`;
}

/** Stretch a map to 0..1, by rows; a flat one is 0. */
function levels({ data, dims }) {
  const [height, width] = dims.slice(-2);
  const values = [...data].map((value) => (Number.isFinite(value) ? value : 0));
  const low = Math.min(...values);
  const range = Math.max(...values) - low;
  const row = (y) => values.slice(y * width, (y + 1) * width);
  return Array.from({ length: height }, (_, y) => row(y).map((value) => (range > 0 ? rounded((value - low) / range, 3) : 0)));
}

function cosines(embedding, directions) {
  const size = embedding.length;
  const found = new Array(directions.length / size);
  for (let row = 0; row < found.length; row++) {
    let sum = 0;
    for (let at = 0, from = row * size; at < size; at++) sum += embedding[at] * directions[from + at];
    found[row] = Math.fround(sum);
  }
  return found;
}

function units(values, count) {
  const size = values.length / count;
  const directions = new Float32Array(values.length);
  for (let row = 0; row < count; row++) directions.set(unit(values.subarray(row * size, (row + 1) * size)), row * size);
  return directions;
}

function unit(values) {
  let sum = 0;
  for (const value of values) sum += value * value;
  const length = Math.sqrt(sum) || 1;
  return Float32Array.from(values, (value) => value / length);
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Decode little-endian floats. */
function singles(content) {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  return Float32Array.from({ length: content.byteLength / 4 }, (_, at) => view.getFloat32(4 * at, true));
}

/** Decode little-endian half floats. */
function halves(content) {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const values = new Float32Array(content.byteLength / 2);
  for (let at = 0; at < values.length; at++) {
    const bits = view.getUint16(2 * at, true);
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const rest = bits & 1023;
    values[at] = sign * (exponent ? (1 + rest / 1024) * 2 ** (exponent - 15) : (rest / 1024) * 2 ** -14);
  }
  return values;
}
