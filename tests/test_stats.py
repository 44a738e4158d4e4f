"Statistics of few seeds: fresh random inputs against brute force and closed formulas, and experiments whose truth is known."
import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from dcgan_nb.foundations.core import InputError
from dcgan_nb.study.stats import expected_best, front_regret, holm, mean_interval, paired_differences, permutation_p, probability_best, regret, search_lead, wilson_interval


@pytest.fixture
def np_rng(rng): return np.random.default_rng(rng.initial_seed())


def p_value(observed, all_values, alternative):
    "The share of the values that are at least as extreme; twice the smaller share for both sides."
    less, greater = (Fraction(sum(compare(v) for v in all_values), len(all_values)) for compare in (lambda v: v <= observed, lambda v: v >= observed))
    return float(dict(less=less, greater=greater)[alternative] if alternative != 'two-sided' else min(1, 2*min(less, greater)))


def permutations_by_hand(a, b, alternative):
    both, mean = [*a, *b], lambda x: Fraction(sum(x), len(x))
    means = [mean([both[i] for i in chosen]) - mean([x for i, x in enumerate(both) if i not in chosen]) for chosen in itertools.combinations(range(len(both)), len(a))]
    return p_value(mean(a) - mean(b), means, alternative)


# Permutation tests

@pytest.mark.parametrize('alternative', ['less', 'greater', 'two-sided'])
def test_permutation_tests_count_every_relabeling_ties_included(alternative, np_rng):
    tenths = lambda *x: [Fraction(v, 10) for v in x]
    cases = [(tenths(1, 5), tenths(2, 4)), (tenths(-3, 6), tenths(-2, 5))]               # an observed difference of 0
    for _ in range(20):
        n_a, n_b, top = *np_rng.integers(2, 6, 2), np_rng.choice([2, 9, 10**6])      # a small top makes many ties
        cases.append(tenths(*map(int, np_rng.integers(-top, top + 1, n))) for n in (n_a, n_b))
    for a, b in cases:
        floats = [[float(v) for v in x] for x in (a, b)]                             # tenths: sums that are equal are not equal in floating point
        assert permutation_p(*floats, alternative) == pytest.approx(permutations_by_hand(a, b, alternative), abs=1e-12), (a, b)


def test_permutation_tests_do_not_depend_on_order_unit_or_direction(np_rng):
    a, b = np_rng.normal(size=(2, 5))
    p = permutation_p(a, b)
    assert p == permutation_p(np_rng.permutation(a), list(np_rng.permutation(b))) == permutation_p(a*1e-9, b*1e-9) == permutation_p(a + 1e4, b + 1e4)
    assert p == permutation_p(b, a, 'greater') == permutation_p(-b, -a) and permutation_p(a, b, 'two-sided') == permutation_p(b, a, 'two-sided')


def test_the_smallest_p_values_are_known_by_hand(np_rng):
    low, high = np_rng.random(5), np_rng.random(5) + 2
    assert permutation_p(low, high) == pytest.approx(1 / 252) and permutation_p(low[:3], high[:3]) == pytest.approx(1 / 20), 'three against three never reach 0.05'
    assert permutation_p(high, low) == 1 and permutation_p(low, high, 'two-sided') == pytest.approx(2 / 252)
    assert permutation_p([3.3]*4, [3.3]*4) == permutation_p([0, 0], [0, 0]) == permutation_p([1], high) == 1


def test_many_values_are_relabeled_at_random_and_always_alike(np_rng):
    a, b = np_rng.normal(size=(2, 12))                                               # 2,704,156 ways
    p = permutation_p(a, b)
    assert p == permutation_p(a, b) and permutation_p(a - 9, b) == pytest.approx(1 / 10_000)
    assert p == pytest.approx(scipy.stats.ttest_ind(a, b, alternative='less').pvalue, abs=0.08)


# Holm

def test_holm_is_the_hand_worked_example_and_a_slow_definition(np_rng):
    assert holm(dict(a=0.01, b=0.04, c=0.03, d=0.005)) == pytest.approx(dict(a=0.03, b=0.06, c=0.06, d=0.02))
    for n in (0, 1, 2, 7, 20):
        p = {f't{i}': float(v) for i, v in enumerate(np_rng.choice([0, 1, *np_rng.random(8)**3], n))}      # with ties
        adjusted = holm(p)
        for name in p:      # the largest of what the tests before it, and it, are multiplied up to
            assert adjusted[name] == pytest.approx(min(1, max(v * sum(w >= v for w in p.values()) for v in p.values() if v <= p[name])))
            assert p[name] <= adjusted[name] <= min(1, n*p[name]), 'between no correction and Bonferroni'
        shuffled = dict(random.Random(n).sample(list(p.items()), n))
        assert holm(shuffled) == adjusted and list(holm(shuffled)) == list(shuffled)


# Intervals

