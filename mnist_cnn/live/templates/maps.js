// Response maps as mosaics, one canvas for each stage, and the explanation of the value that is pointed at.

// Up to 16 maps side by side, or 32 of many small ones: each has 17 pixels of the screen or more, a large one 34.
function mosaicOf({ channels, height, width }) {
  const columns = Math.min(channels, channels > 64 && width <= 13 ? 32 : 16), rows = Math.ceil(channels / columns);
  return { rows, columns, step: [height + 1, width + 1], height: rows * (height + 1) - 1, width: columns * (width + 1) - 1 };
}

// The tile and the value at a place of the mosaic; null in a gap between tiles.
function valueAt(output, row, column) {
  const { columns, step } = mosaicOf(output), y = row % step[0], x = column % step[1];
  const channel = Math.floor(row / step[0]) * columns + Math.floor(column / step[1]);
  return y < output.height && x < output.width && channel < output.channels ? { channel, row: y, column: x } : null;
}

// Draw all maps of a stage: from the paper's colour at 0 to the ink's at the strongest response of the stage.
function drawMosaic(canvas, output, paper, ink) {
  const { columns, step, height, width } = mosaicOf(output);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  const strongest = output.values.reduce((a, b) => Math.max(a, b), 1e-9);
  for (let channel = 0, i = 0; channel < output.channels; channel++) {
    const [top, left] = [Math.floor(channel / columns) * step[0], (channel % columns) * step[1]];
    for (let y = top; y < top + output.height; y++) {
      for (let x = left; x < left + output.width; x++, i++) {
        paint(picture.data, 4 * (y * width + x), paper, ink, output.values[i] / strongest);
      }
    }
  }
  context.putImageData(picture, 0, 0);
}

// Frame the places of some maps, from (row, column), side x side.
function frame(canvas, output, channels, row, column, side, colour) {
  const context = canvas.getContext("2d"), { columns, step } = mosaicOf(output);
  context.strokeStyle = colour;
  for (const channel of channels) {
    context.strokeRect((channel % columns) * step[1] + column - 0.5, Math.floor(channel / columns) * step[0] + row - 0.5, side + 1, side + 1);
  }
}

// Which values of the stage before a value comes from: the maps that count most, and the window in each of them.
function sourceOf(stage, { channel, row, column }) {
  if (stage.layer.kind !== "conv") return { channels: [channel], row: 2 * row, column: 2 * column, side: 2 };
  const { stride, pad } = stage.layer, channels = strongestTerms(explainConvolution(stage, channel, row, column)).map((term) => term.channel);
  return { channels, row: row * stride - pad[2], column: column * stride - pad[0], side: 3 };
}

function drawImage(canvas, image, paper, ink) {
  const context = canvas.getContext("2d"), picture = context.createImageData(SIDE, SIDE);
  image.forEach((level, i) => paint(picture.data, 4 * i, paper, ink, level / 255));
  context.putImageData(picture, 0, 0);
}

function paint(data, place, from, to, share) {
  for (let colour = 0; colour < 3; colour++) data[place + colour] = from[colour] + (to[colour] - from[colour]) * share;
  data[place + 3] = 255;
}

// Explain one value in words and small tables: an HTML element.
function explain(stages, place, { channel, row, column }) {
  const stage = stages[place], where = `${stage.layer.name}, map ${channel + 1}, row ${row + 1}, column ${column + 1}`;
  const head = element("h3", {}, where), value = stage.output.values[(channel * stage.output.height + row) * stage.output.width + column];
  head.dataset.spoken = `${where}: ${number(value)}`;
  const panel = element("div", {}, head);
  panel.append(...(stage.layer.kind === "conv" ? convolutionTerms(stage, sourceName(stages, place), channel, row, column)
    : [pooledFour(stage, channel, row, column)]));
  return panel;
}

function sourceName(stages, number) {
  return number ? stages[number - 1].layer.name : "the image";
}

const TERMS_SHOWN = 4;

function strongestTerms({ terms }) {
  return [...terms].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum)).slice(0, TERMS_SHOWN);
}

function convolutionTerms(stage, source, channel, row, column) {
  const explained = explainConvolution(stage, channel, row, column), { terms, bias, sum, value } = explained;
  const shown = strongestTerms(explained), largest = (part) => Math.max(...shown.flatMap((term) => term[part].map(Math.abs)), 1e-9);
  const rest = sum - bias - shown.reduce((total, term) => total + term.sum, 0), others = terms.length - shown.length;
  const equation = [...shown.map((term) => signed(term.sum)), ...(others ? [`${signed(rest)} (${others} other maps)`] : []),
    `${signed(bias)} (bias)`].join(" ").replace(/^\+ /, "");
  return [
    ...shown.map((term) => element("div", { className: "term" },
      grid(term.window, terms.length > 1 ? `${source}, map ${term.channel + 1}` : `${source}, 3×3`, ink, largest("window")),
      element("span", {}, "×"), grid(term.kernel, "kernel", bothSigns, largest("kernel")),
      element("span", {}, "="), grid(term.products, "products", bothSigns, largest("products")),
      element("span", {}, `sum ${number(term.sum)}`))),
    element("p", {}, `${equation} = ${number(sum)}`),
    element("p", {}, value > 0 ? `ReLU keeps it: ${number(value)}` : "ReLU makes what is negative 0: no response"),
  ];
}

function pooledFour({ layer, input, output }, channel, row, column) {
  const four = quad(input, channel, row, column), value = output.values[(channel * output.height + row) * output.width + column];
  const winner = layer.kind === "max" ? four.indexOf(Math.max(...four)) : -1;
  const text = layer.kind === "max" ? `the largest of the four: ${number(value)}` : `the mean of the four: ${number(value)}`;
  return element("div", { className: "term" }, grid(four, "2×2 before", ink, Math.max(...four, 1e-9), winner), element("span", {}, `→ ${text}`));
}

// A small square table of numbers, coloured by value; the winner of a pooling has a frame.
function grid(values, caption, colour, largest, winner = -1) {
  const side = Math.sqrt(values.length), table = element("table", { className: "grid" });
  table.append(element("caption", {}, caption));
  for (let row = 0; row < side; row++) {
    table.append(element("tr", {}, ...values.slice(row * side, (row + 1) * side).map((value, column) => {
      const cell = element("td", { className: row * side + column === winner ? "winner" : "" }, number(value));
      cell.style.background = colour(value, largest);
      return cell;
    })));
  }
  return table;
}

const ink = (value, largest) => `color-mix(in srgb, var(--text) ${(35 * value) / largest}%, transparent)`;
const bothSigns = (value, largest) =>
  `color-mix(in srgb, var(${value > 0 ? "--for" : "--against"}) ${(40 * Math.abs(value)) / largest}%, transparent)`;
const number = (value) => (Object.is(Math.round(value * 100), -0) ? "0.00" : value.toFixed(2).replace("-", "−"));
const signed = (value) => `${value < 0 ? "−" : "+"} ${Math.abs(value).toFixed(2)}`;

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
