/** Size [width, height] of an image file from its first bytes; null for other files. */
export function sizeOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from, length) => String.fromCharCode(...bytes.subarray(from, from + length));
  try {
    if (text(1, 3) === "PNG") return [view.getUint32(16), view.getUint32(20)];
    if (text(0, 3) === "GIF") return [view.getUint16(6, true), view.getUint16(8, true)];
    if (text(0, 2) === "BM") return [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))];
    if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return webp(view, text(12, 4));
    if (view.getUint16(0) === 0xffd8) return jpeg(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return null;
}

function webp(view, kind) {
  if (kind === "VP8 ") return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return [(bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1];
  }
  const three = (at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16) + 1;
  return [three(24), three(27)];
}

function jpeg(view) {
  for (let at = 2; ; ) {
    const marker = view.getUint16(at);
    const isFrame = marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker);
    if (isFrame) return [view.getUint16(at + 7), view.getUint16(at + 5)];
    if (marker >> 8 !== 0xff) return null;
    at += 2 + view.getUint16(at + 2);
  }
}

/** The centred part of an image with the shape of the result, resized as the training images were: bicubic,
 * antialiased, in the integer arithmetic of Pillow, columns first. image: {rgb, width, height}. */
export function fit(image, width, height) {
  if (image.width === width && image.height === height) return image.rgb;
  const scale = Math.min(image.width / width, image.height / height);
  const [boxWidth, boxHeight] = [width * scale, height * scale];
  const [left, top] = [(image.width - boxWidth) / 2, (image.height - boxHeight) / 2];
  const narrow = pass(image.rgb, image.height, image.width * 3, 3, taps(image.width, left, boxWidth, width));
  return pass(transposed(narrow, image.height, width), width, image.height * 3, 3, taps(image.height, top, boxHeight, height), true);
}

const BITS = 22; // of the fraction: as many as 32 bits leave beside 8 of the pixel and 2 of overflow

/** For each new pixel: the first old one and the weights, as whole numbers. */
function taps(size, start, length, count) {
  const scale = length / count;
  const reach = 2 * Math.max(scale, 1);
  return Array.from({ length: count }, (_, index) => {
    const centre = start + (index + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - reach + 0.5));
    const to = Math.min(size, Math.trunc(centre + reach + 0.5));
    const weights = [];
    for (let x = from; x < to; x++) weights.push(bicubic((x - centre + 0.5) / Math.max(scale, 1)));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { from, weights: weights.map((w) => Math.trunc((w / sum) * 2 ** BITS + (w < 0 ? -0.5 : 0.5))) };
  });
}

function bicubic(x) {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

/** Resize each of `rows` rows of pixels; back: give the result transposed again. */
function pass(rgb, rows, stride, channels, all, back = false) {
  const out = new Uint8Array(rows * all.length * channels);
  for (let row = 0; row < rows; row++) {
    for (let index = 0; index < all.length; index++) {
      const { from, weights } = all[index];
      const place = (back ? index * rows + row : row * all.length + index) * channels;
      for (let c = 0; c < channels; c++) {
        let sum = 2 ** (BITS - 1);
        for (let k = 0; k < weights.length; k++) sum += rgb[row * stride + (from + k) * channels + c] * weights[k];
        out[place + c] = Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));
      }
    }
  }
  return out;
}

function transposed(rgb, rows, columns) {
  const out = new Uint8Array(rgb.length);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) out.set(rgb.subarray((y * columns + x) * 3, (y * columns + x) * 3 + 3), (x * rows + y) * 3);
  }
  return out;
}
