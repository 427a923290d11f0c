// The page: from the drawing to the answer. PAGE is the data that the command put into it.

const networks = PAGE.networks.map((packed) => buildNetwork(packed.layers, decodeWeights(packed.weights, packed.dtype)));
const byId = (id) => document.getElementById(id);
const FRAME = "#d55e00";
const BARS = 12; // of the probabilities; of more classes the most probable
const PEN = 20; // of 280: as wide as MNIST's strokes when a digit fills the sheet
const EMPTY = { strokes: [], image: null, label: null };

let drawing = EMPTY;  // strokes, or an image of 28x28 bytes, which may have a label; never changed, only replaced
let seen = null;  // what the networks see: 28x28 bytes, or nothing
let answers = [];  // of each network: its stages, logits, and probabilities
let opponent = null;  // the class that the answer is compared with, if one was chosen
let cursor = null, waiting = false;

function update() {
  waiting = false;
  const started = performance.now(), { strokes, image } = drawing;
  seen = image ?? (strokes.length ? toImage(strokes, PEN, byId("centred").checked) : null);
  const input = seen && Float32Array.from(seen, (level) => level / 255);
  answers = seen ? networks.map((network) => forward(network, input)) : [];
  for (const answer of answers) answer.chances = softmax(answer.logits);
  if (!seen) cursor = null;
  show();
  if (pen === null) byId("spoken").textContent = byId("answer").innerText;  // not at each point of a stroke
  performance.measure("update", { start: started });
}

function show() {
  drawSheet();
  drawImage(byId("seen"), seen ?? new Uint8Array(SIDE * SIDE), ...colours());
  showAnswer();
  showMaps();
  showVotes();
  showEvidence();
}

function updateSoon() {
  if (!waiting) requestAnimationFrame(update);
  waiting = true;
}

// The colours of the paper and of the ink, as red, green and blue.
function colours() {
  const style = getComputedStyle(document.documentElement);
  return ["--paper", "--text"].map((name) => style.getPropertyValue(name).match(/\w\w/g).map((part) => parseInt(part, 16)));
}

