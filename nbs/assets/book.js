// One switch for all code of a page, instead of a bar above each cell. Without JavaScript the bars stay.
addEventListener('DOMContentLoaded', () => {
  const bars = [...document.querySelectorAll('.cell:not(.tag_parameters) > details.hide.above-input')], title = document.querySelector('article h1')
  if (!bars.length || !title) return
  const page = document.documentElement.classList, button = Object.assign(document.createElement('button'), { type: 'button', className: 'code-switch' })
  const show = shown => {
    page.toggle('code-hidden', !shown)
    bars.forEach(bar => bar.open = shown)
    button.textContent = shown ? 'Hide the code' : 'Show the code'
    button.setAttribute('aria-pressed', shown)
  }
  button.onclick = () => show(page.contains('code-hidden'))
  title.after(button)
  show(false)
})
// A text that is there to be copied gets a button that does it.
addEventListener('DOMContentLoaded', () => document.querySelectorAll('details.problem pre').forEach(text => {
  const button = Object.assign(document.createElement('button'), { type: 'button', className: 'copy', textContent: 'Copy' })
  button.onclick = () => {
    getSelection().selectAllChildren(text)
    button.textContent = document.execCommand('copy') ? 'Copied' : 'Selected: copy it with the keyboard'
  }
  text.before(button)
}))
