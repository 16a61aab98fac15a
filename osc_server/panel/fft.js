// The power spectrum of real blocks. Pure, but for the memory that it works in.

/** A Fourier transform of `size` samples (a power of two) behind a Hann window. */
export class Spectrum {
  #size;
  #window;
  #cosine;
  #sine;
  #order;
  #real;
  #imaginary;

  constructor(size) {
    if (size < 2 || size & (size - 1)) throw new RangeError("the size must be a power of two");
    this.#size = size;
    const table = (length, value) => Float32Array.from({ length }, (_, at) => value(at));
    this.#window = table(size, (at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / size));
    this.#cosine = table(size / 2, (at) => Math.cos((2 * Math.PI * at) / size));
    this.#sine = table(size / 2, (at) => -Math.sin((2 * Math.PI * at) / size));
    const bits = Math.log2(size);
    this.#order = Uint32Array.from({ length: size }, (_, at) => {
      let reversed = 0;
      for (let bit = 0; bit < bits; bit++) reversed |= ((at >> bit) & 1) << (bits - 1 - bit);
      return reversed;
    });
    this.#real = new Float32Array(size);
    this.#imaginary = new Float32Array(size);
  }

  /**
   * Writes decibels into `levels` [size / 2]; a sine of full scale has 0. The block is the `size`
   * samples of the ring `samples` that end before `end`.
   */
  decibels(samples, end, levels) {
    const size = this.#size;
    const [real, imaginary] = [this.#real, this.#imaginary];
    const ring = samples.length;
    const first = end - size + ring * Math.ceil(size / ring);
    for (let at = 0; at < size; at++) {
      const from = this.#order[at];
      real[at] = samples[(first + from) % ring] * this.#window[from];
      imaginary[at] = 0;
    }
    for (let half = 1; half < size; half *= 2) this.#combine(half);
    const whole = 16 / (size * size); // the window halves, the other half is at negative frequencies
    for (let bin = 0; bin < size / 2; bin++) {
      const power = (real[bin] ** 2 + imaginary[bin] ** 2) * whole;
      levels[bin] = 10 * Math.log10(power + 1e-12);
    }
  }

  #combine(half) {
    const [real, imaginary] = [this.#real, this.#imaginary];
    const stride = this.#size / (2 * half);
    for (let start = 0; start < this.#size; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const [a, b] = [start + k, start + k + half];
        const [c, s] = [this.#cosine[k * stride], this.#sine[k * stride]];
        const re = real[b] * c - imaginary[b] * s;
        const im = real[b] * s + imaginary[b] * c;
        real[b] = real[a] - re;
        imaginary[b] = imaginary[a] - im;
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}
