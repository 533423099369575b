// Keeps the page on the device (sw.js), tells of a newer one, and offers to install it.

/** `kept` is called when all is there, `failed` with why not, `newer` with a function that changes to a newer page. */
export async function offline({ kept, failed, newer }) {
  if (!("serviceWorker" in navigator)) return;
  const had = Boolean(navigator.serviceWorker.controller);
  try {
    const registration = await navigator.serviceWorker.register("sw.js");
    const ripe = () => {
      const { waiting } = registration;
      if (!waiting || !navigator.serviceWorker.controller) return;
      newer(() => {
        navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
        waiting.postMessage("use");
      });
    };
    const follow = (worker) => worker?.addEventListener("statechange", () => {
      if (worker.state === "installed") ripe();
      if (worker.state === "activated") kept();
      if (worker.state === "redundant" && !registration.active) failed(new Error("the browser did not keep all files"));
    });
    follow(registration.installing);
    registration.addEventListener("updatefound", () => follow(registration.installing));
    ripe();
    if (had || registration.active?.state === "activated") kept();
    await navigator.storage?.persist?.();
  } catch (error) {
    failed(error);
  }
}

/** Show a button where the browser can install the page. */
export function installable(button) {
  let prompt = null;
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    prompt = event;
    button.hidden = false;
  });
  addEventListener("appinstalled", () => { button.hidden = true; });
  button.addEventListener("click", async () => {
    button.hidden = true;
    await prompt?.prompt();
  });
}
