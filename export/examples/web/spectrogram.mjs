// Pictures of sound: time to the right, frequency upwards on a scale that music uses evenly, brightness in dB.

const SIZE = 2048;
const LOW = 50; // Hz at the bottom
const RANGE = 80; // dB from black to white

/** Magnitudes of a stretch of SIZE samples, windowed: bins 0 to SIZE / 2 - 1. */
function magnitudes(samples, start, tables) {
  const { real, imaginary, window, reversed, cosine, sine } = tables;
  for (let i = 0; i < SIZE; i++) {
    real[reversed[i]] = (samples[start + i] ?? 0) * window[i];
    imaginary[reversed[i]] = 0;
  }
  for (let half = 1; half < SIZE; half *= 2) {
    const stride = SIZE / (2 * half);
    for (let first = 0; first < SIZE; first += 2 * half) {
      for (let k = 0; k < half; k++) {
        const [a, b] = [first + k, first + k + half];
        const [c, s] = [cosine[k * stride], sine[k * stride]];
        const [re, im] = [real[b] * c - imaginary[b] * s, real[b] * s + imaginary[b] * c];
        [real[b], imaginary[b]] = [real[a] - re, imaginary[a] - im];
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}

function makeTables() {
  const bits = Math.log2(SIZE);
  const each = (make) => Float32Array.from({ length: SIZE }, (_, i) => make(i));
  return {
    real: new Float32Array(SIZE),
    imaginary: new Float32Array(SIZE),
    window: each((i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE)),
    reversed: Uint16Array.from({ length: SIZE }, (_, i) => {
      let out = 0;
      for (let bit = 0; bit < bits; bit++) out |= ((i >> bit) & 1) << (bits - 1 - bit);
      return out;
    }),
    cosine: each((i) => Math.cos((-2 * Math.PI * i) / SIZE)),
    sine: each((i) => Math.sin((-2 * Math.PI * i) / SIZE)),
  };
}

/** Draws the first channel of a sound on a canvas. */
export function draw(canvas, samples, rate) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const tables = makeTables();
  const full = SIZE / 4; // a sine of full scale
  for (let x = 0; x < width; x++) {
    magnitudes(samples, Math.floor((x / width) * Math.max(0, samples.length - SIZE)), tables);
    for (let y = 0; y < height; y++) {
      const hertz = LOW * (rate / 2 / LOW) ** ((height - 1 - y) / height);
      const bin = Math.min(SIZE / 2 - 1, Math.round((hertz / rate) * SIZE));
      const level = Math.hypot(tables.real[bin], tables.imaginary[bin]) / full;
      const share = Math.max(0, Math.min(1, 1 + (20 * Math.log10(level + 1e-9)) / RANGE));
      const [r, g, b] = [255 * Math.min(1, 1.6 * share ** 1.5), 255 * share ** 2.2, 255 * (0.55 * Math.sin(Math.PI * share) + share ** 6)];
      image.data.set([r, g, b, 255], 4 * (y * width + x));
    }
  }
  context.putImageData(image, 0, 0);
}
