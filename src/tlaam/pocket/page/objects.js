// Several objects in a photograph: where they are (tlaam.inference.objects, which the rules come from).

/**
 * Resolve to the boxes of the objects in a photograph {width, height}, the largest first. `look` resolves to the
 * components {box, area, peak, mean} that the model finds in a part [x0, y0, x1, y1] of it.
 */
export async function foundIn({ width, height }, rules, look) {
  const found = [];
  const seeds = (await look([0, 0, width, height])).filter((component) => component.area >= rules.least);
  for (const seed of seeds) {
    const cut = widened(seed.box, rules.closer, width, height);
    for (const { box, area, mean } of await look(cut)) {
      if (area > 0 && holdsMiddle(seed.box, box)) found.push({ box, area: area * areaOf(cut), sure: seed.peak * mean });
    }
  }
  return settled(found, rules, rules.least_box * width * height);
}

/** Return what is seen of a photograph where a box in it is to be named. */
export function surroundings([x0, y0, x1, y1], { surroundings: share }, width, height) {
  const by = share * Math.max(x1 - x0, y1 - y0);
  return clipped([x0 - by, y0 - by, x1 + by, y1 + by], width, height);
}

/** Return the components of a graph's output "objects" for a part of a photograph, boxes in its pixels. */
export function components({ data }, cut, side) {
  const [across, down] = [(cut[2] - cut[0]) / side, (cut[3] - cut[1]) / side];
  return Array.from({ length: data.length / 7 }, (_, row) => {
    const [x0, y0, x1, y1, area, peak, mean] = data.subarray(7 * row, 7 * row + 7);
    const box = [x0 * across + cut[0], y0 * down + cut[1], x1 * across + cut[0], y1 * down + cut[1]];
    return { box, area, peak, mean };
  });
}

/** Return a box of a photograph in pixels of the input image that shows a part of it. */
export function inside(box, cut, side) {
  const scale = [side / (cut[2] - cut[0]), side / (cut[3] - cut[1])];
  return box.map((edge, at) => (edge - cut[at % 2]) * scale[at % 2]);
}

/** Return the boxes of those that are objects: large and sure enough, and none twice. */
function settled(found, { most, perhaps, sure: clear, same, inside: within }, leastBox) {
  if (!found.some(({ sure }) => sure >= clear)) return [];
  const kept = [];
  for (const { box, sure } of [...found].sort((a, b) => b.area - a.area)) {
    const twice = (other) => isSame(box, other, same, within);
    if (sure >= perhaps && areaOf(box) >= leastBox && !kept.some(twice)) kept.push(box);
  }
  return kept.slice(0, most);
}

function widened([x0, y0, x1, y1], margin, width, height) {
  const [across, down] = [margin * (x1 - x0), margin * (y1 - y0)];
  return clipped([x0 - across, y0 - down, x1 + across, y1 + down], width, height);
}

function clipped(box, width, height) {
  return box.map((edge, at) => Math.min(Math.max(edge, 0), at % 2 ? height : width));
}

function holdsMiddle([x0, y0, x1, y1], other) {
  const [x, y] = [(other[0] + other[2]) / 2, (other[1] + other[3]) / 2];
  return x0 <= x && x <= x1 && y0 <= y && y <= y1;
}

function isSame(box, other, same, within) {
  const across = Math.max(0, Math.min(box[2], other[2]) - Math.max(box[0], other[0]));
  const down = Math.max(0, Math.min(box[3], other[3]) - Math.max(box[1], other[1]));
  const [a, b] = [areaOf(box), areaOf(other)];
  return across * down > same * (a + b - across * down) || across * down > within * Math.min(a, b);
}

function areaOf([x0, y0, x1, y1]) {
  return (x1 - x0) * (y1 - y0);
}
