// What stands behind a number. A click shows it, and so does the keyboard's focus; Enter goes into it, Escape or a click elsewhere closes it.
// Without JavaScript, or with Ctrl or another button, the link leads to where the number was made.
(() => {
  let link = null, box = null
  // Pages of single runs stand outside the theme and take over the mode that its switch has left.
  try { if (!document.documentElement.dataset.mode) document.documentElement.dataset.theme = localStorage.getItem('theme') || document.documentElement.dataset.theme || 'light' } catch { }

  const close = () => {
    if (!box) return
    box.remove()
    link.removeAttribute('aria-expanded')
    link = box = null
  }
  const show = number => {
    const trace = document.getElementById(number.dataset.trace || '')
    if (!trace || !trace.content || number === link) return number === link
    close()
    link = number
    box = document.createElement('div')
    box.className = 'trace'
    box.tabIndex = -1
    box.setAttribute('role', 'dialog')
    box.setAttribute('aria-label', `Where ${number.textContent.trim()} comes from`)
    box.append(trace.content.cloneNode(true))
    const more = document.createElement('p'), there = document.createElement('a')
    there.href = number.href
    there.textContent = 'All about it'
    more.append(there)
    box.append(more)
    document.body.append(box)
    const at = number.getBoundingClientRect(), width = document.documentElement.clientWidth
    box.style.left = `${scrollX + Math.max(8, Math.min(at.left, width - box.offsetWidth - 8))}px`
    const below = at.bottom + 6 + box.offsetHeight <= innerHeight || at.top - 6 - box.offsetHeight < 0
    box.style.top = `${scrollY + (below ? at.bottom + 6 : at.top - 6 - box.offsetHeight)}px`
    number.setAttribute('aria-expanded', 'true')
    return true
  }
  const numberOf = event => event.target.closest ? event.target.closest('a.number[data-trace]') : null

  document.addEventListener('click', event => {
    const number = numberOf(event)
    if (!number) { if (box && !box.contains(event.target)) close(); return }
    if (event.ctrlKey || event.metaKey || event.shiftKey || !show(number)) return
    event.preventDefault()
    if (event.detail === 0) box.focus()      // Enter: on into the box
  })
  document.addEventListener('focusin', event => {
    const number = numberOf(event)
    if (number && number.matches(':focus-visible')) show(number)
    else if (box && !number && !box.contains(event.target)) close()
  })
  document.addEventListener('keydown', event => {
    if (!box || event.key !== 'Escape') return
    const back = link
    close()
    back.focus({ preventScroll: true })
    close()                                  // the focus has opened it again
  })
})()
