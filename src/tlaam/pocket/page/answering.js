// The answer for a photograph: of the one object that it is taken to show, or of all that are found in it.
// `run(pixels, read, box)` resolves to what `read` makes of the graph's outputs for an input image.

import { components, foundIn, inside, surroundings } from "./objects.js";
import { reduction } from "./pixels.js";
import { joined, record } from "./record.js";

/** Resolve to the record of a photograph, of which the input image has `pixels`. */
export function named(model, run, pixels, name, about) {
  return run(pixels, (outputs) => record(model, outputs, name, about));
}

/** Resolve to the record of a photograph with all objects that are found in it. */
export async function several(model, run, photo, pixels, name, about) {
  const side = model.source_size;
  const by = reduction(photo.width, photo.height, side / model.objects.closest);
  const seen = (cut) => photo.input(side, { by, cut });
  const look = (cut) => run(seen(cut), ({ objects }) => components(objects, cut, side));
  const boxes = await foundIn(photo, model.objects, look);
  if (boxes.length === 1) return joined(name, about, [await named(model, run, pixels, name, about)]);
  const records = [];
  for (const box of boxes) {
    const told = model.objects.boxes === "told";
    const cut = told ? surroundings(box, model.objects, photo.width, photo.height) : box;
    const where = told ? Float32Array.from(inside(box, cut, side)) : undefined;
    records.push(await run(seen(cut), (outputs) => record(model, outputs, name, about, { cut, box }), where));
  }
  return joined(name, about, records);
}
