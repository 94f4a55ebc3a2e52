// The page of `verydeep serve`: sends a photograph, shows the answer. Posteriors come as numbers and are drawn here, so
// that choosing a class asks nobody.
"use strict";

const at = (id) => document.getElementById(id);
const SHADE = [6, 24, 38]; // laid over the picture where the net does not see the class
const DARKEST = 0.75;
const MAP_SIDE = 320; // px of the drawn map, which the browser enlarges
let answer = null;
let latest = 0; // of several photographs the last one counts

// ---- A photograph comes in ----

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files, "What was dropped is no file. Save the photograph first, then drop the file.");
});
document.addEventListener("paste", (event) => take(event.clipboardData.files, ""));
at("file").addEventListener("change", (event) => {
  take(event.target.files, "");
  event.target.value = ""; // so that the same file can be chosen again
});

let last = null;
function take(files, otherwise) {
  if (files.length) look((last = files[0]));
  else if (otherwise) complain(otherwise);
}

async function look(file) {
  const mine = ++latest;
  const began = performance.now();
  const megabytes = Number(document.body.dataset.megabytes);
  if (file.size > megabytes * 1e6) return complain(`${file.name} is larger than ${megabytes} megabytes.`);
  document.body.classList.add("looking");
  at("trouble").hidden = true;
  at("state").textContent = `Looking at ${file.name} …`;
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    const response = await fetch(`look?net=${at("net")?.value ?? 0}`, { method: "POST", headers, body: file });
    const said = await response.json().catch(() => ({ message: `the server failed (${response.status}); its terminal says why` }));
    if (mine !== latest) return;
    if (!response.ok) return complain(`${file.name}: ${said.message}.`);
    answer = said;
    show();
    await at("picture").decode().catch(() => {});
    const seconds = (performance.now() - began) / 1000;
    at("took").textContent = `Answered in ${time(seconds)}, ${time(said.seconds)} of it by the net.`;
    at("state").textContent = `${file.name}: ${said.classes[0].name}, ${perCent(said.classes[0].posteriors.at(-1))}.`;
    document.body.dataset.seconds = seconds;
  } catch {
    if (mine === latest) complain("The server does not answer. Is it still running?");
  } finally {
    if (mine === latest) document.body.classList.remove("looking");
  }
}

function complain(line) {
  document.body.classList.remove("looking");
  at("state").textContent = "";
  at("trouble").textContent = line;
  at("trouble").hidden = false;
}

at("net")?.addEventListener("change", () => {
  document.querySelectorAll(".credentials").forEach((line, index) => (line.hidden = index !== Number(at("net").value)));
  if (last) look(last);
});

// ---- The answer is shown ----

function show() {
  const { picture, classes, maps, crop } = answer;
  document.body.classList.add("answered");
  at("answer").hidden = false;
  at("picture").src = picture.address;
  at("stage").style.setProperty("--ratio", picture.width / picture.height);
  at("stage").style.setProperty("--px", `${picture.width}px`);
  at("classes").replaceChildren(at("classes").firstElementChild, ...classes.slice(0, 5).map(choice));
  const sizes = maps.map((map, index) => pick("size", index, index === 0, ["far", "middle", "near"][index]));
  at("sizes").replaceChildren(...sizes);
  at("sizes").hidden = maps.length < 2;
  at("box-control").hidden = classes.every((each) => !each.box);
  at("crop-control").hidden = !crop;
  at("show-map").parentElement.hidden = !maps.length;
  at("ways").replaceChildren(...table());
  frame(at("crop"), crop);
  draw();
}

function choice(each, index) {
  const posterior = each.posteriors.at(-1);
  return pick("class", index, index === 0, each.name, make("span", "number", perCent(posterior)), bar(posterior));
}

function pick(name, value, checked, text, ...more) {
  const label = make("label");
  const input = make("input");
  Object.assign(input, { type: "radio", name, value, checked });
  input.addEventListener("change", draw);
  label.append(input, make("span", "name", text), ...more);
  return label;
}

