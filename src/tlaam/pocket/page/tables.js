// What was answered as files: the table of `tlaam predict --csv`, a manifest that training takes, lines of JSON.

export const COLUMNS = [
  "file", "time", "camera", "latitude", "longitude", "object", "label", "rank", "probability", "verdict",
  "similarity", "x0", "y0", "x1", "y1", "second", "second_probability", "width", "height", "error",
];

/** Return the table of records, a row an object. */
export function csv(records) {
  return lines([COLUMNS, ...records.map(row)].map((cells) => cells.map((cell) => (typeof cell === "string" ? safe(cell) : cell))));
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

function row(record) {
  const { time, camera, latitude, longitude, width, height } = record.photo ?? {};
  const file = [record.path, time, camera, latitude, longitude];
  const end = [width, height, record.error];
  const [first, second] = record.predictions;
  if (!first) return [...file, ...new Array(COLUMNS.length - file.length - end.length).fill(null), ...end];
  return [
    ...file, 1, first.label, record.rank ?? null, first.probability, record.verdict, record.similarity,
    ...(record.object_box ?? [null, null, null, null]), second?.label, second?.probability, ...end,
  ];
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
