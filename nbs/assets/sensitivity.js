// What would change a verdict: a claim, its δ, its seeds and its budget are chosen here; rules.js judges.
addEventListener('DOMContentLoaded', () => document.querySelectorAll('figure.sensitivity').forEach(figure => {
  'use strict'
  const { claims, family } = JSON.parse(figure.querySelector('script').textContent), byId = Object.fromEntries(claims.map(c => [c.id, c]))
  const element = (tag, given = {}, ...inside) => { const made = Object.assign(document.createElement(tag), given); made.append(...inside); return made }
  const style = word => ({ supported: 'supported', 'opposite found': 'against', 'no sizeable effect': 'against' })[word] ?? 'undecided'
  const COLOR = { supported: '#0173b2', against: '#d55e00', undecided: '#767676' }

  // The δ to choose from: half percents, then coarser steps; of differences twentieths of the registered one, which is always among them.
  const range = (n, f) => Array.from({ length: n }, (_, i) => f(i))
  const deltas = claim => [...new Set([claim.delta, ...claim.measure.ratio
    ? [...range(100, i => i / 200), ...range(30, i => (10 + i) / 20), ...range(17, i => 2 + i / 2)]
    : range(201, i => i * claim.delta / 20)].map(d => +d.toPrecision(12)))].sort((a, b) => a - b)
  const shownDelta = (claim, delta) => claim.measure.ratio ? `${rules.general(100 * delta, 4)} %` : [rules.general(delta, 3), claim.measure.unit].filter(Boolean).join(' ')

  // The address holds what is shown: #sensitivity&claim=…&delta=…&out=1,2&budget=…
  const state = { claim: claims.find(c => c.claim)?.id ?? claims[0].id, delta: null, out: new Set(), times: null }
  const rungOf = c => c.rungs.find(r => r.times === state.times) ?? c.rungs.find(r => r.times === c.published.times) ?? c.rungs.at(-1)
  const seedsOf = rung => [...new Set(rung.arms.flatMap(arm => Object.keys(arm)))].sort((a, b) => a - b)
  function published(id) { Object.assign(state, { claim: id, delta: byId[id].claim?.delta ?? null, out: new Set(), times: byId[id].published.times }) }
  function fromAddress() {
    const given = location.hash.startsWith('#sensitivity') ? Object.fromEntries(new URLSearchParams(location.hash.slice(1))) : {}
    published(byId[given.claim] ? given.claim : state.claim)
    const c = byId[state.claim]
    if (!c.claim) return
    if (c.rungs.some(r => r.times === +given.budget)) state.times = +given.budget
    const nearest = +given.delta, known = deltas(c.claim)
    if (given.delta && isFinite(nearest)) state.delta = known.reduce((a, b) => Math.abs(b - nearest) < Math.abs(a - nearest) ? b : a)
    const seeds = seedsOf(rungOf(c))
    state.out = new Set((given.out ?? '').split(',').filter(s => seeds.includes(s)))
  }
  function toAddress() {
    const c = byId[state.claim], said = new URLSearchParams({ claim: state.claim })
    if (c.claim) {
      if (state.delta !== c.claim.delta) said.set('delta', state.delta)
      if (state.out.size) said.set('out', [...state.out].sort((a, b) => a - b))
      if (c.rungs.length > 1 && rungOf(c).times !== c.published.times) said.set('budget', rungOf(c).times)
    }
    history.replaceState(null, '', '#sensitivity&' + said)
  }

  const select = element('select', { onchange: () => { published(select.value); changed() } })
  for (const letter of new Set(claims.map(c => c.project)))
    select.append(element('optgroup', { label: `Project ${letter}` }, ...claims.filter(c => c.project === letter).map(c => element('option', { value: c.id, textContent: `${c.id} ${c.glyph} ${c.tested.length > 70 ? c.tested.slice(0, 68) + ' …' : c.tested}` }))))
  const slider = element('input', { type: 'range', min: 0, step: 1, oninput: () => { state.delta = deltas(byId[state.claim].claim)[slider.value]; changed() } })
  const rung = element('select', { onchange: () => { Object.assign(state, { times: +rung.value, out: new Set() }); changed() } })
  const seeds = element('fieldset'), deltaText = element('span', { className: 'delta' }), tested = element('p', { className: 'tested' }), before = element('div'), now = element('div'), over = element('p'), drawing = element('div', { className: 'drawing' })
  now.setAttribute('role', 'status'); now.setAttribute('aria-live', 'polite')
  const reset = element('button', { type: 'button', textContent: 'As published', onclick: () => { published(state.claim); changed(); slider.focus() } })
  const rungLabel = element('label', {}, 'Budget ', rung)
  const controls = element('div', { className: 'controls' }, element('label', {}, 'Smallest interesting effect δ ', slider, deltaText), rungLabel, seeds, reset)
  const caption = element('figcaption')
  figure.append(element('label', { className: 'choice' }, 'Claim ', select), tested, element('div', { className: 'sides' }, before, now), controls, drawing, over, caption)

  const box = (into, title, v, lines) => {
    into.className = `verdict-box ${v.style}`
    into.replaceChildren(element('p', { className: 'interval' }, `${title} `, element('span', { className: `verdict ${v.style}`, textContent: v.text })),
      ...lines.filter(Boolean).map((text, i) => element('p', { className: i ? 'because' : '' }, text)))
  }
  const judged = (c, delta = state.delta) => {
    const r = rungOf(c), claim = { ...c.claim, delta }, kept = r.arms.map(arm => Object.fromEntries(Object.entries(arm).filter(([s]) => !state.out.has(s))))
    const v = rules.judge(claim, kept, family[r.times], r.n_epochs)
    return { ...v, style: style(v.word), alone: v.effect !== null && v.n_seeds < rules.MIN_SEEDS && v.n_seeds > 1 ? rules.decide(claim, v, 2).text : '' }
  }

  function show() {
    const c = byId[state.claim], p = c.published
    select.value = c.id
    tested.replaceChildren(c.tested + ' ', element('a', { href: `project_${c.project.toLowerCase()}.html#${c.id.toLowerCase()}`, textContent: `The evidence on ${c.id}` }), '.')
    box(before, 'Published:', p, [[p.headline, p.effect_text].filter(Boolean).join(': '), p.because && `Because ${p.because}.`])
    for (const part of [controls, drawing, over, caption]) part.hidden = !c.claim
    if (!c.claim) {
      now.className = 'verdict-box undecided'
      now.replaceChildren(element('p', {}, p.text === 'not run' ? 'There are no runs yet, and so nothing to change.' : `“${c.kind}”: such a claim is not judged in the browser. Its published verdict stands beside.`))
      return
    }
    const r = rungOf(c), claim = { ...c.claim, delta: state.delta }, v = judged(c), known = deltas(c.claim), shown = shownDelta(claim, state.delta)
    box(now, `As chosen here, by ${claim.measure.title}:`, v, [[v.headline, v.effect_text].filter(Boolean).join(': '), v.because && `Because ${v.because}.`,
      v.p !== null && `p = ${rules.general(v.p, 2)}, after Holm’s correction for ${Object.keys({ ...family[r.times], [c.id]: 0 }).length} tests ${rules.general(v.p_holm, 2)}. ${v.n_seeds} seeds.`,
      v.alone && `If so few seeds could decide: ${v.alone}.`])
    Object.assign(slider, { max: known.length - 1, value: known.indexOf(state.delta) })
    slider.setAttribute('aria-valuetext', shown)
    deltaText.textContent = ` ${shown}${claim.measure.ratio ? `: ${rules.deltaText(claim)}` : ''}`
    rungLabel.hidden = c.rungs.length < 2
    rung.replaceChildren(...c.rungs.map(other => element('option', { value: other.times, textContent: other.budget })))
    rung.value = r.times
    const boxes = seedsOf(r).map(s => element('label', {}, element('input', { type: 'checkbox', value: s, checked: !state.out.has(s), onchange: e => { state.out[e.target.checked ? 'delete' : 'add'](s); changed() } }), ` ${s}`))
    if (seeds.dataset.shown !== `${c.id} ${r.times}`) { seeds.replaceChildren(element('legend', { textContent: 'Seeds' }), ...boxes); seeds.dataset.shown = `${c.id} ${r.times}` }
    else seeds.querySelectorAll('input').forEach(input => { input.checked = !state.out.has(input.value) })
    over.textContent = overDelta(c, known)
    draw(c, r, claim, v)
  }

  // At which δ the word would be another one, with these seeds.
  function overDelta(c, known) {
    const words = known.map(delta => judged(c, delta).word), parts = []
    words.forEach((word, i) => { if (word !== words[i - 1]) parts.push(i ? `${word} from ${shownDelta(c.claim, known[i])}` : word) })
    return parts.length > 1 ? `As δ grows, with these seeds: ${parts.join(', ')}.` : `With these seeds: ${words[0]}, whatever δ is.`
  }

  // Above, every seed of both arms; below, the effect with its interval against δ. Drawn as wide as the page, so that letters keep their size.
  const svg = (tag, given, text) => { const made = document.createElementNS('http://www.w3.org/2000/svg', tag); for (const k in given) made.setAttribute(k, given[k]); if (text !== undefined) made.textContent = text; return made }
  function ticks(low, high) {
    const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].find(k => k * power >= rough) * power
    return range(Math.floor(high / step) - Math.ceil(low / step) + 1, i => (Math.ceil(low / step) + i) * step)
  }
  function factors(reach) {      // logarithms of round ratios, as many as there is room for
    const known = [1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 30, 100, 1e3].map(Math.log).filter(x => x < reach * 0.95), most = known.at(-1) ?? reach, half = known.filter(x => x < most * 0.6).at(-1)
    return [-most, ...half ? [-half, 0, half] : [0], most]
  }
  function draw(c, r, claim, v) {
    const m = claim.measure, width = Math.max(240, drawing.clientWidth), height = 236, left = 12, right = width - 12
    const image = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img' }), put = (tag, given, text) => image.append(svg(tag, given, text))
    const label = (x, y, text, given = {}) => put('text', { x: Math.min(Math.max(x, left), right), y, ...given }, text)
    const all = r.arms.flatMap(arm => Object.values(arm)).filter(x => x !== null), scale = m.ratio ? Math.log : x => x
    const line = (low, high) => { const pad = (high - low || 1) * 0.06; return x => left + (x - low + pad) / (high - low + 2 * pad) * (right - left) }
    const [least, most] = [Math.min(...all), Math.max(...all)], x = line(scale(least), scale(most))
    r.arms.forEach((arm, i) => {
      const y = 34 + 44 * i
      label(left, y - 14, claim.arms[i])
      put('line', { x1: left, x2: right, y1: y, y2: y, class: 'rule' })
      for (const [s, value] of Object.entries(arm)) if (value !== null) {
        const out = state.out.has(s), dot = svg('circle', { cx: x(scale(value)), cy: y, r: 5, class: out ? 'out' : i ? 'second' : 'first' })
        dot.append(svg('title', {}, `${claim.arms[i]}, seed ${s}: ${rules.general(value, 4)}${out ? ', left out' : ''}`))
        image.append(dot)
      }
    })
    const values = ticks(least, most).filter(t => t >= least && t <= most)
    for (const t of values) label(x(scale(t)), 106, rules.minus(rules.general(t, 3)), { 'text-anchor': 'middle', class: 'tick' })
    label(left, 124, `${m.title}${m.unit ? `, ${m.unit}` : ''}${m.lower_is_better ? ' (lower is better)' : ' (higher is better)'}`, { class: 'tick' })
    if (v.effect !== null) {
      // In the measure's own direction, as the words have it.
      const d = rules.scaledDelta(claim), [e, ...ends] = rules.turned(claim, v.effect, v.low, v.high), [low, high] = ends.sort((a, b) => a - b), finite = [low, high].map(end => isFinite(end) ? end : e)
      const reach = Math.max(...[...finite, e].map(Math.abs), rules.scaledDelta(c.claim) * 1.5) * 1.1, to = line(-reach, reach), clip = value => Math.min(Math.max(to(value), left), right), y = 174
      put('rect', { x: clip(-d), width: clip(d) - clip(-d), y: y - 24, height: 48, class: 'band' })
      put('line', { x1: to(0), x2: to(0), y1: y - 24, y2: y + 24, class: 'rule' })
      put('line', { x1: isFinite(low) ? to(low) : left, x2: isFinite(high) ? to(high) : right, y1: y, y2: y, stroke: COLOR[v.style], 'stroke-width': 3 })
      put('circle', { cx: to(e), cy: y, r: 6, fill: COLOR[v.style] })
      const texts = m.ratio ? factors(reach) : ticks(-reach, reach)
      for (const t of texts) label(to(t), 214, m.ratio ? rules.percent(t) : rules.signed(rules.general(+t.toPrecision(6), 3)), { 'text-anchor': 'middle', class: 'tick' })
      label(left, 232, `effect of “${claim.arms[0]}” against “${claim.arms[1]}”`, { class: 'tick' })
    }
    const counted = seedsOf(r).length - state.out.size
    image.setAttribute('aria-label', `${m.title} of ${counted} seeds of “${claim.arms[0]}” and “${claim.arms[1]}”. ${v.effect === null ? 'There is no effect to show.' : `Effect ${v.effect_text}, δ ${shownDelta(claim, state.delta)}.`}`)
    drawing.replaceChildren(image)
    caption.textContent = `Above, every run: a dot for each seed, hollow where it is left out. Below, the effect with its ${100 * rules.level(claim.rule)} % interval; inside the gray band it is smaller than δ.`
  }

  function changed() { show(); toAddress() }
  addEventListener('hashchange', () => { if (location.hash.startsWith('#sensitivity')) { fromAddress(); show() } })
  fromAddress()
  show()
  let width
  new ResizeObserver(([{ contentRect }]) => { if (contentRect.width && contentRect.width !== width) { width = contentRect.width; show() } }).observe(drawing)
}))
