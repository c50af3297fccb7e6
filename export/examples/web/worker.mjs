// The network, off the page's own thread. Messages in: {channels}; out: {ready}, {share}, {stems, seconds} or {error}.
import * as ort from "./ort/ort.wasm.min.mjs";
import { separate } from "./segments.mjs";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, 8) : 1;

async function loaded(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} is missing (${response.status}): make this folder again with python -m export.web`);
  return response;
}

async function open() {
  const manifest = await (await loaded("model.json")).json();
  const content = await (await loaded("model.onnx")).arrayBuffer();
  const session = await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
  self.postMessage({ ready: true, threads: ort.env.wasm.numThreads });
  return { manifest, session };
}

const opened = open();
opened.catch((error) => self.postMessage({ error: `the network cannot be loaded: ${error.message}` }));

self.onmessage = async ({ data }) => {
  try {
    const { manifest, session } = await opened;
    const started = performance.now();
    const stems = await separate(ort, session, manifest, data.channels, (share) => self.postMessage({ share }));
    const seconds = (performance.now() - started) / 1000;
    self.postMessage({ stems, seconds }, Object.values(stems).flat().map((channel) => channel.buffer));
  } catch (error) {
    self.postMessage({ error: `Separating stopped: ${error.message}` });
  }
};
