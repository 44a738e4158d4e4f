// How a claim about two arms is judged: what the notebooks study/40_stats, 42_evidence, 43_rules and 44_judge define, in the same words. It draws nothing.
// claim: { id, rule, measure: { title, ratio, lower_is_better }, arms: [name, name], delta, needs, judged_at, shows }; of each arm: seed → value, null where a run has none.
const rules = (() => {
  'use strict'
  const MIN_SEEDS = 6, ALPHA = 0.05, MOST = 184756      // ways to deal the values: of more, the library draws some at random
  const sum = x => x.reduce((a, b) => a + b, 0), mean = x => sum(x) / x.length

  // Student's t with n degrees of freedom: the finite sums for whole n (Abramowitz & Stegun, 26.7.3 and 26.7.4), halved until it fits.
  function tInside(angle, n) {      // P(|T| < √n tan(angle))
    const c = Math.cos(angle), odd = n % 2
    let term = odd ? c : 1, total = n > 1 ? term : 0
    for (let k = odd ? 3 : 2; k < n; k += 2) total += term *= c * c * (k - 1) / k
    return odd ? (angle + Math.sin(angle) * total) * 2 / Math.PI : Math.sin(angle) * total
  }
  function tQuantile(level, n) {    // the t within which a share `level` lies on both sides of 0
    let low = 0, high = Math.PI / 2
    for (let i = 0; i < 60; i++) { const middle = (low + high) / 2; if (tInside(middle, n) < level) low = middle; else high = middle }
    return Math.sqrt(n) * Math.tan(low)
  }
  function meanInterval(x, level) {
    if (x.length < 2) return [-Infinity, Infinity]
    const m = mean(x), half = tQuantile(level, x.length - 1) * Math.sqrt(sum(x.map(v => (v - m) ** 2)) / (x.length - 1) / x.length)
    return [m - half, m + half]
  }

  // The share of all ways to deal the values to the arms in which the first mean is at least as much smaller.
  const nWays = (n, k) => { let ways = 1; for (let i = 1; i <= k; i++) ways = ways * (n - k + i) / i; return Math.round(ways) }
  function permutationP(a, b) {
    const all = [...a, ...b], scale = Math.max(...all.map(Math.abs))
    if (Math.min(a.length, b.length) < 2 || scale === 0) return 1
    if (nWays(all.length, a.length) > MOST) throw RangeError('too many ways to deal these values')
    const x = all.map(v => v / scale), total = sum(x)
    const difference = first => Math.round((first / a.length - (total - first) / b.length) * 1e12)      // what differs by rounding only is a tie
    const observed = difference(sum(x.slice(0, a.length)))
    let ways = 0, extreme = 0
    const deal = (next, left, first) => {
      if (!left) { ways++; if (difference(first) <= observed) extreme++; return }
      for (let i = next; i <= x.length - left; i++) deal(i + 1, left - 1, first + x[i])
    }
    deal(0, a.length, 0)
    return extreme / ways
  }
  function holm(p) {                // name → p of all tests of the family ⟶ name → adjusted p
    let largest = 0
    const names = Object.keys(p).sort((a, b) => p[a] - p[b])
    return Object.fromEntries(names.map((name, i) => [name, largest = Math.max(largest, Math.min(1, (names.length - i) * p[name]))]))
  }

  const scaledDelta = claim => claim.measure.ratio ? Math.log(1 + claim.delta) : claim.delta
  const level = rule => rule === 'same' ? 0.9 : 0.95      // two one-sided tests at 5 %
  function estimate(claim, arms) {
    const m = claim.measure, sign = m.lower_is_better ? 1 : -1
    const [a, b] = arms.map(arm => Object.fromEntries(Object.entries(arm).filter(([, v]) => v !== null).map(([s, v]) => [s, sign * (m.ratio ? Math.log(v) : v)])))
    const both = Object.keys(a).filter(s => s in b), d = both.map(s => a[s] - b[s])
    if (!d.length) return { n_seeds: Math.min(...arms.map(arm => Object.keys(arm).length)), effect: null, low: null, high: null, p: null }
    const [low, high] = meanInterval(d, level(claim.rule))
    const looks = 1 + claim.judged_at.filter(n => d.length > n).length
    const control = mean(Object.values(arms[1]).filter(v => v !== null))
    return { n_seeds: d.length, effect: mean(d), low, high, control, p: claim.rule === 'same' ? null : Math.min(1, looks * permutationP(both.map(s => a[s]), both.map(s => b[s]))) }
  }

  // The criteria of each rule, in order: a word, whether it applies, and why.
  const shown = (e, d) => e.p_holm < ALPHA && e.high < 0 && e.effect <= -d
  const CRITERIA = {
    better: (e, d) => [
      ['supported', shown(e, d), 'the advantage survives the correction and is large enough to be interesting'],
      ['opposite found', e.low > 0 && e.effect >= d, 'the whole interval lies on the other side, and the difference is large enough to be interesting'],
      ['no sizeable effect', e.low > -d, 'the interval excludes an advantage that would be interesting']],
    not_better: (e, d) => [
      ['supported', e.low > -d, 'the interval excludes an improvement that would be interesting'],
      ['opposite found', shown(e, d), 'an improvement survives the correction and is large enough to be interesting']],
    same: (e, d) => [
      ['supported', -d < e.low && e.high < d, 'the whole interval is too close to 0 to be interesting'],
      ['opposite found', e.high < -d || e.low > d, 'the whole interval lies beyond the smallest interesting effect']] }
  const LEANS = { better: (e, d) => e.effect <= -d, not_better: (e, d) => e.effect > -d, same: (e, d) => Math.abs(e.effect) < d }
  const openBetter = (e, d) => e.p_holm >= ALPHA ? `p = ${general(e.p_holm, 2)} after the correction is not below 0.05, and the interval allows an interesting advantage`
    : e.effect <= -d ? 'the advantage survives the correction, but the interval reaches beyond 0: its size differs too much from seed to seed'
      : 'the advantage is significant but too small to be interesting, and the interval allows a larger one'
  const OPEN = {
    better: openBetter, same: () => 'the interval reaches to both sides of what would decide',
    not_better: (e, d) => `the interval allows an interesting improvement; ${openBetter(e, d).split(', and the interval')[0]}` }

  function decide(claim, e, minSeeds = MIN_SEEDS) {
    const d = scaledDelta(claim), said = (word, leaning = '', because = '') => ({ word, leaning, because, text: word + (leaning && ` (leaning ${leaning})`) })
    if (e.effect === null) {
      if (!e.n_seeds) return said('not run')
      if (e.n_epochs >= claim.needs) return said('undecided', '', claim.needs ? `not every arm has a run that got so far in ${general(e.n_epochs, 2)} epochs of 60,000 images` : '')
      return said('not testable here', '', `it needs runs of ${general(claim.needs, 6)} epochs of 60,000 images, and the longest saw ${general(e.n_epochs, 2)}`)
    }
    if (claim.shows && e.n_seeds >= minSeeds && e.control < claim.shows)
      return said('not testable here', '', `with “${claim.arms[1]}” the mean of ${claim.measure.title} is ${general(e.control, 3)}, below ${general(claim.shows, 6)}: there is nothing to prevent`)
    const leaning = LEANS[claim.rule](e, d) ? 'for' : 'against'
    if (e.n_seeds < minSeeds) return said('undecided', leaning, `fewer than ${minSeeds} seeds decide nothing`)
    const [word, , why] = CRITERIA[claim.rule](e, d).find(([, applies]) => applies) ?? []
    return word ? said(word, '', why) : said('undecided', leaning, OPEN[claim.rule](e, d))
  }

  // In words, as the library prints them.
  function general(x, digits) {     // Python's g
    const [number, power] = x.toExponential(digits - 1).split('e')
    return power < -4 || power >= digits ? `${+number}e${power[0]}${power.slice(1).padStart(2, '0')}` : String(+x.toPrecision(digits))
  }
  const minus = text => text.replaceAll('-', '−'), signed = text => (/^[-−]/.test(text) ? '' : '+') + minus(text)
  function percent(logRatio) {
    const ratio = Math.exp(Math.min(logRatio, 700))
    if (ratio > 1000) return '> × 1000'
    return ratio > 2 ? `× ${general(ratio, 2)}` : `${signed((100 * (ratio - 1)).toFixed(0).replace(/^-0$/, '0'))} %`
  }
  const change = (claim, x) => claim.measure.ratio ? percent(x) : signed(general(+x.toFixed(12), 3))      // what rounding alone has made is 0
  const deltaText = claim => claim.measure.ratio ? `${percent(-scaledDelta(claim))} or ${percent(scaledDelta(claim))}` : `± ${general(claim.delta, 6)}`
  const turned = (claim, ...x) => x.map(v => claim.measure.lower_is_better ? v : -v)      // effects are kept so that lower is better
  function effectText(claim, e) {
    const [x, ...ends] = turned(claim, e.effect, e.low, e.high), [low, high] = ends.sort((a, b) => a - b)
    return e.n_seeds > 1 ? `${change(claim, x)} [${change(claim, low)} … ${change(claim, high)}]` : change(claim, x)
  }
  const NEWS = { supported: 'No sizeable improvement: ', 'opposite found': 'An improvement: ' }
  function headline(claim, e) {
    const [first, second] = claim.arms, title = claim.measure.title[0].toUpperCase() + claim.measure.title.slice(1), text = change(claim, turned(claim, e.effect)[0])
    if (text.includes('×')) return `${title} ${text.replace('> × 1000', 'more than 1000').replace('× ', '')} times as high with “${first}” as with “${second}”`
    if (/^[+−0. %]*$/.test(text)) return `${title} the same with “${first}” as with “${second}”`
    return `${title} ${text.slice(1)} ${text[0] === '+' ? 'higher' : 'lower'} with “${first}” than with “${second}”`
  }

  function judge(claim, arms, others = {}, n_epochs = 0) {      // others: the p of the other tests of the family
    const e = { ...estimate(claim, arms), n_epochs }
    e.p_holm = e.p === null ? null : holm({ ...others, [claim.id]: e.p })[claim.id]
    const decided = decide(claim, e), news = claim.rule === 'not_better' ? NEWS[decided.word] ?? '' : ''
    const words = e.effect === null ? { effect_text: '', headline: '' } : { effect_text: effectText(claim, e), headline: news + headline(claim, e) }
    return { ...e, ...decided, ...words }
  }
  return { MIN_SEEDS, ALPHA, judge, decide, level, scaledDelta, deltaText, general, percent, minus, signed, turned, tQuantile, permutationP, holm, mean, meanInterval }
})()
