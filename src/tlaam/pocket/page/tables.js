// What was answered as files: the table of `tlaam predict --csv`, a manifest that training takes, lines of JSON.

export const COLUMNS = [
  "file", "time", "camera", "latitude", "longitude", "object", "label", "rank", "probability", "verdict",
  "similarity", "x0", "y0", "x1", "y1", "second", "second_probability", "width", "height", "error",
];

const TAXA = ["taxon", "taxon_probability", "lineage", "outside", "outside_probability"]; // behind "rank" where answers are given by ranks

/** Return the table of records, a row an object. */
export function csv(records) {
  const ranked = records.some((record) => (record.objects ?? [record]).some(({ rank }) => rank !== undefined));
  const columns = ranked ? COLUMNS.flatMap((name) => (name === "rank" ? [name, ...TAXA] : [name])) : COLUMNS;
  const cells = records.flatMap(rows).map((row) => columns.map((name) => row[name] ?? null));
  return lines([columns, ...cells].map((row) => row.map((cell) => (typeof cell === "string" ? safe(cell) : cell))));
}

/** Return the manifest of what was looked at: entries have a record and `decided`, its name. */
export function manifest(entries) {
  const decided = entries.filter((entry) => entry.decided).map((entry) => [entry.record.path, entry.decided]);
  return lines([["image", "label"], ...decided]);
}

/** Return the records as lines of JSON. */
export function jsonLines(records) {
  return records.map((record) => `${JSON.stringify(record)}\n`).join("");
}

function rows(record) {
  const file = { ...record.photo, file: record.path, error: record.error };
  const objects = (record.objects ?? [record]).filter(({ predictions }) => predictions.length);
  if (!objects.length) return [{ ...file, verdict: record.verdict }];
  return objects.map(({ predictions: [first, second], object_box: box, ...found }, number) => ({
    ...file, object: number + 1, label: first.label, rank: found.rank, taxon: found.taxon,
    taxon_probability: found.taxon_probability, lineage: lineage(found),
    probability: first.probability, verdict: found.verdict, similarity: found.similarity,
    ...(box && { x0: box[0], y0: box[1], x1: box[2], y1: box[3] }),
    second: second?.label, second_probability: second?.probability,
  }));
}

function lineage({ lineage: taxa = {} }) {
  return Object.entries(taxa).map(([rank, taxon]) => `${rank}: ${taxon}`).join("; ") || null;
}

/** Text that a spreadsheet would compute gets an apostrophe before it (tlaam.utils.text.safe_cell). */
function safe(text) {
  return /^'*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/.test(text) ? `'${text}` : text;
}

function lines(rows) {
  return rows.map((cells) => `${cells.map(quoted).join(",")}\n`).join("");
}

function quoted(cell) {
  const text = String(cell ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
