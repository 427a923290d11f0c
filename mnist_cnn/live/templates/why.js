// Why this answer and not another: which maps vote for it, which ink speaks for it; and whether it resembles the training images.

const VOTES_SHOWN = 4;
const PATCH = 2; // pixels erased on each side of a place, as in the report: 5x5

// The last maps and the dense layer that reads them, if that is how the network ends.
function votersOf(stages) {
  const last = stages.at(-1);
  return last.layer.kind === "dense" && last.input.height > 1 ? last : null;
}

// For each of the last maps: by how much it raises one class's logit more than another's.
function votesOf({ layer, input }, winner, rival) {
  const size = input.height * input.width, weightOf = (label, i) => layer.weights[label * layer.inputs + i];
  return Array.from({ length: input.channels }, (_, channel) => {
    let vote = 0;
    for (let i = channel * size; i < (channel + 1) * size; i++) vote += (weightOf(winner, i) - weightOf(rival, i)) * input.values[i];
    return { channel, vote };
  });
}

function showVotes() {
  const last = answers.length ? votersOf(answers[0].stages) : null;
  if (!last) return byId("votes").replaceChildren();
  const { chances, logits } = answers[0], winner = best(chances), rival = rivalOf(chances);
  const votes = votesOf(last, winner, rival).sort((a, b) => b.vote - a.vote);
  const rows = [[`for ${PAGE.classes[winner]}`, votes.slice(0, VOTES_SHOWN)], [`for ${PAGE.classes[rival]}`, votes.slice(-VOTES_SHOWN).reverse()]];
  const said = `${PAGE.classes[winner]} is ahead of ${PAGE.classes[rival]} by ${number(logits[winner] - logits[rival])}.`;
  byId("votes").replaceChildren(element("p", {}, said), ...rows.map(([title, some]) =>
    element("div", { className: "votes" }, element("h3", {}, title), ...some.map((vote) => showVote(last.input, vote)))));
}

function showVote(maps, { channel, vote }) {
  const size = maps.height * maps.width, canvas = element("canvas", { ariaHidden: "true" });
  drawMosaic(canvas, { ...maps, channels: 1, values: maps.values.subarray(channel * size, (channel + 1) * size) }, ...colours());
  return element("figure", {}, canvas, element("figcaption", { className: vote > 0 ? "for" : "against" }, `map ${channel + 1}: ${signed(vote)}`));
}

// Erase 5x5 pixels around each place near ink: where the answer's lead over the other class falls, there was evidence for it.
// It is computed between frames, and begins anew when the drawing changes.
let evidence = null;

function showEvidence() {
  const wanted = byId("evident").checked && answers.length;
  byId("why").textContent = "";
  if (!wanted) { evidence = null; return; }
  const { chances } = answers[0], winner = best(chances), rival = rivalOf(chances), lead = ({ logits }) => logits[winner] - logits[rival];
  if (evidence?.image !== seen || evidence.rival !== rival) {
    const near = [...seen.keys()].filter((i) => Math.floor(i / SIDE) % 2 === 0 && i % 2 === 0 && patch(i).some((j) => seen[j] > 0));
    evidence = { image: seen, rival, lead: lead(answers[0]), left: near, falls: [] };
    requestAnimationFrame(() => computeEvidence(evidence, lead));
  }
  byId("why").replaceChildren(element("span", { className: "for" }, "Orange"), ` ink speaks for ${PAGE.classes[winner]}, `,
    element("span", { className: "against" }, "blue"), ` ink for ${PAGE.classes[rival]}: erasing it changes the lead.`);
  drawEvidence();
}

function computeEvidence(work, lead) {
  const started = performance.now();
  while (work === evidence && work.left.length && performance.now() - started < 10) {
    const place = work.left.pop(), erased = Float32Array.from(work.image, (level) => level / 255);
    for (const i of patch(place)) erased[i] = 0;
    work.falls.push([place, work.lead - lead(forward(networks[0], erased))]);
  }
  if (work !== evidence) return;
  drawEvidence();
  if (work.left.length) requestAnimationFrame(() => computeEvidence(work, lead));
}

function patch(place) {
  const [row, column] = [Math.floor(place / SIDE), place % SIDE], places = [];
  for (let y = Math.max(0, row - PATCH); y <= Math.min(SIDE - 1, row + PATCH); y++) {
    for (let x = Math.max(0, column - PATCH); x <= Math.min(SIDE - 1, column + PATCH); x++) places.push(y * SIDE + x);
  }
  return places;
}

function drawEvidence() {
  const context = byId("seen").getContext("2d"), style = getComputedStyle(document.documentElement);
  const most = Math.max(...evidence.falls.map(([, fall]) => Math.abs(fall)), 1e-9);
  for (const [place, fall] of evidence.falls) {
    context.globalAlpha = 0.8 * Math.abs(fall) / most;
    context.fillStyle = style.getPropertyValue(fall > 0 ? "--for" : "--against");
    context.fillRect(place % SIDE, Math.floor(place / SIDE), 2, 2);
  }
  context.globalAlpha = 1;
}

// The means and components of all classes, as model/familiarity.py measures them.
const familiarity = PAGE.familiarity && { ...PAGE.familiarity, numbers: decodeWeights(PAGE.familiarity.numbers, "float16") };

// Whether the features that the last layer reads lie farther from the answer's class than those of training images do.
function isUnfamiliar({ stages, chances }) {
  if (!familiarity) return false;
  const { limit, features, components, numbers } = familiarity, label = best(chances), classes = PAGE.classes.length;
  const x = average(stages.at(-1).input.values, features), length = Math.hypot(...x) || 1;
  const rest = x.map((value, i) => value / length - numbers[label * features + i]);
  let distance = rest.reduce((sum, value) => sum + value * value, 0);
  for (let component = 0; component < components; component++) {
    const start = (classes + label * components + component) * features;
    distance -= rest.reduce((sum, value, i) => sum + value * numbers[start + i], 0) ** 2;
  }
  return distance > limit;
}

// Fewer values, each the mean of its share of the others, as torch's adaptive_avg_pool1d.
function average(values, count) {
  if (values.length <= count) return Array.from(values);
  return Array.from({ length: count }, (_, i) => {
    const part = values.subarray(Math.floor((i * values.length) / count), Math.ceil(((i + 1) * values.length) / count));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}
