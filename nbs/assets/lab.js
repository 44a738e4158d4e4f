// Two GANs that are small enough to be watched: one of two numbers, and one that learns points in the plane.
const lab = (() => {
  'use strict'
  const softplus = x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), sigmoid = x => x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x))
  const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum }

  // What a pair of scores, of a real and of a generated point, costs D, and its derivatives by both; what it costs G, and its derivative by the generated one.
  const dLogistic = (real, fake) => [softplus(-real) + softplus(fake), -sigmoid(-real), sigmoid(fake)]
  const LOSSES = {
    bce: { d: dLogistic, g: fake => [softplus(-fake), -sigmoid(-fake)] },
    minimax: { d: dLogistic, g: fake => [-softplus(fake), -sigmoid(fake)] },
    mse: { d: (real, fake) => [((real - 1) ** 2 + fake ** 2) / 2, real - 1, fake], g: fake => [(fake - 1) ** 2 / 2, fake - 1] },
    hinge: { d: (real, fake) => [Math.max(0, 1 - real) + Math.max(0, 1 + fake), real < 1 ? -1 : 0, fake > -1 ? 1 : 0], g: fake => [-fake, -1] },
    wgan: { d: (real, fake) => [fake - real, -1, 1], g: fake => [-fake, -1] },
    rpgan: { d: (real, fake) => [softplus(fake - real), -sigmoid(fake - real), sigmoid(fake - real)], g: (fake, real) => [softplus(real - fake), -sigmoid(real - fake)] },
  }

  // Where D's slope is looked at, and what its square costs there, with the derivative.
  const half = s => [s / 2, 1 / 2]
  const around1 = s => { const slope = Math.sqrt(Math.max(s, 1e-12)); return [(slope - 1) ** 2, s < 1e-12 ? 0 : (slope - 1) / slope] }
  const PENALTIES = { none: {}, r1: { real: half }, r2: { fake: half }, r1r2: { real: half, fake: half }, wgan_gp: { between: around1 } }

  // The smallest GAN: the data are the number 0, G makes theta, D scores x with psi·x. Its slope is psi everywhere.
  function smallest({ loss, penalty, weight }, theta, psi) {
    const [dLoss, , dFake] = LOSSES[loss].d(0, theta * psi), [gLoss, gFake] = LOSSES[loss].g(theta * psi, 0)
    const paid = Object.values(PENALTIES[penalty]).map(cost => cost(psi ** 2)), sum = i => paid.reduce((total, p) => total + p[i], 0)
    return { dLoss, gLoss, penalty: sum(0), theta: gFake * psi, psi: dFake * theta + weight * sum(1) * 2 * psi }
  }
  function smallestStep(settings, theta, psi) {      // D first, as in training; or both at once
    const { rate, both } = settings, next = psi - rate * smallest(settings, theta, psi).psi
    return [theta - rate * smallest(settings, theta, both ? psi : next).theta, next]
  }

  // Random numbers that are the same everywhere: a counter, thoroughly mixed.
  function random(seed) {
    let count = 0
    const uniform = () => {      // 0 … 1, without 1
      let h = seed + Math.imul(++count, 0x9e3779b9)
      h = Math.imul(h ^ h >>> 16, 0x85ebca6b)
      h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
      return ((h ^ h >>> 16) >>> 0) / 2 ** 32
    }
    const normal = () => { const far = Math.sqrt(-2 * Math.log(1 - uniform())); return far * Math.cos(2 * Math.PI * uniform()) }
    return { uniform, normal, normals: n => Array.from({ length: n }, normal) }
  }

  // A network: layers { w: rows, b }, tanh between them. `a` holds the activations of one point, its input first.
  const network = (sizes, rng) => sizes.slice(1).map((n, l) => ({ w: Array.from({ length: n }, () => rng.normals(sizes[l]).map(x => x / Math.sqrt(sizes[l]))), b: Array(n).fill(0) }))
  const zeros = net => net.map(({ w, b }) => ({ w: w.map(row => row.map(() => 0)), b: b.map(() => 0) }))
  const slope = a => 1 - a * a, bend = a => -2 * a * (1 - a * a)      // first and second derivative of tanh, by its value
  function forward(net, x) {
    const a = [x]
    net.forEach(({ w, b }, l) => a.push(w.map((row, i) => { const z = b[i] + dot(row, a[l]); return l < net.length - 1 ? Math.tanh(z) : z })))
    return a
  }
  const output = (net, x) => forward(net, x).at(-1)
  const down = (w, u) => w[0].map((_, j) => { let sum = 0; for (let i = 0; i < u.length; i++) sum += w[i][j] * u[i]; return sum })
  const addOuter = (into, u, v) => { for (let i = 0; i < u.length; i++) for (let j = 0; j < v.length; j++) into[i][j] += u[i] * v[j] }

  // Adds the gradient by the weights to `sum` and gives that by the input; `extra`: what reaches each layer by another way.
  function backward(net, a, u, sum, extra = []) {
    for (let l = net.length - 1; l >= 0; l--) {
      if (extra[l]) u = u.map((x, i) => x + extra[l][i])
      addOuter(sum[l].w, u, a[l])
      for (let i = 0; i < u.length; i++) sum[l].b[i] += u[i]
      u = down(net[l].w, u)
      if (l) u = u.map((x, j) => x * slope(a[l][j]))
    }
    return u
  }

  // What the slope of D at a point costs. The slope is itself a way down through the layers (u before, v after each tanh); its gradient goes that way back up.
  function steepness(net, a, cost, scale, sum) {
    const u = [], v = [], extra = []
    u[net.length] = [1]
    for (let l = net.length; l > 0; l--) {
      v[l - 1] = down(net[l - 1].w, u[l])
      u[l - 1] = v[l - 1].map((x, j) => x * slope(a[l - 1][j]))
    }
    const [value, derivative] = cost(dot(v[0], v[0]))
    let p = v[0].map(x => 2 * derivative * scale * x)
    net.forEach(({ w }, l) => {
      addOuter(sum[l].w, u[l + 1], p)
      if (l === net.length - 1) return
      const up = w.map(row => dot(row, p))
      extra[l] = up.map((x, i) => x * v[l + 1][i] * bend(a[l + 1][i]))
      p = up.map((x, i) => x * slope(a[l + 1][i]))
    })
    backward(net, a, [0], sum, extra)
    return value
  }

  // Loss, penalty and gradient of D for pairs of real and generated points; `mix`: where between both of a pair wgan_gp looks, 0 at the real one.
  function dGradient(D, { loss, penalty, weight }, real, fake, mix) {
    const sum = zeros(D), n = real.length
    let lossSum = 0, penaltySum = 0
    for (let i = 0; i < n; i++) {
      const at = { real: forward(D, real[i]), fake: forward(D, fake[i]) }
      const [value, ofReal, ofFake] = LOSSES[loss].d(at.real.at(-1)[0], at.fake.at(-1)[0])
      lossSum += value
      backward(D, at.real, [ofReal / n], sum)
      backward(D, at.fake, [ofFake / n], sum)
      if (PENALTIES[penalty].between) at.between = forward(D, real[i].map((x, k) => x + mix[i] * (fake[i][k] - x)))
      for (const where in PENALTIES[penalty]) penaltySum += steepness(D, at[where], PENALTIES[penalty][where], weight / n, sum)
    }
    return { loss: lossSum / n, penalty: penaltySum / n, sum }
  }
  function gGradient(G, D, { loss }, z, real) {
    const sum = zeros(G), unused = zeros(D), n = z.length
    let lossSum = 0
    for (let i = 0; i < n; i++) {
      const made = forward(G, z[i]), seen = forward(D, made.at(-1)), [value, ofFake] = LOSSES[loss].g(seen.at(-1)[0], output(D, real[i])[0])
      lossSum += value
      backward(G, made, backward(D, seen, [ofFake / n], unused), sum)
    }
    return { loss: lossSum / n, sum }
  }

  const values = net => net.flatMap(({ w, b }) => [...w.flat(), ...b])
  const norm = net => Math.sqrt(values(net).reduce((total, x) => total + x * x, 0))
  // A step of Adam with the library's memory, or of plain gradient descent.
  function optimizer(net, { optimizer, lr }) {
    const first = zeros(net), second = zeros(net)
    let t = 0
    return gradient => {
      t++
      const move = (x, g, m, v) => {
        for (let i = 0; i < x.length; i++) {
          if (optimizer === 'sgd') { x[i] -= lr * g[i]; continue }
          m[i] = 0.5 * m[i] + 0.5 * g[i]
          v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i]
          x[i] -= lr * m[i] / (1 - 0.5 ** t) / (Math.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-8)
        }
      }
      net.forEach(({ w, b }, l) => {
        w.forEach((row, i) => move(row, gradient[l].w[i], first[l].w[i], second[l].w[i]))
        move(b, gradient[l].b, first[l].b, second[l].b)
      })
    }
  }

  // The data: equally many points around each of some places.
  const SPREAD = 0.06, RING = 8
  const DATA = {
    ring: Array.from({ length: RING }, (_, i) => [Math.cos(2 * Math.PI * i / RING), Math.sin(2 * Math.PI * i / RING)]),
    grid: Array.from({ length: 9 }, (_, i) => [i % 3 - 1, Math.floor(i / 3) - 1]),
  }
  const drawn = (modes, n, rng) => Array.from({ length: n }, () => { const [x, y] = modes[Math.floor(rng.uniform() * modes.length)]; return [x + SPREAD * rng.normal(), y + SPREAD * rng.normal()] })

  // The GAN of points. Settings: data, loss, penalty, weight, optimizer (of G; D has Adam), lr, ahead (steps of D before the first of G),
  // g_steps (of G for each of D), batch, width, seed.
  const LATENT = 2
  function gan(settings) {
    const rng = random(settings.seed), { width, data } = settings
    const G = network([LATENT, width, width, 2], rng), D = network([2, width, width, 1], rng)
    G.at(-1).w.forEach((row, i) => { G.at(-1).w[i] = row.map(x => x / 10) })      // G begins with a spot in the middle
    return { settings, rng, G, D, modes: DATA[data], dOptimizer: optimizer(D, { ...settings, optimizer: 'adam' }), gOptimizer: optimizer(G, settings), steps: 0 }
  }
  function dStep(it) {
    const { settings, rng, G, D, modes } = it, n = settings.batch
    it.real = drawn(modes, n, rng)
    const fake = Array.from({ length: n }, () => output(G, rng.normals(LATENT)))
    const mix = PENALTIES[settings.penalty].between ? Array.from({ length: n }, rng.uniform) : null
    const { loss, penalty, sum } = dGradient(D, settings, it.real, fake, mix)
    it.dOptimizer(sum)
    Object.assign(it, { dLoss: loss, penalty })
  }
  function gStep(it) {
    const { settings, rng, G, D } = it
    const { loss, sum } = gGradient(G, D, settings, Array.from({ length: settings.batch }, () => rng.normals(LATENT)), it.real)
    it.gOptimizer(sum)
    Object.assign(it, { gLoss: loss, gGrad: norm(sum) })
  }
  function train(it, n = 1) {
    for (; n > 0; n--) {
      for (let d = it.steps ? 1 : 1 + it.settings.ahead; d > 0; d--) dStep(it)
      for (let g = it.settings.g_steps; g > 0; g--) gStep(it)
      it.steps++
    }
    return it
  }

  // What came of it: a mode is covered if it has at least a tenth of its share, within three standard deviations; the noise is always the same.
  const samples = (it, n = 400) => { const rng = random(0); return Array.from({ length: n }, () => output(it.G, rng.normals(LATENT))) }
  function covered(modes, points) {
    const near = modes.map(([x, y]) => points.filter(p => Math.hypot(p[0] - x, p[1] - y) < 3 * SPREAD).length)
    return { modes: near.filter(n => n >= points.length / modes.length / 10).length, near: near.reduce((a, b) => a + b, 0) / points.length }
  }
  return { LOSSES, PENALTIES, DATA, smallest, smallestStep, random, network, forward, output, dGradient, gGradient, values, norm, optimizer, drawn, gan, dStep, gStep, train, samples, covered }
})()