def test_intervals_are_their_formulas(np_rng):
    for n in (2, 3, 5, 30):
        x, level = np_rng.normal(np_rng.normal()*9, 3, n), np_rng.uniform(0.5, 0.99)
        assert mean_interval(x, level) == pytest.approx(scipy.stats.t.interval(level, n - 1, x.mean(), scipy.stats.sem(x)))
        k, z = int(np_rng.integers(0, n + 1)), scipy.stats.norm.ppf((1 + level) / 2)
        center, half = (k + z*z/2) / (n + z*z), z / (n + z*z) * math.sqrt(k*(n - k)/n + z*z/4)
        assert wilson_interval(k, n, level) == pytest.approx((center - half, center + half), abs=1e-12)
    assert mean_interval([3.0]) == mean_interval([]) == (-math.inf, math.inf) and wilson_interval(0, 0) == (0, 1)
    assert mean_interval([2, 2, 2]) == (2, 2)


def test_five_seeds_are_enough_for_the_promised_coverage(np_rng):
    n = 1500
    x = np_rng.normal(7, 2, (n, 5))
    held = sum(low <= 7 <= high for low, high in map(mean_interval, x))
    assert abs(held - 0.95*n) < 6*math.sqrt(n*0.95*0.05)
    too_short = sum(abs(r.mean() - 7) <= 1.96*r.std(ddof=1)/math.sqrt(5) for r in x)
    assert held > too_short + 40, 'a normal interval of five seeds is the known-wrong one'


def test_equal_arms_are_called_different_in_at_most_five_percent(np_rng):
    n = 250
    wrong = sum(permutation_p(*np_rng.standard_t(3, (2, 4)) + 5) <= 0.05 for _ in range(n))
    assert 0 < wrong < 0.05*n + 6*math.sqrt(n*0.05*0.95), 'three of seventy relabelings'


# Pairs, winners, regret

def test_pairs_are_the_seeds_that_both_have(np_rng):
    seeds = [int(s) for s in np_rng.permutation(50)]
    a, b = ({s: float(np_rng.normal()) for s in some} for some in (seeds[:30], seeds[20:]))
    assert paired_differences(a, b).tolist() == [a[s] - b[s] for s in range(50) if s in a and s in b]
    assert (paired_differences(a, b) == -paired_differences(b, a)).all() and not paired_differences(a, a).any()


def test_the_probability_to_be_best_is_shared_out(np_rng):
    scores = {name: np_rng.normal(3*i, 4, int(np_rng.integers(2, 7))) for i, name in enumerate('abcd')}
    for lower in (True, False):
        p = probability_best(scores, lower_is_better=lower)
        assert list(p) == list('abcd') and sum(p.values()) == pytest.approx(1) and min(p.values()) >= 0
        assert p == probability_best({k: -v for k, v in scores.items()}, lower_is_better=not lower) == probability_best(scores, lower_is_better=lower)
    clear = dict(low=[1, 1.1, 1.2], middle=[2, 2.1, 2.2], high=[3, 3.1, 3.2])
    assert probability_best(clear) == dict(low=1, middle=0, high=0) and probability_best(clear, lower_is_better=False) == dict(low=0, middle=0, high=1)
    assert probability_best(dict(a=[5, 5], b=[5, 5], c=[5, 5, 5], d=[6, 7])) == pytest.approx(dict(a=1/3, b=1/3, c=1/3, d=0))
    x, y = np_rng.normal(size=(2, 3))                  # against all resamples
    means = [[np.mean(r) for r in itertools.product(v, repeat=3)] for v in (x, y)]
    assert probability_best(dict(x=x, y=y))['x'] == pytest.approx(np.mean([i < j for i, j in itertools.product(*means)]), abs=0.03)


@pytest.mark.parametrize('arms', ['a', 'ab', 'abcd'])
def test_regret_is_how_far_an_arm_is_from_the_best(arms, np_rng):
    scores = {name: np_rng.normal(0, 2, int(np_rng.integers(2, 7))) for name in arms}
    for lower in (True, False):
        means = {k: v.mean() * (1 if lower else -1) for k, v in scores.items()}
        for arm in scores:
            observed, low, high = regret(scores, arm, lower_is_better=lower)
            assert observed == pytest.approx(means[arm] - min(means.values())) and observed >= 0 and 0 <= low <= high
            sure = 1 - 0.05 / max(1, len(scores) - 1)      # Bonferroni: all differences at once
            welch = [scipy.stats.ttest_ind(scores[arm], scores[o], equal_var=False).confidence_interval(sure) for o in scores if o != arm]
            ends = [(w.low, w.high) if lower else (-w.high, -w.low) for w in welch]
            assert (low, high) == pytest.approx(tuple(np.max([(0, 0), *ends], axis=0))) and low <= observed <= high
        assert regret(scores, min(means, key=means.get), lower_is_better=lower)[0] == 0
    clear = dict(low=[1, 1.1, 1.2], high=[3, 3.1, 3.2])
    observed, low, high = regret(clear, 'high')
    assert observed == pytest.approx(2) and 1.5 < low < 2 < high < 2.5 and regret(clear, 'low') == (0, 0, 0)


# Bad input

GOOD = dict(a=[1.0, 2.0], b=[3.0, 4.0])

