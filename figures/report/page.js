'use strict';
// Starts the page: tables when they come into sight, then the viewer with its controls.

function fail(error) {
  $('failure').textContent = `This report cannot be shown: ${error.message}.`;
  $('failure').hidden = false;
  throw error;
}

async function startTables() {
  for (const box of document.querySelectorAll('[data-table]')) {
    const name = box.dataset.table;
    const show = async () => {
      if (box.firstElementChild) return;
      const data = await unpackJson(`table-${name}`);
      const run = data.columns.indexOf('run');
      showTable(box, name, data, (row) => (viewer.byName.has(row[run]) ? `#${new URLSearchParams({ runs: row[run] })}` : null));
    };
    const fold = box.closest('details');
    if (fold) fold.addEventListener('toggle', () => show().catch(fail));
    else await show();
  }
}

// ---- figures: enlarged, and as files

function startFigures() {
  const box = $('large');
  document.querySelectorAll('.enlarge').forEach((button) => button.addEventListener('click', () => {
    const close = make('button', { type: 'button', text: 'Close' });
    close.addEventListener('click', () => box.close());
    const image = button.querySelector('img');
    const part = make('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': image.alt },
      make('img', { src: image.src, alt: image.alt }));
    box.replaceChildren(close, part);
    box.showModal();
  }));
  box.addEventListener('click', (event) => { if (event.target === box) box.close(); }); // beside what it holds
  document.querySelectorAll('[data-figure]').forEach((button) => button.addEventListener('click', () => {
    saveFigure(button).catch(fail);
  }));
}

// What is shown, or where that is no SVG, what is packed beside it.
async function saveFigure(button) {
  const name = button.dataset.figure;
  const [kind, shown] = button.closest('figure').querySelector('img').src.split(',');
  const svg = kind.startsWith('data:image/svg') ? bytesOf(shown) : await unpack(`svg-${name}`);
  download(`${name}.svg`, svg, 'image/svg+xml');
}

function step(by) {
  const next = viewer.shown[Math.min(viewer.shown.length - 1, Math.max(0, position() + by))];
  if (next) update({ image: currentSet().ids[next.index] });
}

function stepStage(by) {
  const blocks = stages();
  update({ block: blocks[Math.min(blocks.length - 1, Math.max(0, blocks.indexOf(viewer.state.block) + by))] });
}

function stepDenoiser(by) {
  const there = steps();
  if (there.length) update({ step: there[Math.min(there.length - 1, Math.max(0, there.indexOf(viewer.state.step) + by))] });
}

const KEYS = {
  n: () => step(1), p: () => step(-1), '.': () => stepStage(1), ',': () => stepStage(-1),
  '>': () => stepDenoiser(1), '<': () => stepDenoiser(-1),
};

function startControls() {
  listen($('original'), () => panes()[0].grid);
  $('set').addEventListener('change', (event) => {
    const { start: runs, image } = viewer.sets[Number(event.target.value)];
    update({ runs, image });
  });
  ['class', 'right', 'sort'].forEach((key) => {
    $(key).addEventListener('change', (event) => update({ [key]: event.target.value, image: '' }));
  });
  Object.entries({ previous: -1, next: 1, back: -PAGE, forth: PAGE }).forEach(([id, by]) => {
    $(id).addEventListener('click', () => step(by));
  });
  $('step').addEventListener('input', (event) => update({ step: steps()[Number(event.target.value)] }));
  $('branch').addEventListener('change', (event) => update({ branch: event.target.value }));
  ['boxes', 'masks'].forEach((key) => $(key).addEventListener('change', () => update({})));
  $('add').addEventListener('click', () => {
    const mates = viewer.runs.filter((run) => run.set === panes()[0].set);
    const spare = mates.find((run) => !viewer.state.runs.includes(run.name)) ?? mates[0];
    update({ runs: [...viewer.state.runs, spare.name] });
  });
  $('viewer').addEventListener('keydown', (event) => {
    const typing = event.target.matches('select, input') || event.ctrlKey || event.metaKey || event.altKey;
    if (typing || !(event.key in KEYS)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  window.addEventListener('hashchange', () => {
    const found = readFragment();
    if (!found) return;
    update(found, { link: false }).catch(fail);
    $('viewer').scrollIntoView();
    $('viewer').focus({ preventScroll: true });
  });
}

async function start() {
  if (typeof DecompressionStream === 'undefined') throw new Error('it needs a browser of 2023 or later');
  const { sets, runs } = await unpackJson('index');
  viewer.sets = sets;
  viewer.runs = runs.map((run) => ({ ...run, missing: new Set(run.missing) }));
  viewer.byName = new Map(viewer.runs.map((run) => [run.name, run]));
  await startTables();
  startFigures();
  if (!sets.length) return;
  startControls();
  const found = readFragment();
  await update(found ?? { image: sets[0].image }, { link: false });
  if (found) {
    $('viewer').scrollIntoView();
    $('viewer').focus({ preventScroll: true });
  }
}

start().catch(fail);