// The page: one choice of loss and penalty for both GANs, what each has of its own below it, and a few choices that are worth seeing.
addEventListener('DOMContentLoaded', () => document.querySelectorAll('figure.lab').forEach(figure => {
  'use strict'
  const { defaults, presets, titles } = JSON.parse(figure.querySelector('script').textContent)
  const element = (tag, given = {}, ...inside) => { const made = Object.assign(document.createElement(tag), given); made.append(...inside); return made }
  const calm = matchMedia('(prefers-reduced-motion: reduce)'), short = x => String(+x.toPrecision(2)).replace('-', '−')
  const LONG = 4000      // steps after which it pauses by itself

  // What can be chosen, and how: a list, a slider of such values, a number or a yes.
  const powers = (low, high) => Array.from({ length: (high - low) * 3 + 1 }, (_, i) => +(10 ** (low + Math.floor(i / 3)) * [1, 2, 5][i % 3]).toPrecision(1))
  const CHOICES = {
    loss: { label: 'Loss', of: Object.keys(lab.LOSSES) }, penalty: { label: 'Penalty', of: Object.keys(lab.PENALTIES) }, weight: { label: 'Its weight', slide: [0.03, 0.1, 0.3, 1, 3, 10] },
    rate: { label: 'Learning rate', slide: [...powers(-2, 0)] }, both: { label: 'Both players at once', yes: true },
    data: { label: 'Data', of: Object.keys(lab.DATA) }, lr: { label: 'Learning rate', slide: [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05] }, optimizer: { label: 'G’s steps by', of: ['adam', 'sgd'] },
    ahead: { label: 'D begins earlier, by steps', slide: [0, 100, 300, 1000] }, g_steps: { label: 'Steps of G for one of D', slide: [1, 2, 3, 5, 10] }, seed: { label: 'Seed', least: 1, most: 999 },
  }
  const known = (name, given) => {
    const { of, slide, yes, least, most } = CHOICES[name]
    if (of) return of.includes(given) ? given : undefined
    if (yes) return given === 'true' || given === 'false' ? given === 'true' : undefined
    if (given.trim() === '' || !isFinite(given)) return undefined
    return slide ? slide.reduce((a, b) => Math.abs(b - given) < Math.abs(a - given) ? b : a) : Math.min(most, Math.max(least, Math.round(given)))
  }

  // The address holds what is chosen: #lab&preset=…, and what departs from it.
  let preset, settings, numbers, path, points, courses, running = false
  const ofPreset = name => ({ ...defaults, ...presets[name].settings })
  function fromAddress() {
    const given = location.hash.startsWith('#lab') ? Object.fromEntries(new URLSearchParams(location.hash.slice(1))) : {}
    preset = Object.hasOwn(presets, given.preset) ? given.preset : Object.keys(presets)[0]
    settings = ofPreset(preset)
    for (const name in CHOICES) if (name in given) settings[name] = known(name, given[name]) ?? settings[name]
  }
  function toAddress() {
    const usual = ofPreset(preset), said = new URLSearchParams({ preset })
    for (const name in CHOICES) if (settings[name] !== usual[name]) said.set(name, settings[name])
    history.replaceState(null, '', '#lab&' + said)
  }

  const inputs = {}
  function control(name) {
    const { label, of, slide, yes, least, most } = CHOICES[name]
    const choose = value => { settings[name] = value; pause(); restart(); toAddress() }
    if (of) {
      const select = element('select', { onchange: () => choose(select.value) }, ...of.map(value => element('option', { value, textContent: titles[value] ?? value })))
      inputs[name] = value => { select.value = value }
      return element('label', {}, `${label} `, select)
    }
    if (slide) {
      const said = element('span', { className: 'value' }), input = element('input', { type: 'range', min: 0, max: slide.length - 1, step: 1, oninput: () => choose(slide[input.value]) })
      inputs[name] = value => { input.value = slide.indexOf(value); said.textContent = ` ${value}`; input.setAttribute('aria-valuetext', value) }
      return element('label', {}, `${label} `, input, said)
    }
    const input = element('input', yes ? { type: 'checkbox', onchange: () => choose(input.checked) } : { type: 'number', min: least, max: most, onchange: () => choose(known(name, input.value) ?? settings[name]) })
    inputs[name] = value => { if (yes) input.checked = value; else input.value = value }
    return yes ? element('label', {}, input, ` ${label}`) : element('label', {}, `${label} `, input)
  }

  const canvas = label => element('canvas', { role: 'img', ariaLabel: label })
  const plane = canvas(''), cloud = canvas(''), chart = canvas(''), ofNumbers = element('p'), ofPoints = element('p'), see = element('p', { className: 'see' }), told = element('p', { className: 'told' })
  told.setAttribute('role', 'status')
  const buttons = Object.entries(presets).map(([name, { title }]) => element('button', { type: 'button', textContent: title, onclick: () => { pause(); preset = name; settings = ofPreset(name); restart(); toAddress(); if (!calm.matches) start() } }))
  const go = element('button', { type: 'button', className: 'go', onclick: () => running ? pause() : start() })
  const step = element('button', { type: 'button', textContent: 'Step', onclick: () => { pause(); advance(1, 1); show() } })
  const reset = element('button', { type: 'button', textContent: 'Reset', onclick: () => { pause(); restart() } })
  const row = (...inside) => element('div', { className: 'controls' }, ...inside)
  figure.append(row(...buttons), see, row(...['loss', 'penalty', 'weight'].map(control)), row(go, step, reset),
    element('div', { className: 'sides' },
      element('div', {}, element('h3', { textContent: 'Two numbers' }), plane, ofNumbers, row(...['rate', 'both'].map(control))),
      element('div', {}, element('h3', { textContent: 'Points in the plane' }), cloud, chart, ofPoints, row(...['data', 'lr', 'optimizer', 'ahead', 'g_steps', 'seed'].map(control)))),
    told)

  function restart() {
    numbers = [1, 0]
    path = [numbers]
    points = lab.gan(settings)
    courses = []
    show()
  }
  function advance(nNumbers, nPoints) {
    for (; nNumbers > 0 && path.length <= LONG && numbers.every(x => Math.abs(x) < 1e3); nNumbers--) path.push(numbers = lab.smallestStep(settings, ...numbers))
    lab.train(points, nPoints)
    courses.push([points.steps, points.gGrad, lab.covered(points.modes, lab.samples(points, 200)).modes])
  }
  // A frame is as many steps as fit into it; where the reader wants little motion, two pictures a second.
  function frame() {
    if (!running) return
    const end = performance.now() + 30
    do advance(1, 4); while (calm.matches && performance.now() < end + 370)
    show()
    if (points.steps >= LONG) return pause()
    calm.matches ? setTimeout(frame, 100) : requestAnimationFrame(frame)
  }
  function start() {
    if (points.steps >= LONG) restart()
    running = true
    show()
    setTimeout(frame)
  }
  function pause() { if (running) { running = false; show() } }

  // Pictures: as sharp as the screen, in the colors of the page.
  function pen(canvas, ratio) {
    const width = canvas.clientWidth || 300, height = width * ratio, scale = devicePixelRatio || 1
    if (canvas.width !== Math.round(width * scale)) { canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale) }
    const c = canvas.getContext('2d')
    c.setTransform(scale, 0, 0, scale, 0, 0)
    c.clearRect(0, 0, width, height)
    c.font = '12px system-ui, sans-serif'
    return [c, width, height, getComputedStyle(canvas).color]
  }
  const BLUE = '1, 115, 178', ORANGE = '213, 94, 0', GREEN = '2, 158, 115'
  const dot = (c, x, y, r, color) => { c.fillStyle = color; c.beginPath(); c.arc(x, y, r, 0, 7); c.fill() }
  function line(c, places, color, width = 1.5) {
    Object.assign(c, { strokeStyle: color, lineWidth: width })
    c.beginPath()
    places.forEach(([x, y], i) => i ? c.lineTo(x, y) : c.moveTo(x, y))
    c.stroke()
  }
  function drawNumbers() {
    const [c, width, , ink] = pen(plane, 1), reach = 2, to = (theta, psi) => [(theta + reach) / 2 / reach * width, (reach - psi) / 2 / reach * width]
    c.globalAlpha = 0.45
    for (let i = -8; i <= 8; i++) for (let j = -7; j <= 7; j++) {
      const at = [i / 4.25, j / 4.25], field = lab.smallest(settings, ...at), size = Math.hypot(field.theta, field.psi)
      if (size < 1e-9) continue
      const long = 0.17 * Math.min(1, 0.35 + size / 2) / size, tip = [at[0] - field.theta * long, at[1] - field.psi * long], [x, y] = to(...tip)
      line(c, [to(...at), [x, y]], ink, 1)
      dot(c, x, y, 1.6, ink)
    }
    c.globalAlpha = 1
    line(c, path.map(p => to(...p)), `rgb(${BLUE})`, 2)
    line(c, [to(-0.08, 0), to(0.08, 0)], ink, 2)
    line(c, [to(0, -0.08), to(0, 0.08)], ink, 2)
    dot(c, ...to(...numbers), 6, `rgb(${ORANGE})`)
    c.fillStyle = ink
    c.fillText('θ: what G makes →', 6, width - 8)
    c.fillText('ψ: what D has learned ↑', 6, 16)
    ofNumbers.textContent = `Step ${path.length - 1}: θ = ${short(numbers[0])}, ψ = ${short(numbers[1])}, distance from the equilibrium ${short(Math.hypot(...numbers))}.`
    plane.ariaLabel = `The two-number GAN in the plane of θ and ψ. ${ofNumbers.textContent}`
  }
  function drawPoints() {
    const [c, width, , ink] = pen(cloud, 1), reach = 1.7, n = 40, edge = i => Math.round(i * width / n), to = ([x, y]) => [(x + reach) / 2 / reach * width, (reach - y) / 2 / reach * width]
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
      const score = Math.tanh(lab.output(points.D, [((i + 0.5) / n * 2 - 1) * reach, (1 - (j + 0.5) / n * 2) * reach])[0] / 4)
      c.fillStyle = `rgba(${score > 0 ? BLUE : ORANGE}, ${Math.abs(score) * 0.45})`
      c.fillRect(edge(i), edge(j), edge(i + 1) - edge(i), edge(j + 1) - edge(j))
    }
    for (const p of lab.drawn(points.modes, 200, lab.random(0))) dot(c, ...to(p), 2.2, `rgba(${GREEN}, 0.7)`)
    const made = lab.samples(points, 200), found = lab.covered(points.modes, made)
    for (const p of made) dot(c, ...to(p), 2.2, ink)
    ofPoints.textContent = `Step ${points.steps}: ${found.modes} of ${points.modes.length} modes covered, ${Math.round(100 * found.near)} % of the points near one. Norm of G’s gradient ${points.steps ? short(points.gGrad) : '–'}.`
    cloud.ariaLabel = `Real and generated points, and D’s score. ${ofPoints.textContent}`
  }
  function drawCourse() {
    const [c, width, height, ink] = pen(chart, 0.34), most = Math.max(400, points.steps), x = step => step / most * width, fit = v => Math.min(1, Math.max(0, v))
    const power = v => 16 + (height - 22) * (1 - fit((Math.log10(v) + 5) / 6)), share = v => 16 + (height - 22) * (1 - v / points.modes.length)
    for (const p of [-4, -2, 0]) { c.globalAlpha = 0.25; line(c, [[0, power(10 ** p)], [width, power(10 ** p)]], ink, 1); c.globalAlpha = 1; c.fillStyle = ink; c.fillText(`10${{ '-4': '⁻⁴', '-2': '⁻²', 0: '⁰' }[p]}`, width - 26, power(10 ** p) - 2) }
    line(c, courses.map(([s, , modes]) => [x(s), share(modes)]), `rgba(${GREEN}, 0.8)`)
    line(c, courses.map(([s, g]) => [x(s), power(g)]), ink)
    c.fillText('norm of G’s gradient', 2, 11)
    c.fillStyle = `rgb(${GREEN})`
    c.fillText(`modes, 0 … ${points.modes.length}`, 130, 11)
    chart.ariaLabel = `The course of the norm of G’s gradient and of the modes covered over ${points.steps} steps`
  }
  function show() {
    for (const name in inputs) inputs[name](settings[name])
    buttons.forEach((button, i) => button.setAttribute('aria-pressed', Object.keys(presets)[i] === preset))
    see.textContent = presets[preset].see
    go.textContent = running ? 'Pause' : 'Start'
    drawNumbers()
    drawPoints()
    drawCourse()
    if (!running) told.textContent = points.steps ? `${ofNumbers.textContent} ${ofPoints.textContent}` : ''
  }

  addEventListener('hashchange', () => { if (location.hash.startsWith('#lab')) { pause(); fromAddress(); restart() } })
  fromAddress()
  restart()
  let width
  new ResizeObserver(([{ contentRect }]) => { if (contentRect.width !== width) { width = contentRect.width; show() } }).observe(figure)
  new MutationObserver(() => show()).observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] })
}))
