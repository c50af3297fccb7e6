// A waveform graph on a song of any length, as the manifest's usage.segment has it: segments that overlap by two margins, of
// whose stems the margins are dropped, but for the song's own ends.

/** Stretches of a song: {at, size} in samples, and of their stems, {from, to} are to be kept. */
export function* segments(total, { samples, stride, margin }) {
  let at = 0;
  let from = 0;
  for (; total - at > samples; at += stride, from = margin) {
    yield { at, size: samples, from, to: margin + stride };
  }
  yield { at, size: total - at, from, to: total - at };
}

/** The channels that a graph takes, of one or two that there are. */
export function fitted(channels, wanted) {
  if (channels.length === wanted) return channels;
  if (wanted === 2) return [channels[0], channels[0]];
  return [channels[0].map((sample, place) => (sample + channels[1][place]) / 2)];
}

/**
 * Stems of a song.
 *
 * ort: the runtime's module; session: with the graph; manifest: of the graph; channels: Float32Array each, at the
 * manifest's rate; progress: called with the share that is done. Gives {target: channels}.
 */
export async function separate(ort, session, manifest, channels, progress = () => {}) {
  const { segment } = manifest.usage;
  const batch = Math.max(1, manifest.graph.batch);
  const total = channels[0].length;
  const input = fitted(channels, manifest.graph.channels);
  const stems = Object.fromEntries(manifest.targets.map((target) => [target, input.map(() => new Float32Array(total))]));
  for (const { at, size, from, to } of segments(total, segment)) {
    const length = segment.fixed ? segment.samples : Math.max(segment.least, Math.ceil(size / segment.multiple) * segment.multiple);
    const values = new Float32Array(batch * input.length * length);
    input.forEach((channel, place) => values.set(channel.subarray(at, at + size), place * length));
    const mixture = new ort.Tensor("float32", values, [batch, input.length, length]);
    const outputs = await session.run({ mixture });
    for (const target of manifest.targets) {
      stems[target].forEach((stem, place) => {
        stem.set(outputs[target].data.subarray(place * length + from, place * length + to), at + from);
      });
      outputs[target].dispose?.();
    }
    progress((at + to) / total);
  }
  return stems;
}
