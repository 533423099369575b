// Computes answers beside the page, one photograph at a time: ONNX Runtime Web on the exported graph as it is.

import * as ort from "../runtime/ort.js";
import { shot } from "./exif.js";
import { read, Unread } from "./reading.js";
import { prepared, record, refused } from "./record.js";

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
  session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  model = prepared(facts, alike, pictures);
  const first = new ort.Tensor("uint8", new Uint8Array(3 * facts.source_size ** 2), [1, facts.source_size, facts.source_size, 3]);
  release(await session.run({ photos: first })); // the first answer prepares much that all others use
}

async function answer({ blob, name }) {
  const side = model.source_size;
  const began = performance.now();
  let photo;
  try {
    photo = await read(blob, side);
  } catch (error) {
    if (!(error instanceof Unread)) throw error;
    return refused(name, error.code, error.code);
  }
  const { width, height, pixels } = photo;
  const decoded = performance.now();
  const outputs = await session.run({ photos: new ort.Tensor("uint8", pixels, [1, side, side, 3]) });
  const found = record(model, outputs, name, { width, height, ...(await shot(blob)) });
  release(outputs);
  return { ...found, milliseconds: { reading: decoded - began, answering: performance.now() - decoded } };
}

function release(outputs) {
  for (const each of Object.values(outputs)) each.dispose();
}
