// Decodes a photograph: upright, transparency on white, colour profiles left aside, as tlaam.data.images does.

import { Squasher } from "./pixels.js";

const STRIP = 1 << 21; // pixels that are looked at together: a canvas of a whole photograph is too large for some phones

/** Why there is no answer: a code of `card.fault.CODE.title` in texts.json. */
export class Unread extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** Resolve to the photograph's {width, height} and its input image, RGB (side, side, 3). */
export async function read(blob, side) {
  if (blob.size === 0) throw new Unread("empty");
  try {
    await blob.slice(0, 1).arrayBuffer();
  } catch {
    throw new Unread("unreadable");
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Unread("undecodable");
  }
  try {
    return { width: bitmap.width, height: bitmap.height, pixels: squashed(bitmap, side) };
  } finally {
    bitmap.close();
  }
}

function squashed(bitmap, side) {
  const { width, height } = bitmap;
  const squasher = new Squasher(width, height, side);
  const most = Math.max(1, Math.min(height, Math.trunc(STRIP / width)));
  const canvas = new OffscreenCanvas(width, most);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = "#fff";
  for (let top = 0; top < height; top += most) {
    const rows = Math.min(most, height - top);
    pen.fillRect(0, 0, width, rows);
    pen.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    squasher.take(pen.getImageData(0, 0, width, rows).data);
  }
  canvas.width = canvas.height = 1; // some browsers keep a canvas's memory for long
  return squasher.done();
}
