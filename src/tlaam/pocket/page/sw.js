// Keeps all files of the page on the device, each under its checksum, and answers from there alone.

const FILES = __FILES__;
const POLICY = "__POLICY__";
const NAME = `tlaam ${registration.scope}`;
const KINDS = {
  html: "text/html", css: "text/css", js: "text/javascript", json: "application/json", svg: "image/svg+xml", png: "image/png",
  wasm: "application/wasm",
};

addEventListener("install", (event) => event.waitUntil(fill()));
addEventListener("activate", (event) => event.waitUntil(tidy().then(() => clients.claim())));
addEventListener("message", (event) => { if (event.data === "use") skipWaiting(); });
addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || !url.href.startsWith(registration.scope)) return;
  const path = url.origin + url.pathname === registration.scope ? "index.html" : url.pathname.slice(new URL(registration.scope).pathname.length);
  if (path in FILES) event.respondWith(answer(path, event.request));
});

const key = (path) => new URL(`${path}?${FILES[path].sha256}`, registration.scope).href;

async function answer(path, request) {
  const cache = await caches.open(NAME);
  return (await cache.match(key(path))) ?? fetch(request);
}

/** Fetch what is not there yet; a file that differs from what was written is not kept, and nothing is changed then. */
async function fill() {
  const cache = await caches.open(NAME);
  await Promise.all(Object.keys(FILES).map(async (path) => {
    if (await cache.match(key(path))) return;
    const content = (await checked(path, "default")) ?? (await checked(path, "reload"));
    if (!content) throw new Error(`${path} differs from what was written`);
    const ending = path.slice(path.lastIndexOf(".") + 1);
    const headers = { "Content-Type": KINDS[ending] ?? "application/octet-stream", "Content-Security-Policy": POLICY };
    await cache.put(key(path), new Response(content, { headers }));
  }));
}

async function checked(path, cache) {
  const response = await fetch(new URL(path, registration.scope), { cache });
  if (!response.ok) return null;
  const content = await response.arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return found === FILES[path].sha256 ? content : null;
}

/** Remove files of older versions. */
async function tidy() {
  const cache = await caches.open(NAME);
  const wanted = new Set(Object.keys(FILES).map(key));
  for (const request of await cache.keys()) if (!wanted.has(request.url)) await cache.delete(request);
}
