// Which voice the parts show, and the subscriptions that end when it is another.

export class Selection {
  voice = 0; // 0: there is none
  #listeners = new Set();
  #connection;

  constructor(connection) {
    this.#connection = connection;
    connection.onTree(() => this.#keep());
  }

  /** Shows a voice from now on. */
  choose(voice) {
    this.voice = voice;
    for (const listener of this.#listeners) listener(voice);
  }

  /** Calls `listener(voice)` when another voice is shown, or this one has become another. */
  onChange(listener) {
    this.#listeners.add(listener);
    if (this.voice) listener(this.voice);
  }

  #keep() {
    const voices = this.#connection.voices();
    const nearest = voices.findLast((voice) => voice <= this.voice) ?? voices[0] ?? 0;
    this.choose(nearest);
  }
}

/** Subscriptions that are made anew together. */
export class Bindings {
  #ends = [];
  #connection;

  constructor(connection) {
    this.#connection = connection;
  }

  clear() {
    for (const end of this.#ends) end();
    this.#ends = [];
  }

  on(address, listener) {
    this.#ends.push(this.#connection.on(address, listener));
  }
}
