// Two runs side by side: what each draws from the same noise after every epoch, from the strips of images that runs leave behind.
addEventListener('DOMContentLoaded', () => document.querySelectorAll('figure.explorer').forEach(figure => {
  'use strict'
  const groups = JSON.parse(figure.querySelector('script').textContent)      // [title, [run, …]]
  const runs = Object.fromEntries(groups.flatMap(([, some]) => some).map(run => [run.id, run])), ids = Object.keys(runs)
  const element = (tag, given = {}, ...inside) => { const made = Object.assign(document.createElement(tag), given); made.append(...inside); return made }

  // The address holds what is shown: #explore&a=…&b=…&epoch=…
  const given = location.hash.startsWith('#explore') ? Object.fromEntries(new URLSearchParams(location.hash.slice(1))) : {}
  const state = { a: runs[given.a] ? given.a : ids[0], b: runs[given.b] ? given.b : ids[1] ?? ids[0], epoch: Math.max(1, Math.round(+given.epoch) || Infinity) }
  let playing

  const side = name => {
    const select = element('select', { ariaLabel: name === 'a' ? 'first run' : 'second run', onchange: () => set({ [name]: select.value }) },
      ...groups.map(([title, some]) => element('optgroup', { label: title }, ...some.map(run => element('option', { value: run.id, textContent: run.label })))))
    const canvas = element('canvas', { role: 'img' }), said = element('figcaption'), sheet = new Image()
    sheet.onload = () => paint()
    const paint = () => {
      const run = runs[state[name]], row = Math.min(state.epoch, run.epochs), tile = run.size + 1, n = Math.round((sheet.width + 1) / tile), across = 4
      if (!sheet.complete || !sheet.width) return
      canvas.width = across * tile - 1; canvas.height = Math.ceil(n / across) * tile - 1
      const context = canvas.getContext('2d')
      for (let i = 0; i < n; i++)
        context.drawImage(sheet, i * tile, (row - 1) * tile, run.size, run.size, i % across * tile, Math.floor(i / across) * tile, run.size, run.size)
      said.textContent = `Epoch ${row} of ${run.epochs}, ${(run.images[row - 1]).toLocaleString('en')} images seen. At the end: ${run.score}`
      canvas.ariaLabel = `${n} images after epoch ${row}: ${run.label}`
    }
    return { box: element('div', {}, select, canvas, said), show() {
      select.value = state[name]
      const file = `records/${runs[state[name]].folder}.png`
      if (sheet.getAttribute('src') === file) paint(); else sheet.src = file
    } }
  }
  const sides = [side('a'), side('b')]
  const slider = element('input', { type: 'range', min: 1, step: 1, ariaLabel: 'epoch', oninput: () => set({ epoch: +slider.value }) })
  const play = element('button', { type: 'button', onclick: () => { playing = playing ? clearInterval(playing) : setInterval(() => set({ epoch: state.epoch % last() + 1 }), 400); show() } })
  const last = () => Math.max(runs[state.a].epochs, runs[state.b].epochs)
  const set = change => { Object.assign(state, change); show(); history.replaceState(null, '', '#explore&' + new URLSearchParams(state)) }
  function show() {
    state.epoch = Math.min(state.epoch, last())
    Object.assign(slider, { max: last(), value: state.epoch })
    slider.setAttribute('aria-valuetext', `epoch ${state.epoch}`)
    play.textContent = playing ? 'Stop' : 'Play'
    sides.forEach(side => side.show())
  }
  figure.append(element('div', { className: 'sides' }, ...sides.map(side => side.box)), element('div', { className: 'controls' }, element('label', {}, 'Epoch ', slider), play))
  show()
}))
