// One picture's card: how far it is, what was answered, or why not. All text is set as text, never as markup.

import { blank, colour, cut, decoded, draw, heatSheet, OBJECT_COLOUR, partColours } from "./picture.js";
import { said, say } from "./texts.js";

const CROP_HEIGHT = 168; // pixels, twice what is shown
const SURE = 0.85;
const UNSURE = 0.5;

const RETRIED = new Set(["busy", "offline", "stopped", "failed", "too_slow", "unreadable"]);

/** A class name as it is shown. */
export const shown = (label) => label.replaceAll("_", " ");

export class Card {
  /** `leave` is called when the card is removed, `again` when the picture is to be asked for again. */
  constructor(blob, name, { leave, again }) {
    this.name = name;
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.layers = { heatmap: true, object: true, parts: true };
    this.found = null;
    this.marked = null;
    this.$(".file").textContent = `${name} · ${size(blob.size)}`;
    this.$(".remove").addEventListener("click", leave);
    this.$(".again").addEventListener("click", again);
    for (const button of this.element.querySelectorAll("[data-layer]")) {
      button.addEventListener("click", () => {
        const on = (this.layers[button.dataset.layer] = !this.layers[button.dataset.layer]);
        button.setAttribute("aria-pressed", String(on));
        this.redraw();
      });
    }
    this.canvas = this.$("canvas");
    this.canvas.setAttribute("aria-label", name);
    this.ready = decoded(blob).then((picture) => {
      this.picture = picture;
      this.redraw();
    });
    this.progress(say("card.waiting"));
  }

  $(selector) {
    return this.element.querySelector(selector);
  }

  progress(text, share = null) {
    this.element.dataset.state = "busy";
    this.$(".failed").hidden = true;
    this.$(".progress").hidden = false;
    this.$(".progress span").textContent = text;
    const bar = this.$("progress");
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
  }

  /** Show why there is no answer; `message` is the service's. */
  fail(code, message) {
    this.element.dataset.state = "failed";
    const title = said(`card.fault.${code}.title`) || say("card.fault.none.title");
    const about = said(`card.fault.${code}.about`);
    this.$(".progress").hidden = true;
    this.$(".failed").hidden = false;
    this.$(".failed h3").textContent = title;
    this.$(".failed p").textContent = about || message.replace(/^'image' has/, "It has"); // how the form names it
    this.$(".again").hidden = !RETRIED.has(code);
    return title;
  }

  /** Show the service's row. */
  async answer(row) {
    await this.ready;
    this.picture ??= blank(row.size);
    this.element.dataset.state = "answered";
    this.$(".progress").hidden = true;
    this.$(".answer").hidden = false;
    const objects = row.objects ?? [];
    this.showObjects(objects, row.size);
    const said = row.predictions.length ? this.choose(row, 0, objects) : this.nothing(row);
    return objects.length > 1 ? `${this.name}: ${objects.map(named).join("; ")}` : said;
  }

  /** Show what was answered for one object, number `place` of several or the only one. */
  choose(row, place, objects) {
    this.marked = null;
    const { object_box: object, part_boxes: parts, size, heatmap } = row;
    this.found = {
      size, object, parts: parts ?? [], colours: partColours(parts ?? []), heat: heatmap ? heatSheet(heatmap, size) : null,
      others: objects.filter((_, other) => other !== place).map((other) => other.object_box),
    };
    for (const [at, button] of [...this.$(".objects div").children].entries()) button.setAttribute("aria-pressed", String(at === place));
    const [best] = row.predictions;
    const kind = verdict(row.verdict, best.probability);
    const words = this.showVerdict(kind, best.label, row.verdict === null && say("card.tells_no_strangers"));
    this.showTaxon(row);
    this.$(".ranking").replaceChildren(...row.predictions.map(ranked));
    this.showLayers();
    this.showCrops();
    this.showOutside(row);
    this.showAlike(row.look_alikes ?? []);
    this.showBranches(row);
    const share = percent(best.probability);
    this.canvas.setAttribute("aria-label", `${this.name}: ${shown(best.label)}, ${share}`);
    this.redraw();
    return `${this.name}: ${words}, ${shown(best.label)}, ${share}`;
  }

  /** Say that objects were looked for and that there is none. */
  nothing(row) {
    this.found = { size: row.size, object: null, parts: [], colours: [], heat: null, others: [] };
    const words = this.showVerdict("nothing", say("card.nothing"));
    for (const part of [".taxon", ".outside", ".layers", ".crops", ".alike", ".branches"]) this.$(part).hidden = true;
    this.$(".ranking").replaceChildren();
    this.canvas.setAttribute("aria-label", `${this.name}: ${words}`);
    this.redraw();
    return `${this.name}: ${words}`;
  }

  showVerdict(kind, label, note = "") {
    const words = say(`card.verdict.${kind}`);
    const advice = said(`card.advice.${kind}`);
    this.$(".answer").classList.toggle("doubtful", Boolean(advice));
    this.$(".verdict").className = `verdict ${kind}`;
    this.$(".verdict").textContent = words;
    this.$(".answer h3").textContent = shown(label);
    this.$(".answer h3").title = label;
    const notes = [advice, note].filter(Boolean).join(" ");
    this.$(".advice").hidden = !notes;
    this.$(".advice").textContent = notes;
    return words;
  }

