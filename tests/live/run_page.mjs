// Run the program of a page without a browser: node run_page.mjs PAGE.html REQUEST.json, the answer as JSON.
// A request: {images: FILE of bytes, drawings: [{strokes, pen}], centred, pixel: [stage, map, row, column], rivals: [label, label]},
// each optional.
import { readFileSync } from "node:fs";

const html = readFileSync(process.argv[2], "utf8"), request = JSON.parse(readFileSync(process.argv[3], "utf8"));
const script = html.match(/<script>([\s\S]*)<\/script>/)[1];
const withoutScreen = script.slice(0, script.indexOf("// The page: from the drawing"));
const page = new Function(`${withoutScreen}; return {
  network: buildNetwork(PAGE.networks[0].layers, decodeWeights(PAGE.networks[0].weights, PAGE.networks[0].dtype)),
  forward, softmax, toImage, fit, rasterise, explainConvolution, votesOf, votersOf, isUnfamiliar };`)();
const answer = {};
const run = (bytes) => page.forward(page.network, Float32Array.from(bytes, (level) => level / 255));

if (request.images) {
  const bytes = readFileSync(request.images), started = performance.now();
  const given = Array.from({ length: bytes.length / 784 }, (_, i) => run(bytes.subarray(784 * i, 784 * (i + 1))));
  answer.milliseconds = (performance.now() - started) / given.length;
  answer.logits = given.map(({ logits }) => Array.from(logits));
  answer.unfamiliar = given.map(({ stages, logits }) => page.isUnfamiliar({ stages, chances: page.softmax(logits) }));
  if (request.rivals) answer.votes = given.map(({ stages }) => page.votesOf(page.votersOf(stages), ...request.rivals).map(({ vote }) => vote));
}
if (request.drawings) {
  const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
  const drawings = request.drawings.map(({ strokes, pen }) => [strokes.map(pairs), pen]);
  answer.read = drawings.map(([strokes, pen]) => Array.from(page.toImage(strokes, pen, request.centred)));
  answer.fitted = drawings.map(([strokes]) => page.fit(strokes));
}
if (request.pixel) {
  const [stage, ...place] = request.pixel, { stages } = run(readFileSync(request.images).subarray(0, 784));
  answer.explained = page.explainConvolution(stages[stage], ...place);
  answer.stages = stages.map(({ output }) => Array.from(output.values));
}
process.stdout.write(JSON.stringify(answer));
