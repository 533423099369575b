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

export class Photograph {
  /** Resolve to a photograph, upright; to be closed. */
  static async open(blob) {
    if (blob.size === 0) throw new Unread("empty");
    try {
      await blob.slice(0, 1).arrayBuffer();
    } catch {
      throw new Unread("unreadable");
    }
    try {
      return new Photograph(await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" }));
    } catch {
      throw new Unread("undecodable");
    }
  }

  constructor(bitmap) {
    this.bitmap = bitmap;
    this.width = bitmap.width;
    this.height = bitmap.height;
  }

  /** Return an input image, RGB (side, side, 3), of the photograph or, by `options` (`Squasher`), of a part of it. */
  input(side, options) {
    const squasher = new Squasher(this.width, this.height, side, options);
    const { x, y, width, height } = squasher.window;
    const most = Math.max(1, Math.min(height, Math.trunc(STRIP / width)));
    const canvas = new OffscreenCanvas(width, most);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = "#fff";
    for (let top = 0; top < height; top += most) {
      const rows = Math.min(most, height - top);
      pen.fillRect(0, 0, width, rows);
      pen.drawImage(this.bitmap, x, y + top, width, rows, 0, 0, width, rows);
      squasher.take(pen.getImageData(0, 0, width, rows).data);
    }
    canvas.width = canvas.height = 1; // some browsers keep a canvas's memory for long
    return squasher.done();
  }

  close() {
    this.bitmap.close();
  }
}
