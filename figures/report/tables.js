'use strict';
// Elements, packed data, and tables that sort and download as CSV.

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => {
    if (name === 'text') element.textContent = value; // never as markup: names are the users'
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null) element.setAttribute(name, value);
  });
  element.append(...children);
  return element;
}

// A piece of data is base64 of deflated bytes: in the page itself, or (window.SPLIT) in a script beside it that calls put.
const pieces = new Map();
const waiting = new Map();

function put(name, text) {
  waiting.get(name)(text);
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

function fetchPiece(name) {
  const here = document.getElementById(`data-${name}`);
  if (here) return Promise.resolve(here.textContent);
  return new Promise((resolve, reject) => {
    const script = document.createElement('script'); // scripts load from a disk, where fetch may not
    waiting.set(name, resolve);
    script.src = `${document.body.dataset.folder}/${name}.js`;
    script.onerror = () => reject(new Error(`${script.src} is not beside this page: keep the folder together`));
    document.head.append(script);
  });
}

function unpack(name) {
  if (!pieces.has(name)) {
    pieces.set(name, fetchPiece(name).then((text) => {
      return new Response(new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer();
    }));
  }
  return pieces.get(name);
}

const parsed = new Map();

function unpackJson(name) {
  if (!parsed.has(name)) parsed.set(name, unpack(name).then((bytes) => JSON.parse(new TextDecoder().decode(bytes))));
  return parsed.get(name);
}

// ---- tables: {columns: [names], rows: [[cells]]}, a missing number being null

const ROWS = 100; // shown at first

function shortened(value) {
  if (value === null) return '–';
  if (typeof value !== 'number' || Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4))).replace('-', '−');
}

function compared(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

// Missing values stay last in both directions.
function sorted(rows, column, down) {
  const sign = (a, b) => (down && a !== null && b !== null ? -1 : 1);
  return [...rows].sort((a, b) => sign(a[column], b[column]) * compared(a[column], b[column]));
}

// As RFC 4180 has it; numbers in full.
function csv({ columns, rows }) {
  const cell = (value) => {
    const text = value === null ? '' : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${[columns, ...rows].map((row) => row.map(cell).join(',')).join('\r\n')}\r\n`;
}

function download(name, content, type) {
  const link = make('a', { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Fills `box` with the table; `links` says where the first cell of a row leads, or null.
function showTable(box, name, data, links = () => null) {
  const numeric = data.columns.map((_, i) => data.rows.some((row) => typeof row[i] === 'number'));
  const view = { rows: data.rows, column: null, down: false, all: false };
  const body = make('tbody');
  const heads = data.columns.map((column, i) => {
    const button = make('button', { type: 'button', text: column });
    button.addEventListener('click', () => {
      view.down = view.column === i ? !view.down : numeric[i]; // of numbers the largest first
      view.column = i;
      view.rows = sorted(data.rows, i, view.down);
      fill();
    });
    return make('th', { scope: 'col', class: numeric[i] ? 'number' : false }, button);
  });
  const more = make('button', { type: 'button', class: 'plain', text: `Show all ${data.rows.length} rows` });
  more.addEventListener('click', () => { view.all = true; fill(); });
  const save = make('button', { type: 'button', class: 'plain', text: 'Download CSV' });
  save.addEventListener('click', () => {
    download(`${name}.csv`, csv({ columns: data.columns, rows: view.rows }), 'text/csv');
  });

  function fill() {
    heads.forEach((head, i) => {
      if (view.column === i) head.setAttribute('aria-sort', view.down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    body.replaceChildren(...view.rows.slice(0, view.all ? undefined : ROWS).map((row) => make('tr', {}, ...row.map((value, i) => {
      const href = i === 0 ? links(row) : null;
      const inside = href ? make('a', { href, text: value }) : shortened(value);
      return make('td', { class: numeric[i] ? 'number' : false }, inside);
    }))));
    more.hidden = view.all || view.rows.length <= ROWS;
  }

  fill();
  box.replaceChildren(
    make('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Table ${name}` },
      make('table', {}, make('thead', {}, make('tr', {}, ...heads)), body)),
    make('p', { class: 'tools' }, more, save, make('span', { text: `${data.rows.length} rows` })),
  );
}
