"use strict";
const { id, answers, labels } = JSON.parse(document.getElementById("answers").textContent);
const PAGE = 60;
const DOUBT = { stranger: 0, unsure: 1, "": 2, sure: 3, unread: 4, "nothing found": 5 };
const $ = name => document.getElementById(name);
const grid = $("grid");
const key = `tlaam:${id}`;
let decided = new Map();
let order = [];
let shown = 0;

for (const answer of answers) answer.verdict = answer.error ? "unread" : answer.verdict || "";
try { decided = new Map(JSON.parse(localStorage.getItem(key) || "[]")); } catch { /* kept nowhere: a private window */ }

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function fill(select, values, say = value => value) {
  for (const value of values) select.append(element("option", say(value), { value: `=${value}` }));
}

function wanted(answer) {
  const [label, verdict, from, to, looked] = ["label", "verdict", "from", "to", "looked"].map(name => $(name).value);
  const name = decided.get(answer.file) ?? answer.names[0]?.[0] ?? "";
  const day = (answer.time || "").slice(0, 10);
  return (!label || `=${name}` === label) && (!verdict || `=${answer.verdict}` === verdict)
    && (!from || day >= from) && (!to || (day && day <= to))
    && (!looked || decided.has(answer.file) === (looked === "yes"));
}

function refill() {
  order = answers.filter(wanted);
  shown = 0;
  grid.replaceChildren();
  more();
  count();
}

function count() {
  $("count").textContent = `${order.length} of ${answers.length} photographs, most doubtful first; ${decided.size} looked at`;
  $("download").disabled = decided.size === 0;
}

function more() {
  const next = order.slice(shown, shown + PAGE);
  grid.append(...next.map(card));
  shown += next.length;
  $("end").textContent = shown < order.length ? "…" : order.length ? "That is all." : "No photograph is like that.";
}

function card(answer) {
  const made = element("article", "", { tabindex: "0" });
  made.answer = answer;
  draw(made);
  return made;
}

function draw(made) {
  const { answer } = made;
  const choice = decided.get(answer.file);
  made.className = choice === undefined ? "" : "decided";
  const photo = element("div", "", { class: "photo" });
  if (answer.picture) {
    const frame = element("span");
    frame.append(element("img", "", { src: `data:image/jpeg;base64,${answer.picture}`, alt: "", loading: "lazy" }));
    if (answer.box) {
      const [x, y, width, height] = answer.box.map(value => `${value * 100}%`);
      const box = element("i");
      Object.assign(box.style, { left: x, top: y, width, height });
      frame.append(box);
    }
    for (const other of answer.others ?? []) {
      if (!other.box) continue;
      const [x, y, width, height] = other.box.map(value => `${value * 100}%`);
      const box = element("i", "", { class: "other", title: other.name });
      Object.assign(box.style, { left: x, top: y, width, height });
      frame.append(box);
    }
    photo.append(frame);
  } else photo.textContent = "no picture";
  const verdict = answer.error ? "could not be read" : answer.verdict || "not judged";
  const of = element("p", "", { class: "of" });
  of.append(element("a", answer.shown, { href: answer.link, target: "_blank", rel: "noopener" }));
  const others = answer.others?.map(other => `${other.name} ${(other.probability * 100).toFixed(0)} %`).join(", ");
  const rest = [answer.said, others && `also ${others}`, answer.time?.replace("T", " "), answer.camera, answer.error].filter(Boolean).join(" · ");
  if (rest) of.append(` · ${rest}`);
  made.setAttribute("aria-label", `${choice ?? answer.names[0]?.[0] ?? "no name"}, ${verdict}, ${answer.shown}`);
  made.replaceChildren(
    photo, element("h2", choice ?? answer.names[0]?.[0] ?? "—"),
    element("p", choice === undefined ? verdict : "looked at", { class: `verdict ${choice === undefined ? answer.verdict : "sure"}` }), of, choices(made, choice),
  );
}

function choices(made, choice) {
  const box = element("div", "", { class: "choices" });
  made.answer.names.slice(0, 5).forEach(([name, probability], place) => {
    const button = element("button", "", { type: "button", tabindex: "-1", "aria-pressed": String(choice === name) });
    button.append(element("span", `${place + 1}  ${name}`), element("b", `${(probability * 100).toFixed(1)} %`));
    button.onclick = () => decide(made, name);
    box.append(button);
  });
  const other = element("input", "", { list: "names", placeholder: "another name", "aria-label": "another name", tabindex: "-1" });
  if (choice !== undefined && !made.answer.names.some(([name]) => name === choice)) other.value = choice;
  other.onchange = () => { if (other.value.trim()) decide(made, other.value.trim()); };
  box.append(other);
  return box;
}

function decide(made, name) {
  if (name === undefined) decided.delete(made.answer.file);
  else decided.set(made.answer.file, name);
  try { localStorage.setItem(key, JSON.stringify([...decided])); } catch { /* as above: they last as long as the page */ }
  draw(made);
  count();
  if (name === undefined) made.focus();
  else step(made, 1);
}

function step(made, by) {
  if (by > 0 && !made.nextElementSibling) more();
  let next = made;
  for (let left = Math.abs(by); left > 0; left--) next = (by > 0 ? next.nextElementSibling : next.previousElementSibling) ?? next;
  next.focus();
}

function columns() {
  return getComputedStyle(grid).gridTemplateColumns.split(" ").length;
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const inside = event.target.closest?.("article");
  if (event.target.matches?.("input, select")) {
    if (event.key === "Escape" && inside) inside.focus();
    return;
  }
  const made = inside ?? grid.firstElementChild;
  if (!made || (event.target.matches?.("button, a") && event.key === "Enter")) return;
  const names = made.answer.names;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
  if (event.key in moves) inside ? step(made, moves[event.key]) : made.focus();
  else if (!inside) return;
  else if (event.key === "Enter" && names.length) decide(made, names[0][0]);
  else if (/^[1-5]$/.test(event.key) && names[event.key - 1]) decide(made, names[event.key - 1][0]);
  else if (event.key.toLowerCase() === "n") made.querySelector("input").focus();
  else if (event.key.toLowerCase() === "u") decide(made, undefined);
  else return;
  event.preventDefault();
});

function quoted(text) {
  return `"${text.replaceAll('"', '""')}"`;
}

$("download").onclick = () => {
  const rows = answers.filter(answer => decided.has(answer.file))
    .map(answer => `${quoted(answer.file)},${quoted(decided.get(answer.file))}\n`);
  const blob = new Blob(["image,label\n", ...rows], { type: "text/csv;charset=utf-8" });
  const link = element("a", "", { href: URL.createObjectURL(blob), download: "corrections.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

$("help").onclick = () => {
  $("keys").hidden = !$("keys").hidden;
  $("help").setAttribute("aria-expanded", String(!$("keys").hidden));
};

answers.sort((one, other) => DOUBT[one.verdict] - DOUBT[other.verdict] || (one.names[0]?.[1] ?? 0) - (other.names[0]?.[1] ?? 0));
fill($("label"), labels);
fill($("verdict"), [...new Set(answers.map(answer => answer.verdict))], value => ({ "": "not judged", unread: "could not be read" })[value] ?? value);
for (const name of labels) $("names").append(element("option", "", { value: name }));
for (const name of ["label", "verdict", "from", "to", "looked"]) $(name).onchange = refill;
new IntersectionObserver(entries => { if (entries.some(entry => entry.isIntersecting) && shown < order.length) more(); }, { rootMargin: "800px" })
  .observe($("end"));
refill();
