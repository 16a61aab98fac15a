// OSC 1.0 and 1.1 packets to and from bytes. Pure functions.
//
// A message is {address, tags, args}; a bundle is {timetag, elements}. JavaScript's values by type
// tag: i f d number, h t BigInt, s S string, b Uint8Array, T F boolean, N null, I Infinity, c r m
// number. Arrays are told by [ and ].

const NTP_TO_UNIX = 2208988800;
const MAX_DEPTH = 8;
const utf8 = new TextEncoder();
const text = new TextDecoder();

export const IMMEDIATELY = 1n;

/** Returns the 64-bit NTP time of `unix` in milliseconds. */
export function timetag(unix) {
  const seconds = unix / 1000 + NTP_TO_UNIX;
  const whole = Math.floor(seconds);
  return (BigInt(whole) << 32n) | BigInt(Math.floor((seconds - whole) * 2 ** 32));
}

/** Returns the type tag that a value gets where nobody has said another. */
export function tagOf(value) {
  if (typeof value === "boolean") return value ? "T" : "F";
  if (typeof value === "string") return "s";
  if (typeof value === "bigint") return "h";
  if (value === null) return "N";
  if (value instanceof Uint8Array) return "b";
  if (Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31) return "i";
  return "f";
}

/** Returns the bytes of a message; `tags` names the types, where what tagOf says will not do. */
export function encodeMessage(address, args = [], tags = args.map(tagOf).join("")) {
  const out = new Writer();
  out.string(address);
  out.string("," + tags);
  let at = 0;
  for (const tag of tags) {
    if (tag !== "[" && tag !== "]") out.argument(tag, args.flat(MAX_DEPTH)[at++]);
  }
  return out.bytes();
}

/** Returns the bytes of a bundle of packets that are bytes already. */
export function encodeBundle(packets, time = IMMEDIATELY) {
  const out = new Writer();
  out.string("#bundle");
  out.argument("t", time);
  for (const packet of packets) out.argument("b", packet);
  return out.bytes();
}

/** Returns the message or bundle in `bytes`; throws a RangeError if it is cut short or malformed. */
export function decode(bytes, depth = 0) {
  const from = new Reader(bytes);
  const address = from.string();
  if (address === "#bundle") {
    if (depth >= MAX_DEPTH) throw new RangeError("bundles are nested too deep");
    const bundle = { timetag: from.argument("t"), elements: [] };
    while (from.left > 0) bundle.elements.push(decode(from.block(), depth + 1));
    return bundle;
  }
  if (!address.startsWith("/")) throw new RangeError("no address");
  const typetags = from.left > 0 ? from.string() : ",";
  if (!typetags.startsWith(",")) throw new RangeError("no type tags");
  const stack = [[]];
  for (const tag of typetags.slice(1)) {
    if (tag === "[") {
      stack.push([]);
    } else if (tag === "]" && stack.length > 1) {
      const array = stack.pop();
      stack.at(-1).push(array);
    } else {
      stack.at(-1).push(from.argument(tag));
    }
  }
  return { address, tags: typetags.slice(1), args: stack[0] };
}

/** Calls `each` with every message of a packet, in order. */
export function forEachMessage(packet, each) {
  if (packet.elements) packet.elements.forEach((element) => forEachMessage(element, each));
  else each(packet);
}

class Writer {
  #parts = [];

  string(value) {
    const encoded = utf8.encode(value);
    this.#padded(encoded, encoded.length + 1);
  }

  argument(tag, value) {
    switch (tag) {
      case "i": return this.#number(4, (view) => view.setInt32(0, value));
      case "f": return this.#number(4, (view) => view.setFloat32(0, Number(value)));
      case "d": return this.#number(8, (view) => view.setFloat64(0, Number(value)));
      case "h": return this.#number(8, (view) => view.setBigInt64(0, BigInt(value)));
      case "t": return this.#number(8, (view) => view.setBigUint64(0, BigInt(value)));
      case "c": case "r": case "m": return this.#number(4, (view) => view.setUint32(0, value));
      case "s": case "S": return this.string(value);
      case "b":
        this.argument("i", value.length);
        return this.#padded(value, value.length);
      case "T": case "F": case "N": case "I": return undefined;
      default: throw new RangeError(`type ${tag} cannot be sent`);
    }
  }

  bytes() {
    const all = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  #number(size, set) {
    const part = new Uint8Array(size);
    set(new DataView(part.buffer));
    this.#parts.push(part);
  }

  #padded(data, length) {
    const part = new Uint8Array(Math.ceil(length / 4) * 4);
    part.set(data);
    this.#parts.push(part);
  }
}

class Reader {
  #bytes;
  #view;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left() {
    return this.#bytes.length - this.#at;
  }

  string() {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw new RangeError("a string does not end");
    const value = text.decode(this.#bytes.subarray(this.#at, end));
    this.#skip(Math.ceil((end + 1 - this.#at) / 4) * 4);
    return value;
  }

  block() {
    const length = this.#view.getInt32(this.#skip(4));
    if (length < 0) throw new RangeError("a block of negative length");
    const from = this.#skip(Math.ceil(length / 4) * 4);
    return this.#bytes.subarray(from, from + length);
  }

  argument(tag) {
    const view = this.#view;
    switch (tag) {
      case "i": return view.getInt32(this.#skip(4));
      case "f": return view.getFloat32(this.#skip(4));
      case "d": return view.getFloat64(this.#skip(8));
      case "h": return view.getBigInt64(this.#skip(8));
      case "t": return view.getBigUint64(this.#skip(8));
      case "c": case "r": case "m": return view.getUint32(this.#skip(4));
      case "s": case "S": return this.string();
      case "b": return this.block();
      case "T": return true;
      case "F": return false;
      case "N": return null;
      case "I": return Infinity;
      default: throw new RangeError(`type ${tag} is unknown`);
    }
  }

  #skip(length) {
    const from = this.#at;
    if (length > this.left) throw new RangeError("the packet is cut short");
    this.#at += length;
    return from;
  }
}
