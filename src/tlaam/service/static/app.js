// The page: takes pictures by dropping, pasting and choosing, and gives each a card.

import { ask, Refused } from "./asking.js";
import { Card, make, shown, size } from "./card.js";
import { receive } from "./receiving.js";

const MOST_AT_ONCE = 40;

const $ = (id) => document.getElementById(id);
let limits = null;

const loaded = start();

async function start() {
  receive([$("files"), $("camera")], take, () => {
    notice("That was not a file. Save pictures of other pages first, or copy and paste them here.");
  });
  try {
    const [model, examples] = await Promise.all([json("v1/model"), json("examples.json")]);
    limits = model.limits;
    $("model").textContent = model.name;
    $("limits").textContent =
      `JPEG, PNG, WebP, TIFF and others, up to ${size(limits.upload_bytes)} and ` +
      `${Math.round(limits.pixels / 1e6)} million pixels each`;
    showClasses(model.classes);
    showExamples(examples);
  } catch {
    notice("The server could not be reached. Is it still running? Reload this page to try again.");
  }
}

async function json(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** Give each file a card and ask for it; those dropped last come first. */
async function take(files) {
  await loaded;
  notice(
    files.length > MOST_AT_ONCE
      ? `${MOST_AT_ONCE} pictures can be added at once; the other ${files.length - MOST_AT_ONCE} were left out.`
      : "",
  );
  const cards = files.slice(0, MOST_AT_ONCE).map((file) => begin(file, file.name || "pasted picture"));
  $("results").prepend(...cards.map((card) => card.element));
  document.body.classList.add("answering");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("results").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
}

function begin(blob, name) {
  let given_up;
  const card = new Card(blob, name, {
    leave: () => {
      given_up.abort();
      card.element.remove();
      if (!$("results").childElementCount) document.body.classList.remove("answering");
      $("files").focus({ preventScroll: true });
    },
    again: () => run(),
  });
  const run = async () => {
    given_up = new AbortController();
    const { signal } = given_up;
    try {
      if (limits && blob.size > limits.upload_bytes) {
        throw new Refused("too_large", `It has ${size(blob.size)}; at most ${size(limits.upload_bytes)} are taken.`);
      }
      if (blob.size === 0) throw new Refused("empty", "");
      await blob.slice(0, 1).arrayBuffer().catch(() => { throw new Refused("unreadable", ""); });
      const says = {
        sending: (share) => card.progress("Sending", share),
        looking: () => card.progress("Looking"),
        busy: (seconds) => card.progress(`The server is busy; trying again in ${Math.ceil(seconds)} s`),
      };
      tell(await card.answer(await ask(blob, says, signal)));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused)) console.error(error);
      tell(`${name}: ${card.fail(error.code, error.message)}`);
    }
  };
  run();
  return card;
}

function showExamples(examples) {
  $("examples").hidden = examples.length === 0;
  $("example-list").replaceChildren(
    ...examples.map(({ name, picture, thumbnail }, place) => {
      const item = make("li");
      const button = make("button");
      button.type = "button";
      const image = make("img");
      image.src = thumbnail;
      image.alt = `Example ${place + 1}: ${name}`;
      image.loading = "lazy";
      button.append(image);
      button.addEventListener("click", async () => {
        try {
          const response = await fetch(picture);
          if (!response.ok) throw new Error(`${picture}: ${response.status}`);
          await take([new File([await response.blob()], name)]);
        } catch {
          notice("The example could not be fetched. Is the server still running?");
        }
      });
      item.append(button);
      return item;
    }),
  );
}

function showClasses(classes) {
  $("classes").hidden = false;
  $("classes").querySelector("summary").textContent = `The ${classes.length} classes it knows`;
  $("classes").querySelector("ul").replaceChildren(...classes.map((name) => make("li", "", shown(name))));
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text;
}

/** Say something to those who do not see the page. */
function tell(text) {
  $("status").textContent = text;
}
