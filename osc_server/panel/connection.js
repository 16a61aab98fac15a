// The server as the panel sees it: OSCQuery's tree and values, changed by OSC over one WebSocket.
//
// Values come from the tree at first, then by LISTEN. What the panel sets itself is not told back
// to it, so `set` notes it at once; where the server refuses, the value is asked for again.

import { decode, encodeMessage, forEachMessage, tagOf } from "./osc.js";

const LEASE_RENEWAL_MS = 20_000; // of 60 s
const STATUS_MS = 1_000;
const RETRY_MS = [300, 600, 1_000, 2_000];
const SEND_MS = 16; // a fader that is dragged says no more often where it is
const METER_HZ = 20;
const BEATS_PER_BEAT = 4;

export class Connection {
  nodes = new Map(); // by address: TYPE, RANGE, ...
  values = new Map(); // by address: arrays
  online = false;
  #socket = null;
  #listeners = new Map();
  #stateListeners = new Set();
  #treeListeners = new Set();
  #listened = new Set();
  #asked = new Map(); // by command: who waits for /done or /fail, oldest first
  #pending = new Map(); // by address: what is said next
  #sender = 0;
  #toFetch = new Set();
  #fetcher = 0;
  #tries = 0;

  constructor(place = window.location) {
    this.#place = place;
  }

  #place;

  /** Connects, and again whenever the connection is lost. */
  start() {
    const scheme = this.#place.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${this.#place.host}/`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = () => this.#closed();
    if (!this.#tries) {
      window.setInterval(() => this.#lease(), LEASE_RENEWAL_MS);
      window.setInterval(() => this.#askStatus(), STATUS_MS);
      document.addEventListener("visibilitychange", () => this.#lease());
    }
  }

  /** Calls `listener(...args)` with each message of `address`; returns what ends that. */
  on(address, listener, { now = true } = {}) {
    if (!this.#listeners.has(address)) this.#listeners.set(address, new Set());
    this.#listeners.get(address).add(listener);
    if (now && this.values.has(address)) listener(...this.values.get(address));
    return () => {
      const all = this.#listeners.get(address);
      all?.delete(listener);
      if (all?.size === 0) this.#listeners.delete(address);
    };
  }

  /** Calls `listener(online)` when the connection comes or goes. */
  onState(listener) {
    this.#stateListeners.add(listener);
    listener(this.online);
  }

  /** Calls `listener()` when addresses have come or gone. */
  onTree(listener) {
    this.#treeListeners.add(listener);
  }

  /** Returns the first value of `address`, `otherwise` where it has none. */
  value(address, otherwise = undefined) {
    return this.values.get(address)?.[0] ?? otherwise;
  }

  /** Returns [lowest, highest] of the first argument of `address`. */
  range(address, low = 0, high = 1) {
    const range = this.nodes.get(address)?.RANGE?.[0];
    return [range?.MIN ?? low, range?.MAX ?? high];
  }

  /** Returns the names that the first argument of `address` may be. */
  choices(address) {
    return this.nodes.get(address)?.RANGE?.[0]?.VALS ?? [];
  }

  /** Returns the numbers of all voices. */
  voices() {
    return this.#numbersBelow("/ghost/voice/");
  }

  /** Returns the drum roles of a voice, in the model's order. */
  roles(voice) {
    const prefix = `/ghost/voice/${voice}/trig/`;
    return [...this.nodes.keys()]
      .filter((address) => address.startsWith(prefix))
      .map((address) => address.slice(prefix.length));
  }

  /** Sends one message at once. */
  send(address, ...args) {
    if (!this.online) return;
    this.#socket.send(encodeMessage(address, args, this.#tags(address, args)));
  }

  /** Sets a parameter: noted here at once, sent soon; of a quick succession only the last counts. */
  set(address, ...args) {
    this.#note(address, args);
    this.later(address, ...args);
  }

  /** Sends a message soon; another one of that address meanwhile takes its place. */
  later(address, ...args) {
    this.#pending.set(address, args);
    if (!this.#sender) {
      this.#flush();
      this.#sender = window.setTimeout(() => {
        this.#sender = 0;
        this.#flush();
      }, SEND_MS);
    }
  }

  /** Notes what the server will not tell us, as we ourselves have caused it. */
  assume(address, ...args) {
    if (this.nodes.has(address)) this.#note(address, args);
  }

  /** Sends a command; resolves with what comes after its name in /done, rejects with /fail's reason. */
  ask(command, ...args) {
    return new Promise((resolve, reject) => {
      if (!this.online) {
        reject(new Error("not connected"));
        return;
      }
      const waiting = this.#asked.get(command) ?? [];
      this.#asked.set(command, [...waiting, { resolve, reject }]);
      this.send(command, ...args);
    });
  }

  #numbersBelow(prefix) {
    const numbers = new Set();
    for (const address of this.nodes.keys()) {
      if (!address.startsWith(prefix)) continue;
      const number = Number(address.slice(prefix.length).split("/")[0]);
      if (Number.isInteger(number)) numbers.add(number);
    }
    return [...numbers].sort((a, b) => a - b);
  }

  #tags(address, args) {
    const type = this.nodes.get(address)?.TYPE ?? "";
    return args
      .map((value, at) => {
        const own = tagOf(value);
        return "ifdh".includes(own) && "ifdh".includes(type[at] || "-") ? type[at] : own;
      })
      .join("");
  }

