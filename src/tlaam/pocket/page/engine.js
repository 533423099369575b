// The model: fetches its files, checks them, and has a worker answer.

const REFUSED = "tlaam: the file differs from what was written";

/** Resolve to the bytes of a file of this page, checked by its SHA-256 where the browser can; `grew` is told of bytes. */
export async function fetched(path, { sha256 }, grew = () => {}) {
  let content = await got(path, "default", grew);
  if (!(await fits(content, sha256))) content = await got(path, "reload", () => {});
  if (!(await fits(content, sha256))) throw new Error(`${REFUSED}: ${path}`);
  return content;
}

async function got(path, cache, grew) {
  const response = await fetch(path, { cache });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const pieces = [];
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    length += value.length;
    grew(value.length);
  }
  const content = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    content.set(piece, at);
    at += piece.length;
  }
  return content;
}

async function fits(content, sha256) {
  if (!globalThis.crypto?.subtle) return true; // an address without https
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

export class Engine {
  /** Resolve to the engine of a model; `progress` is told which share of its bytes is there. */
  static async load(files, progress) {
    const wanted = ["model/model.json", "model/model.onnx", "runtime/ort.wasm", "model/look-alikes.bin", "model/pictures.bin"];
    const there = wanted.filter((path) => path in files);
    const all = there.reduce((sum, path) => sum + files[path].bytes, 0);
    let had = 0;
    const grew = (bytes) => progress(Math.min(1, (had += bytes) / all));
    const [facts, graph, runtime, alike, pictures] = await Promise.all(
      wanted.map((path) => (path in files ? fetched(path, files[path], grew) : null)),
    );
    const engine = new Engine(JSON.parse(new TextDecoder().decode(facts)));
    await engine.begin();
    await engine.ask(
      { what: "load", facts: engine.facts, graph, runtime, alike, pictures },
      [graph, runtime, alike, pictures].filter(Boolean).map((content) => content.buffer),
    );
    return engine;
  }

  constructor(facts) {
    this.facts = facts;
    this.asked = new Map();
    this.number = 0;
  }

  /** Resolve to the record of a photograph (docs/json.md), of all objects in it or of the one that it is taken to show. */
  answer(blob, name, all = false) {
    return this.ask({ what: "answer", blob, name, all });
  }

  /**
   * Start the worker. From a blob it is held by this page's content security policy, which a file of a static host would
   * not be; browsers that do not load scripts from there get the file.
   */
  async begin() {
    const script = new URL("app/worker.js", document.baseURI).href;
    const blob = URL.createObjectURL(new Blob([`import ${JSON.stringify(script)};`], { type: "text/javascript" }));
    try {
      await this.start(blob);
    } catch {
      await this.start(script);
    } finally {
      URL.revokeObjectURL(blob);
    }
  }

  start(script) {
    this.worker = new Worker(script, { type: "module" });
    return new Promise((resolve, reject) => {
      this.worker.onerror = (event) => {
        reject(new Error(event.message || "the worker did not start"));
        for (const { reject: stop } of this.asked.values()) stop(new Error(event.message));
        this.asked.clear();
      };
      this.worker.onmessage = ({ data }) => {
        if (data.ready) return resolve();
        const { resolve: done, reject: failed } = this.asked.get(data.number);
        this.asked.delete(data.number);
        if (data.fault === undefined) done(data.done);
        else failed(new Error(data.fault));
      };
    });
  }

  ask(message, moved = []) {
    const number = this.number++;
    return new Promise((resolve, reject) => {
      this.asked.set(number, { resolve, reject });
      this.worker.postMessage({ ...message, number }, moved);
    });
  }
}
