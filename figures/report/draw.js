'use strict';
// A pattern: what became of each patch of one image. How two of them differ, and how one is painted over its image.

const DARK = 'rgba(14, 14, 18, 0.74)', FUSED = 'rgba(58, 22, 106, 0.76)';
const FILL = 0.72; // how much of a merged patch is its group's mean colour
const LIT = '#ffb000', OBJECT = '#4dff9a', FOUND = '#5ee0ff', CASING = 'rgba(0, 0, 0, 0.75)';
const SIDE = 448; // least pixels of a pane's longer side

// run.codes: one number for each image, [step, branch,] stage and patch, 2 * (group + 1) + kept, modulo 2^16. Group -1 is dropped, -2 waits.
// 65535 is a place of the grid that the image does not have: it is kept by none, and in group -3.
// Before a run's first stage every patch stands for itself.
function patternAt(run, image, block) {
  const patches = run.grid[0] * run.grid[1];
  const stage = run.stages.filter((other) => other <= block).length - 1;
  const walks = Math.max(1, run.steps.length * run.branches.length);
  const from = ((image * walks + walkOf(run)) * run.stages.length + Math.max(stage, 0)) * patches;
  const codes = Array.from(run.codes.subarray(from, from + patches));
  const outside = (code) => code === 65535;
  if (stage < 0) {
    return { kept: codes.map((code) => Number(!outside(code))), group: codes.map((code, i) => (outside(code) ? -3 : i)) };
  }
  const groupOf = (code) => ({ 65534: -2, 65535: -3 }[code] ?? (code >> 1) - 1);
  return { kept: codes.map((code) => code & Number(!outside(code))), group: codes.map(groupOf) };
}

// Intersection over union of kept patches; two empty patterns are the same.
function iou(a, b) {
  let both = 0, either = 0;
  a.forEach((kept, i) => { both += kept & b[i]; either += kept | b[i]; });
  return either ? both / either : 1;
}

// V-measure (NMI with the arithmetic mean) of two groupings, over the patches that both still hold.
function vmeasure(a, b) {
  const sizes = [new Map(), new Map(), new Map()];
  let n = 0;
  a.forEach((group, i) => {
    if (group < 0 || b[i] < 0) return;
    n += 1;
    [group, b[i], group * 65536 + b[i]].forEach((key, j) => sizes[j].set(key, (sizes[j].get(key) || 0) + 1));
  });
  const [inA, inB, joint] = sizes.map((map) => {
    let sum = 0;
    for (const count of map.values()) sum -= (count / n) * Math.log(count / n);
    return sum;
  });
  return inA + inB > 1e-12 ? Math.min(1, Math.max(0, (2 * (inA + inB - joint)) / (inA + inB))) : 1;
}

// By what two runs can be compared: both merge, or both keep patches as they are, on the same grid.
function measureOf(a, b) {
  if (!a || !b || String(a.grid) !== String(b.grid)) return null;
  if (a.merges && b.merges) return 'NMI';
  return a.keeps && b.keeps ? 'IoU' : null;
}

function disagreement(a, b, image, block) {
  const measure = measureOf(a, b);
  if (!measure || a.missing.has(image) || b.missing.has(image)) return null;
  const [one, other] = [patternAt(a, image, block), patternAt(b, image, block)];
  return 1 - (measure === 'NMI' ? vmeasure(one.group, other.group) : iou(one.kept, other.kept));
}

// The patches that share a token with this one; of one that was dropped, itself.
function members(pattern, patch) {
  const group = pattern.group[patch];
  if (group < 0) return [patch];
  return pattern.group.flatMap((other, i) => (other === group ? [i] : []));
}

// What became of a patch, in words.
function fate(run, pattern, patch) {
  const place = `row ${Math.floor(patch / run.grid[1]) + 1}, column ${(patch % run.grid[1]) + 1}`;
  const others = members(pattern, patch).length - 1;
  const crowd = `${others} other${others === 1 ? '' : 's'}`;
  const gone = { '-1': 'dropped', '-2': 'waiting', '-3': 'outside the image' }[pattern.group[patch]];
  if (gone) return `${place}: ${gone}`;
  if (pattern.kept[patch]) return others ? `${place}: kept, and stands for ${crowd}` : `${place}: kept`;
  if (!run.merges) return `${place}: dropped, fused with ${crowd}`;
  return others ? `${place}: merged with ${crowd}` : `${place}: a token of its own`;
}

// Where the lines of the grid run, in pixels: x(column), y(row).
function gridLines(canvas, [rows, columns]) {
  return {
    x: (column) => Math.round((column * canvas.width) / columns),
    y: (row) => Math.round((row * canvas.height) / rows),
  };
}

// A patch in pixels: [left, top, width, height].
function boxOf(canvas, grid, patch) {
  const { x, y } = gridLines(canvas, grid);
  const [row, column] = [Math.floor(patch / grid[1]), patch % grid[1]];
  return [x(column), y(row), x(column + 1) - x(column), y(row + 1) - y(row)];
}

