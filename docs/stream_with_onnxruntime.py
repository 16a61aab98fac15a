"""Plays a ghostnote model with onnxruntime alone: a kick every half second, for four seconds.

    python stream_with_onnxruntime.py MODEL.onnx OUT.wav SEED

Needs numpy and onnxruntime, nothing of ghostnote. See model-file.md beside this file.
"""

import json
import sys
import wave

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # one sample is too little work to be shared
session = onnxruntime.InferenceSession(sys.argv[1], options)
spec = json.loads(session.get_modelmeta().custom_metadata_map["ghostnote"])["spec"]
shapes = {value.name: value.shape for value in session.get_inputs()}
rate, hop, silence = spec["samplerate"], spec["hop"], spec["levels"] // 2
pairs = shapes["uniforms"][1:]
state = [np.full(shapes["level_history"], silence), np.zeros(shapes["past"], np.float32)]


def uniforms(seed, count, stream=0, mask=2**32 - 1):
    """Philox4x32-10: the counter is (sample, stream), the key is the seed; 24 bits of a word."""
    index = np.arange(count, dtype=np.uint64)
    a, b, c, d = index & mask, index >> 32, stream & mask, stream >> 32
    for turn in range(10):
        key = (seed + turn * 0x9E3779B9) & mask, ((seed >> 32) + turn * 0xBB67AE85) & mask
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ b ^ key[0], q & mask, (p >> 32) ^ d ^ key[1], p & mask
    words = np.stack([a, b], axis=1) if pairs else a  # a mixture of logistics draws by two numbers
    return np.maximum((words >> 8).astype(np.float32), 0.5) / np.float32(2**24)


def play(random, forced, ages):
    """Advance the stream by len(random) samples; ages [hops, roles] are hops since the hits."""
    feeds = {"uniforms": random, "forced": forced, "ages": ages}
    feeds |= {"temperature": np.array(1, np.float32), "top_k": np.array(0)}
    feeds |= {"hop_of": np.arange(len(random)) // hop, "velocities": np.ones(ages.shape, "f4")}
    feeds |= {"kits": np.eye(1, len(spec["kits"]), dtype="f4").repeat(len(ages), 0)}  # the first
    feeds |= {"level_history": state[0], "past": state[1]}
    found = session.run(None, {name: feeds[name] for name in shapes})
    state[:] = found[3:5]
    return found[1], found[5:]  # samples; of a model with a body where that is, and its transients


# Every stream starts after as much silence as the network can hear.
reach = (spec["filter_width"] - 1) * sum(spec["dilations"]) + spec["input_taps"]
never = np.full((reach // hop + 1, len(spec["roles"])), spec["ages"] - 1)
play(np.full((reach, *pairs), 0.5, "f4"), np.full(reach, silence), never)

count, beat = 4 * rate, rate // 2 // hop
ages = np.full((-(-count // hop), len(spec["roles"])), spec["ages"] - 1)
if "kick" in spec["roles"]:
    since = np.arange(len(ages)) % beat
    ages[:, spec["roles"].index("kick")] = np.minimum(since, spec["ages"] - 1)
samples, told = play(uniforms(int(sys.argv[3]), count), np.full(count, -1), ages)

emphasis, sound = np.float32(spec.get("emphasis", 0)), np.float32(0)
for i, sample in enumerate(samples):  # what the levels speak of is pre-emphasised
    sound = sample + emphasis * sound
    samples[i] = sound

for knots in told[:1]:  # value and slope at the knots of each hop; between two lies a cubic
    span = hop // knots.shape[1]
    k = np.tan(np.pi * 0.4 / span)  # the network is heard above the body only: a Butterworth filter
    scale = 1 / (1 + np.sqrt(2) * k + k * k)
    b = np.array([scale, -2 * scale, scale], "f4")
    a = np.array([2 * (k * k - 1), 1 - np.sqrt(2) * k + k * k], "f4") * np.float32(scale)
    first = second = np.float32(0)
    for i, sample in enumerate(samples):
        samples[i] = y = b[0] * sample + first
        first, second = b[1] * sample - a[0] * y + second, b[2] * sample - a[1] * y
    ends = knots.reshape(-1, 2)
    v1, s1 = ends.T[:, :, None]
    v0, s0 = np.concatenate([np.zeros((1, 2), "f4"), ends[:-1]]).T[:, :, None]
    t = np.arange(span, dtype="f4") / span
    curve = (1 - t) ** 2 * ((1 + 2 * t) * v0 + t * s0) + t**2 * ((3 - 2 * t) * v1 - (1 - t) * s1)
    samples += curve.ravel()[:count]

for transients in told[1:]:
    samples += transients.ravel()[:count]

with wave.open(sys.argv[2], "wb") as file:
    file.setparams((1, 2, rate, 0, "NONE", ""))
    file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
