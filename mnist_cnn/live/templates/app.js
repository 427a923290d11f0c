// The page: drawing, answering, pointing. PAGE is the data that the command put into it.

const network = buildNetwork(PAGE.layers, decodeWeights(PAGE.weights, PAGE.dtype));
const byId = (id) => document.getElementById(id);
const FRAME = "#d55e00";
const BARS = 12; // of the probabilities; of more classes the most probable
const PEN = 20; // of 280: as wide as MNIST's strokes when a digit fills the sheet

const drawing = { strokes: [], image: null };  // strokes, or one of the test images
let seen = null, answer = null, cursor = null, waiting = false;  // what the network sees: 28x28 bytes, or nothing

function update() {
  waiting = false;
  const started = performance.now(), { strokes } = drawing;
  seen = drawing.image ?? (strokes.length ? toImage(strokes, PEN, byId("centred").checked) : null);
  answer = seen && forward(network, Float32Array.from(seen, (level) => level / 255));
  show();
  performance.measure("update", { start: started });
}

function show() {
  drawSheet();
  showAnswer();
  showMaps();
}

function updateSoon() {
  if (!waiting) requestAnimationFrame(update);
  waiting = true;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return ["--paper", "--map"].map((name) => style.getPropertyValue(name).match(/\w\w/g).map((part) => parseInt(part, 16)));
}

function drawSheet() {
  const context = byId("sheet").getContext("2d"), style = getComputedStyle(document.documentElement);
  context.clearRect(0, 0, SHEET, SHEET);
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = style.getPropertyValue("--text");
  for (const stroke of drawing.strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(...point);
    context.stroke();
  }
}

function showAnswer() {
  const [paper, map] = colours();
  drawImage(byId("seen"), seen ?? new Uint8Array(SIDE * SIDE), paper, map);
  const chances = answer ? softmax(answer.logits) : PAGE.classes.map(() => 0), best = chances.indexOf(Math.max(...chances));
  const order = chances.map((_, label) => label);
  if (chances.length > BARS) order.sort((a, b) => chances[b] - chances[a]);  // the most probable ones
  order.slice(0, BARS).forEach((label, place) => {
    const bar = byId("chances").children[place], chance = chances[label];
    bar.querySelector("u").textContent = bar.querySelector("u").title = PAGE.classes[label];
    bar.className = answer && label === best ? "best" : "";
    bar.querySelector("i").style.width = `${100 * chance}%`;
    bar.querySelector("b").textContent = answer ? `${(100 * chance).toFixed(1)} %` : "";
  });
  byId("answer").textContent = answer ? inWords(PAGE.classes[best], chances[best]) : byId("sheet").title;
  byId("answer").dataset.label = answer ? PAGE.classes[best] : "";
}

function inWords(name, chance) {
  const percent = chance > 0.999 ? "over 99.9 %" : `${(100 * chance).toFixed(0)} %`;
  return chance < 0.9 ? `Perhaps ${name}: the network is not sure (${percent}).` : `${name} (${percent})`;
}

function showMaps() {
  const [paper, map] = colours();
  for (const canvas of document.querySelectorAll("#maps canvas")) {
    if (answer) drawMosaic(canvas, answer.stages[canvas.dataset.stage].output, paper, map);
    else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }
  showExplanation();
}

// Explain the value at the cursor, and frame it and where it comes from.
function showExplanation() {
  const stage = answer && cursor && answer.stages[cursor.stage];
  const value = stage && valueAt(stage.output, cursor.row, cursor.column);
  if (!value) return;
  byId("explanation").replaceChildren(explain(answer.stages, cursor.stage, value));
  const canvasOf = (number) => (number < 0 ? byId("seen") : document.querySelector(`canvas[data-stage="${number}"]`));
  const { channels, row, column, side } = sourceOf(stage, value);
  frame(canvasOf(cursor.stage), stage.output, [value.channel], value.row, value.column, 1, FRAME);
  frame(canvasOf(cursor.stage - 1), stage.input, channels, row, column, side, FRAME);
}

