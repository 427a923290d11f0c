// Strokes to MNIST's form, as mnist_cnn/data/pictures.py does it with a picture of them. A drawing is a list of strokes,
// a stroke a list of points [x, y] on a sheet of 280 x 280; y grows downwards.

const SHEET = 280, BOX = 20, SIDE = 28, CENTRE = 14;
const FITTED = 240;      // pixels on the longer side of a drawing before it is reduced to the box
const PEN_IN_BOX = 2.6;  // pixels: the median width of strokes in 2,000 of MNIST's training images (5 % to 95 %: 1.7 to 4.0)
const FAINTEST = 51;     // grey levels of 255: fainter ink is left out, as pictures.py does

// Return 28x28 bytes: the drawing centred and scaled as MNIST's digits are, or the sheet as it is.
function toImage(strokes, pen, centred) {
  if (!centred) return shrink(rasterise(strokes, pen, SHEET));
  const fitted = fit(strokes);
  return placeInBox(crop(rasterise(fitted.strokes, fitted.pen, SHEET)));
}

// Move and scale the drawing to the middle of the sheet, and choose the pen that will be as wide as MNIST's in the box.
function fit(strokes) {
  const points = strokes.flat(), xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const longer = Math.max(right - left, bottom - top);
  const pen = longer ? (longer * PEN_IN_BOX) / (BOX - PEN_IN_BOX) : 1, scale = FITTED / (longer + pen);
  const move = ([x, y]) => [(x - (left + right) / 2) * scale + SHEET / 2, (y - (top + bottom) / 2) * scale + SHEET / 2];
  return { strokes: strokes.map((stroke) => stroke.map(move)), pen: pen * scale };
}

// Draw with a round pen: a pixel's ink, 0 to 255, falls from full to none over the pixel at the stroke's edge.
function rasterise(strokes, pen, side) {
  const ink = new Uint8Array(side * side), radius = pen / 2;
  for (const stroke of strokes) {
    for (let i = 0; i < Math.max(1, stroke.length - 1); i++) {
      inkSegment(ink, side, stroke[i], stroke[Math.min(i + 1, stroke.length - 1)], radius);
    }
  }
  return { height: side, width: side, values: ink };
}

function inkSegment(ink, side, [x1, y1], [x2, y2], radius) {
  const dx = x2 - x1, dy = y2 - y1, squared = dx * dx + dy * dy;
  const first = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius - 1));
  const last = (a, b) => Math.min(side - 1, Math.ceil(Math.max(a, b) + radius));
  for (let row = first(y1, y2); row <= last(y1, y2); row++) {
    for (let column = first(x1, x2); column <= last(x1, x2); column++) {
      if (ink[row * side + column] === 255) continue;
      const x = column + 0.5 - x1, y = row + 0.5 - y1;
      const along = squared ? Math.min(1, Math.max(0, (x * dx + y * dy) / squared)) : 0;
      const covered = radius + 0.5 - Math.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2);  // Math.hypot is slow
      const level = Math.round(255 * Math.min(1, Math.max(0, covered)));
      if (level > ink[row * side + column]) ink[row * side + column] = level;
    }
  }
}

// Leave faint ink out, and cut off empty rows and columns.
function crop({ height, width, values }) {
  let top = height, bottom = -1, left = width, right = -1;
  values.forEach((level, i) => {
    if (level <= FAINTEST) return;
    const row = Math.floor(i / width), column = i % width;
    [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
    [left, right] = [Math.min(left, column), Math.max(right, column)];
  });
  const part = new Float32Array((bottom - top + 1) * (right - left + 1));
  for (let row = top, i = 0; row <= bottom; row++) {
    for (let column = left; column <= right; column++, i++) {
      const level = values[row * width + column];
      part[i] = level > FAINTEST ? level / 255 : 0;
    }
  }
  return { height: bottom - top + 1, width: right - left + 1, values: part };
}

// Scale the longer side to 20 pixels, and place the centre of mass in the middle of 28x28.
function placeInBox(ink) {
  const ratio = BOX / Math.max(ink.height, ink.width);
  const height = Math.max(1, roundHalfToEven(ink.height * ratio)), width = Math.max(1, roundHalfToEven(ink.width * ratio));
  const values = resize(ink, height, width).map((value) => Math.min(1, Math.max(0, value)));
  const greatest = values.reduce((a, b) => Math.max(a, b)), digit = values.map((value) => roundHalfToEven((255 * value) / greatest));
  let mass = 0, rows = 0, columns = 0;
  digit.forEach((level, i) => { mass += level; rows += level * Math.floor(i / width); columns += level * (i % width); });
  const corner = (sum, side) => Math.min(SIDE - side, Math.max(0, roundHalfToEven(CENTRE - sum / mass)));
  const top = corner(rows, height), left = corner(columns, width), image = new Uint8Array(SIDE * SIDE);
  digit.forEach((level, i) => { image[(top + Math.floor(i / width)) * SIDE + left + (i % width)] = level; });
  return image;
}

// Pillow's bicubic reduction: rows first become narrower, then columns shorter.
function resize({ height, width, values }, newHeight, newWidth) {
  const narrow = new Float32Array(height * newWidth), result = new Float32Array(newHeight * newWidth);
  taps(width, newWidth).forEach(({ start, weights }, column) => {
    for (let row = 0; row < height; row++) {
      narrow[row * newWidth + column] = weights.reduce((sum, w, i) => sum + w * values[row * width + start + i], 0);
    }
  });
  taps(height, newHeight).forEach(({ start, weights }, row) => {
    for (let column = 0; column < newWidth; column++) {
      result[row * newWidth + column] = weights.reduce((sum, w, i) => sum + w * narrow[(start + i) * newWidth + column], 0);
    }
  });
  return result;
}

// For each new position: where its old positions start, and their weights, whose sum is 1.
function taps(size, newSize) {
  const scale = size / newSize, stretch = Math.max(1, scale);
  return Array.from({ length: newSize }, (_, position) => {
    const centre = (position + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - 2 * stretch + 0.5)), end = Math.min(size, Math.trunc(centre + 2 * stretch + 0.5));
    const weights = Array.from({ length: end - start }, (_, i) => cubic((start + i - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b);
    return { start, weights: weights.map((weight) => weight / sum) };
  });
}

// Keys's cubic convolution (1981) with a = -1/2.
function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

function roundHalfToEven(value) {
  const below = Math.floor(value), rest = value - below;
  return below + (rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? 1 : 0);
}

// The sheet as it is, without MNIST's centring: each pixel is the mean of 10x10.
function shrink({ width, values }) {
  const factor = width / SIDE, sums = new Float64Array(SIDE * SIDE);
  values.forEach((level, i) => { sums[Math.floor(i / width / factor) * SIDE + Math.floor((i % width) / factor)] += level; });
  return Uint8Array.from(sums, (sum) => Math.round(sum / factor ** 2));
}
