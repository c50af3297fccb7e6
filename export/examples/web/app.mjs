// A song is decoded here, separated by worker.mjs, and played, drawn and saved here. Nothing leaves the page.
import { Player } from "./player.mjs";
import { draw } from "./spectrogram.mjs";
import { toWav } from "./wav.mjs";

const LONGEST = 15; // minutes: the song and its stems are in memory at once, 100 MB a minute
const $ = (id) => document.getElementById(id);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

let manifest;
let worker;
let player;
let links = [];
let tick; // the next update, while it plays

function show(id, text) {
  $(id).hidden = !text;
  if (text) $(id).textContent = text;
}

function idle() {
  $("work").hidden = true;
  $("file").disabled = false;
  $("file").value = "";
}

function fail(text) {
  show("error", text);
  idle();
}

/** A worker with the network in it. */
function start() {
  worker?.terminate();
  worker = new Worker("worker.mjs", { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.onerror = () => reject(new Error("this browser cannot run the network: it needs WebAssembly with SIMD, and module workers"));
  });
}

/** Seconds of a file, by its header alone; undefined where this browser cannot tell. */
function lengthOf(file) {
  return new Promise((resolve) => {
    const audio = new Audio();
    const link = URL.createObjectURL(file);
    const done = (seconds) => {
      URL.revokeObjectURL(link);
      resolve(seconds);
    };
    audio.onloadedmetadata = () => done(audio.duration);
    audio.onerror = () => done(undefined);
    audio.preload = "metadata";
    audio.src = link;
  });
}

/** A file's channels at the network's rate, one or two. */
async function decoded(file) {
  const { rate } = manifest.graph;
  const buffer = await new OfflineAudioContext(2, 1, rate).decodeAudioData(await file.arrayBuffer());
  return Array.from({ length: Math.min(2, buffer.numberOfChannels) }, (_, channel) => buffer.getChannelData(channel).slice());
}

async function separate(file) {
  show("error", "");
  $("player").hidden = true;
  $("file").disabled = true;
  await player?.close();
  player = undefined;
  $("work").hidden = false;
  $("progress").removeAttribute("value");
  $("status").textContent = `Reading ${file.name}`;
  const length = await lengthOf(file);
  if (length / 60 > LONGEST) {
    return fail(`${file.name} is ${Math.round(length / 60)} minutes long. All stems stay in memory, so this page takes ${LONGEST} minutes at most: cut the song first.`);
  }
  let channels;
  try {
    channels = await decoded(file);
  } catch {
    return fail(`${file.name} is not a sound file that this browser can read. Try WAV, MP3, FLAC, OGG or M4A.`);
  }
  if (!channels[0].length) return fail(`${file.name} holds no sound.`);
  const seconds = channels[0].length / manifest.graph.rate;
  $("status").textContent = `Separating ${file.name}, ${clock(seconds)}`;
  worker.onmessage = ({ data }) => {
    if (data.error) fail(data.error);
    if (data.share) $("progress").value = data.share;
    if (data.stems) finish(file.name, data, seconds);
  };
  worker.onerror = ({ message }) => fail(`Separating stopped: ${message}`);
  worker.postMessage({ channels }, channels.map((channel) => channel.buffer));
}

function finish(name, { stems, seconds: taken }, seconds) {
  const { rate } = manifest.graph;
  player = new Player(rate);
  links.forEach((link) => URL.revokeObjectURL(link));
  links = [];
  $("stems").replaceChildren(...Object.entries(stems).map(([target, channels]) => stemRow(name, target, channels, rate)));
  $("result").textContent = `${name}: ${clock(seconds)} of sound in ${taken.toFixed(1)} s, ${(seconds / taken).toFixed(1)} times real time.`;
  $("seek").max = player.duration;
  $("player").hidden = false;
  idle();
  update();
  $("play").focus();
}

function stemRow(name, target, channels, rate) {
  const row = $("stem").content.cloneNode(true).firstElementChild;
  const part = (selector) => row.querySelector(selector);
  player.add(target, channels);
  row.dataset.target = target;
  part("h2").textContent = target;
  const link = URL.createObjectURL(new Blob([toWav(channels, rate)], { type: "audio/wav" }));
  links.push(link);
  part("a").href = link;
  part("a").download = `${name.replace(/\.[^.]*$/, "")} - ${target}.wav`;
  part("a").setAttribute("aria-label", `Download ${target}`);
  part("canvas").setAttribute("aria-label", `Spectrogram of ${target}`);
  draw(part("canvas"), channels[0], rate);
  for (const kind of ["mute", "solo"]) {
    const button = part(`.${kind}`);
    button.setAttribute("aria-label", `${button.textContent} ${target}`);
    button.onclick = () => {
      const pressed = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", pressed);
      player.set(target, kind === "mute" ? { muted: pressed } : { solo: pressed });
      update();
    };
  }
  part(".volume").setAttribute("aria-label", `Volume of ${target}`);
  part(".volume").oninput = ({ target: slider }) => player.set(target, { volume: Number(slider.value) });
  return row;
}

/** The page as the player is. */
function update() {
  if (!player) return;
  const { position, duration } = player;
  if (player.playing && position >= duration) player.pause();
  $("play").textContent = player.playing ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", player.playing);
  $("seek").value = position;
  $("time").textContent = `${clock(position)} / ${clock(duration)}`;
  for (const row of $("stems").children) {
    row.classList.toggle("silent", !player.heard(row.dataset.target));
    row.querySelector("i").style.left = `${(100 * position) / duration}%`;
  }
  cancelAnimationFrame(tick);
  if (player.playing) tick = requestAnimationFrame(update);
}

$("file").onchange = ({ target }) => target.files.length && separate(target.files[0]);
$("drop").ondragover = (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
};
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files.length && !$("file").disabled) separate(event.dataTransfer.files[0]);
};
$("stop").onclick = async () => {
  idle();
  $("file").disabled = true;
  try {
    await start();
    $("file").disabled = false;
  } catch (error) {
    fail(`The network cannot be loaded again: ${error.message}.`);
  }
};
$("play").onclick = async () => {
  if (player.playing) player.pause();
  else await player.play();
  update();
};
$("seek").oninput = async ({ target }) => {
  await player.seek(Number(target.value));
  update();
};

$("model").textContent = "Loading the network";
try {
  manifest = await (await fetch("model.json")).json();
  if (!self.WebAssembly) throw new Error("this browser has no WebAssembly");
  const { threads } = await start();
  const size = manifest.bytes ? `, ${(manifest.bytes / 1e6).toFixed(1)} MB` : "";
  $("model").textContent = `${manifest.name}: ${manifest.targets.join(", ")}${size}. ${threads} thread${threads === 1 ? "" : "s"}.`;
  if (!self.crossOriginIsolated) {
    show("notice", "WebAssembly has no threads here, because the page was not served as cross-origin isolated or the browser does not know them: one core does all the work. python serve.py serves it so.");
  }
  $("file").disabled = false;
} catch (error) {
  $("model").textContent = "";
  show("error", `The page cannot start: ${error.message}.`);
}