// Build what depends on the network: a bar for each class, a canvas for each stage with maps, a button for each test image.
function build() {
  const { stages } = forward(network, new Float32Array(SIDE * SIDE));
  const longest = Math.max(...PAGE.classes.map((name) => name.length));
  byId("chances").style.setProperty("--name", `${Math.min(12, longest) + 1}ch`);
  for (const _ of PAGE.classes.slice(0, BARS)) {
    byId("chances").append(element("li", {}, element("u", {}), element("span", {}, element("i", {})), element("b", {})));
  }
  stages.forEach(({ layer, output }, number) => {
    if (layer.kind === "dense") return;
    const size = `${output.channels} maps of ${output.height} × ${output.width}`, { height, width } = mosaicOf(output);
    const title = layer.kind === "conv" ? `${layer.name}: ${size}` : `${layer.name} (${layer.kind}): ${size}`;
    const canvas = element("canvas", { tabIndex: 0, width, height });
    canvas.dataset.stage = number;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}. Move over them with the arrow keys.`);
    byId("maps").append(element("h3", {}, title), canvas);
    listenToMap(canvas, number);
  });
  byId("looking").hidden = stages[0].layer.kind !== "conv";
  PAGE.samples.forEach((sample, number) => {
    const [label, answered] = [PAGE.classes[sample.label], PAGE.classes[sample.answered]];
    const canvas = element("canvas", { width: SIDE, height: SIDE }), button = element("button", { type: "button" }, canvas);
    button.ariaLabel = label === answered ? `a test image that shows ${label}` : `a test image that shows ${label}, read as ${answered}`;
    button.title = button.ariaLabel;
    button.className = label === answered ? "" : "misread";
    button.onclick = () => { Object.assign(drawing, { strokes: [], image: testImage(number) }); updateSoon(); };
    byId("samples").append(button);
  });
}

function testImage(number) {
  return new Uint8Array(PAGE.images).subarray(SIDE * SIDE * number, SIDE * SIDE * (number + 1));
}

function showTestImages() {
  document.querySelectorAll("#samples canvas").forEach((canvas, number) => drawImage(canvas, testImage(number), ...colours()));
}

function listenToMap(canvas, stage) {
  const point = (row, column) => { cursor = { stage, row, column }; requestAnimationFrame(show); };
  canvas.onpointermove = canvas.onpointerdown = (event) => {
    const box = canvas.getBoundingClientRect();
    point(Math.floor(((event.clientY - box.top) / box.height) * canvas.height),
      Math.floor(((event.clientX - box.left) / box.width) * canvas.width));
  };
  canvas.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const { row, column } = cursor?.stage === stage ? cursor : { row: 0, column: 0 };
    point(Math.min(canvas.height - 1, Math.max(0, row + step[0])), Math.min(canvas.width - 1, Math.max(0, column + step[1])));
  };
}

function listenToPen() {
  const sheet = byId("sheet");
  let pen = null; // the pointer that draws now: a second finger does not
  const place = (event) => {
    const box = sheet.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SHEET, ((event.clientY - box.top) / box.height) * SHEET];
  };
  sheet.onpointerdown = (event) => {
    if (pen !== null || event.button > 0) return;
    pen = event.pointerId;
    sheet.setPointerCapture(pen);
    drawing.image = null;
    drawing.strokes.push([place(event)]);
    updateSoon();
  };
  sheet.onpointermove = (event) => {
    if (event.pointerId !== pen) return;
    const events = event.getCoalescedEvents?.() ?? [];
    drawing.strokes.at(-1).push(...(events.length ? events : [event]).map(place));
    updateSoon();
  };
  sheet.onpointerup = sheet.onpointercancel = (event) => { if (event.pointerId === pen) pen = null; };
}

byId("undo").onclick = () => { drawing.image = null; drawing.strokes.pop(); updateSoon(); };
byId("clear").onclick = () => { Object.assign(drawing, { strokes: [], image: null }); updateSoon(); };
byId("centred").onchange = updateSoon;
matchMedia("(prefers-color-scheme: dark)").onchange = () => { showTestImages(); show(); };
PAGE.images = decodeBase64(PAGE.images);
build();
showTestImages();
listenToPen();
drawing.image = testImage(0);
update();
