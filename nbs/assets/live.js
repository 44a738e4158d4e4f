// A trained generator that draws in the page. Layers are plain loops over numbers, one image at a time; `dcgan_nb.runs.browser` writes their weights.
// Works from file:// and asks no other machine for anything.
const live = (() => {
  'use strict'

  // ---- numbers: float16 weights in base64, and noise that depends on a seed alone

  function floats(base64) {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0))
    const halves = new Uint16Array(bytes.buffer), out = new Float32Array(halves.length)
    for (let i = 0; i < halves.length; i++) {
      const h = halves[i], sign = h & 0x8000 ? -1 : 1, e = h >> 10 & 31, m = h & 1023
      out[i] = sign * (e ? 2 ** (e - 15) * (1 + m / 1024) : 2 ** -14 * (m / 1024))      // no weight is infinite
    }
    return out
  }

  function uniform(seed) {      // mulberry32
    let a = seed >>> 0
    return () => {
      a = a + 0x6D2B79F5 | 0
      let t = Math.imul(a ^ a >>> 15, 1 | a)
      t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
      return ((t ^ t >>> 14) >>> 0) / 4294967296
    }
  }

  function noise(n, seed, truncation = Infinity) {      // standard normal; beyond ±truncation it is drawn again
    const u = uniform(Math.imul(seed + 1, 2654435761)), z = new Float32Array(n)
    for (let i = 0; i < n; i++)
      do z[i] = Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u())
      while (Math.abs(z[i]) > truncation)
    return z
  }

  // ---- layers: x is { d: numbers, c: channels, h, w }, a vector has h = w = 1; y is the class

  const maps = (c, h, w) => ({ d: new Float32Array(c * h * w), c, h, w })
  const each = f => (x, layer, y) => { const out = maps(x.c, x.h, x.w); for (let i = 0; i < x.d.length; i++) out.d[i] = f(x.d[i], layer); return out }

  const ops = {
    linear(x, { weight, bias, n_out }) {
      const out = maps(n_out, 1, 1), n = x.d.length
      for (let o = 0; o < n_out; o++) {
        let sum = bias ? bias[o] : 0
        for (let i = 0; i < n; i++) sum += weight[o * n + i] * x.d[i]
        out.d[o] = sum
      }
      return out
    },
    reshape: (x, { c, h, w }) => ({ d: x.d, c, h, w }),
    affine(x, { gain, shift }, y) {      // batch norm with its averages folded in, a row for each class
      const out = maps(x.c, x.h, x.w), n = x.h * x.w, row = gain.length > x.c ? y * x.c : 0
      for (let c = 0; c < x.c; c++)
        for (let i = c * n; i < (c + 1) * n; i++) out.d[i] = gain[row + c] * x.d[i] + shift[row + c]
      return out
    },
    relu: each((v, { slope }) => v > 0 ? v : slope * v),
    tanh: each(Math.tanh),
    upsample(x) {      // each pixel four times
      const out = maps(x.c, 2 * x.h, 2 * x.w)
      for (let c = 0, i = 0; c < x.c; c++)
        for (let y = 0; y < out.h; y++)
          for (let z = 0; z < out.w; z++) out.d[i++] = x.d[(c * x.h + (y >> 1)) * x.w + (z >> 1)]
      return out
    },
    conv(x, { weight, bias, n_out, k, pad }) {      // stride 1
      const out = maps(n_out, x.h + 2 * pad - k + 1, x.w + 2 * pad - k + 1), n = out.h * out.w
      for (let o = 0; o < n_out; o++) {
        if (bias) out.d.fill(bias[o], o * n, (o + 1) * n)
        for (let c = 0; c < x.c; c++)
          for (let ky = 0; ky < k; ky++)
            for (let kx = 0; kx < k; kx++) {
              const w = weight[((o * x.c + c) * k + ky) * k + kx], dx = kx - pad
              const from = Math.max(0, -dx), to = Math.min(out.w, x.w - dx)
              for (let y = Math.max(0, pad - ky); y < Math.min(out.h, x.h + pad - ky); y++) {
                const a = o * n + y * out.w, b = (c * x.h + y + ky - pad) * x.w + dx
                for (let i = from; i < to; i++) out.d[a + i] += w * x.d[b + i]
              }
            }
      }
      return out
    },
    transposed(x, { weight, bias, n_out, k, stride, pad, more }) {
      const size = s => (s - 1) * stride - 2 * pad + k + more, out = maps(n_out, size(x.h), size(x.w)), n = out.h * out.w
      if (bias) for (let o = 0; o < n_out; o++) out.d.fill(bias[o], o * n, (o + 1) * n)
      for (let c = 0; c < x.c; c++)
        for (let o = 0; o < n_out; o++)
          for (let ky = 0; ky < k; ky++)
            for (let kx = 0; kx < k; kx++) {
              const w = weight[((c * n_out + o) * k + ky) * k + kx]
              for (let y = 0; y < x.h; y++) {
                const oy = y * stride - pad + ky
                if (oy < 0 || oy >= out.h) continue
                for (let i = 0; i < x.w; i++) {
                  const ox = i * stride - pad + kx
                  if (ox >= 0 && ox < out.w) out.d[o * n + oy * out.w + ox] += w * x.d[(c * x.h + y) * x.w + i]
                }
              }
            }
      return out
    },
    residual(x, { path, around }, y) {
      const a = run(path, x, y), b = run(around, x, y), out = maps(a.c, a.h, a.w)
      for (let i = 0; i < out.d.length; i++) out.d[i] = a.d[i] + b.d[i]
      return out
    },
  }

  const run = (layers, x, y) => layers.reduce((x, layer) => ops[layer.op](x, layer, y), x)

  function unpack(layers, numbers) {      // { start, n } → the numbers themselves
    for (const layer of layers)
      for (const [key, value] of Object.entries(layer)) {
        if (Array.isArray(value)) unpack(value, numbers)
        else if (value && value.start !== undefined) layer[key] = numbers.subarray(value.start, value.start + value.n)
      }
    return layers
  }

  // ---- generators: each file calls `live.add`, and is loaded when it is asked for

  const generators = {}, pages = [], asked_for = {}

  function load(name, folder, failed) {
    if (asked_for[name]) return
    asked_for[name] = true
    document.head.append(element('script', { src: `${folder}/${name}.js`, onerror: () => { asked_for[name] = false; failed() } }))
  }

  function add({ name, latent_dim, classes, layers, weights }) {
    unpack(layers, floats(weights))
    generators[name] = { name, latent_dim, classes, draw: (z, y = 0) => run(layers, { d: z, c: z.length, h: 1, w: 1 }, y) }
    pages.forEach(page => page())
  }

  function paint(canvas, x) {
    canvas.width = x.w; canvas.height = x.h
    const image = new ImageData(x.w, x.h), n = x.h * x.w
    for (let i = 0; i < n; i++)
      for (let c = 0; c < 4; c++) image.data[4 * i + c] = c === 3 ? 255 : 127.5 * (1 + x.d[x.c === 3 ? c * n + i : i])
    canvas.getContext('2d').putImageData(image, 0, 0)
  }

  const mixed = (a, b, t) => {      // on the sphere that noise lies on: a straight line would lead through images of too little noise
    let dot = 0, aa = 0, bb = 0
    for (let i = 0; i < a.length; i++) { dot += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i] }
    const angle = Math.acos(Math.min(1, Math.max(-1, dot / Math.sqrt(aa * bb)))) || 1e-6
    return a.map((v, i) => (Math.sin((1 - t) * angle) * v + Math.sin(t * angle) * b[i]) / Math.sin(angle))
  }

  // ---- the page: <figure class="live" data-generators="a b" data-titles='["A", "B"]' data-folder="live">, and in it what stays below

  const N = 10      // images
  const element = (tag, given = {}, ...inside) => {
    const made = Object.assign(document.createElement(tag), given)
    made.append(...inside)
    return made
  }
  const labeled = (text, control) => element('label', {}, text, ' ', control)
  const options = (select, all) => select.replaceChildren(...all.map(([value, text]) => element('option', { value, textContent: text })))

  // What is shown is in the address, so that a view can be shared: #live&generator=…&class=…&noise=…&truncation=…&x=…&y=…
  const from_address = () => location.hash.startsWith('#live') ? Object.fromEntries(new URLSearchParams(location.hash.slice(1))) : {}

  function figure(root) {
    const given = from_address(), { generators: all, folder, titles } = root.dataset, names = all.split(' '), title = JSON.parse(titles)
    const within = (v, low, high, otherwise) => Number.isFinite(+v) && v !== undefined ? Math.min(high, Math.max(low, +v)) : otherwise
    const state = { generator: names.includes(given.generator) ? given.generator : names[0], class: given.class ?? 'each', noise: Math.round(within(given.noise, 0, 999999, 0)),
                    truncation: within(given.truncation, 0.1, 3, 3), x: within(given.x, -1, 1, 0), y: within(given.y, -1, 1, 0) }
    let t = 0, walking = false, asked = false, seen = false, before

    const generator = element('select'), cls = element('select'), number = element('input', { type: 'number', min: 0, max: 999999, step: 1 })
    const truncation = element('input', { type: 'range', min: 0.1, max: 3, step: 0.1 }), walk = element('button', { type: 'button' })
    const canvases = Array.from({ length: N }, () => element('canvas', { role: 'img', ariaLabel: 'not drawn yet' })), captions = canvases.map(() => element('figcaption'))
    const pad = element('div', { className: 'pad', tabIndex: 0, role: 'slider', ariaLabel: 'two directions of the noise: drag, or use the arrow keys' }), dot = element('i')
    pad.append(dot)
    const images = element('div', { className: 'images' }, ...canvases.map((canvas, i) => element('figure', {}, canvas, captions[i])))
    const below = root.querySelectorAll('[data-generator]'), missing = element('p', { hidden: true, role: 'alert' })
    root.replaceChildren(images, missing, element('div', { className: 'controls' }, element('div', {}, labeled('Generator', generator), labeled('Draws', cls), labeled('Noise', number),
      element('button', { type: 'button', textContent: 'Other noise', onclick: () => set({ noise: (state.noise + 1) % 1000000 }) }), walk, labeled('Truncation', truncation)),
      element('div', { className: 'directions' }, pad, element('small', { textContent: 'Drag: two directions of the noise' }))), ...root.querySelectorAll('figcaption'))

    const set = change => { Object.assign(state, change); remember(); if (walking) controls(); draw() }
    generator.onchange = () => set({ generator: generator.value })
    cls.onchange = () => set({ class: cls.value })
    number.onchange = () => set({ noise: Math.round(within(number.value, 0, 999999, 0)) })
    truncation.oninput = () => set({ truncation: +truncation.value })
    walk.onclick = () => { walking = !walking; before = undefined; controls(); draw() }
    pad.onpointerdown = e => { pad.setPointerCapture(e.pointerId); drag(e) }
    pad.onpointermove = e => { if (pad.hasPointerCapture(e.pointerId)) drag(e) }
    const place = (x, y) => set({ x: +within(x, -1, 1, 0).toFixed(2), y: +within(y, -1, 1, 0).toFixed(2) })
    const drag = e => { const r = pad.getBoundingClientRect(); place(2 * (e.clientX - r.left) / r.width - 1, 1 - 2 * (e.clientY - r.top) / r.height) }
    pad.onkeydown = e => {
      const [x, y] = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[e.key] ?? []
      if (x !== undefined) { e.preventDefault(); place(state.x + x, state.y + y) }
    }
    const remember = () => history.replaceState(null, '', '#live&' + new URLSearchParams(state))

    function latent(g, seed) {      // the noise of an image, moved by the pad
      const z = noise(g.latent_dim, seed, state.truncation < 3 ? state.truncation : Infinity)
      const to = t ? mixed(z, noise(g.latent_dim, seed + N, state.truncation < 3 ? state.truncation : Infinity), t) : z
      if (!state.x && !state.y) return to
      const u = noise(g.latent_dim, 1000003), v = noise(g.latent_dim, 1000033)
      return to.map((value, i) => value + state.x * u[i] + state.y * v[i])
    }

    function controls() {      // show the state; of a generator that is not there yet the classes are unknown
      const g = generators[state.generator]
      below.forEach(part => { part.hidden = part.dataset.generator !== state.generator })
      options(generator, names.map((name, i) => [name, title[i]]))
      if (g) options(cls, g.classes ? [['each', 'one of each class'], ...g.classes.map((name, i) => [String(i), name])] : [['each', 'what it likes: it knows no classes']])
      if (g && ![...cls.options].some(o => o.value === state.class)) state.class = 'each'
      Object.assign(generator, { value: state.generator })
      Object.assign(cls, { value: state.class, disabled: !g?.classes })
      Object.assign(number, { value: state.noise })
      Object.assign(truncation, { value: state.truncation })
      truncation.setAttribute('aria-valuetext', state.truncation < 3 ? `±${state.truncation}` : 'none')
      walk.textContent = walking ? 'Stop' : 'Walk'
      walk.setAttribute('aria-pressed', walking)
      Object.assign(dot.style, { left: `${50 * (1 + state.x)}%`, top: `${50 * (1 - state.y)}%` })
      pad.setAttribute('aria-valuenow', state.x.toFixed(1))
      pad.setAttribute('aria-valuetext', `${state.x.toFixed(1)}, ${state.y.toFixed(1)}`)
    }

    function images_of(g) {
      const of_each = g.classes && state.class === 'each'
      canvases.forEach((canvas, i) => {
        const y = of_each ? i % g.classes.length : +state.class || 0
        paint(canvas, g.draw(latent(g, N * state.noise + (of_each ? 0 : i)), y))
        captions[i].textContent = of_each ? g.classes[y] : ''
        canvas.ariaLabel = g.classes ? `generated image: ${g.classes[y]}` : 'generated image'
      })
    }

    function frame(now) {
      asked = false
      const g = generators[state.generator]
      missing.hidden = true
      if (!g) {
        controls()
        if (seen) load(state.generator, folder, () => { missing.textContent = `${folder}/${state.generator}.js could not be loaded.`; missing.hidden = false })
        return
      }
      if (walking) {
        t += Math.min(now - (before ?? now), 100) / 2500
        before = now
        if (t >= 1) { t -= 1; number.value = state.noise = (state.noise + 1) % 1000000; remember() }
      } else controls()
      images_of(g)
      if (walking) draw()
    }
    const draw = () => { if (!asked) { asked = true; requestAnimationFrame(frame) } }
    pages.push(draw)
    draw()
    new IntersectionObserver(([entry]) => { if (entry.isIntersecting && !seen) { seen = true; draw() } }, { rootMargin: '300px' }).observe(root)      // the first one a little before it can be seen
  }

  addEventListener('DOMContentLoaded', () => document.querySelectorAll('figure.live').forEach(figure))

  return { add, generators, noise, mixed }
})()