function drawSheet() {
  const context = byId("sheet").getContext("2d"), style = getComputedStyle(document.documentElement);
  context.clearRect(0, 0, SHEET, SHEET);
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = style.getPropertyValue("--text");
  if (drawing.image) context.drawImage(enlarged(drawing.image), 0, 0, SHEET, SHEET);
  for (const stroke of drawing.strokes) {
    context.beginPath();
    context.arc(...stroke[0], PEN / 2, 0, 2 * Math.PI);  // a line without length is not drawn
    context.fill();
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
}

function enlarged(image) {
  const canvas = element("canvas", { width: SIDE, height: SIDE });
  drawImage(canvas, image, ...colours());
  return canvas;
}

function percent(chance) {
  if (chance > 0.9995) return "over 99.9 %";
  return chance < 0.0005 ? "under 0.1 %" : `${(100 * chance).toFixed(1)} %`;
}

// The class that the answer is compared with: the one that was chosen, or else the second most probable.
function rivalOf(chances) {
  const winner = best(chances);
  return opponent !== null && opponent !== winner ? opponent : best(chances.map((chance, label) => (label === winner ? -1 : chance)));
}

function showAnswer() {
  const winners = answers.map(({ chances }) => best(chances));
  networks.forEach((_, number) => showChances(byId("chances").children[number], answers[number]?.chances));
  byId("answer").replaceChildren(...(answers.length ? answers.map(inWords) : [byId("sheet").title]));
  const remarks = answers.length ? [misread(winners[0]), isUnfamiliar(answers[0]) ? "Unlike the training images: perhaps none of the classes." : ""].filter(Boolean) : [];
  byId("answer").append(element("small", {}, remarks[0] ?? ""));
  byId("answer").dataset.label = answers.length ? PAGE.classes[winners[0]] : "";
}

function inWords({ chances }, number) {
  const winner = best(chances), whose = networks.length > 1 ? `${PAGE.networks[number].name}: ` : "";
  const sure = chances[winner] < 0.9 ? `perhaps ${PAGE.classes[winner]}` : PAGE.classes[winner];
  return element("span", {}, `${whose}${sure} (${percent(chances[winner])})`);
}

function misread(winner) {
  return drawing.label === null || drawing.label === winner ? "" : `Misread: its label is ${PAGE.classes[drawing.label]}.`;
}

function showChances(section, chances) {
  const order = PAGE.classes.map((_, label) => label), winner = chances && best(chances), rival = chances && rivalOf(chances);
  if (order.length > BARS && chances) order.sort((a, b) => chances[b] - chances[a]);  // the most probable ones
  order.slice(0, BARS).forEach((label, place) => {
    const bar = section.querySelectorAll("button")[place], said = chances ? percent(chances[label]) : "";
    bar.querySelector("u").textContent = bar.querySelector("u").title = PAGE.classes[label];
    bar.parentElement.className = !chances ? "" : label === winner ? "best" : label === rival ? "rival" : "";
    bar.querySelector("i").style.width = `${100 * (chances?.[label] ?? 0)}%`;
    bar.querySelector("b").textContent = said.replace("over ", "> ").replace("under ", "< ");
    bar.ariaLabel = `${PAGE.classes[label]}: ${said || "nothing is drawn"}`;
    bar.ariaPressed = String(label === rival);
    bar.onclick = () => { opponent = label; show(); };
  });
}

function showMaps() {
  for (const canvas of document.querySelectorAll("#maps canvas")) {
    if (answers.length) drawMosaic(canvas, answers[0].stages[canvas.dataset.stage].output, ...colours());
    else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }
  showExplanation();
}

// Explain the value at the cursor, and frame it and where it comes from.
function showExplanation() {
  const stage = answers.length && cursor && answers[0].stages[cursor.stage];
  const value = stage && valueAt(stage.output, cursor.row, cursor.column);
  document.body.classList.toggle("pointing", Boolean(value));
  if (!value) {
    if (!cursor) byId("explanation").replaceChildren(element("p", { className: "quiet" }, "Point at a map."));
    return;
  }
  const close = element("button", { type: "button", className: "close", ariaLabel: "Close", onclick: () => { cursor = null; show(); } }, "×");
  byId("explanation").replaceChildren(close, explain(answers[0].stages, cursor.stage, value));
  const canvasOf = (number) => (number < 0 ? byId("seen") : document.querySelector(`canvas[data-stage="${number}"]`));
  const { channels, row, column, side } = sourceOf(stage, value);
  frame(canvasOf(cursor.stage), stage.output, [value.channel], value.row, value.column, 1, FRAME);
  frame(canvasOf(cursor.stage - 1), stage.input, channels, row, column, side, FRAME);
}

// Build what depends on the network: a bar for each class, a canvas for each stage with maps, a button for each test image.
function build() {
  const { stages } = forward(networks[0], new Float32Array(SIDE * SIDE));
  const longest = Math.max(...PAGE.classes.map((name) => name.length));
  byId("chances").style.setProperty("--name", `${Math.min(12, longest) + 1}ch`);
  networks.forEach((_, number) => {
    const bars = PAGE.classes.slice(0, BARS).map(() => element("li", {}, element("button", { type: "button",
      title: "Compare the answer with this class" }, element("u", {}), element("span", {}, element("i", {})), element("b", {}))));
    const { name } = PAGE.networks[number], list = element("ol", { ariaLabel: `Probability of each class: ${name}` }, ...bars);
    const title = networks.length > 1 ? [element("h3", {}, name)] : [], more = PAGE.classes.length - bars.length;
    const note = more ? [element("p", { className: "quiet" }, `and ${more} less probable classes`)] : [];
    byId("chances").append(element("section", {}, ...title, list, ...note));
  });
  stages.forEach(({ layer, output }, number) => {
    if (layer.kind === "dense") return;
    const size = `${output.channels} maps of ${output.height} × ${output.width}`, { height, width } = mosaicOf(output);
    const title = layer.kind === "conv" ? `${layer.name}: ${size}` : `${layer.name} (${layer.kind}): ${size}`;
    const canvas = element("canvas", { tabIndex: 0, width, height });
    canvas.dataset.stage = number;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}. The arrow keys move over them.`);
    byId("maps").append(element("h3", {}, title), canvas);
    listenToMap(canvas, number, output);
  });
  byId("looking").hidden = stages[0].layer.kind !== "conv";
  byId("voting").hidden = !votersOf(stages);
  PAGE.samples.forEach(({ label, answered }, number) => {
    const [name, given] = [PAGE.classes[label], PAGE.classes[answered]];
    const canvas = element("canvas", { width: SIDE, height: SIDE }), button = element("button", { type: "button" }, canvas);
    button.ariaLabel = button.title = label === answered ? `a test image that shows ${name}` : `a test image that shows ${name}, read as ${given}`;
    button.className = label === answered ? "" : "misread";
    button.onclick = () => draw({ ...EMPTY, image: testImage(number), label });
    byId("samples").append(button);
  });
}

function testImage(number) {
  return new Uint8Array(PAGE.images).subarray(SIDE * SIDE * number, SIDE * SIDE * (number + 1));
}

function showTestImages() {
  document.querySelectorAll("#samples canvas").forEach((canvas, number) => drawImage(canvas, testImage(number), ...colours()));
}

function listenToMap(canvas, stage, output) {
  const { columns, step } = mosaicOf(output);
  const point = (row, column) => { cursor = { stage, row, column }; requestAnimationFrame(show); };
  canvas.onpointermove = canvas.onpointerdown = (event) => {
    const box = canvas.getBoundingClientRect();
    point(Math.floor(((event.clientY - box.top) / box.height) * canvas.height),
      Math.floor(((event.clientX - box.left) / box.width) * canvas.width));
  };
  canvas.onkeydown = (event) => {
    const { row, column } = cursor?.stage === stage ? cursor : { row: 0, column: 0 };
    const map = Math.floor(row / step[0]) * columns + Math.floor(column / step[1]), last = output.channels - 1;
    const jump = { Home: 0, End: last, PageUp: Math.max(0, map - 1), PageDown: Math.min(last, map + 1) }[event.key];
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move && jump === undefined) return;
    event.preventDefault();
    if (move) point(Math.min(canvas.height - 1, Math.max(0, row + move[0])), Math.min(canvas.width - 1, Math.max(0, column + move[1])));
    else point(Math.floor(jump / columns) * step[0] + (row % step[0]), (jump % columns) * step[1] + (column % step[1]));
    requestAnimationFrame(() => { byId("spoken").textContent = byId("explanation").querySelector("h3")?.dataset.spoken ?? ""; });
  };
}
