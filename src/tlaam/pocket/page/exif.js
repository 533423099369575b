// When, with which camera and where a photograph was taken, as far as it says so itself (tlaam.field.exif): JPEG and PNG.

const HEAD = 1 << 18; // bytes in which metadata are looked for
const LONGEST = 100; // characters of a camera's name
const NOTHING = { time: null, camera: null, latitude: null, longitude: null };
const TIMES = [[0x9003, 0x9291, 0x9011], [0x9004, 0x9292, 0x9012], [0x0132, 0x9290, 0x9010]];

/** Resolve to {time, camera, latitude, longitude}, each null where it is not known. */
export async function shot(blob) {
  try {
    const head = new DataView(await blob.slice(0, HEAD).arrayBuffer());
    const found = block(head);
    return found ? described(found) : NOTHING;
  } catch {
    return NOTHING; // damaged: it tells nothing
  }
}

/** Return the TIFF block of a JPEG or PNG file. */
function block(view) {
  if (view.getUint16(0) === 0xffd8) {
    for (let at = 2; view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
      const kind = view.getUint8(at + 1);
      if (kind === 0xda) return null;
      if (kind === 0xe1 && view.getUint32(at + 4) === 0x45786966) return part(view, at + 10, view.getUint16(at + 2) - 8);
    }
  } else if (view.getUint32(0) === 0x89504e47) {
    for (let at = 8; at + 8 < view.byteLength; at += 12 + view.getUint32(at)) {
      if (view.getUint32(at + 4) === 0x65584966) return part(view, at + 8, view.getUint32(at));
    }
  }
  return null;
}

function part(view, from, length) {
  return new DataView(view.buffer, from, Math.min(length, view.byteLength - from));
}

function described(view) {
  const little = view.getUint16(0) === 0x4949;
  const image = tags(view, view.getUint32(4, little), little);
  const taken = { ...image, ...(image[0x8769] ? tags(view, image[0x8769][0], little) : {}) };
  const place = image[0x8825] ? tags(view, image[0x8825][0], little) : {};
  let latitude = degrees(place, 1, 2, "NS", 90);
  let longitude = degrees(place, 3, 4, "EW", 180);
  if (latitude === null || longitude === null || text(place[9]) === "V") latitude = longitude = null;
  return { time: time(taken), camera: camera(image), latitude, longitude };
}

/** Return a directory's values by tag: texts, or lists of numbers. */
function tags(view, at, little) {
  const found = {};
  try {
    const count = view.getUint16(at, little);
    for (let entry = at + 2; entry < at + 2 + 12 * count; entry += 12) {
      const [tag, kind] = [view.getUint16(entry, little), view.getUint16(entry + 2, little)];
      const length = view.getUint32(entry + 4, little);
      const size = { 2: 1, 3: 2, 4: 4, 5: 8 }[kind];
      if (!size || length > 1 << 12) continue;
      const from = size * length <= 4 ? entry + 8 : view.getUint32(entry + 8, little);
      try {
        const values = Array.from({ length }, (_, number) => value(view, from + size * number, kind, little));
        found[tag] = kind === 2 ? String.fromCharCode(...values) : values;
      } catch {
        // this one points out of the file
      }
    }
  } catch {
    // the directory ends early: what was read of it counts
  }
  return found;
}

function value(view, at, kind, little) {
  if (kind === 2) return view.getUint8(at);
  if (kind === 3) return view.getUint16(at, little);
  if (kind === 4) return view.getUint32(at, little);
  return view.getUint32(at, little) / view.getUint32(at + 4, little);
}

function text(found) {
  if (typeof found !== "string") return "";
  return found.split("\0")[0].replace(/[\p{C}\p{Z}]/gu, " ").split(" ").filter(Boolean).join(" ");
}

function camera(found) {
  const [maker, model] = [text(found[0x010f]), text(found[0x0110])];
  const name = model.toLowerCase().startsWith(maker.toLowerCase()) ? model : `${maker} ${model}`.trim();
  return name.slice(0, LONGEST) || null;
}

function time(found) {
  for (const [moment, fraction, offset] of TIMES) {
    const parts = /^(\d{4})[:-](\d{2})[:-](\d{2})[ T](\d{2}):(\d{2}):(\d{2})/.exec(text(found[moment]));
    if (!parts) continue;
    const [, year, month, day, hour, minute, second] = parts;
    const date = new Date(Date.UTC(2000, month - 1, day, hour, minute, second));
    date.setUTCFullYear(year, month - 1, day);
    const stated = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
    if (year === "0000" || Number.isNaN(date.getTime()) || date.toISOString().slice(0, 19) !== stated) continue;
    const digits = text(found[fraction]);
    const zone = /^[+-](\d{2}):(\d{2})$/.exec(text(found[offset]));
    const there = zone && zone[1] < 24 && zone[2] < 60;
    return `${stated}${/^\d+$/.test(digits) ? `.${digits.slice(0, 9)}` : ""}${there ? zone[0] : ""}`;
  }
  return null;
}

function degrees(place, side, tag, letters, most) {
  const letter = text(place[side]).toUpperCase();
  if (letter.length !== 1 || !letters.includes(letter) || !Array.isArray(place[tag])) return null;
  const [whole, minutes, seconds] = [...place[tag], 0, 0, 0];
  const found = whole + minutes / 60 + seconds / 3600;
  if (!Number.isFinite(found) || found > most) return null;
  return Number((letter === letters[1] ? -found : found).toFixed(7));
}