  /** Offer the objects of a picture that has several; the answer shown is that for the chosen one. */
  showObjects(objects, size) {
    this.$(".objects").hidden = objects.length < 2;
    this.$(".objects h4").textContent = say("card.objects.count", { number: objects.length });
    const buttons = objects.length < 2 ? [] : objects.map((found, place) => {
      const button = make("button", "crop named");
      button.type = "button";
      const [best] = found.predictions;
      button.setAttribute("aria-label", say("card.objects.each", { number: place + 1, label: shown(best.label), share: percent(best.probability) }));
      button.append(cut(this.picture, found.object_box, size, CROP_HEIGHT), make("span", "", shown(best.label)));
      button.addEventListener("click", () => this.choose({ ...found, size }, place, objects));
      return button;
    });
    this.$(".objects div").replaceChildren(...buttons);
  }

  redraw() {
    if (!this.picture) return;
    draw(this.canvas, this.picture, this.found, this.layers, this.marked);
    this.element.classList.add("drawn");
  }

  /** Say at which rank the answer is sure enough, where the model promises something (docs/field-taxonomy.md). */
  showTaxon(row) {
    const { rank, taxon, taxon_probability: share } = row;
    this.$(".taxon").hidden = rank === undefined;
    if (rank === undefined) return;
    this.$(".taxon").textContent = rank
      ? say("card.taxon", { taxon: shown(taxon), rank: shown(rank), share: percent(share) })
      : say("card.taxon.none");
  }

  /** Say what was more probable than all that lives there (`--only`), which is no answer. */
  showOutside({ outside }) {
    this.$(".outside").hidden = !outside;
    if (!outside) return;
    const { label, probability } = outside;
    this.$(".outside").textContent = say("card.outside", { label: shown(label), share: percent(probability) });
  }

  showLayers() {
    const there = { heatmap: this.found.heat, object: this.found.object, parts: this.found.parts.length };
    for (const button of this.element.querySelectorAll("[data-layer]")) button.hidden = !there[button.dataset.layer];
    this.$(".layers").hidden = !Object.values(there).some(Boolean);
  }

  showCrops() {
    const crops = [];
    if (this.found.object) crops.push(this.crop("object", this.found.object, OBJECT_COLOUR, say("card.object")));
    this.found.parts.forEach((box, index) =>
      crops.push(this.crop(index, box, this.found.colours[index], say("card.part", { number: index + 1 }))),
    );
    this.$(".crops").hidden = crops.length === 0;
    this.$(".crops div").replaceChildren(...crops);
  }

  /** Return a button with what lies in a box; pointing at it brings the box out on the picture. */
  crop(which, box, frame, name) {
    const button = make("button", "crop");
    button.type = "button";
    button.setAttribute("aria-label", say("card.show_crop", { name }));
    button.title = name;
    button.style.borderColor = colour(frame);
    button.append(cut(this.picture, box, this.found.size, CROP_HEIGHT));
    const mark = (value) => () => {
      this.marked = value;
      this.redraw();
    };
    for (const event of ["mouseenter", "focus"]) button.addEventListener(event, mark(which));
    for (const event of ["mouseleave", "blur"]) button.addEventListener(event, mark(null));
    return button;
  }

  showAlike(alike) {
    this.$(".alike").hidden = alike.length === 0;
    this.$(".alike ul").replaceChildren(
      ...alike.map(({ label, similarity, thumbnail }) => {
        const item = make("li");
        const image = make("img");
        if (thumbnail?.startsWith("data:image/jpeg;base64,")) image.src = thumbnail;
        else image.hidden = true;
        image.alt = "";
        item.append(image, make("span", "", shown(label)), make("small", "", say("card.share_alike", { share: percent(similarity) })));
        return item;
      }),
    );
  }

  showBranches(row) {
    const rows = Object.entries(row.branches).map(([name, [best]]) => {
      const line = make("tr");
      line.append(make("th", "", said(`card.branch.${name}`) || name), make("td", "", shown(best.label)), make("td", "share", percent(best.probability)));
      return line;
    });
    this.$(".branches").hidden = rows.length < 2;
    this.$(".branches tbody").replaceChildren(...rows);
  }
}

function named({ predictions: [best] }) {
  return `${shown(best.label)}, ${percent(best.probability)}`;
}

function ranked({ label, probability }) {
  const item = make("li");
  const bar = make("i");
  bar.style.setProperty("--share", probability.toFixed(4));
  item.append(make("span", "", shown(label)), make("b", "", percent(probability)), bar);
  return item;
}

/**
 * The model's own word where it has doubts; its "sure" means only that it has none, which 51 % can be. Without its word
 * nothing is sure: a high probability is given to pictures of something else, too.
 */
export function verdict(word, probability) {
  if (word === "stranger" || word === "unsure") return word;
  if (probability < UNSURE) return "unsure";
  if (word !== "sure") return "unjudged";
  return probability < SURE ? "likely" : "sure";
}

/** A share as it is shown. */
export function percent(share) {
  const value = 100 * share;
  return `${value >= 99.95 || value < 0.05 ? Math.round(value) : value.toFixed(1)} %`;
}

/** A number of bytes as it is shown. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1_000_000 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** Return an element with a text. */
export function make(kind, className = "", text = "") {
  const element = document.createElement(kind);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}
