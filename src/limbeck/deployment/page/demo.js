const LARGEST = 64e6; // pixels of an image file, as for `limbeck predict`
const model = JSON.parse(document.getElementById("model").textContent);
const at = (id) => document.getElementById(id);
const [channels, height, width] = model.image_shape;

/** A file of the demo: embedded in this page, gzipped in base64, or beside it. */
async function asset(name) {
  const embedded = at(`asset-${name}`);
  if (!embedded) return new Uint8Array(await (await fetch(name)).arrayBuffer());
  const packed = Uint8Array.from(atob(embedded.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function load() {
  const code = await asset("ort.wasm.bundle.min.mjs");
  const ort = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await asset("ort-wasm-simd-threaded.wasm");
  const session = await ort.InferenceSession.create(await asset("model.onnx"), { executionProviders: ["wasm"] });
  return { ort, session };
}

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").classList.toggle("error", isError);
}

function bars(list, probabilities) {
  const order = probabilities.map((p, index) => [p, index]).sort((a, b) => b[0] - a[0]).slice(0, 5);
  list.replaceChildren(...order.map(([p, index]) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = model.class_names[index];
    const value = document.createElement("span");
    value.className = "value";
    value.textContent = `${(100 * p).toFixed(1)} %`;
    value.dataset.probability = p;
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.setAttribute("aria-hidden", "true");
    bar.append(document.createElement("i"));
    bar.firstChild.style.width = `${100 * p}%`;
    item.append(name, value, bar);
    return item;
  }));
  return model.class_names[order[0][1]];
}

/** pixels: RGB, height × width × 3. sample: a bundled image, with the teacher's answer. */
async function classify(pixels, sample) {
  const { ort, session } = await runtime;
  const data = channels === 3 ? pixels : pixels.filter((_, index) => index % 3 === 0);
  const dims = model.layout === "nhwc" ? [1, height, width, channels] : [1, channels, height, width];
  const ordered = model.layout === "nhwc" ? data : planes(data);
  const images = new ort.Tensor("uint8", ordered, dims);
  await session.run({ images }); // warm-up: the first run of a shape allocates
  const started = performance.now();
  const { probabilities } = await session.run({ images });
  const took = performance.now() - started;
  show(pixels);
  const best = bars(at("student"), Array.from(probabilities.data));
  const teacher = sample && sample.teacher;
  at("teacher-part").hidden = !teacher;
  if (teacher) bars(at("teacher"), teacher);
  at("caption").textContent = sample ? `Label: ${model.class_names[sample.label]}` : `Your image, as the model sees it: ${width} × ${height} pixels`;
  at("result").hidden = false;
  say(`Predicted: ${best}, in ${took < 10 ? took.toFixed(1) : took.toFixed(0)} ms`);
  const top = at("answer").getBoundingClientRect().top;
  if (top > window.innerHeight * 0.6) at("answer").scrollIntoView({ block: "start" });
}

function planes(data) {
  const out = new Uint8Array(data.length);
  const size = height * width;
  for (let i = 0; i < size; i++) for (let c = 0; c < channels; c++) out[c * size + i] = data[i * channels + c];
  return out;
}

function show(pixels) {
  const canvas = at("seen");
  [canvas.width, canvas.height] = [width, height];
  canvas.classList.toggle("small", width < 144);
  const image = new ImageData(width, height);
  for (let i = 0, j = 0; i < pixels.length; i += 3, j += 4) {
    [image.data[j], image.data[j + 1], image.data[j + 2], image.data[j + 3]] = [pixels[i], pixels[i + 1], pixels[i + 2], 255];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** RGB pixels of an image file, without any resizing. Transparent parts become white, as in training. */
async function decode(blob) {
  const size = sizeOf(new Uint8Array(await blob.slice(0, 1 << 20).arrayBuffer()));
  if (!size) throw new Error("This is not a PNG, JPEG, WebP, GIF or BMP image.");
  if (size[0] * size[1] > LARGEST) throw new Error(`This image has ${size[0]} × ${size[1]} pixels; at most ${LARGEST / 1e6} million are read.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("This image is damaged.");
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, j = 0; j < rgba.length; i += 3, j += 4) [rgb[i], rgb[i + 1], rgb[i + 2]] = [rgba[j], rgba[j + 1], rgba[j + 2]];
  return { rgb, width: bitmap.width, height: bitmap.height };
}

async function open(blob, sample = null) {
  try {
    const image = await decode(blob);
    await classify(fit(image, width, height), sample);
  } catch (error) {
    at("result").hidden = true;
    say(error.message, true);
  }
}

function press(button) {
  for (const other of at("samples").children) other.setAttribute("aria-pressed", String(other === button));
}

for (const [index, sample] of model.samples.entries()) {
  const button = document.createElement("button");
  const image = document.createElement("img");
  image.src = `data:image/png;base64,${sample.png}`;
  image.alt = `Test image ${index + 1}: ${model.class_names[sample.label]}`;
  image.classList.toggle("small", width < 144);
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  button.append(image);
  button.addEventListener("click", () => {
    press(button);
    const bytes = Uint8Array.from(atob(sample.png), (c) => c.charCodeAt(0));
    open(new Blob([bytes], { type: "image/png" }), sample);
  });
  at("samples").append(button);
}
at("samples-title").hidden = !model.samples.length;

for (const id of ["file", "camera"]) {
  at(id).addEventListener("change", () => {
    if (at(id).files.length) { press(null); open(at(id).files[0]); }
    at(id).value = "";
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) { press(null); open(file); } else say("There is no image on the clipboard.", true);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) { press(null); open(event.dataTransfer.files[0]); }
  });
}

at("facts").textContent = model.facts;
const runtime = load();
runtime.then(() => say("Ready. Choose an image."), (error) => say(`The model could not be loaded: ${error.message}`, true));
