// One run of an ONNX file on onnxruntime-web's WebAssembly, under Node:
//   node browser.mjs PACKAGE MODEL INPUT SHAPE OUTPUT
// PACKAGE: the folder of onnxruntime-web; INPUT: float32 of SHAPE (JSON); OUTPUT: a folder, for NAME.f32 of each output.
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, model, input, shape, output] = process.argv.slice(2);
const ort = await import(pathToFileURL(resolve(folder, "dist", "ort.node.min.mjs")));
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(model)), { executionProviders: ["wasm"] });
const values = new Float32Array(readFileSync(input).buffer.slice(0));
const outputs = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", values, JSON.parse(shape)) });
for (const [name, tensor] of Object.entries(outputs)) {
  writeFileSync(join(output, `${name}.f32`), new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
}
console.log(JSON.stringify({ version: ort.env.versions.web, outputs: Object.keys(outputs) }));
