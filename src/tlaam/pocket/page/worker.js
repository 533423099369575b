// Computes answers beside the page, one photograph at a time: ONNX Runtime Web on the exported graph as it is.

import * as ort from "../runtime/ort.js";
import { named, several } from "./answering.js";
import { shot } from "./exif.js";
import { Photograph, Unread } from "./reading.js";
import { prepared, refused } from "./record.js";

const NO_BOX = new Float32Array(4); // without width: the model finds the object

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1; // more would need headers that a static host does not send
let session = null;
let model = null;
let last = Promise.resolve();

addEventListener("message", ({ data }) => {
  const work = { load, answer }[data.what];
  last = last.then(() => work(data)).then(
    (done) => postMessage({ number: data.number, done }),
    (error) => postMessage({ number: data.number, fault: String(error?.message ?? error) }),
  );
});
postMessage({ ready: true });

async function load({ facts, graph, runtime, alike, pictures }) {
  ort.env.wasm.wasmBinary = runtime;
  // The runtime knows no inputs that may be left out. Under another name their value is none, so that boxes are an input.
  if (facts.objects?.default_at) graph[facts.objects.default_at] ^= 32;
  session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  model = prepared(facts, alike, pictures);
  await run(new Uint8Array(3 * facts.source_size ** 2), () => {}); // the first answer prepares much that all others use
}

async function answer({ blob, name, all }) {
  const began = performance.now();
  let photo;
  try {
    photo = await Photograph.open(blob);
  } catch (error) {
    if (!(error instanceof Unread)) throw error;
    return refused(name, error.code, error.code);
  }
  try {
    const pixels = photo.input(model.source_size);
    const decoded = performance.now();
    const about = { width: photo.width, height: photo.height, ...(await shot(blob)) };
    const looked = all && model.objects;
    if (!looked) photo.close(); // before the graph needs memory
    const found = looked
      ? await several(model, run, photo, pixels, name, about)
      : await named(model, run, pixels, name, about);
    return { ...found, milliseconds: { reading: decoded - began, answering: performance.now() - decoded } };
  } finally {
    photo.close();
  }
}

/** Resolve to what `read` makes of the graph's outputs for an input image, and the object's box on it where it is known. */
async function run(pixels, read, box = NO_BOX) {
  const side = model.source_size;
  const given = { photos: new ort.Tensor("uint8", pixels, [1, side, side, 3]) };
  if (session.inputNames.includes("boxes")) given.boxes = new ort.Tensor("float32", box, [1, 4]);
  const outputs = await session.run(given);
  try {
    return read(outputs);
  } finally {
    for (const each of Object.values(outputs)) each.dispose();
  }
}
