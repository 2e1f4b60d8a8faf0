'use strict';
// The pattern viewer: controls, thumbnails, panes, and the cursor that lights a group in every pane.

const measureInWords = (measure) => (
  measure ? `disagreement (1 − ${measure}) of the first two` : 'disagreement: not for these two'
);

// The image of the set; of runs that drew pictures, each its own.
async function picture(index, run = panes()[0]) {
  const set = currentSet();
  const source = run.steps.length
    ? (await unpackJson(`pictures-${viewer.runs.indexOf(run)}`))[index]
    : (await unpackJson(`images-${viewer.sets.indexOf(set)}-${Math.floor(index / set.chunk)}`))[index % set.chunk];
  if (!source) return null; // it could not be read
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => make('option', { value, text, selected: value === chosen })));
}

function showControls() {
  const { state } = viewer, set = currentSet();
  options($('set'), viewer.sets.map((other, i) => [String(i), other.title]), String(viewer.sets.indexOf(set)));
  $('set').parentElement.hidden = viewer.sets.length < 2;
  $('boxes').parentElement.hidden = !panes().some((run) => run.boxes);
  options($('class'), [['', 'all classes'], ...set.classes.map((name, i) => [String(i), name])], state.class);
  $('class').parentElement.hidden = !set.classes.length || !set.labels.some((own) => own.length);
  $('right').parentElement.hidden = !judged(set);
  $('right').value = state.right;
  $('masks').parentElement.hidden = !set.masks;
  const measure = measureOf(panes()[0], panes()[1]);
  const [one, other] = panes();
  const apart = disagreement(one, other, imageIndex(), state.block);
  $('pair').textContent = apart === null
    ? '' : `${one.title} and ${other.title} on this image at this stage: ${measure} ${(1 - apart).toFixed(2)}.`;
  options($('sort'), [
    ['order', 'order of the data set'], ['disagreement', measureInWords(measure)],
    ...(judged(set) ? [['error', 'error of the methods shown']] : []),
  ], state.sort);
  $('stages').replaceChildren(...stages().map((block) => {
    const button = make('button', {
      type: 'button', 'aria-pressed': String(block === state.block), text: block < 0 ? 'before' : `block ${block}`,
    });
    button.addEventListener('click', () => update({ block }));
    return button;
  }));
  const there = steps();
  $('step').parentElement.hidden = there.length < 2;
  $('step').max = Math.max(there.length - 1, 0);
  $('step').value = there.indexOf(state.step);
  $('step').setAttribute('aria-valuetext', `step ${state.step}`);
  $('step-said').textContent = `${state.step} of ${there.at(-1) ?? ''}`;
  options($('branch'), branches().map((name) => [name, name]), state.branch);
  $('branch').parentElement.hidden = branches().length < 2;
  const found = viewer.shown.length;
  $('place').textContent = found ? `image ${position() + 1} of ${found}` : 'no image fits the filters';
  $('note').textContent = set.note;
  $('link').href = fragment();
  $('add').disabled = state.runs.length >= 8;
}

function titleOf(index) {
  const set = currentSet();
  const names = set.labels[index].map((label) => set.classes[label] ?? `class ${label}`);
  return names.length ? `${set.ids[index]}, ${names.join(' and ')}` : set.ids[index];
}

async function showStrip(turn) {
  const from = Math.max(0, Math.floor(position() / PAGE) * PAGE);
  const items = await Promise.all(viewer.shown.slice(from, from + PAGE).map(async ({ index, value }) => {
    const thumb = (await picture(index)) ?? make('span', { class: 'blank' });
    const wrong = panes().some((run) => run.right[index] === false);
    thumb.alt = titleOf(index);
    const number = value === null ? '' : value.toFixed(2);
    const words = [titleOf(index), wrong && 'with a wrong prediction', number].filter(Boolean);
    const button = make('button', {
      type: 'button', title: titleOf(index), 'aria-label': words.join(', '), class: wrong && 'wrong',
      'aria-current': index === imageIndex() && 'true',
    }, thumb, make('span', { text: `${number}${wrong ? ' ✗' : ''}` }));
    button.addEventListener('click', () => update({ image: currentSet().ids[index] }));
    return make('li', {}, button);
  }));
  if (turn !== viewer.turn) return;
  const focused = $('strip').contains(document.activeElement);
  $('strip').replaceChildren(...items);
  const current = $('strip').querySelector('[aria-current]');
  if (current && focused) current.focus();
  if (current) $('strip').scrollLeft = current.offsetLeft - ($('strip').clientWidth - current.clientWidth) / 2;
}

async function showPanes(turn) {
  const index = imageIndex(), runs = panes(), original = $('original');
  const images = await Promise.all(runs.map((run) => picture(index, run)));
  viewer.mask = $('masks').checked ? await maskOf(index) : null;
  if (turn !== viewer.turn) return;
  fitPanes(runs.length);
  drawImage(original, images[0], currentSet().size);
  original.setAttribute('aria-label', `The image ${titleOf(index)}: arrow keys move over the patches`);
  keep(original.parentElement, original);
  $('what').textContent = titleOf(index);
  runs.forEach((run, i) => showPane($('panes').children[i + 1], run, index, images[i]));
  lightUp();
}

// One figure for each run beside that of the image; those that are there are kept, and with them the focus.
function fitPanes(count) {
  const box = $('panes');
  while (box.children.length > count + 1) box.lastElementChild.remove();
  while (box.children.length < count + 1) {
    const pane = $('pane').content.firstElementChild.cloneNode(true);
    box.append(pane);
    const at = () => [...box.children].indexOf(pane) - 1;
    pane.querySelector('select').addEventListener('change', (event) => {
      update({ runs: viewer.state.runs.map((name, i) => (i === at() ? event.target.value : name)) });
    });
    pane.querySelector('.remove').addEventListener('click', () => {
      update({ runs: viewer.state.runs.filter((_, i) => i !== at()) });
    });
    listen(pane.querySelector('canvas'), () => panes()[at()].grid);
  }
}

