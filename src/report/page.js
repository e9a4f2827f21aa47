'use strict';
// Draws the report out of the JSON in the page. Names come from models that anyone may have made: they become text nodes and
// attributes only, never markup.
(() => {
const report = JSON.parse(document.getElementById('data').textContent);
const main = document.getElementById('content');
const list = key => Array.isArray(report[key]) ? report[key] : [];
const has = value => value !== undefined && value !== null;

// ---- elements

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (!has(value) || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter(child => has(child) && child !== false));
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

// A name that may break behind its separators.
function name(text) {
  const parts = String(text).split(/(?<=[/._:])/);
  return el('span', {class: 'name'}, parts.map((part, i) => i ? [el('wbr'), part] : part));
}

// ---- numbers

const NONE = '–';
const fixed = (value, digits) => has(value) ? value.toFixed(digits) : NONE;
const percent = (share, digits = 2) => has(share) ? `${(100 * share).toFixed(digits)} %` : NONE;
const rounded = value => {
  if (!has(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
};
const small = share => share > 0 && share < 5e-5 ? '< 0.01 %' : percent(share);
const count = value => has(value) ? value.toLocaleString('en') : NONE;
const scaled = (value, steps, base) => {
  let unit = 0;
  while (unit + 1 < steps.length && Math.abs(value) >= base) value /= base, ++unit;
  return `${unit && Math.abs(value) < 100 ? value.toPrecision(3) : Math.round(value)} ${steps[unit]}`;
};
const bytes = value => has(value) ? scaled(value, ['B', 'kB', 'MB', 'GB', 'TB'], 1000) : NONE;
const work = value => value ? scaled(value, ['', 'k', 'M', 'G', 'T'], 1000).trim() : NONE;
const time = seconds => !has(seconds) ? NONE
  : seconds >= 1 ? `${seconds.toPrecision(3)} s`
  : seconds >= 1e-3 ? `${(1e3 * seconds).toPrecision(3)} ms` : `${(1e6 * seconds).toPrecision(3)} µs`;
// JSON has no infinity: null stands for equal where nothing differs.
const decibels = (value, error) => has(value) ? `${value.toFixed(2)} dB` : error && error.max_abs === 0 ? 'equal' : NONE;
const times = value => `${value.toPrecision(3)}×`;

// Where a step ends in integers its quantizer is no news.
const operator = row => row.op_type.replace(/(?<=.)\+QuantizeLinear$/, '');

// ---- sections

const contents = document.getElementById('contents');
function section(id, title, lead, ...children) {
  contents.append(el('a', {href: `#${id}`}, title));
  main.append(el('section', {id, 'aria-labelledby': `${id}-title`}, el('h2', {id: `${id}-title`}, title),
    lead && el('p', {class: 'lead'}, lead), children));
}
// Charts whose text keeps its size: drawn for this width, and again when a window passes it.
const narrow = matchMedia('(max-width: 640px)');
function figure(draw) {
  const box = el('figure', {class: 'chart'}, draw(narrow.matches ? 340 : 1080));
  narrow.addEventListener('change', () => box.replaceChildren(draw(narrow.matches ? 340 : 1080)));
  return box;
}
const legend = entries => el('p', {class: 'legend'}, entries.map(([color, text]) =>
  el('span', {}, el('i', {style: `background:var(--${color})`, 'aria-hidden': 'true'}), text)));

// ---- tables: columns {title, value(row) -> sorted by, show(row), number, words}

const SHOWN = 200;
function table(rows, columns, {caption, tall = false, sort = null, filter = null}) {
  columns = columns.filter(column => !column.if || rows.some(column.if));
  let order = null, descending = false, all = false, text = '';
  const body = el('tbody');
  const heads = columns.map(column => el('th', {scope: 'col', class: column.number && 'number'},
    rows.length > 1 ? el('button', {type: 'button', title: column.explain, onclick: () => by(column)}, column.title) : column.title));
  const status = el('span', {class: 'count', role: 'status'});
  const more = el('button', {type: 'button', onclick: () => { all = true; draw(); }});
  function draw() {
    let shown = text ? rows.filter(row => filter(row).toLowerCase().includes(text)) : rows.slice();
    if (order) shown = sorted(shown, order.value, descending);
    const found = shown.length;
    if (!all) shown = shown.slice(0, SHOWN);
    body.replaceChildren(...shown.map(row => el('tr', {}, columns.map((column, i) =>
      el(i ? 'td' : 'th', {scope: i ? null : 'row', class: column.number ? 'number' : column.words && 'words'},
        column.show ? column.show(row) : column.value(row))))));
    status.textContent = text ? `${found} of ${rows.length}` : `${rows.length} rows`;
    more.textContent = `Show all ${found}`;
    more.hidden = shown.length === found;
    heads.forEach((head, i) => columns[i] === order
      ? head.setAttribute('aria-sort', descending ? 'descending' : 'ascending') : head.removeAttribute('aria-sort'));
  }
  function by(column) {
    descending = order === column ? !descending : Boolean(column.number) && !column.worstIsLeast;
    order = column;
    draw();
  }
  if (sort) order = columns.find(column => column.title === sort) || null, descending = Boolean(order && order.number && !order.worstIsLeast);
  draw();
  const box = el('div', {class: `scroll${tall ? ' tall' : ''}`, role: 'region', 'aria-label': caption, tabindex: 0},
    el('table', {}, el('thead', {}, el('tr', {}, heads)), body));
  const find = filter && rows.length > 8 && el('label', {}, 'Filter', el('input', {type: 'search', placeholder: 'name, type or reason',
    oninput: event => { text = event.target.value.trim().toLowerCase(); draw(); }}));
  return [find && el('div', {class: 'controls'}, find, status), box, more];
}
// Rows without a value last, in either order.
function sorted(rows, value, descending) {
  const keys = new Map(rows.map(row => [row, value(row)]));
  return rows.slice().sort((a, b) => {
    const x = keys.get(a), y = keys.get(b);
    if (!has(x) || !has(y)) return has(y) - has(x);
    const order = typeof x === 'string' ? x.localeCompare(y, 'en', {numeric: true}) : x - y;
    return descending ? -order : order;
  });
}

// ---- heading

const recipe = report.recipe_json && typeof report.recipe_json === 'object' ? report.recipe_json : null;
const model = report.model || 'Quantized model';
document.title = `${model} – zeropoint report`;
document.getElementById('model').textContent = model;
document.getElementById('origin').append(...[
  ['Recipe', report.recipe || recipe && recipe.name],
  ['Target', recipe && recipe.target],
  ['Compared on', report.samples ? `${count(report.samples)} samples` : null],
].filter(([, value]) => value).map(([key, value]) => el('span', {}, `${key} `, el('b', {}, value))));

const theme = document.getElementById('theme');
const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : dark.matches;
const nameTheme = () => { theme.textContent = isDark() ? 'Light theme' : 'Dark theme'; };
theme.hidden = false;
theme.addEventListener('click', () => { document.documentElement.dataset.theme = isDark() ? 'light' : 'dark'; nameTheme(); });
dark.addEventListener('change', nameTheme);
nameTheme();

// ---- summary

const tile = (title, figure, more) => el('div', {class: 'tile'}, el('dt', {}, title), el('dd', {class: 'figure'}, figure),
  more && el('dd', {class: 'more'}, more));
const tiles = [];
const errors = list('outputs').filter(output => has(output.sqnr_db));
const worst = errors.length ? errors.reduce((a, b) => b.sqnr_db < a.sqnr_db ? b : a) : list('outputs')[0];
if (report.float_accuracy && report.quantized_accuracy) {
  const change = 100 * (report.quantized_accuracy.top1 - report.float_accuracy.top1);
  tiles.push(tile('Accuracy (top 1)', percent(report.quantized_accuracy.top1),
    `${percent(report.float_accuracy.top1)} in float: ${change > 0 ? '+' : ''}${change.toFixed(2)} points, ${count(report.quantized_accuracy.samples)} samples`));
}
const agreeing = list('outputs').find(output => has(output.top1_agreement));
if (agreeing) tiles.push(tile('Same top class as float', percent(agreeing.top1_agreement), `${count(agreeing.rows)} rows compared`));
if (worst) tiles.push(tile('Output SQNR', decibels(worst.sqnr_db, worst),
  list('outputs').length > 1 ? `least of ${list('outputs').length} outputs` : `cosine ${fixed(worst.cosine, 6)}`));
const check = report.self_check, repairs = list('repairs');
if (!worst && check && has(check.sqnr_db)) tiles.push(tile('Output SQNR', decibels(check.sqnr_db), `self-check on ${count(check.samples)} samples`));
if (!agreeing && check && has(check.top1_agreement)) tiles.push(tile('Same top class as float', percent(check.top1_agreement), `self-check on ${count(check.samples)} samples`));
if (report.float_bytes) tiles.push(tile('Weights', bytes(report.quantized_bytes),
  `${bytes(report.float_bytes)} in float: ${times(report.float_bytes / Math.max(1, report.quantized_bytes))} smaller`));
const latency = report.latency || report.speed;
if (latency) {
  const gain = latency.float_seconds / latency.seconds;
  tiles.push(tile('Time of one run', time(latency.seconds),
    `${time(latency.float_seconds)} in float: ${gain >= 1 ? `${times(gain)} faster` : `${times(1 / gain)} slower`}${latency.threads ? `, ${latency.threads} thread${latency.threads > 1 ? 's' : ''}` : ''}`));
}
if (has(report.integer_coverage)) tiles.push(tile('Work in integers', percent(report.integer_coverage, 1), 'of multiply-accumulates'));
if (tiles.length) main.append(el('dl', {class: 'tiles', 'aria-label': 'Summary'}, tiles));

// ---- is it sound, and what was repaired

if (check || repairs.length) {
  const sound = !check || check.sound !== false;
  section('check', 'Self-check', null,
    check && el('p', {}, el('span', {class: `badge ${sound ? 'good' : 'bad'}`}, sound ? 'Sound' : 'Not sound'), ' ',
      check.samples ? `on ${count(check.samples)} samples${check.kept_aside ? ' kept aside' : ''}: SQNR of the outputs ${decibels(check.sqnr_db)}` : 'Not run',
      repairs.length && has(check.before_db) ? ` (${decibels(check.before_db)} before repairs)` : '',
      has(check.top1_agreement) ? `, same top class ${percent(check.top1_agreement)}` : '', check.reason ? `; ${check.reason}` : '.'),
    repairs.length ? table(repairs, [
      {title: 'Node', value: row => row.node, show: row => name(row.node)},
      {title: 'Operator', value: row => row.op_type, if: row => row.op_type},
      {title: 'Cause', value: row => row.cause, show: row => el('span', {class: 'badge warn'}, words(row.cause))},
      {title: 'What was done', value: row => row.action, words: true},
      {title: 'Before', number: true, value: row => row.before_db, show: row => decibels(row.before_db), if: row => has(row.before_db)},
      {title: 'After', number: true, value: row => row.after_db, show: row => decibels(row.after_db), if: row => has(row.after_db)},
    ], {caption: 'Repairs'}) : null);
  main.lastChild.classList.add('verdict', sound ? 'good' : 'bad');
}
function words(code) { return String(code || '').replaceAll('_', ' '); }

// ---- outputs

if (list('outputs').length) section('outputs', 'Outputs', 'Float against quantized, over all elements of all samples.',
  table(list('outputs'), [
    {title: 'Output', value: row => row.name, show: row => name(row.name)},
    {title: 'SQNR', number: true, worstIsLeast: true, value: row => row.sqnr_db, show: row => decibels(row.sqnr_db, row)},
    {title: 'Cosine', number: true, worstIsLeast: true, value: row => row.cosine, show: row => fixed(row.cosine, 6)},
    {title: 'Mean |error|', number: true, value: row => row.mean_abs, show: row => rounded(row.mean_abs)},
    {title: 'Max |error|', number: true, value: row => row.max_abs, show: row => rounded(row.max_abs)},
    {title: 'Same top class', number: true, worstIsLeast: true, if: row => has(row.top1_agreement), value: row => row.top1_agreement,
      show: row => percent(row.top1_agreement)},
    {title: 'In top 5', number: true, worstIsLeast: true, if: row => has(row.top5_agreement), value: row => row.top5_agreement,
      show: row => percent(row.top5_agreement)},
  ], {caption: 'Outputs'}));

// ---- nodes: what is known of each, joined by node and by value

const byValue = new Map(list('values').map(value => [value.value, value]));
const ranges = new Map(list('distributions').map(value => [value.value, value]));
const sensitivities = new Map(list('sensitivity').map(row => [row.node, row]));
const reasons = new Map(list('left_in_float').map(row => [row.node, row.reason]));
const nodes = list('nodes').map(node => ({
  ...node, error: byValue.get(node.value), range: ranges.get(node.value), reason: reasons.get(node.node),
  sensitivity: sensitivities.get(node.node),
}));
if (nodes.length) {
  const slowest = Math.max(0, ...nodes.map(node => node.seconds || 0));
  const most = Math.max(1, ...nodes.map(node => node.macs));
  const meter = share => el('span', {class: 'meter', 'aria-hidden': 'true'}, el('i', {style: `width:${(100 * share).toFixed(1)}%`}));
  section('nodes', 'Nodes', byValue.size
    ? 'SQNR is that of the value behind the node, with all that was lost in front of it. Sort by it to see where most is lost.'
    : 'The operators and where they compute.',
    table(nodes, [
      {title: 'Node', value: row => row.node, show: row => name(row.node)},
      {title: 'Operator', value: row => operator(row)},
      {title: 'Computes in', value: row => row.integer ? 'integers' : 'float',
        show: row => el('span', {class: `badge ${row.integer ? 'good' : ''}`, title: row.reason}, row.integer ? 'integers' : 'float')},
      {title: 'SQNR', number: true, worstIsLeast: true, explain: 'Least first: where most is lost', if: row => row.error,
        value: row => row.error && row.error.sqnr_db, show: row => row.error ? decibels(row.error.sqnr_db, row.error) : NONE},
      {title: 'Alone', number: true, worstIsLeast: true, explain: 'SQNR of the output when this node alone is quantized',
        if: row => row.sensitivity, value: row => row.sensitivity && row.sensitivity.alone_db,
        show: row => row.sensitivity ? decibels(row.sensitivity.alone_db) : NONE},
      {title: 'Max |error|', number: true, if: row => row.error, value: row => row.error && row.error.max_abs,
        show: row => row.error ? rounded(row.error.max_abs) : NONE},
      {title: 'Clipped', number: true, if: row => row.range, value: row => row.range && row.range.clipped,
        show: row => row.range ? small(row.range.clipped) : NONE},
      {title: 'Saturated', number: true, explain: 'Share at the ends of the range, though beyond them in float',
        if: row => row.error && row.error.saturated, value: row => row.error && row.error.saturated,
        show: row => row.error && has(row.error.saturated) ? small(row.error.saturated) : NONE},
      {title: 'Dead', number: true, explain: 'Share that became 0 and was not', if: row => row.error && row.error.dead,
        value: row => row.error && row.error.dead, show: row => row.error && has(row.error.dead) ? small(row.error.dead) : NONE},
      {title: 'Time', number: true, if: row => has(row.seconds), value: row => row.seconds,
        show: row => has(row.seconds) ? [meter(row.seconds / slowest), time(row.seconds)] : NONE},
      {title: 'In float', number: true, explain: 'Time of the same node in the float model', if: row => has(row.float_seconds),
        value: row => row.float_seconds, show: row => time(row.float_seconds)},
      {title: 'MACs', number: true, explain: 'Multiply-accumulates', if: row => row.macs, value: row => row.macs,
        show: row => row.macs && !slowest ? [meter(row.macs / most), work(row.macs)] : work(row.macs)},
      {title: 'Cause', if: row => row.sensitivity && row.sensitivity.cause, value: row => row.sensitivity && row.sensitivity.cause,
        show: row => row.sensitivity && row.sensitivity.cause ? words(row.sensitivity.cause) : NONE},
    ], {caption: 'Nodes', tall: true, filter: row => [row.node, row.op_type, row.value, row.reason,
      row.integer ? 'integers' : 'float', row.sensitivity && words(row.sensitivity.cause)].join(' ')}));
}

// ---- SQNR along the network

const known = list('values').filter(value => has(value.sqnr_db));
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(candidate => candidate >= rough);
  const result = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) result.push(Number(at.toPrecision(12)));
  return result;
}
if (known.length > 2) {
  const height = 240, left = 44, right = 10, top = 12, bottom = 26;
  const low = Math.min(0, ...known.map(value => value.sqnr_db)), high = Math.max(10, ...known.map(value => value.sqnr_db));
  section('along', 'Along the network', 'SQNR of each quantized value, from the input to the output. A steep fall names the place of the loss.', figure(width => {
    const x = i => left + (width - left - right) * i / (known.length - 1);
    const y = db => top + (height - top - bottom) * (high - db) / (high - low);
    return svg('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img',
      'aria-label': `SQNR of ${known.length} values, from ${decibels(known[0].sqnr_db)} at the first to ${decibels(known.at(-1).sqnr_db)} at the last`},
    ticks(low, high, 5).map(db => [svg('line', {class: 'grid', x1: left, x2: width - right, y1: y(db), y2: y(db)}),
      svg('text', {x: left - 6, y: y(db) + 4, 'text-anchor': 'end'}, `${db} dB`)]),
    svg('path', {class: 'path', d: known.map((value, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(value.sqnr_db).toFixed(1)}`).join('')}),
    known.length * 10 <= width && known.map((value, i) => svg('circle', {class: 'dot', cx: x(i), cy: y(value.sqnr_db), r: 4},
      svg('title', {}, `${value.value}: ${decibels(value.sqnr_db)}`))),
    svg('text', {x: left, y: height - 6}, 'input'),
    svg('text', {x: width - right, y: height - 6, 'text-anchor': 'end'}, 'output'));
  }));
}

// ---- sensitivity

const byShare = list('sensitivity').some(row => row.share);
const ranked = byShare ? sorted(list('sensitivity'), row => row.share, true) : sorted(list('sensitivity'), row => row.alone_db, false);
if (ranked.length) {
  const shown = ranked.slice(0, 20);
  const top = byShare ? Math.max(...shown.map(row => row.share)) : 1;
  // Without shares: how far a node's SQNR lies below the best.
  const best = Math.max(...ranked.map(row => row.alone_db || 0)), least = Math.min(...ranked.map(row => has(row.alone_db) ? row.alone_db : best));
  const length = row => byShare ? row.share / top : has(row.alone_db) ? (best - row.alone_db + 1) / (best - least + 1) : 1;
  section('sensitivity', 'Sensitivity', 'What each node costs the outputs, the worst first: alone is their SQNR with only this node quantized, restored with all but this.',
    el('div', {class: 'bars'}, shown.map(row => el('div', {class: 'line'},
      el('div', {}, name(row.node), el('div', {class: 'soft'}, operator(row), row.cause ? [' ', el('span', {class: 'badge warn'}, words(row.cause))] : null)),
      el('div', {class: 'track'},
        el('div', {}, el('span', {class: 'of'}, el('i', {style: `width:${(100 * length(row)).toFixed(1)}%`})),
          el('b', {}, byShare ? `${percent(row.share, 1)} of the noise` : decibels(row.alone_db))),
        el('div', {class: 'soft'}, `alone ${decibels(row.alone_db)}`, has(row.restored_db) ? `, restored ${decibels(row.restored_db)}` : '',
          row.measured === false ? ' (estimated)' : ''))))),
    ranked.some(row => row.fix) && el('details', {}, el('summary', {}, 'Causes and proposed fixes'),
      table(ranked.filter(row => row.fix), [
        {title: 'Node', value: row => row.node, show: row => name(row.node)},
        {title: 'Operator', value: row => row.op_type},
        {title: 'Cause', value: row => row.cause, show: row => words(row.cause)},
        {title: 'What shows it', value: row => row.figures, words: true, if: row => row.figures},
        {title: 'Proposed fix', value: row => row.fix, words: true},
      ], {caption: 'Causes and fixes', tall: true})));
}

// ---- activations: histograms with the chosen range

function histogram(one) {
  const width = 320, height = 120, top = 4, bottom = 18;
  const bins = one.histogram, low = Math.min(one.min, one.low), high = Math.max(one.max, one.high);
  const span = high - low || 1, x = value => width * (value - low) / span;
  const most = Math.log10(1 + Math.max(...bins)), size = (one.max - one.min) / bins.length;
  const y = number => (height - top - bottom) * Math.log10(1 + number) / most;
  const base = height - bottom;
  // The minimum that is shown of bars that would be thinner than a pixel.
  const shape = (from, to, number, kind) => to > from && svg('rect',
    {class: `bar${kind}`, x: x(from), width: Math.max(x(to) - x(from) - (bins.length > 1 ? .6 : 0), .8), y: base - y(number), height: y(number)});
  const rects = bins.flatMap((number, i) => {
    if (!number) return [];
    const from = size ? one.min + i * size : one.min - span / 40, to = size ? from + size : one.min + span / 40;
    const inside = [Math.max(from, one.low), Math.min(to, one.high)];
    if (!one.clipped || !size) return [shape(from, to, number, '')];
    return [shape(from, Math.min(to, one.low), number, ' clipped'), shape(...inside, number, ''), shape(Math.max(from, one.high), to, number, ' clipped')];
  });
  return svg('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img',
    'aria-label': `Histogram from ${rounded(one.min)} to ${rounded(one.max)}, chosen range ${rounded(one.low)} to ${rounded(one.high)}, ${small(one.clipped)} clipped`},
    svg('rect', {class: 'range', x: x(one.low), width: Math.max(1, x(one.high) - x(one.low)), y: top, height: base - top}),
    rects,
    [one.low, one.high].map(edge => svg('line', {class: 'edge', x1: x(edge), x2: x(edge), y1: top, y2: base})),
    svg('line', {class: 'axis', x1: 0, x2: width, y1: base, y2: base}),
    svg('text', {x: 0, y: height - 4}, rounded(low)),
    low < 0 && high > 0 && x(0) > 52 && x(0) < width - 52 && svg('text', {x: x(0), y: height - 4, 'text-anchor': 'middle'}, '0'),
    svg('text', {x: width, y: height - 4, 'text-anchor': 'end'}, rounded(high)));
}
const drawn = list('distributions').filter(one => one.histogram && one.histogram.length);
if (drawn.length) {
  const STEP = 12;
  const orders = {
    'network order': null,
    'most clipped': [one => one.clipped, true],
    'least SQNR': known.length ? [one => byValue.get(one.value) && byValue.get(one.value).sqnr_db, false] : undefined,
    'range wasted': [one => (one.high - one.low) / Math.max(1e-30, one.max - one.min), true],
    'name': [one => one.value, false],
  };
  let limit = STEP, text = '', order = null;
  const charts = el('div', {class: 'charts'}), more = el('button', {type: 'button', onclick: () => { limit = Infinity; draw(); }});
  const status = el('span', {class: 'count', role: 'status'});
  const draw = () => {
    let shown = drawn.filter(one => `${one.value} ${one.node}`.toLowerCase().includes(text));
    if (order) shown = sorted(shown, ...order);
    const found = shown.length;
    shown = shown.slice(0, limit);
    charts.replaceChildren(...shown.map(one => {
      const error = byValue.get(one.value);
      return el('figure', {class: 'chart'},
        el('figcaption', {}, name(one.value), el('span', {class: 'facts'},
          el('span', {}, el('b', {}, one.dtype), ` scale ${rounded(one.scale)}, zero point ${one.zero_point}`),
          el('span', {class: one.clipped > 1e-3 && 'clip'}, `clipped ${small(one.clipped)}`),
          error && el('span', {}, 'SQNR ', decibels(error.sqnr_db, error)))),
        histogram(one));
    }));
    status.textContent = `${shown.length} of ${drawn.length}`;
    more.textContent = `Show all ${found}`;
    more.hidden = shown.length === found;
  };
  draw();
  section('activations', 'Activations',
    'What each quantized value held, counts on a logarithmic scale, and the range that its integers hold. Values outside are clipped to its ends.',
    legend([['bar', 'values'], ['range-line', 'chosen range'], ['clip', 'clipped']]),
    drawn.length > 1 && el('div', {class: 'controls'},
      el('label', {}, 'Filter', el('input', {type: 'search', placeholder: 'name',
        oninput: event => { text = event.target.value.trim().toLowerCase(); draw(); }})),
      el('label', {}, 'Order', el('select', {onchange: event => { order = orders[event.target.value]; draw(); }},
        Object.entries(orders).filter(([, by]) => by !== undefined).map(([title]) => el('option', {}, title)))), status),
    charts, more);
  addEventListener('beforeprint', () => { if (limit < 48) limit = 48, draw(); });
}

// ---- steps

if (list('steps').length) section('steps', 'Steps', 'What each step of the recipe gained, by its own measure.',
  table(list('steps'), [
    {title: 'Step', value: row => row.step, show: row => name(row.step)},
    {title: 'What', value: row => has(row.what) ? String(row.what) : '', words: true, if: row => row.what},
    {title: 'Measure', value: row => row.unit || '', words: true, if: row => row.unit},
    {title: 'Before', number: true, value: row => row.before, show: row => rounded(row.before)},
    {title: 'After', number: true, value: row => row.after, show: row => rounded(row.after)},
  ], {caption: 'Steps'}));

// ---- budget and Pareto set

const budget = report.budget, tried = (budget && budget.tried || []).filter(point => has(point.value));
if (tried.length) {
  const timed = tried.some(point => has(point.seconds)), cost = point => timed ? point.seconds : point.bytes;
  const points = tried.filter(point => has(cost(point)));
  const front = sorted(points.filter(point => point.pareto), cost, false);
  const height = 320, left = 56, right = 24, top = 14, bottom = 44;
  const costs = points.map(cost), metrics = [...points.map(point => point.value), ...has(budget.limit) ? [budget.limit] : []];
  const pad = (low, high) => { const by = (high - low || Math.abs(high) || 1) * .08; return [low - by, high + by]; };
  const [x0, x1] = pad(Math.min(...costs), Math.max(...costs)), [y0, y1] = pad(Math.min(...metrics), Math.max(...metrics));
  section('pareto', 'Accuracy against cost', `Models tried to keep within the budget: ${budget.metric} at ${budget.larger_is_better === false ? 'most' : 'least'} ${rounded(budget.limit)}, ${rounded(budget.float_value)} in float.`,
    !budget.met && el('p', {}, el('span', {class: 'badge bad'}, 'Not met'), ' Nothing tried keeps within the budget; the best stands in the file.'),
    legend([['range-line', 'nothing is better in all of value, size and time'], ['bar', 'others'], ['clip', 'limit']]),
    figure(width => {
      const x = value => left + (width - left - right) * (value - x0) / (x1 - x0), y = value => top + (height - top - bottom) * (y1 - value) / (y1 - y0);
      return svg('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${points.length} models, ${front.length} on the Pareto front`},
        ticks(y0, y1, 5).map(value => [svg('line', {class: 'grid', x1: left, x2: width - right, y1: y(value), y2: y(value)}),
          svg('text', {x: left - 6, y: y(value) + 4, 'text-anchor': 'end'}, rounded(value))]),
        ticks(x0, x1, width / 120).map(value => svg('text', {x: x(value), y: height - bottom + 16, 'text-anchor': 'middle'}, timed ? time(value) : bytes(value))),
        svg('line', {class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom}),
        svg('text', {x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle'}, timed ? 'time of one run' : 'size of the weights'),
        has(budget.limit) && svg('line', {class: 'limit', x1: left, x2: width - right, y1: y(budget.limit), y2: y(budget.limit)}),
        points.map(point => svg('circle', {class: `dot${point.pareto ? ' front' : ''}${point.chosen ? ' chosen' : ''}`, cx: x(cost(point)), cy: y(point.value), r: point.chosen ? 8 : 6},
          svg('title', {}, `${point.label}: ${rounded(point.value)}`))),
        front.map((point, i) => {
          const behind = x(cost(point)) > width * .6, before = front[i - 1];
          if (before && x(cost(point)) - x(cost(before)) < 90 && Math.abs(y(point.value) - y(before.value)) < 14) return null;  // no room
          return svg('text', {class: 'label', x: x(cost(point)) + (behind ? -11 : 11), y: y(point.value) - 8, 'text-anchor': behind ? 'end' : 'start'}, point.label);
        }));
    }),
    table(tried, [
      {title: 'Model', value: row => row.label, show: row => row.chosen ? [row.label, ' ', el('span', {class: 'badge good'}, 'chosen')] : row.label},
      {title: budget.metric, number: true, worstIsLeast: budget.larger_is_better === false, value: row => row.value, show: row => rounded(row.value)},
      {title: 'Size', number: true, worstIsLeast: true, if: row => has(row.bytes), value: row => row.bytes, show: row => bytes(row.bytes)},
      {title: 'Time', number: true, worstIsLeast: true, if: row => has(row.seconds), value: row => row.seconds, show: row => time(row.seconds)},
      {title: 'Budget', value: row => row.within ? 'within' : 'misses'},
    ], {caption: 'Models tried', tall: true}));
}

// ---- coverage

// Reports of compare give reasons for nodes that multiply alone.
const explained = list('left_in_float');
const others = nodes.filter(node => !node.integer && !reasons.has(node.node) && !/^(Quantize|Dequantize)Linear$/.test(node.op_type));
const islands = [...explained, ...others.map(node => ({node: node.node, op_type: operator(node), reason: ''}))];
if (has(report.integer_coverage) || islands.length) {
  const groups = new Map();
  for (const node of islands) {
    const key = `${node.op_type}\n${node.reason}`;
    if (!groups.has(key)) groups.set(key, {op_type: node.op_type, reason: node.reason, nodes: [], macs: 0});
    groups.get(key).nodes.push(node.node);
  }
  const macs = new Map(nodes.map(node => [node.node, node.macs]));
  for (const group of groups.values()) group.macs = group.nodes.reduce((sum, node) => sum + (macs.get(node) || 0), 0);
  section('coverage', 'Integer coverage', null,
    has(report.integer_coverage) && [
      el('p', {}, `${percent(report.integer_coverage, 1)} of the multiply-accumulates are done in integers.`),
      el('div', {class: 'share', role: 'img', 'aria-label': `${percent(report.integer_coverage, 1)} integers`}, el('i', {style: `width:${100 * report.integer_coverage}%`}), el('u')),
      legend([['bar', 'integers'], ['line', 'float']])],
    islands.length ? [el('h3', {}, `${count(islands.length)} node${islands.length > 1 ? 's' : ''} left in float${islands.some(node => macs.get(node.node)) ? '' : ', without multiply-accumulates'}`),
      table([...groups.values()], [
        {title: 'Operator', value: row => row.op_type},
        {title: 'Nodes', number: true, value: row => row.nodes.length, show: row => count(row.nodes.length)},
        {title: 'MACs', number: true, if: row => row.macs, value: row => row.macs, show: row => work(row.macs)},
        {title: 'Why', value: row => row.reason, words: true, if: row => row.reason, show: row => row.reason || NONE},
        {title: 'Which', value: row => row.nodes[0], words: true, show: row => row.nodes.length === 1 ? name(row.nodes[0])
          : el('details', {}, el('summary', {}, 'Names'), el('ul', {}, row.nodes.map(node => el('li', {}, name(node)))))},
      ], {caption: 'Left in float', tall: true, sort: 'Nodes', filter: row => [row.op_type, row.reason, ...row.nodes].join(' ')})]
      : el('p', {class: 'soft'}, 'No node was left in float.'));
}
const kept = report.speed && report.speed.kept_float || [];
if (kept.length) section('speed', 'Slower in integers', 'Measured on the machine that quantized; these nodes stay in float.', table(kept, [
  {title: 'Node', value: row => row.node, show: row => name(row.node)},
  {title: 'Operator', value: row => row.op_type},
  {title: 'In float', number: true, value: row => row.float_seconds, show: row => time(row.float_seconds)},
  {title: 'In integers', number: true, value: row => row.integer_seconds, show: row => time(row.integer_seconds)},
], {caption: 'Slower in integers', tall: true}));

// ---- notes

if (list('notes').length) section('notes', 'Notes', null, el('ul', {class: 'notes'}, list('notes').slice(0, 12).map(note => el('li', {}, note))),
  list('notes').length > 12 && el('details', {}, el('summary', {}, `${list('notes').length - 12} more`),
    el('ul', {class: 'notes', style: 'columns:1'}, list('notes').slice(12).map(note => el('li', {}, note)))));

// ---- how to make it again

function block(title, text) {
  const pre = el('pre', {tabindex: 0}, text);
  const button = el('button', {type: 'button', 'aria-label': `Copy ${title.toLowerCase()}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // not allowed to pages from files everywhere
      getSelection().selectAllChildren(pre);
      document.execCommand('copy');
    }
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  }}, 'Copy');
  return el('div', {class: 'block'}, el('div', {class: 'head'}, el('h3', {}, title), button), pre);
}
if (report.command || report.recipe_json) section('again', 'Make it again', null, el('div', {class: 'two'},
  el('div', {},
    report.command && block('Command', report.command),
    recipe && !String(report.command).startsWith('zeropoint quantize') && block('The quantized file again, by the recipe',
      `zeropoint quantize ${report.model || 'MODEL.onnx'} --recipe recipe.json${list('distributions').length ? ' --data SAMPLES' : ''} -o QUANTIZED.onnx`)),
  report.recipe_json && block('Recipe', recipe ? JSON.stringify(recipe, null, 2) : String(report.recipe_json))));
})();
