// Stems that play together: one clock, a gain for each.

export class Player {
  constructor(rate) {
    this.context = new AudioContext({ sampleRate: rate });
    this.stems = new Map(); // name: {buffer, gain, volume, muted, solo, source}
    this.offset = 0; // seconds into the song where playing began, or stopped
    this.started = null; // the clock then, null while it stands
  }

  /** A stem's channels, as Float32Arrays. */
  add(name, channels) {
    const buffer = this.context.createBuffer(channels.length, channels[0].length, this.context.sampleRate);
    channels.forEach((channel, place) => buffer.copyToChannel(channel, place));
    const gain = this.context.createGain();
    gain.connect(this.context.destination);
    this.stems.set(name, { buffer, gain, volume: 1, muted: false, solo: false, source: null });
  }

  get duration() {
    return Math.max(0, ...[...this.stems.values()].map(({ buffer }) => buffer.duration));
  }

  get playing() {
    return this.started !== null;
  }

  get position() {
    const past = this.playing ? this.context.currentTime - this.started : 0;
    return Math.min(this.duration, this.offset + Math.max(0, past));
  }

  async play() {
    await this.context.resume();
    if (this.position >= this.duration) this.offset = 0;
    const when = this.context.currentTime + 0.05; // the same for all: they start in one block
    for (const stem of this.stems.values()) {
      stem.source = this.context.createBufferSource();
      stem.source.buffer = stem.buffer;
      stem.source.connect(stem.gain);
      stem.source.start(when, this.offset);
    }
    this.started = when;
  }

  pause() {
    this.offset = this.position;
    this.started = null;
    for (const stem of this.stems.values()) stem.source?.stop();
  }

  seek(seconds) {
    const { playing } = this;
    if (playing) this.pause();
    this.offset = seconds;
    return playing ? this.play() : undefined;
  }

  /** Change a stem: {volume}, {muted} or {solo}. */
  set(name, change) {
    Object.assign(this.stems.get(name), change);
    for (const [other, stem] of this.stems) {
      stem.gain.gain.setTargetAtTime(this.heard(other) ? stem.volume : 0, this.context.currentTime, 0.01);
    }
  }

  /** Whether a stem can be heard: not muted, and where any has its solo, it has too. */
  heard(name) {
    const solo = [...this.stems.values()].some((stem) => stem.solo);
    const stem = this.stems.get(name);
    return !stem.muted && (!solo || stem.solo);
  }

  close() {
    if (this.playing) this.pause();
    return this.context.close();
  }
}
