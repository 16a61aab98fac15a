// OSC for ghostnote.maxpat, run by Max's [node.script]: sends from one UDP socket and hears on the
// same, as the server answers to the port that asked.
//
//   osc ADDRESS ARGUMENT...   sends a message; whole numbers go as i, others as f
//   connect HOST PORT         speaks to another server
// Out come the server's messages, as lists that begin with the address.

const dgram = require("dgram");
const Max = require("max-api");

const server = { host: process.env.GHOSTNOTE_HOST || "127.0.0.1",
                 port: Number(process.env.GHOSTNOTE_PORT || 9770) };
const socket = dgram.createSocket("udp4");

function padded(text) {
  const bytes = Buffer.from(text + "\0", "utf8");
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

function encode(address, values) {
  let tags = ",";
  const parts = values.map((value) => {
    if (typeof value !== "number") { tags += "s"; return padded(String(value)); }
    const bytes = Buffer.alloc(4);
    const whole = Number.isInteger(value) && Math.abs(value) < 2 ** 31;
    tags += whole ? "i" : "f";
    if (whole) bytes.writeInt32BE(value); else bytes.writeFloatBE(value);
    return bytes;
  });
  return Buffer.concat([padded(address), padded(tags), ...parts]);
}

// Calls found(address, values) for each message of a packet.
function decode(packet, found) {
  let at = 0;
  const text = () => {
    const end = packet.indexOf(0, at);
    if (end < 0) throw new RangeError("a string without an end");
    const word = packet.toString("utf8", at, end);
    at = end + 4 - (end % 4);
    return word;
  };
  const take = (size) => { at += size; return at - size; };
  const address = text();
  if (address === "#bundle") {
    take(8);
    while (at < packet.length) {
      const size = packet.readInt32BE(take(4));
      if (size <= 0 || size > packet.length - at) throw new RangeError("a wrong size");
      decode(packet.subarray(at, at + size), found);
      take(size);
    }
    return;
  }
  const readers = {
    i: () => packet.readInt32BE(take(4)), f: () => packet.readFloatBE(take(4)),
    h: () => Number(packet.readBigInt64BE(take(8))), d: () => packet.readDoubleBE(take(8)),
    s: text, T: () => 1, F: () => 0, N: () => 0,
  };
  const values = [...text()].slice(1).map((tag) => {
    if (!readers[tag]) throw new RangeError(`type ${tag}`);
    return readers[tag]();
  });
  found(address, values);
}

function send(address, ...values) {
  socket.send(encode(address, values), server.port, server.host);
}

function ask() {
  send("/ghost/notify", 1); // a lease of a minute, and what others change
  send("/ghost/status");
}

socket.on("message", (packet) => {
  try { decode(packet, (address, values) => Max.outlet(address, ...values)); }
  catch (error) { Max.post(`no OSC: ${error.message}`); }
});
socket.on("error", (error) => Max.post(`ghostnote: ${error.message}`));
socket.bind(0, () => { ask(); setInterval(ask, 2000); });

Max.addHandler("osc", send);
Max.addHandler("connect", (host, port) => { Object.assign(server, { host, port }); ask(); });
