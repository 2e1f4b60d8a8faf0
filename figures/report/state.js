'use strict';
// What the viewer shows: the state, which images pass its filters and in which order.
// The state is in the URL's fragment, so that a link leads to what its sender saw.

const PAGE = 24; // thumbnails at a time
const viewer = {
  sets: [], runs: [], byName: new Map(), // as Python wrote them: data.py
  state: { runs: [], image: '', block: Infinity, step: '', branch: '', sort: 'order', class: '', right: '' },
  mask: null, // which patches of the image are on an object: 1 or 0 each
  patch: null, // where the cursor is: [0..1 across, 0..1 down], so that grids of several sizes can be shown together
  shown: [], // the images that pass the filters, in order: {index, value that they are sorted by}
  arranged: '', // what they were chosen by
  turn: 0, // counts what was asked for: of two that overlap, the later one is drawn
};

const panes = () => viewer.state.runs.map((name) => viewer.byName.get(name));
const currentSet = () => viewer.sets[panes()[0].set];
const imageIndex = () => currentSet().ids.indexOf(viewer.state.image);

// Whether anybody knows of any image of a set that a prediction is right or wrong.
function judged(set) {
  set.judged ??= viewer.runs.some((run) => viewer.sets[run.set] === set && run.right.some((right) => right !== null));
  return set.judged;
}

const position = () => viewer.shown.findIndex(({ index }) => index === imageIndex());
const stages = () => [-1, ...new Set(panes().flatMap((run) => run.stages))].sort((a, b) => a - b);

// The calls of the denoiser, and the branches of guidance, of runs that drew pictures; [] of others.
const steps = () => [...new Set(panes().flatMap((run) => run.steps))].sort((a, b) => a - b);
const branches = () => [...new Set(panes().flatMap((run) => run.branches))];

// Where among a run's steps and branches the state is: at the last step that it recorded by then.
function walkOf(run) {
  if (!run.steps.length) return 0;
  const step = Math.max(0, run.steps.filter((other) => other <= viewer.state.step).length - 1);
  return step * run.branches.length + Math.max(0, run.branches.indexOf(viewer.state.branch));
}

// ---- which images, in which order

function passes(index) {
  const set = currentSet(), { class: wanted, right } = viewer.state;
  if (wanted !== '' && !set.labels[index].includes(Number(wanted))) return false;
  if (!right) return true;
  const verdicts = panes().map((run) => run.right[index]).filter((verdict) => verdict !== null);
  if (!verdicts.length) return false;
  return { all: verdicts.every(Boolean), some: !verdicts.every(Boolean), none: !verdicts.some(Boolean) }[right];
}

// The number that images are sorted by; null where there is none.
function sortValue(index) {
  const runs = panes();
  if (viewer.state.sort === 'disagreement') return disagreement(runs[0], runs[1], index, viewer.state.block);
  const known = runs.map((run) => run.error[index]).filter((error) => error !== null);
  return known.length ? known.reduce((sum, error) => sum + error, 0) / known.length : null;
}

// Done anew only when it could come out otherwise: stepping through images is to be quick.
function arrange() {
  const { image, block, step, branch, ...rest } = viewer.state;
  const key = JSON.stringify([rest, rest.sort === 'disagreement' ? [block, step, branch] : null]);
  if (key === viewer.arranged) return;
  viewer.arranged = key;
  const found = currentSet().ids.flatMap((_, index) => (passes(index) ? [{ index, value: null }] : []));
  if (viewer.state.sort !== 'order') {
    found.forEach((item) => { item.value = sortValue(item.index); });
    found.sort((a, b) => (b.value ?? -1) - (a.value ?? -1) || a.index - b.index);
  }
  viewer.shown = found;
}

// ---- the state

function readFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (![...given.keys()].some((key) => key in viewer.state)) return null;
  const found = {};
  if (given.has('runs')) found.runs = given.getAll('runs').filter((name) => viewer.byName.has(name));
  if (given.has('block')) found.block = Number(given.get('block')) || 0;
  if (given.get('step')) found.step = Number(given.get('step')) || 0;
  ['image', 'branch', 'sort', 'class', 'right'].forEach((key) => { if (given.has(key)) found[key] = given.get(key); });
  return found;
}

function fragment() {
  const { runs, ...rest } = viewer.state;
  const words = runs.map((name) => ['runs', name]);
  return `#${new URLSearchParams([...words, ...Object.entries(rest).filter(([, value]) => value !== '')])}`;
}

// Brings a state into order, whatever a link says: the panes are of one set, and the image is in it.
function settle(change) {
  const state = { ...viewer.state, ...change };
  if (!state.runs.length) state.runs = viewer.state.runs.length ? viewer.state.runs : viewer.sets[0].start;
  const set = viewer.byName.get(state.runs[0]).set;
  state.runs = state.runs.filter((name) => viewer.byName.get(name).set === set);
  if (!viewer.sets[set].ids.includes(state.image)) state.image = ''; // the first that is shown, then
  if (!(Number(state.class) < viewer.sets[set].classes.length)) state.class = '';
  if (!['order', 'disagreement', 'error'].includes(state.sort)) state.sort = 'order';
  if (!judged(viewer.sets[set])) {
    state.right = '';
    if (state.sort === 'error') state.sort = 'order';
  }
  if (!['', 'all', 'some', 'none'].includes(state.right)) state.right = '';
  viewer.state = state;
  const blocks = stages();
  const there = steps(), last = there.length ? there.at(-1) : '';
  state.step = state.step === '' ? last : there.filter((step) => step <= state.step).at(-1) ?? there[0] ?? '';
  if (!branches().includes(state.branch)) state.branch = branches().at(-1) ?? '';
  if (!blocks.includes(state.block)) state.block = Math.max(...blocks.filter((block) => block < state.block), -1);
}

async function update(change, { link = true } = {}) {
  viewer.turn += 1;
  const turn = viewer.turn;
  settle(change);
  await Promise.all(panes().map(loadPatterns));
  if (turn !== viewer.turn) return;
  arrange();
  if (position() < 0) viewer.state.image = currentSet().ids[viewer.shown[0]?.index ?? 0];
  if (link) history.replaceState(null, '', fragment());
  showControls();
  await Promise.all([showStrip(turn), showPanes(turn)]);
  if (turn === viewer.turn) $('viewer').dataset.turn = turn; // all is drawn
}

async function loadPatterns(run) {
  if (!run.codes) run.codes = new Uint16Array(await unpack(`patterns-${viewer.runs.indexOf(run)}`));
}