  #flush() {
    for (const [address, args] of this.#pending) this.send(address, ...args);
    this.#pending.clear();
  }

  async #opened(socket) {
    this.#listened.clear();
    try {
      const tree = await this.#fetch("/");
      if (socket !== this.#socket || socket.readyState !== WebSocket.OPEN) return;
      this.nodes.clear();
      this.values.clear();
      this.online = true;
      this.#tries = 1;
      if (tree) this.#take(tree);
    } catch {
      socket.close();
      return;
    }
    for (const listener of this.#stateListeners) listener(true);
    this.#changed();
    this.#lease();
    this.#askStatus();
  }

  #closed() {
    const was = this.online;
    this.online = false;
    this.#pending.clear();
    for (const waiting of this.#asked.values()) {
      for (const { reject } of waiting) reject(new Error("the connection was lost"));
    }
    this.#asked.clear();
    const wait = RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)];
    this.#tries += 1;
    if (was || this.#tries === 1) for (const listener of this.#stateListeners) listener(false);
    window.setTimeout(() => this.start(), wait);
  }

  async #fetch(path) {
    const answer = await fetch(path, { headers: { Accept: "application/json" } });
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.json();
  }

  /** Takes a node and all below it; values that are listened to are newer than the tree's. */
  #take(node) {
    const { CONTENTS: contents = {}, FULL_PATH: address, ...own } = node;
    if (own.TYPE !== undefined) {
      this.nodes.set(address, own);
      const known = this.#listened.has(address);
      if (own.VALUE && (!known || own.ACCESS === 1)) this.#note(address, own.VALUE);
      if (own.ACCESS & 1 && !known) {
        this.#listened.add(address);
        this.#say("LISTEN", address);
      }
    }
    for (const child of Object.values(contents)) this.#take(child);
  }

  #forget(path) {
    for (const address of [...this.nodes.keys()]) {
      if (address !== path && !address.startsWith(`${path}/`)) continue;
      this.nodes.delete(address);
      this.values.delete(address);
      this.#listened.delete(address);
    }
  }

  #changed() {
    // Told without a place in the tree.
    const told = ["/ghost/sync/error", "/ghost/sink", "/ghost/backend"];
    for (const address of told) this.#say("LISTEN", address);
    for (const voice of this.voices()) this.#say("LISTEN", `/ghost/voice/${voice}/reprimed`);
    for (const listener of this.#treeListeners) listener();
  }

  #say(command, address) {
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify({ COMMAND: command, DATA: address }));
    }
  }

  #received(data) {
    if (typeof data === "string") {
      this.#told(JSON.parse(data));
      return;
    }
    forEachMessage(decode(new Uint8Array(data)), ({ address, args }) => {
      if (address === "/done") this.#answered(args[0], (one) => one.resolve(args.slice(1)));
      if (address === "/fail") this.#failed(args);
      this.#note(address, args, { keep: this.nodes.has(address) });
    });
  }

  #failed([command, reason]) {
    this.#answered(command, (one) => one.reject(new Error(reason)));
    // What was noted when it was sent is not so.
    if (this.values.has(command)) this.send("/ghost/get", command);
  }

  #answered(command, act) {
    const [first, ...others] = this.#asked.get(command) ?? [];
    if (others.length) this.#asked.set(command, others);
    else this.#asked.delete(command);
    if (first) act(first);
  }

  #note(address, args, { keep = true } = {}) {
    if (keep) this.values.set(address, args);
    for (const listener of [...(this.#listeners.get(address) ?? [])]) listener(...args);
  }

  /** Obeys OSCQuery's PATH_ADDED, PATH_REMOVED and PATH_CHANGED. */
  #told({ COMMAND: command, DATA: path }) {
    const gone = command === "PATH_REMOVED";
    if (gone) this.#forget(path);
    const [, branch] = /^(\/ghost\/(?:voice|pattern)\/\d+)(?:\/|$)/.exec(path) ?? [];
    if (gone && branch === path) this.#toFetch.delete(branch);
    else if (branch) this.#toFetch.add(branch);
    else if (path === "/ghost") this.#toFetch.add("/ghost/voice");
    else return;
    this.#fetcher ||= window.setTimeout(() => this.#fetchChanged(), 20);
  }

  async #fetchChanged() {
    const paths = [...this.#toFetch];
    this.#toFetch.clear();
    this.#fetcher = 0;
    try {
      for (const path of paths) {
        const node = await this.#fetch(path);
        if (node) this.#take(node);
        else this.#forget(path);
      }
    } catch {
      return; // the connection is being lost, which is told by itself
    }
    if (this.online) this.#changed();
  }

  #lease() {
    const on = document.hidden ? 0 : 1;
    this.send("/ghost/notify/meters", on, ...(on ? [METER_HZ] : []));
    this.send("/ghost/notify/beat", on, ...(on ? [BEATS_PER_BEAT] : []));
  }

  #askStatus() {
    if (!document.hidden) this.send("/ghost/status");
  }
}
