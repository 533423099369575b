// The page in the pocket: takes photographs, answers them here, and keeps the list of answers here.

import { Card, make, shown } from "./card.js";
import { Engine } from "./engine.js";
import { Kept } from "./keeping.js";
import { List } from "./list.js";
import { installable, offline } from "./offline.js";
import { receive } from "./receiving.js";
import { say } from "./texts.js";

const MOST_AT_ONCE = 40;

const $ = (id) => document.getElementById(id);
const asked = []; // photographs that came before the model was there
let engine = null;
let list = null;

start();

async function start() {
  receive([$("files"), $("camera")], take, () => notice(say("page.no_file")));
  installable($("install"));
  if (!isSecureContext) $("offline").textContent = say("page.insecure");
  try {
    const files = await (await fetch("files.json", { cache: "no-cache" })).json();
    engine = await Engine.load(files.files, loaded);
    list = new List(await Kept.open().catch(() => null), {
      classes: engine.facts.classes, again: (file) => take([file]), notice, tell,
    });
    await list.start();
    showClasses(engine.facts.classes);
    document.querySelector(".several").hidden = !engine.facts.objects;
  } catch (error) {
    console.error(error);
    loaded(1);
    notice(say("page.not_loaded", { fault: error.message }));
    return;
  }
  loaded(1);
  document.body.dataset.state = "ready";
  offline({ kept: () => { $("offline").textContent = say("page.kept"); }, failed: notOffline, newer: showNewer });
  for (const run of asked.splice(0)) run();
}

function loaded(share) {
  $("loading").hidden = share === 1;
  $("loading").querySelector("progress").value = share;
}

function notOffline(error) {
  console.error(error);
  $("offline").textContent = say("page.not_kept", { fault: error.message });
}

function showNewer(use) {
  $("newer").hidden = false;
  $("newer").querySelector("button").onclick = use;
}

/** Give each file a card and answer for it; those given last come first. */
function take(files) {
  notice(files.length > MOST_AT_ONCE ? say("page.too_many", { most: MOST_AT_ONCE, rest: files.length - MOST_AT_ONCE }) : "");
  const cards = files.slice(0, MOST_AT_ONCE).map((file) => begin(file, file.name || say("page.pasted")));
  $("results").prepend(...cards.map((card) => card.element));
  document.body.classList.add("answering");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("results").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
}

function begin(blob, name) {
  const left = new AbortController();
  const card = new Card(blob, name, {
    leave: () => {
      left.abort();
      card.element.remove();
      if (!$("results").childElementCount) document.body.classList.remove("answering");
      $("files").focus({ preventScroll: true });
    },
    again: () => run(),
  });
  const run = async () => {
    if (!engine || !list) {
      asked.push(run);
      return;
    }
    if (left.signal.aborted) return;
    card.progress(say("page.looking"));
    try {
      const record = await engine.answer(blob, name, $("several").checked);
      $("results").dataset.milliseconds = JSON.stringify(record.milliseconds); // for benchmarks/pocket.py
      if (left.signal.aborted) return;
      if (record.error === null) tell(await card.answer(record));
      else tell(`${name}: ${card.fail(record.code, "")}`);
      await list.add(record.error === null ? record : { ...record, error: say(`card.fault.${record.code}.title`) }, blob);
    } catch (error) {
      console.error(error);
      tell(`${name}: ${card.fail("failed", error.message)}`);
    }
  };
  run();
  return card;
}

function showClasses(classes) {
  $("classes").hidden = false;
  $("classes").querySelector("summary").textContent = say("page.classes", { number: classes.length });
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