function table() {
  const { ways, classes } = answer;
  const head = make("thead");
  head.append(row(make("th", "", "class"), ...ways.map((way) => {
    const cell = make("th", "number", way.words);
    cell.append(make("small", "", way.protocol));
    return cell;
  })));
  const largest = ways.map((_, way) => Math.max(...classes.map((each) => each.posteriors[way])));
  const body = make("tbody");
  body.append(...classes.map((each) => row(make("td", "", each.name), ...each.posteriors.map((posterior, way) => {
    const cell = make("td", posterior === largest[way] ? "number largest" : "number", perCent(posterior));
    cell.append(bar(posterior));
    return cell;
  }))));
  const foot = make("tfoot");
  foot.append(row(make("td", "", "time"), ...ways.map((way) => make("td", "number", time(way.seconds)))));
  return [head, body, foot];
}

// ---- The map is laid over the picture ----

for (const id of ["show-map", "show-box", "show-crop"]) at(id).addEventListener("change", draw);

function chosen() {
  const value = (name) => Number(document.querySelector(`input[name=${name}]:checked`)?.value ?? 0);
  const each = answer.classes[value("class")];
  return { each, map: answer.maps[value("size")], values: each.maps[value("size")] };
}

function draw() {
  const { each, map, values } = chosen();
  const canvas = at("map");
  const shown = at("show-map").checked && Boolean(map);
  canvas.hidden = at("scale").hidden = !shown;
  at("crop").hidden = !at("show-crop").checked || !answer.crop;
  at("box").hidden = !at("show-box").checked || !each.box;
  frame(at("box"), each.box);
  at("words").textContent = map
    ? `Where it sees ${each.name}: bright, with ${map.smallest_side} px on the smaller side.`
    : `No map: ${answer.no_map}.`;
  if (!shown) return;
  const peak = Math.max(...values.flat());
  at("peak").textContent = perCent(peak);
  const { width, height } = answer.picture;
  canvas.width = MAP_SIDE;
  canvas.height = Math.max(1, Math.round((MAP_SIDE * height) / width));
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let y = 0, place = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++, place += 4) {
      const share = peak ? between(map, values, (y + 0.5) / canvas.height, (x + 0.5) / canvas.width) / peak : 0;
      image.data.set([...SHADE, 255 * DARKEST * (1 - share)], place);
    }
  }
  context.putImageData(image, 0, 0);
}

// The value at a place of the picture, down and across as shares of it: between the nearest four positions, smoothly.
function between(map, values, down, across) {
  const [top, rest] = split((down - map.first[0]) / map.step[0], values.length);
  const [left, beside] = split((across - map.first[1]) / map.step[1], values[0].length);
  const along = (cells) => cells[left] * (1 - beside) + (beside ? cells[left + 1] * beside : 0);
  return along(values[top]) * (1 - rest) + (rest ? along(values[top + 1]) * rest : 0);
}

function split(place, count) {
  const inside = Math.min(Math.max(place, 0), count - 1);
  const whole = Math.min(Math.floor(inside), Math.max(count - 2, 0));
  const rest = inside - whole;
  return [whole, rest * rest * (3 - 2 * rest)];
}

at("stage").addEventListener("pointermove", (event) => {
  const { each, map, values } = chosen();
  if (!map || !at("show-map").checked) return;
  const { left, top, width, height } = at("stage").getBoundingClientRect();
  const value = between(map, values, (event.clientY - top) / height, (event.clientX - left) / width);
  at("words").textContent = `${each.name}, here: ${perCent(value)}.`;
});
at("stage").addEventListener("pointerleave", () => answer && draw());

// ---- Small parts ----

function make(tag, kind = "", text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

function row(...cells) {
  const element = make("tr");
  element.append(...cells);
  return element;
}

function bar(share) {
  const element = make("span", "bar");
  element.append(make("span"));
  element.firstElementChild.style.width = `${100 * share}%`;
  return element;
}

function frame(element, box) {
  if (!box) return;
  const [left, top, right, bottom] = box.map((share) => 100 * share);
  Object.assign(element.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
}

function perCent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function time(seconds) {
  return seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`;
}
