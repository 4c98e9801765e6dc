// What the browser keeps of conversations: a database (IndexedDB) with one entry each, by id. Other tabs are told of changes.
// Where the browser has none, everything lasts as long as the page.
//
// A page that is being left cannot wait for the database: it leaves entries in localStorage, and the next page takes them.

const kName = "quire";
const kEntries = "conversations";
const kLeftPrefix = "quire.conversation.";

const finished = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class Database {
  // on_other_tab(id): another tab wrote or removed the entry
  static async open(on_other_tab) {
    const database = new Database();
    try {
      const opening = indexedDB.open(kName, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(kEntries, {keyPath: "id"});
      database.connection = await finished(opening);
      database.channel = new BroadcastChannel(kName);
      database.channel.onmessage = ({data}) => typeof data === "string" && on_other_tab(data);
      await database.take_left_entries();
    } catch {
      // A private window, or storage is switched off.
    }
    return database;
  }

  entries(mode) {
    return this.connection.transaction(kEntries, mode).objectStore(kEntries);
  }

  async all() {
    return this.connection ? finished(this.entries("readonly").getAll()) : [];
  }

  async get(id) {
    return this.connection ? finished(this.entries("readonly").get(id)) : undefined;
  }

  // Whether the entry outlasts the page.
  async put(entry) {
    if (!this.connection) return false;
    try {
      await this.write((entries) => entries.put(entry));
      this.channel.postMessage(entry.id);
      return true;
    } catch {
      return false;
    }
  }

  // Only when the transaction is complete is anything kept: the browser may find its storage full as late as that.
  write(change) {
    const entries = this.entries("readwrite");
    const {transaction} = entries;
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
      change(entries);
    });
  }

  async remove(id) {
    if (!this.connection) return;
    await this.write((entries) => entries.delete(id)).catch(() => {});
    this.channel.postMessage(id);
  }

  // False when there is no room.
  leave(entry) {
    try {
      localStorage.setItem(kLeftPrefix + entry.id, JSON.stringify(entry));
      return true;
    } catch {
      return false;
    }
  }

  async take_left_entries() {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(kLeftPrefix));
    for (const name of names) {
      try {
        const left = JSON.parse(localStorage.getItem(name));
        const stored = await this.get(left.id);
        // Another tab may have gone on with it.
        if (!(stored?.updated > left.updated)) await this.write((entries) => entries.put(left));
        localStorage.removeItem(name);
      } catch {
        // Unreadable, or there is no room: it stays where it is.
      }
    }
  }
}
