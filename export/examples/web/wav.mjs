// WAV files of 16-bit samples out, of 16-bit or floating-point ones in.

/** A file's content, from channels of samples (Float32Array each, full scale at 1). */
export function toWav(channels, rate) {
  const frames = channels[0].length;
  const size = 2 * frames * channels.length;
  const view = new DataView(new ArrayBuffer(44 + size));
  const text = (place, letters) => [...letters].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate * channels.length, true);
  view.setUint16(32, 2 * channels.length, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, size, true);
  const samples = new Int16Array(view.buffer, 44);
  channels.forEach((channel, place) => {
    for (let frame = 0; frame < frames; frame++) {
      samples[frame * channels.length + place] = Math.max(-32768, Math.min(32767, Math.round(32768 * channel[frame])));
    }
  });
  return view.buffer;
}

/** {rate, channels} of a file's content, an ArrayBuffer. Throws an Error that says why it cannot. */
export function fromWav(buffer) {
  const view = new DataView(buffer);
  const text = (place) => (place + 4 <= buffer.byteLength ? String.fromCharCode(...new Uint8Array(buffer, place, 4)) : "");
  if (text(0) !== "RIFF" || text(8) !== "WAVE") throw new Error("not a WAV file");
  let format;
  for (let place = 12; place + 8 <= buffer.byteLength; ) {
    const size = view.getUint32(place + 4, true);
    const start = place + 8;
    if (text(place) === "fmt ") {
      const [kind, count, rate, bits] = [0, 2, 4, 14].map((at) => (at === 4 ? view.getUint32(start + at, true) : view.getUint16(start + at, true)));
      format = { kind: kind === 0xfffe ? view.getUint16(start + 24, true) : kind, count, rate, bits };
    }
    if (text(place) === "data" && format) {
      const { kind, count, rate, bits } = format;
      const read = { "1/16": (at) => view.getInt16(at, true) / 32768, "3/32": (at) => view.getFloat32(at, true) }[`${kind}/${bits}`];
      if (!read || count < 1 || count > 2) throw new Error("not 16-bit or float WAV of one or two channels");
      const frames = Math.floor(Math.min(size, buffer.byteLength - start) / (count * bits / 8));
      const sample = (channel) => (_, frame) => read(start + (frame * count + channel) * (bits / 8));
      return { rate, channels: Array.from({ length: count }, (_, c) => Float32Array.from({ length: frames }, sample(c))) };
    }
    place = start + size + (size % 2);
  }
  throw new Error("a WAV file without sound in it");
}