function showPane(pane, run, index, image) {
  const select = pane.querySelector('select'), canvas = pane.querySelector('canvas');
  const mates = viewer.runs.filter((other) => other.set === run.set);
  options(select, mates.map((other) => [other.name, other.title]), run.name);
  select.setAttribute('aria-label', `Method ${[...$('panes').children].indexOf(pane)}`);
  pane.querySelector('.remove').hidden = viewer.state.runs.length < 2;
  pane.run = run;
  pane.image = image;
  pane.dataset.run = run.name;
  if (run.missing.has(index)) {
    pane.pattern = null;
    drawImage(canvas, null, currentSet().size);
    pane.querySelector('.verdict').textContent = 'this run does not hold the image';
  } else {
    pane.pattern = patternAt(run, index, viewer.state.block);
    paintPattern(canvas, image, currentSet().size, run, pane.pattern);
    if (run.boxes && $('boxes').checked) paintBoxes(canvas, run.boxes[index], currentSet().classes);
    pane.querySelector('.verdict').replaceChildren(...verdict(run, index, pane.pattern));
  }
  keep(pane, canvas);
  canvas.setAttribute('aria-label', `${run.title} on ${titleOf(index)}: arrow keys move over the patches`);
}

// Draws the mask of the objects, and keeps what is painted, over which the cursor moves.
function keep(pane, canvas) {
  const context = canvas.getContext('2d');
  if (viewer.mask) strokeBorders(canvas, context, currentSet().masks, viewer.mask, OBJECT, 2, 0);
  pane.painted = context.getImageData(0, 0, canvas.width, canvas.height);
}

// Which patches are on an object: 1 or 0 each; null where the set does not know.
async function maskOf(index) {
  const set = currentSet();
  if (!set.masks) return null;
  const patches = set.masks[0] * set.masks[1];
  const all = new Uint8Array(await unpack(`masks-${viewer.sets.indexOf(set)}`));
  return Array.from(all.subarray(index * patches, (index + 1) * patches));
}

function verdict(run, index, pattern) {
  const set = currentSet(), parts = [];
  const stage = run.stages.filter((block) => block <= viewer.state.block).length - 1;
  const patches = pattern.group.filter((group) => group !== -3).length;
  parts.push(`${stage < 0 ? patches : run.left[index][stage]} of ${patches} tokens`);
  const said = run.predictions[index], right = run.right[index];
  if (right !== null) {
    const [colour, text] = right ? ['good', '✓ right'] : ['bad', '✗ wrong'];
    parts.push(` · says ${set.classes[said] ?? run.said[said] ?? `class ${said}`} `, make('b', { class: colour, text }));
  } else if (said >= 0 && !set.labels[index].length) { // of an image without a label: nobody knows whether it is right
    parts.push(` · says ${run.said[said] ?? `class ${said}`}`);
  }
  return parts;
}

// ---- the cursor: a patch lights its group in every pane

function patchAt(grid) {
  const [x, y] = viewer.patch;
  const at = (share, count) => Math.min(count - 1, Math.floor(share * count));
  return at(y, grid[0]) * grid[1] + at(x, grid[1]);
}

function lightUp() {
  [...$('panes').children].slice(1).forEach((pane) => {
    const canvas = pane.querySelector('canvas');
    canvas.getContext('2d').putImageData(pane.painted, 0, 0);
    const on = viewer.patch && pane.pattern;
    const lit = on ? members(pane.pattern, patchAt(pane.run.grid)) : [];
    if (on) light(canvas, pane.image, pane.run.grid, lit);
    canvas.dataset.lit = lit.join(' ');
    pane.querySelector('output').textContent = on ? fate(pane.run, pane.pattern, patchAt(pane.run.grid)) : '';
  });
  const original = $('original'), { grid } = panes()[0]; // on the image, the patch itself
  original.getContext('2d').putImageData(original.parentElement.painted, 0, 0);
  if (viewer.patch) light(original, null, grid, [patchAt(grid)]);
  original.dataset.at = viewer.patch ? patchAt(grid) : '';
}

function point(patch) {
  viewer.patch = patch;
  lightUp();
}

// The mouse, a finger and the arrow keys move the cursor on a canvas.
function listen(canvas, gridOf) {
  const follow = (event) => {
    const box = canvas.getBoundingClientRect();
    const share = (at, from, length) => Math.min(1, Math.max(0, (at - from) / length));
    point([share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height)]);
  };
  canvas.addEventListener('pointermove', follow);
  canvas.addEventListener('pointerdown', follow);
  canvas.addEventListener('pointerleave', (event) => { // a finger leaves when it is lifted, and what it chose stays
    if (event.pointerType === 'mouse' && document.activeElement !== canvas) point(null);
  });
  canvas.addEventListener('blur', () => point(null));
  canvas.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === 'Escape') point(null);
    if (!step) return;
    event.preventDefault();
    const [rows, columns] = gridOf();
    const from = viewer.patch ? patchAt([rows, columns]) : -1;
    const clamp = (n, count) => Math.min(count - 1, Math.max(0, n));
    const row = from < 0 ? 0 : clamp(Math.floor(from / columns) + step[0], rows);
    const column = from < 0 ? 0 : clamp((from % columns) + step[1], columns);
    point([(column + 0.5) / columns, (row + 0.5) / rows]);
  });
}
