// The list of what was answered in this browser: shown, corrected, downloaded, deleted.

import { make, percent, shown, verdict } from "./card.js";
import { csv, jsonLines, manifest } from "./tables.js";
import { say } from "./texts.js";

const PAGE = 30; // entries that are drawn at once
const SECOND_THOUGHTS = 6000; // milliseconds in which a second press deletes all

const $ = (id) => document.getElementById(id);

export class List {
  /** `kept` is the database or null, `again` is called with a photograph that is to be answered again. */
  constructor(kept, { classes, again, notice, tell }) {
    Object.assign(this, { kept, again, notice, tell });
    this.entries = [];
    this.drawn = PAGE;
    this.key = `tlaam photographs ${new URL(".", document.baseURI).pathname}`;
    $("names").replaceChildren(...classes.map((name) => Object.assign(document.createElement("option"), { value: name })));
    $("photographs").checked = stored(this.key) === "yes";
    $("photographs").onchange = () => store(this.key, $("photographs").checked ? "yes" : "no");
    $("csv").onclick = () => download("answers.csv", "text/csv", csv(this.records()));
    $("json").onclick = () => download("answers.jsonl", "application/x-ndjson", jsonLines(this.records()));
    $("manifest").onclick = () => download("corrections.csv", "text/csv", manifest(this.entries));
    $("delete").onclick = () => this.askedToDelete();
    $("more").onclick = () => {
      this.drawn += PAGE;
      this.draw();
    };
  }

  async start() {
    if (this.kept) this.entries = await this.kept.all();
    this.draw();
  }

  records() {
    return this.entries.map((entry) => entry.record);
  }

  async add(record, blob) {
    const entry = { at: new Date().toISOString(), record: bare(record) };
    if ($("photographs").checked) entry.photo = blob;
    this.entries.push(entry);
    await this.keep(entry);
    this.draw();
  }

  async keep(entry) {
    if (!this.kept) return;
    try {
      entry.id = await this.kept.put(entry);
    } catch {
      delete entry.photo;
      this.notice(say("list.full"));
      await this.kept.put(entry).then((id) => { entry.id = id; }, () => {});
    }
  }

  draw() {
    const newest = this.entries.slice(-this.drawn).reverse();
    $("kept").hidden = this.entries.length === 0;
    $("kept-list").replaceChildren(...newest.map((entry) => this.row(entry)));
    $("more").hidden = this.drawn >= this.entries.length;
    this.count();
  }

  count() {
    const looked = this.entries.filter((entry) => entry.decided).length;
    $("kept-count").textContent = say("list.count", { number: this.entries.length, looked });
    $("manifest").disabled = looked === 0;
  }

  row(entry) {
    const { record } = entry;
    const [first] = record.predictions;
    const item = make("li");
    if (entry.photo) item.append(this.picture(entry));
    const about = make("div", "about");
    const kind = first ? verdict(record.verdict, first.probability) : "none";
    const word = first ? say(`card.verdict.${kind}`) : (record.objects ? say("list.nothing") : say("list.no_answer"));
    about.append(
      make("b", "", first ? heading(record) : "—"),
      make("span", `word ${kind}`, first ? `${word}, ${percent(first.probability)}` : word),
      make("small", "", `${record.path} · ${new Date(entry.at).toLocaleString(document.documentElement.lang)}`),
    );
    item.append(about);
    if (first) item.append(this.judging(entry, first.label));
    const remove = button("×", say("list.remove", { name: record.path }), async () => {
      this.entries = this.entries.filter((other) => other !== entry);
      if (this.kept) await this.kept.remove(entry.id);
      this.draw();
      ($("kept").hidden ? $("files") : $("csv")).focus({ preventScroll: true });
    });
    remove.className = "gone";
    item.append(remove);
    return item;
  }

  picture(entry) {
    const open = button("", say("list.again", { name: entry.record.path }), () => {
      this.again(new File([entry.photo], entry.record.path, { type: entry.photo.type }));
    });
    const image = make("img");
    image.alt = "";
    image.loading = "lazy";
    image.src = URL.createObjectURL(entry.photo);
    image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
    open.className = "open";
    open.append(image);
    return open;
  }

  /** Return what an answer is called right or corrected with. */
  judging(entry, label) {
    const box = make("div", "judging");
    const right = button(say("list.right"), say("list.right_label", { name: entry.record.path }), () => {
      decide(entry.decided === label ? null : label);
    });
    const other = make("input");
    other.setAttribute("list", "names");
    other.setAttribute("aria-label", say("list.other_label", { name: entry.record.path }));
    other.placeholder = say("list.other");
    other.onchange = () => decide(other.value.trim() || null);
    const show = () => {
      right.setAttribute("aria-pressed", String(entry.decided === label));
      other.value = entry.decided && entry.decided !== label ? entry.decided : "";
      this.count();
    };
    const decide = async (name) => {
      entry.decided = name;
      show();
      await this.keep(entry);
    };
    right.setAttribute("aria-pressed", String(entry.decided === label));
    other.value = entry.decided && entry.decided !== label ? entry.decided : "";
    box.append(right, other);
    return box;
  }

  async askedToDelete() {
    const press = $("delete");
    if (!press.dataset.asked) {
      press.dataset.asked = "yes";
      press.textContent = say("list.delete_really", { number: this.entries.length });
      this.timer = setTimeout(() => this.calm(), SECOND_THOUGHTS);
      return;
    }
    this.calm();
    if (this.kept) await this.kept.clear();
    this.entries = [];
    this.draw();
    this.tell(say("list.deleted"));
    $("files").focus({ preventScroll: true });
  }

  calm() {
    clearTimeout(this.timer);
    delete $("delete").dataset.asked;
    $("delete").textContent = say("list.delete");
  }
}

/** Return what is kept of a record: what the card drew goes. */
function bare({ heatmap: _, look_alikes: __, milliseconds: ___, ...record }) {
  return record.objects ? { ...record, objects: record.objects.map(bare) } : record;
}

function heading({ predictions: [first], objects }) {
  const label = shown(first.label);
  return objects?.length > 1 ? say("list.others", { label, number: objects.length - 1 }) : label;
}

function button(text, label, pressed) {
  const made = make("button", "", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.title = label;
  made.onclick = pressed;
  return made;
}

function download(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${kind};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // a private window
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // as above: it lasts as long as the page
  }
}
