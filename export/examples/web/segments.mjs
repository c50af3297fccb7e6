// A waveform graph on a song of any length, as the manifest's usage says: segments that overlap by two margins, of whose stems
// the margins are dropped, but for the song's own ends; or segments that are blended where they overlap.

/** Stretches of a song: {at, size} in samples, and of their stems, {from, to} are to be kept. `begin`: of the segment. */
export function* segments(total, { samples, stride, margin, blended }) {
  let at = 0;
  let from = 0;
  for (; blended ? at < total : total - at > samples; at += stride, from = margin) {
    const size = Math.min(samples, total - at);
    yield { begin: at - Math.floor((samples - size) / 2), at, size, from, to: blended ? size : margin + stride };
  }
  if (!blended) yield { begin: at, at, size: total - at, from, to: total - at };
}

/** The channels that a graph takes, of one or two that there are. */
export function fitted(channels, wanted) {
  if (channels.length === wanted) return channels;
  if (wanted === 2) return [channels[0], channels[0]];
  return [channels[0].map((sample, place) => (sample + channels[1][place]) / 2)];
}

/** Mean and standard deviation of the mean of a song's channels; 0 and 1 for graphs that take it as it is. */
function level(channels, normalised) {
  if (!normalised) return { mean: 0, deviation: 1 };
  const [mono] = fitted(channels, 1);
  const mean = mono.reduce((sum, sample) => sum + sample, 0) / mono.length;
  const squares = mono.reduce((sum, sample) => sum + (sample - mean) ** 2, 0);
  return { mean, deviation: 1e-8 + Math.sqrt(squares / Math.max(1, mono.length - 1)) };
}

/**
 * Stems of a song.
 *
 * ort: the runtime's module; session: with the graph; manifest: of the graph; channels: Float32Array each, at the
 * manifest's rate; progress: called with the share that is done. Gives {target: channels}.
 */
export async function separate(ort, session, manifest, channels, progress = () => {}) {
  const { audio, segment } = manifest.usage;
  const batch = Math.max(1, manifest.graph.batch);
  const total = channels[0].length;
  const { mean, deviation } = level(channels, audio.normalised);
  const input = fitted(channels, manifest.graph.channels).map((channel) => channel.map((sample) => (sample - mean) / deviation));
  const stems = Object.fromEntries(manifest.targets.map((target) => [target, input.map(() => new Float32Array(total))]));
  const weight = segment.blended ? (place) => Math.min(place + 1, segment.samples - place) / segment.samples : () => 1;
  const weights = new Float32Array(total);
  for (const { begin, at, size, from, to } of segments(total, segment)) {
    const filled = Math.ceil(size / segment.multiple) * segment.multiple;
    const length = segment.fixed || segment.blended ? segment.samples : Math.max(segment.least, filled);
    const before = Math.max(0, -begin);
    const values = new Float32Array(batch * input.length * length);
    const end = begin + length;
    input.forEach((channel, place) => values.set(channel.subarray(begin + before, end), place * length + before));
    const mixture = new ort.Tensor("float32", values, [batch, input.length, length]);
    const outputs = await session.run({ mixture });
    for (let place = from; place < to; place += 1) weights[at + place] += weight(place);
    for (const target of manifest.targets) {
      const made = outputs[target].data;
      stems[target].forEach((stem, channel) => {
        const start = channel * length + at - begin;
        for (let place = from; place < to; place += 1) stem[at + place] += weight(place) * made[start + place];
      });
      outputs[target].dispose?.();
    }
    progress((at + to) / total);
  }
  for (const stem of Object.values(stems).flat()) {
    stem.forEach((sample, place) => { stem[place] = (sample / weights[place]) * deviation + mean; });
  }
  return stems;
}
