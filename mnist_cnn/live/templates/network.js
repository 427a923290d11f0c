// The forward pass. A map stack is {channels, height, width, values}, values in rows, channel after channel.

function decodeBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

// Half precision (IEEE 754): 1 bit sign, 5 bits exponent, 10 bits fraction.
function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function decodeWeights(base64, dtype) {
  const buffer = decodeBase64(base64);
  return dtype === "float16" ? Float32Array.from(new Uint16Array(buffer), halfToFloat) : new Float32Array(buffer);
}

// Give each layer its part of the weights: in each, the kernels come before the biases.
function buildNetwork(layers, weights) {
  let start = 0;
  const take = (count) => weights.subarray(start, (start += count));
  return layers.map((layer) => {
    if (layer.kind !== "conv" && layer.kind !== "dense") return layer;
    const each = layer.inputs * (layer.kind === "conv" ? 9 : 1);
    return { ...layer, weights: take(layer.outputs * each), biases: take(layer.outputs) };
  });
}

// One digit's logits, and what each layer puts out after its ReLU. The maximum commutes with ReLU, so ReLU may stand
// before the pooling here, and behind it in PyTorch.
function forward(network, image) {
  let x = { channels: 1, height: 28, width: 28, values: Float32Array.from(image) };
  const stages = network.map((layer) => {
    const output = { conv: convolve, max: pool, average: pool, dense: multiply }[layer.kind](layer, x);
    if (layer.relu) output.values.forEach((value, i) => { if (value < 0) output.values[i] = 0; });
    const stage = { layer, input: x, output };
    x = output;
    return stage;
  });
  return { stages, logits: x.values };
}

// Two filters at a time, which read the same values, and all in doubles: three times as fast as one by one from floats.
function convolve(layer, input) {
  const x = pad(input, layer.pad), stride = layer.stride, size = x.height * x.width, inputs = Float64Array.from(x.values);
  const height = Math.floor((x.height - 3) / stride) + 1, width = Math.floor((x.width - 3) / stride) + 1;
  const values = new Float32Array(layer.outputs * height * width), sums = [0, 1].map(() => new Float64Array(height * width));
  for (let filter = 0; filter < layer.outputs; filter += 2) {
    const two = [filter, Math.min(filter + 1, layer.outputs - 1)];  // an odd last one is computed twice
    sums.forEach((sum, i) => sum.fill(layer.biases[two[i]]));
    for (let channel = 0; channel < x.channels; channel++) {
      const starts = two.map((each) => 9 * (each * x.channels + channel));
      addProducts(sums, layer.weights, starts, inputs.subarray(channel * size), x.width, height, width, stride);
    }
    sums.forEach((sum, i) => values.set(sum, two[i] * height * width));
  }
  return { channels: layer.outputs, height, width, values };
}

// Add one input map's products with the kernels of two filters, which start at places k and l of the weights, w.
function addProducts([sum1, sum2], w, [k, l], v, across, height, width, stride) {
  const a = w[k], b = w[k + 1], c = w[k + 2], d = w[k + 3], e = w[k + 4], f = w[k + 5], g = w[k + 6], h = w[k + 7], i = w[k + 8];
  const A = w[l], B = w[l + 1], C = w[l + 2], D = w[l + 3], E = w[l + 4], F = w[l + 5], G = w[l + 6], H = w[l + 7], I = w[l + 8];
  for (let row = 0, place = 0; row < height; row++) {
    let p = row * stride * across, q = p + across, r = q + across;
    for (let column = 0; column < width; column++, place++, p += stride, q += stride, r += stride) {
      const m = v[p], n = v[p + 1], o = v[p + 2], t = v[q], u = v[q + 1], x = v[q + 2], y = v[r], z = v[r + 1], j = v[r + 2];
      sum1[place] += a * m + b * n + c * o + d * t + e * u + f * x + g * y + h * z + i * j;
      sum2[place] += A * m + B * n + C * o + D * t + E * u + F * x + G * y + H * z + I * j;
    }
  }
}

function pad(x, [left, right, top, bottom]) {
  if (left + right + top + bottom === 0) return x;
  const height = x.height + top + bottom, width = x.width + left + right;
  const values = new Float32Array(x.channels * height * width);
  for (let row = 0; row < x.channels * x.height; row++) {
    const channel = Math.floor(row / x.height), target = (channel * height + top + (row % x.height)) * width + left;
    values.set(x.values.subarray(row * x.width, (row + 1) * x.width), target);
  }
  return { channels: x.channels, height, width, values };
}

function pool(layer, x) {
  const height = x.height >> 1, width = x.width >> 1, values = new Float32Array(x.channels * height * width);
  for (let i = 0; i < values.length; i++) {
    const [a, b, c, d] = quad(x, Math.floor(i / (height * width)), Math.floor(i / width) % height, i % width);
    values[i] = layer.kind === "max" ? Math.max(a, b, c, d) : (a + b + c + d) / 4;
  }
  return { channels: x.channels, height, width, values };
}

// The 2x2 values that a pooled value comes from.
function quad(x, channel, row, column) {
  const p = (channel * x.height + 2 * row) * x.width + 2 * column;
  return [x.values[p], x.values[p + 1], x.values[p + x.width], x.values[p + x.width + 1]];
}

function multiply(layer, x) {
  const values = new Float32Array(layer.outputs);
  for (let row = 0; row < layer.outputs; row++) {
    let sum = layer.biases[row];
    for (let i = 0; i < layer.inputs; i++) sum += layer.weights[row * layer.inputs + i] * x.values[i];
    values[row] = sum;
  }
  return { channels: layer.outputs, height: 1, width: 1, values };
}

function softmax(logits) {
  const greatest = Math.max(...logits), powers = Array.from(logits, (logit) => Math.exp(logit - greatest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

const best = (chances) => chances.indexOf(Math.max(...chances));

// Where one value of a convolution comes from: for each input map the 3x3 window, the kernel, and their products' sum.
function explainConvolution({ layer, input, output }, filter, row, column) {
  const x = pad(input, layer.pad), kernels = layer.weights.subarray(9 * filter * x.channels);
  const terms = Array.from({ length: x.channels }, (_, channel) => {
    const start = (channel * x.height + row * layer.stride) * x.width + column * layer.stride;
    const window = [0, 1, 2].flatMap((y) => Array.from(x.values.subarray(start + y * x.width, start + y * x.width + 3)));
    const kernel = Array.from(kernels.subarray(9 * channel, 9 * channel + 9));
    const products = window.map((value, i) => value * kernel[i]);
    return { channel, window, kernel, products, sum: products.reduce((a, b) => a + b) };
  });
  const bias = layer.biases[filter], sum = terms.reduce((total, term) => total + term.sum, bias);
  return { terms, bias, sum, value: output.values[(filter * output.height + row) * output.width + column] };
}