// Sets the canvas's size and draws the picture, or grey where there is none.
function drawImage(canvas, picture, size) {
  const scale = Math.max(1, Math.ceil(SIDE / Math.max(...size)));
  [canvas.height, canvas.width] = size.map((n) => n * scale);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#9a9a9a';
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return context;
}

function paintPattern(canvas, picture, size, run, pattern) {
  const context = drawImage(canvas, picture, size);
  const colours = run.merges ? groupColours(canvas, context, run.grid, pattern) : null;
  const counts = new Map();
  pattern.group.forEach((group) => counts.set(group, (counts.get(group) || 0) + 1));
  pattern.group.forEach((group, patch) => {
    if (group === -3) return;
    const gone = group < 0 || (!run.merges && !pattern.kept[patch]);
    if (gone) context.fillStyle = group < 0 ? DARK : FUSED;
    else if (run.merges && !pattern.kept[patch] && counts.get(group) > 1) context.fillStyle = colours.get(group);
    else return;
    context.fillRect(...boxOf(canvas, run.grid, patch));
  });
  strokeBorders(canvas, context, run.grid, run.merges ? pattern.group : pattern.kept, 'rgba(255, 255, 255, 0.9)', 1.5);
}

// What was found: a line around each box, and what it is.
function paintBoxes(canvas, boxes, names) {
  const context = canvas.getContext('2d');
  context.font = `${Math.round(canvas.width / 30)}px sans-serif`;
  context.textBaseline = 'top';
  boxes.forEach(([left, top, width, height, score, kind]) => {
    const box = [left * canvas.width, top * canvas.height, width * canvas.width, height * canvas.height];
    [[CASING, 5], [FOUND, 2.5]].forEach(([style, lineWidth]) => {
      context.strokeStyle = style;
      context.lineWidth = lineWidth;
      context.strokeRect(...box);
    });
    const said = `${names[kind] ?? `class ${kind}`} ${score.toFixed(2)}`;
    context.fillStyle = CASING;
    context.fillRect(box[0], box[1], context.measureText(said).width + 8, canvas.width / 24);
    context.fillStyle = FOUND;
    context.fillText(said, box[0] + 4, box[1] + 3);
  });
}

function groupColours(canvas, context, grid, pattern) {
  const small = document.createElement('canvas');
  [small.height, small.width] = grid;
  const shrunk = small.getContext('2d');
  shrunk.imageSmoothingQuality = 'high';
  shrunk.drawImage(canvas, 0, 0, grid[1], grid[0]); // about the mean colour of each patch
  const pixels = shrunk.getImageData(0, 0, grid[1], grid[0]).data;
  const sums = new Map();
  pattern.group.forEach((group, patch) => {
    const sum = sums.get(group) || [0, 0, 0, 0];
    [0, 1, 2].forEach((channel) => { sum[channel] += pixels[4 * patch + channel]; });
    sum[3] += 1;
    sums.set(group, sum);
  });
  return new Map([...sums].map(([group, [r, g, b, n]]) => [group, `rgba(${r / n}, ${g / n}, ${b / n}, ${FILL})`]));
}

// A line wherever the label changes between neighbours, cased in black so that it shows on any colour.
// Beyond the image's edge, the label is `outside`; where that is not given, no line runs along the edge.
function strokeBorders(canvas, context, grid, label, colour, width, outside) {
  const [rows, columns] = grid;
  const { x, y } = gridLines(canvas, grid);
  const at = (row, column) => (row in label && column in label[row] ? label[row][column] : outside);
  const differ = (one, other) => one !== other && one !== undefined && other !== undefined;
  label = Array.from({ length: rows }, (_, row) => label.slice(row * columns, (row + 1) * columns));
  context.beginPath();
  for (let row = 0; row <= rows; row += 1) {
    for (let column = 0; column <= columns; column += 1) {
      context.moveTo(x(column), y(row));
      if (differ(at(row, column), at(row - 1, column))) context.lineTo(x(column + 1), y(row));
      context.moveTo(x(column), y(row));
      if (differ(at(row, column), at(row, column - 1))) context.lineTo(x(column), y(row + 1));
    }
  }
  [[CASING, width + 1.5], [colour, width]].forEach(([style, lineWidth]) => {
    context.strokeStyle = style;
    context.lineWidth = lineWidth;
    context.stroke();
  });
}

// Lights a group: the image shows through, tinted, within a thick line.
function light(canvas, picture, grid, lit) {
  const context = canvas.getContext('2d');
  const label = Array(grid[0] * grid[1]).fill(false);
  lit.forEach((patch) => {
    label[patch] = true;
    const [left, top, w, h] = boxOf(canvas, grid, patch);
    if (picture) {
      const [fx, fy] = [picture.naturalWidth / canvas.width, picture.naturalHeight / canvas.height];
      context.drawImage(picture, left * fx, top * fy, w * fx, h * fy, left, top, w, h);
    }
    context.globalAlpha = 0.3;
    context.fillStyle = LIT;
    context.fillRect(left, top, w, h);
    context.globalAlpha = 1;
  });
  strokeBorders(canvas, context, grid, label, LIT, 4, false);
}
