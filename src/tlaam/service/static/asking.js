// Asks the service for one picture at a time and connection, and again when it is busy.

const TOGETHER = 2; // requests of one page under way
const TRIES = 10;
const LONGEST_WAIT = 20; // seconds

/** Why there is no answer: a code of the service (docs/serving.md), or "offline". */
export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

let under_way = 0;
const waiting = [];

/**
 * Resolve to the service's row for a picture, when its turn has come.
 * `says` has the functions sending(share), looking() and busy(seconds); `signal` gives the picture up.
 */
export async function ask(picture, says, signal) {
  await turn();
  try {
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted();
      const { status, body, retryAfter } = await send(picture, says, signal);
      if (status === 200) return body.results[0];
      const { code, message } = body?.error ?? { code: "failed", message: `The server answered with status ${status}.` };
      const later = status === 503 || status === 429 || status === 502 || status === 504;
      if (!later || tries === TRIES) throw new Refused(code, message);
      // Spread, so that those who were refused together do not come back together.
      const seconds = Math.min(LONGEST_WAIT, retryAfter * (0.75 + Math.random() / 2) * 1.3 ** (tries - 1));
      says.busy(seconds);
      await pause(seconds, signal);
    }
  } finally {
    under_way -= 1;
    waiting.shift()?.();
  }
}

function turn() {
  if (under_way < TOGETHER) {
    under_way += 1;
    return Promise.resolve();
  }
  return new Promise((go) => waiting.push(() => { under_way += 1; go(); }));
}

/** Send a picture; XMLHttpRequest, because fetch does not tell how far an upload is. */
function send(picture, says, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "v1/predict?top_k=5&heatmap=1&look_alikes=4");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) says.sending(event.loaded / event.total);
    };
    request.upload.onload = () => says.looking();
    request.onload = () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // a proxy's own page, for instance: the status says enough
      }
      resolve({ status: request.status, body, retryAfter: Number(request.getResponseHeader("Retry-After")) || 2 });
    };
    request.onerror = () => reject(new Refused("offline", "The server could not be reached."));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(picture);
  });
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
