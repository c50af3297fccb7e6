// Stems of a WAV file on the command line, with a waveform graph and no code for transforms or masks:
//   npm install && node separate.mjs MODEL.onnx SONG.wav FOLDER
// MODEL.json, the manifest, must be next to MODEL.onnx: python -m export RUN... --graph waveform writes both.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { separate } from "../web/segments.mjs";
import { fromWav, toWav } from "../web/wav.mjs";

process.env.ORT_DISABLE_TELEMETRY ??= "1"; // read when ONNX Runtime is loaded
const ort = await import("onnxruntime-node");

function stop(reason) {
  console.error(`separate: ${reason}`);
  process.exit(1);
}

async function read(path, what) {
  try {
    const content = await readFile(path);
    return content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
  } catch (error) {
    return stop(`${path}: ${what} cannot be read (${error.code})`);
  }
}

const [model, song, folder] = process.argv.slice(2);
if (!folder) stop("usage: node separate.mjs MODEL.onnx SONG.wav FOLDER");
const manifest = JSON.parse(new TextDecoder().decode(await read(model.replace(/\.onnx$/, ".json"), "the model's manifest")));
if (manifest.graph.kind !== "waveform") stop(`${model}: not a waveform graph: export it with --graph waveform`);
let sound;
try {
  sound = fromWav(await read(song, "the song"));
} catch (error) {
  stop(`${song}: ${error.message}`);
}
const { rate } = manifest.graph;
if (sound.rate !== rate) stop(`${song}: has ${sound.rate} samples a second, and the model takes ${rate}: resample it first`);

const session = await ort.InferenceSession.create(await read(model, "the model"));
const started = performance.now();
const stems = await separate(ort, session, manifest, sound.channels, (share) => {
  process.stderr.write(`\r${Math.round(100 * share)} %`);
});
const seconds = (performance.now() - started) / 1000;
const length = sound.channels[0].length / rate;
process.stderr.write(`\r${length.toFixed(1)} s in ${seconds.toFixed(1)} s: ${(length / seconds).toFixed(1)} times real time\n`);
await mkdir(folder, { recursive: true });
for (const [target, channels] of Object.entries(stems)) {
  await writeFile(join(folder, `${target}.wav`), new Uint8Array(toWav(channels, rate)));
}
