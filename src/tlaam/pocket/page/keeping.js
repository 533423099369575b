// What was answered in this browser: a list in IndexedDB, of this page alone, which nothing is sent from.

const STORE = "answers";

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class Kept {
  /** Resolve to the list; it rejects where the browser keeps nothing, as in some private windows. */
  static async open() {
    const request = indexedDB.open(`tlaam ${new URL(".", document.baseURI).pathname}`, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
    return new Kept(await done(request));
  }

  constructor(database) {
    this.database = database;
  }

  store(mode) {
    return this.database.transaction(STORE, mode).objectStore(STORE);
  }

  /** Resolve to all entries, the oldest first; `photo` is a blob where it was asked for. */
  all() {
    return done(this.store("readonly").getAll());
  }

  /** Add an entry, or replace one that has an id; resolve to its id. */
  put(entry) {
    return done(this.store("readwrite").put(entry));
  }

  remove(id) {
    return done(this.store("readwrite").delete(id));
  }

  /** Delete all entries, photographs too. */
  clear() {
    return done(this.store("readwrite").clear());
  }
}
