// The hand: drawing, undoing, moving, choosing, saving and sharing; and a digit that draws itself until something is touched.

const earlier = [], later = []; // what the drawing was before each change, and what was undone
let playing = 0; // the frame that continues the drawing that plays itself; -1 when it is complete
let pen = null; // the pointer that draws or drags now: a second finger does not

function draw(next) {
  cancelAnimationFrame(playing);
  playing = 0;
  earlier.push(drawing);
  later.length = 0;
  drawing = next;
  opponent = null;
  byId("linked").textContent = "";
  updateSoon();
}

// Undo, or redo: what is taken from one list is added to the other.
function goBack(from, to) {
  cancelAnimationFrame(playing);
  playing = 0;
  pen = null;
  if (from.length) {
    to.push(drawing);
    drawing = from.pop();
  } else if (from === earlier) drawing = EMPTY;
  updateSoon();
}

// The drawing, moved by some pixels of the sheet; an image moves by whole pixels of its own.
function moved({ strokes, image, label }, right, down) {
  const pixel = SHEET / SIDE, [x, y] = [Math.round(right / pixel), Math.round(down / pixel)];
  const source = (i) => [Math.floor(i / SIDE) - y, (i % SIDE) - x];
  const inside = ([row, column]) => row >= 0 && row < SIDE && column >= 0 && column < SIDE;
  return {
    strokes: strokes.map((stroke) => stroke.map((point) => [point[0] + right, point[1] + down])),
    image: image && image.map((_, i) => (inside(source(i)) ? image[source(i)[0] * SIDE + source(i)[1]] : 0)),
    label,
  };
}

function listenToPen() {
  const sheet = byId("sheet");
  let from = null; // where dragging began
  const place = (event) => {
    const box = sheet.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SHEET, ((event.clientY - box.top) / box.height) * SHEET];
  };
  sheet.onpointerdown = (event) => {
    if (pen !== null || event.button > 0) return;
    pen = event.pointerId;
    sheet.setPointerCapture(pen);
    from = isMoving() ? { place: place(event), drawing } : null;
    draw(from ? drawing : { ...EMPTY, strokes: [...(playing ? [] : drawing.strokes), [place(event)]] });
  };
  sheet.onpointermove = (event) => {
    if (event.pointerId !== pen) return;
    const events = event.getCoalescedEvents?.() ?? [], [x, y] = place(event);
    if (from) drawing = moved(from.drawing, x - from.place[0], y - from.place[1]);
    else drawing.strokes.at(-1).push(...(events.length ? events : [event]).map(place));
    updateSoon();
  };
  sheet.onpointerup = sheet.onpointercancel = (event) => {
    if (event.pointerId !== pen) return;
    pen = null;
    updateSoon();
  };
  sheet.onkeydown = (event) => {
    const step = { ArrowUp: [0, -10], ArrowDown: [0, 10], ArrowLeft: [-10, 0], ArrowRight: [10, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    byId("centred").checked = false;
    draw(moved(drawing, ...step));
  };
}

const isMoving = () => byId("move").getAttribute("aria-pressed") === "true";

// A three, as a hand draws it: points on the sheet.
const THREE = [[[86,66], [94,56], [104,48], [115,43], [127,41], [139,40], [152,41], [164,45], [174,52], [181,62],
  [184,75], [183,87], [178,99], [170,108], [160,116], [149,122], [138,127], [126,130], [126,130], [140,130],
  [154,133], [167,139], [178,147], [186,158], [191,171], [192,185], [189,199], [182,211], [172,222], [160,229],
  [147,234], [133,236], [119,235], [106,231], [94,224], [84,214]]];

function play(strokes) {
  const points = strokes.flatMap((stroke, number) => stroke.map((point) => [number, point])), started = performance.now();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const step = () => {
    const count = still ? points.length : Math.min(points.length, 1 + Math.floor((performance.now() - started) / 40));
    drawing = { ...EMPTY, strokes: strokes.map((_, number) => points.slice(0, count).filter(([of]) => of === number).map(([, point]) => point)).filter((stroke) => stroke.length) };
    updateSoon();
    playing = count < points.length ? requestAnimationFrame(step) : -1;
  };
  playing = requestAnimationFrame(step);
}

// A drawing in the address: #strokes= or, not centred, #sheet=, with two digits of base 36 for each number, which may lie beside
// the sheet; or #image=, its bytes in base64url.
const MARGIN = 500;

function toHash({ strokes, image }) {
  if (image) return `image=${btoa(String.fromCharCode(...image)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
  const pair = (value) => Math.min(36 ** 2 - 1, Math.max(0, Math.round(value) + MARGIN)).toString(36).padStart(2, "0");
  return `${byId("centred").checked ? "strokes" : "sheet"}=${strokes.map((stroke) => stroke.map((point) => point.map(pair).join("")).join("")).join(".")}`;
}

// Return the drawing in an address; null if there is none, or no such.
function fromHash(hash) {
  const [, kind, text] = hash.match(/^#(strokes|sheet|image)=([\w.-]+)$/) ?? [];
  if (kind === "image") {
    const image = new Uint8Array(decodeBase64(text.replaceAll("-", "+").replaceAll("_", "/").padEnd(4 * Math.ceil(text.length / 4), "=")));
    return image.length === SIDE * SIDE ? { ...EMPTY, image } : null;
  }
  const strokes = (text ?? "").split(".").map((stroke) => (stroke.match(/[0-9a-z]{4}/g) ?? []).map((four) => [four.slice(0, 2), four.slice(2)].map((two) => parseInt(two, 36) - MARGIN)));
  if (!kind || !strokes.every((stroke) => stroke.length)) return null;
  byId("centred").checked = kind === "strokes";
  return { ...EMPTY, strokes };
}

// Draw what the address holds; false if it holds no drawing.
function drawLinked() {
  let given = null;
  try { given = fromHash(location.hash); } catch { /* an address that somebody cut off */ }
  if (given) draw(given);
  return given !== null;
}

function open() {
  if (drawLinked()) return;
  if (PAGE.classes.join() === "0,1,2,3,4,5,6,7,8,9") play(THREE);
  else draw({ ...EMPTY, image: testImage(0) });
}

byId("undo").onclick = () => goBack(earlier, later);
byId("clear").onclick = () => draw(EMPTY);
byId("move").onclick = () => {
  byId("move").setAttribute("aria-pressed", String(!isMoving()));
  if (isMoving()) byId("centred").checked = false;
  updateSoon();
};
byId("save").onclick = () => element("a", { href: byId("sheet").toDataURL(), download: "drawing.png" }).click();
let linked = ""; // the address that this page has set itself
byId("link").onclick = async () => {
  location.hash = linked = `#${toHash(drawing)}`;
  const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  byId("linked").textContent = copied ? "Copied." : "It is in the address bar.";
};
byId("centred").onchange = byId("evident").onchange = updateSoon;
addEventListener("hashchange", () => { if (location.hash !== linked) drawLinked(); });
addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || !"zy".includes(key)) return;
  event.preventDefault();
  if (key === "y" || event.shiftKey) goBack(later, earlier);
  else goBack(earlier, later);
});
matchMedia("(prefers-color-scheme: dark)").onchange = () => { showTestImages(); show(); };
PAGE.images = decodeBase64(PAGE.images);
build();
showTestImages();
listenToPen();
update();
open();
