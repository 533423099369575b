"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const memory = "tlaam-clean-" + data.fingerprint;
const decided = new Map();
let kind = "", shown = [], at = 0;

const key = (suspect) => JSON.stringify([suspect.name, suspect.label]);

function remembered() {
  try {
    for (const [id, decision, label] of JSON.parse(localStorage.getItem(memory) || "[]")) {
      if (data.suspects.some((suspect) => key(suspect) === id)) decided.set(id, { decision, label });
    }
  } catch (error) { /* a browser that keeps nothing for files */ }
}

function remember() {
  try {
    localStorage.setItem(memory, JSON.stringify([...decided].map(([id, one]) => [id, one.decision, one.label])));
  } catch (error) { /* likewise */ }
}

function made(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
}

function picture(name, label, role) {
  const figure = made("figure", undefined, "card");
  const uri = data.thumbnails[name];
  if (uri) {
    const image = made("img");
    image.src = uri;
    image.alt = label + ": " + name;
    figure.append(image);
  } else {
    figure.append(made("div", "no picture", "blank"));
  }
  const caption = made("figcaption");
  caption.append(made("b", label), made("small", role), made("small", name, "name"));
  figure.append(caption);
  return figure;
}

function show() {
  const suspect = shown[at];
  element("count").textContent = shown.length ? (at + 1) + " of " + shown.length : "none";
  element("done").textContent = decided.size + " of " + data.suspects.length + " decided";
  element("suspect").replaceChildren();
  element("beside").replaceChildren();
  element("reason").textContent = suspect ? suspect.reason : "Nothing of this kind was found.";
  element("kinds").textContent = suspect ? suspect.kinds.map((one) => data.kinds[one]).join(", ") : "";
  const answer = suspect && decided.get(key(suspect));
  for (const button of document.querySelectorAll("#choices button")) {
    button.disabled = !suspect;
    button.setAttribute("aria-pressed", String(Boolean(answer) && answer.decision === button.dataset.decision));
  }
  if (!suspect) return;
  element("suspect").append(picture(suspect.name, suspect.label, suspect.split + ", suspect " + (1 + data.suspects.indexOf(suspect))));
  for (const one of suspect.companions) element("beside").append(picture(one.name, one.label, one.role));
  const wanted = (answer && answer.label) || suspect.suggested;
  element("label").value = wanted && wanted !== suspect.label ? wanted : "";
}

function go(step) {
  at = Math.max(0, Math.min(shown.length - 1, at + step));
  show();
}

function choose(decision) {
  const suspect = shown[at];
  if (!suspect) return;
  const label = decision === "relabel" ? element("label").value : "";
  if (decision === "relabel" && (!label || label === suspect.label)) {
    element("label").focus();
    element("say").textContent = "Choose the right label first.";
    return;
  }
  element("say").textContent = "";
  decided.set(key(suspect), { decision, label });
  remember();
  if (at < shown.length - 1) at += 1;
  show();
}

function filter(value) {
  kind = value;
  shown = data.suspects.filter((suspect) => !kind || suspect.kinds.includes(kind));
  at = 0;
  show();
}

const formula = /^[=+\-@\t\r']/;
function cell(text) {
  const safe = formula.test(text) ? "'" + text : text;
  return /[",\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

function table() {
  const rows = [["image", "label", "decision", "new_label", "data"]];
  for (const suspect of data.suspects) {
    const one = decided.get(key(suspect));
    if (one) rows.push([suspect.name, suspect.label, one.decision, one.label, data.fingerprint]);
  }
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}

function download() {
  const link = made("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = "decisions.csv";
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function pressed(event) {
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;  // with Caps Lock, too
}

const keys = { k: "keep", r: "relabel", x: "remove", Delete: "remove", u: "unsure" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  if (event.key === "ArrowRight" || event.key === "ArrowDown") go(1);
  else if (event.key === "ArrowLeft" || event.key === "ArrowUp") go(-1);
  else if (Object.hasOwn(keys, pressed(event))) choose(keys[pressed(event)]);
  else return;
  event.preventDefault();
});

for (const name of ["", ...data.classes]) {
  const option = made("option", name || "another label …");
  option.value = name;
  element("label").append(option);
}
for (const [value, count] of [["", data.suspects.length], ...Object.entries(data.counts)]) {
  const option = made("option", (value ? data.kinds[value] : "all") + " (" + count + ")");
  option.value = value;
  element("kind").append(option);
}
element("kind").addEventListener("change", (event) => { filter(event.target.value); event.target.blur(); });
element("label").addEventListener("change", (event) => { event.target.blur(); if (event.target.value) choose("relabel"); });
for (const button of document.querySelectorAll("#choices button")) {
  button.addEventListener("click", () => choose(button.dataset.decision));
}
element("before").addEventListener("click", () => go(-1));
element("after").addEventListener("click", () => go(1));
element("download").addEventListener("click", download);
remembered();
filter("");
