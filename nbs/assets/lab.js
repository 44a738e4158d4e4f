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
  function smallestStep(settings, theta, psi) {      // D first, as in training; or both from the same place
    const { lr, alternating } = settings, next = psi - lr * smallest(settings, theta, psi).psi
    return [theta - lr * smallest(settings, theta, alternating ? next : psi).theta, next]
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

  // The GAN of points. Settings: data, loss, penalty, weight, optimizer, lr, ahead (steps of D before the first of G), dSteps, batch, width, seed.
  const LATENT = 2
  function gan(settings) {
    const rng = random(settings.seed), { width, data } = settings
    const G = network([LATENT, width, width, 2], rng), D = network([2, width, width, 1], rng)
    return { settings, rng, G, D, modes: DATA[data], dOptimizer: optimizer(D, settings), gOptimizer: optimizer(G, settings), steps: 0, dSteps: 0 }
  }
  function dStep(it) {
    const { settings, rng, G, D, modes } = it, n = settings.batch
    it.real = drawn(modes, n, rng)
    const fake = Array.from({ length: n }, () => output(G, rng.normals(LATENT)))
    const mix = PENALTIES[settings.penalty].between ? Array.from({ length: n }, rng.uniform) : null
    const { loss, penalty, sum } = dGradient(D, settings, it.real, fake, mix)
    it.dOptimizer(sum)
    Object.assign(it, { dLoss: loss, penalty, dSteps: it.dSteps + 1 })
  }
  function gStep(it) {
    const { settings, rng, G, D } = it
    const { loss, sum } = gGradient(G, D, settings, Array.from({ length: settings.batch }, () => rng.normals(LATENT)), it.real)
    it.gOptimizer(sum)
    Object.assign(it, { gLoss: loss, gGrad: norm(sum) })
  }
  function train(it, n = 1) {
    for (; n > 0; n--) {
      for (let d = it.steps ? it.settings.dSteps : it.settings.dSteps + it.settings.ahead; d > 0; d--) dStep(it)
      gStep(it)
      it.steps++
    }
    return it
  }

  // What came of it: a mode is covered if it has at least a tenth of its share, within three standard deviations; the noise is always the same.
  const samples = (it, n = 400) => { const rng = random(1); return Array.from({ length: n }, () => output(it.G, rng.normals(LATENT))) }
  function covered(modes, points) {
    const near = modes.map(([x, y]) => points.filter(p => Math.hypot(p[0] - x, p[1] - y) < 3 * SPREAD).length)
    return { modes: near.filter(n => n >= points.length / modes.length / 10).length, near: near.reduce((a, b) => a + b, 0) / points.length }
  }
  return { LOSSES, PENALTIES, DATA, smallest, smallestStep, random, network, forward, output, dGradient, gGradient, values, norm, optimizer, drawn, gan, dStep, gStep, train, samples, covered }
})()