@pytest.mark.parametrize('call, named', [
    (lambda: paired_differences([1], {1: 2.0}), 'a'), (lambda: paired_differences({1: 2.0}, None), 'b'), (lambda: paired_differences({0: 1.0}, {'0': 1.0}), 'a and b'),
    (lambda: paired_differences({0: math.nan}, {0: 1.0}), 'a'), (lambda: paired_differences({0: 1.0}, {0: 'x'}), 'b'),
    (lambda: mean_interval([1, math.nan]), 'x'), (lambda: mean_interval([[1, 2]]), 'x'), (lambda: mean_interval(3), 'x'), (lambda: mean_interval({0: 1.0}), 'x'),
    (lambda: mean_interval([1, None]), 'x'), (lambda: mean_interval([1, 2], 95), 'level'), (lambda: mean_interval([1, 2], '0.95'), 'level'),
    (lambda: mean_interval([1, 2], 1), 'level'), (lambda: mean_interval([1, 2], math.nan), 'level'), (lambda: mean_interval([1, 2], 0), 'level'), (lambda: mean_interval([1, math.inf]), 'x'),
    (lambda: permutation_p([1, math.inf], [1, 2]), 'a'), (lambda: permutation_p([1, 2], 'no'), 'b'), (lambda: permutation_p([1, 2], [1, 2], 'lesser'), 'alternative'),
    (lambda: permutation_p([[1.0]], [1, 2]), 'a'), (lambda: permutation_p([1, 2], [1, 2], None), 'alternative'),
    (lambda: holm([0.1]), 'p'), (lambda: holm(dict(x=1.1)), 'p'), (lambda: holm(dict(x=math.nan)), 'p'), (lambda: holm(dict(x=None)), 'p'),
    (lambda: wilson_interval(-1, 5), 'k'), (lambda: wilson_interval(1.5, 5), 'k'), (lambda: wilson_interval(6, 5), 'k'), (lambda: wilson_interval(1, '5'), 'n'),
    (lambda: wilson_interval(1, math.inf), 'n'), (lambda: wilson_interval(1, 5, 95), 'level'),
    (lambda: probability_best({}), 'scores'), (lambda: probability_best([[1, 2]]), 'scores'), (lambda: probability_best(dict(x=[1.0])), 'scores'),
    (lambda: probability_best(dict(x=[1, math.nan])), 'scores'), (lambda: probability_best(GOOD, n=0), 'n'),
    (lambda: regret(GOOD, 'c'), 'arm'), (lambda: regret(GOOD, 'a', level=2), 'level'),
    (lambda: regret(dict(a=[1, 2], b=[]), 'a'), 'scores'),
    (lambda: front_regret(arm='a'), 'measures'), (lambda: front_regret(GOOD, dict(a=[1, 2]), arm='a'), 'measures'), (lambda: front_regret(GOOD, GOOD | dict(c=[1, 2]), arm='a'), 'measures'),
    (lambda: front_regret(GOOD, dict(a=[1, 2], b=[1, math.nan]), arm='a'), 'scores'), (lambda: front_regret(GOOD, arm='c'), 'arm'), (lambda: front_regret(GOOD, arm='a', level=1), 'level'),
    (lambda: expected_best([[1.0, 2.0]], 1), 'values'), (lambda: expected_best('no', 1), 'values'), (lambda: expected_best([1, -math.inf], 1), 'values'), (lambda: expected_best([1, 2], 0), 'k'),
    (lambda: search_lead([[1, 2]], 1), 'scores'), (lambda: search_lead({}, 1), 'scores'), (lambda: search_lead(dict(a=[1, 2]), 1), 'scores'), (lambda: search_lead(GOOD | dict(c=[1]), 1), 'scores'),
    (lambda: search_lead(dict(a=[1, 2], b=[1, math.nan]), 1), 'scores'), (lambda: search_lead(dict(a=[1, 2], b=[1, 'x']), 1), 'scores'), (lambda: search_lead(dict(a=[1, 2], b=[1, None]), 1), 'scores'),
    (lambda: search_lead(GOOD, 0), 'k'), (lambda: search_lead(GOOD, 3), 'k'), (lambda: search_lead(dict(a=[], b=[]), 1), 'k'), (lambda: search_lead(GOOD, 1, level=95), 'level'), (lambda: search_lead(GOOD, 1, n=0), 'n')])
def test_bad_input_is_refused_by_the_argument_it_stands_in(call, named):
    with pytest.raises(InputError, match=rf'^{named}\b'): call()


@pytest.mark.parametrize('call, hint', [(lambda: mean_interval([1, 2], 95), r'Did you mean 0\.95\?'), (lambda: mean_interval({0: 1.0}), r'list\(d\.values\(\)\)'),
                                        (lambda: permutation_p([1, 2], [1, 2], 'lesser'), "Did you mean 'less'"), (lambda: wilson_interval(6, 5), 'exchanged')])
def test_the_nearest_right_thing_is_named(call, hint):
    with pytest.raises(InputError, match=hint): call()
