// What pages say, by name: one file of texts, texts.json, which can be replaced by a translation.

const TEXTS = await (await fetch(new URL("texts.json", import.meta.url))).json();

/** Return a text with values in place of {name}. */
export function say(name, values = {}) {
  return (TEXTS[name] ?? name).replace(/\{(\w+)\}/g, (mark, key) => values[key] ?? mark);
}

/** Return a text, or nothing where there is none of that name. */
export const said = (name) => (name in TEXTS ? say(name) : "");
