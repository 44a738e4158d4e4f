"The claims as data, the plan of a study, and verdicts on made-up records whose truth is known."
import importlib
import itertools
import json
import math
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from conftest import ROOT
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dcgan_nb.foundations.core import InputError, load_projects
from dcgan_nb.foundations.datasets import DATASETS
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import d_step, g_step
from dcgan_nb.runs.config import PLACES, PROFILES, RunConfig, identity
from dcgan_nb.runs.records import read_records
from dcgan_nb.scores.metrics import METRICS
from dcgan_nb.study.claims import (CLAIMS, MEASURES, PROJECTS, SEEDS, arm_config, arm_records, best_profile, chosen_claims, config_key,
                                   indexed, measured, n_seeds)
from dcgan_nb.study.judge import at_equal_updates, courses, judge, on_rung, outcome, read_otherwise, readings_table
from dcgan_nb.study.plan import counted_runs, how_far, plan, plan_table, training_flops
from dcgan_nb.study.evidence import TUNING, glyph_of, runs_text
from dcgan_nb.study.figures import cost_table, score_table
from dcgan_nb.study.pages import seeds_table, verdict_card
from dcgan_nb.study.rules import MIN_SEEDS, RULES, explain
from dcgan_nb.study.stats import holm
from dcgan_nb.study.tables import leaderboard

load_projects()
MEASURED = [*METRICS, *MEASURES]

TWO_ARMED = [c.id for c in CLAIMS.values() if c.rule in ('better', 'not_better', 'same')]
JUDGED = [c.id for c in CLAIMS.values() if c.rule not in ('feature', 'front')]


@pytest.fixture
def draw(rng): return random.Random(rng.initial_seed())


def record(config, name='fid', value=None, **more):
    "The record of a run that holds a value of a measure, and nothing else."
    parts = dict(metrics={}, history=[], timings_s={}, d_scores={}, peak_memory_mb=dict(process=None, cuda=None))
    if value is None: pass
    elif name == 'trend': parts['history'] = [dict(n_images=0, tenths=dict(g_loss={1.0: [1, 2, 3], 0.5: [1, 3, 2], -0.5: [2, 3, 1], -1.0: [3, 2, 1]}.get(value, [value]*3)))]
    elif name in ('g_grad', 'roughness', 'roughness_by_steps'): parts['history'] = [dict(n_images=2000*config['batch_size'], tenths=dict(g_grad=[value, None, value], g_loss=[2 + value, 2 - value] * max(1, 128 // config['batch_size'])))]
    elif name == 'change': parts['history'] = [dict(n_images=0, change=c) for c in (None, 999, value / 2, 1.5*value)]     # the mean of the second half
    elif name == 'first_sure':     # sure of noise first, which is all one digit to the classifier
        parts['history'] = [dict(n_images=value*30_000, confidence=c, n_classes=k) for c, k in ((1.0, 1), (0.95, 9), (0.97, 10))]
    elif name == 'overfitting': parts['d_scores'] = dict(train=3, test=3 - 2*value, fake=1)
    elif name == 'd_auc': parts['d_scores'] = dict(auc=value)
    elif name == 'updates': parts['history'] = [dict(n_images=value * config['batch_size'] * config['d_steps'])]
    elif name == 'seconds': parts['timings_s'] = dict(train=value) if config['device'] == 'cuda' else dict(train=9*value, train_cpu=value)
    elif name == 'memory': parts['peak_memory_mb'] = dict(process=500 + value, before=500, cuda=None if config['device'] == 'cpu' else value)
    elif name == 'kid_imagenet': parts['second_look'] = dict(metrics={f'{other}_imagenet_2500': dict(value=v) for other, v in dict(fid=-1, kid=value).items()})
    else: parts['metrics'] = {f'{other}_clf_10k': dict(value=-1) for other in ('reference', 'fidinf')} | {f'{name}_clf_10k': dict(value=value)}
    return dict(config=config, status='finished') | parts | more


def made_up(claim, values, profile='cpu', **places):
    "Records of a claim from its values: arm → those of seeds 0, 1, …"
    return [record(arm_config(claim, arm, s, profile, **dict(device='cpu') | places).record(), claim.measure, v)
            for arm, of_seeds in values.items() for s, v in enumerate(of_seeds) if v is not None]


def spread(draw, truth, n=MIN_SEEDS, share=0.02): return [truth * math.exp(draw.gauss(0, share)) for _ in range(n)]


def decided(id): return 'full' if n_seeds(CLAIMS[id], 'cpu') < MIN_SEEDS or CLAIMS[id].base.get('device') == 'cuda' else 'cpu'


def values_of(claim, draw, favor, n=MIN_SEEDS):
    "Values of `n` seeds that clearly favor a two-armed claim (+1), speak against it (−1) or differ by less than can be interesting (0); by arm."
    m, middle = MEASURES[claim.measure], claim.shows + 0.2 if claim.shows else 0.5
    step = (1 + claim.delta)**2 if m.ratio else 4*claim.delta
    size = favor or 0.1      # exactly equal arms would come out on the wrong side, surely, once in forty times
    better = size if m.lower_is_better else -size
    return {arm: [(middle / step**(better*side/2) if m.ratio else middle - better*side*step/2) * (1 + draw.uniform(-1, 1)*claim.delta/100)
                  for _ in range(n)] for arm, side in zip(claim.arms, (1, -1))}


# The claims

def test_every_claim_is_there_once_with_its_favorite_arm_first_and_its_grid_complete():
    assert all(key == c.id and re.fullmatch(r'[A-Z]\d[a-z]?', key) for key, c in CLAIMS.items()) and [c.id for c in chosen_claims()] == sorted(CLAIMS)
    listed = 'A0 A1 A2 A3 A4 A5 B1 B2 B3 B4 C1 C2 C3 C4 D0 D1 D2 D3 D4 E1 E2 E3'.split()
    assert {key[:2] for key in CLAIMS} >= set(listed) and {c.project for c in CLAIMS.values()} == set(PROJECTS)
    first = lambda id: next(iter(CLAIMS[id].arms.values()))
    assert first('A1') == dict(latent_dim=128, d_steps=1, g_lr=4e-4, d_lr=4e-4) and first('A2') == dict(batch_size=256, d_steps=3, d_lr=3e-4)
    assert first('D2d') == dict(optimizer='adam', g_lr=3e-4, d_lr=3e-4, batch_size=128) and first('B1') == dict(loss='mse', sigmoid_scores=True) and first('B2') == dict(loss='mse_soft', sigmoid_scores=True)
    grid = lambda id: {tuple(arm.values()) for arm in CLAIMS[id].arms.values()}
    assert grid('A1') == {(nz, k, lr, lr) for nz, k, lr in itertools.product((64, 128), (1, 2), (2e-4, 4e-4))}
    assert grid('A2') == set(itertools.product((64, 128, 256), (2, 3), (3e-4, 4e-4, 5e-4))) and len(grid('D2d')) == 12
    for profile, batches in dict(smoke={8, 16, 32}, cpu={16, 32, 64}, full={64, 128, 256}).items():
        assert {arm_config(CLAIMS['A2'], arm, 0, profile).batch_size for arm in CLAIMS['A2'].arms} == batches, 'smaller budgets, smaller batches'


@pytest.mark.parametrize('claim', CLAIMS.values(), ids=CLAIMS)
def test_a_claim_says_what_was_said_where_and_how_it_is_tested(claim):
    published = claim.project in 'ABCDE'       # a reader's own project says its source in its own way
    assert len(claim.quote) > 10 and claim.source and (claim.source.startswith(f'project {claim.project}, ') or not published) and claim.tested.rstrip('.') + '.' == claim.tested
    assert claim.rule in RULES and {claim.measure, *claim.also} <= set(MEASURED) and claim.delta > 0 and claim.measure not in claim.also
    assert all(isinstance(arm, str) and arm.strip() == arm != '' for arm in claim.arms)
    assert set(claim.budgets) | set(claim.batch_divisors) | set(claim.seeds) <= set(PROFILES)
    n = len(claim.arms)
    assert dict(better=n == 2, not_better=n == 2, same=n == 2, best=n > 2, none_best=n > 2, front=n > 2, better_tuned=n == 8, not_better_tuned=n == 8, within=n == 1, feature=True)[claim.rule]
    assert (claim.low < claim.high and math.isfinite(claim.low + claim.high)) if claim.rule == 'within' else (claim.low, claim.high) == (-math.inf, math.inf)


# Measures

@pytest.mark.filterwarnings('ignore::RuntimeWarning')
@pytest.mark.parametrize('name', MEASURED)
def test_a_measure_reads_its_number_and_refuses_what_is_none(name, draw):
    config, value = RunConfig.planned(profile='smoke', device='cpu', d_steps=draw.randint(1, 3)).record(), draw.uniform(0.01, 0.9)
    if name == 'updates': value = draw.randint(1, 500)
    if name == 'trend': value = draw.choice([-1.0, -0.5, 0.5, 1.0])
    assert measured(name, record(config, name, value)) == pytest.approx(value)
    assert all(measured(name, r) is None for r in (record(config, name, math.nan), record(config, name, math.inf), record(config), {}, dict(config={})))
    if MEASURES[name].ratio: assert measured(name, record(config, name, 0.0)) is None, 'a ratio needs positive numbers'


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_measuring_never_fails_on_records_that_lack_something(draw):
    def gnaw(x):
        if isinstance(x, dict): return {k: gnaw(v) for k, v in x.items() if draw.random() > 0.15}
        if isinstance(x, list): return [gnaw(v) for v in x if draw.random() > 0.15]
        return None if draw.random() < 0.1 else x
    epochs = [dict(n_images=90_000, confidence=0.31*i, n_classes=10, change=5.0 if i else None, tenths=dict(g_loss=[1.0, 2.0], g_grad=[0.1, 0.2])) for i in range(4)]
    whole = dict(config=dict(batch_size=32, d_steps=1, train_on='train', device='cpu'), history=epochs, timings_s=dict(train=9.0, train_cpu=8.0),
                 d_scores=dict(train=2.0, test=1.0, fake=0.0, auc=0.6),
                 peak_memory_mb=dict(cuda=None, process=500, before=300), metrics={f'{k}_clf_10k': dict(value=1.0) for k in METRICS}, second_look=dict(metrics=dict(kid_imagenet_2500=dict(value=1.0))))
    assert all(measured(name, whole) is not None for name in MEASURED)
    for r, name in itertools.product([gnaw(whole) for _ in range(300)], MEASURED):
        assert (value := measured(name, r)) is None or math.isfinite(value), (name, r)


# The plan

@pytest.mark.parametrize('profile', PROFILES)
def test_a_plan_has_every_run_once_seed_after_seed_the_same_for_all_arms(profile):
    runs = plan(profile, device='cpu')
    configs = [c.record() for c in runs.values()]
    assert list(runs) == [c.run_id for c in runs.values()] and [c['seed'] for c in configs] == sorted(c['seed'] for c in configs)
    ids, wanted = set(runs), set()
    for claim in CLAIMS.values():
        seeds = n_seeds(claim, profile) if not RULES[claim.rule].tunes else TUNING      # what is tuned first chooses
        of_arm = {arm: [arm_config(claim, arm, s, profile, device='cpu').run_id for s in range(seeds)] for arm in claim.arms}
        assert len({i for of_seeds in of_arm.values() for i in of_seeds}) == len(claim.arms) * seeds, 'arms and seeds differ'
        if not claim.on_request: wanted |= {i for of_seeds in of_arm.values() for i in of_seeds}
        if claim.arms: assert set(plan(profile, claim.id, device='cpu')) == {i for of_seeds in of_arm.values() for i in of_seeds}
    assert ids == wanted and not any(c['feature_extractor'] == 'inception' for c in configs), 'what costs too much runs on request only'
    assert {c.recipe for c in plan(profile, 'A5,A0', device='cpu').values()} == {'a_best', 'standard'}
    assert {c.seed for c in plan(profile, 'A0 D0', seeds=3, device='cpu').values()} == {0, 1, 2} and SEEDS['full'] == SEEDS['cpu'] == MIN_SEEDS == 6


@pytest.mark.parametrize('which, hint', [('D2x', "Did you mean 'D2"), ('b7', "claim='b7' is not known. Known: "), ('A0 Z', "claim='Z'"), ('A03', "Did you mean 'A")])
def test_an_unknown_claim_is_answered_with_the_nearest(which, hint):
    for ask in (chosen_claims, lambda w: plan('cpu', w), lambda w: judge([], w), lambda w: plan_table('cpu', w), lambda w: CLAIMS[w.split()[-1]]):
        with pytest.raises(InputError, match=r'is not known.*Known: [A-Z]') as error: ask(which)
        assert hint in str(error.value)
    assert [c.id for c in chosen_claims('E, D2a D2')] == ['E1', 'E2', 'E3', 'E4', 'E5', 'D2a', 'D2b', 'D2c', 'D2d', 'D2e'] and chosen_claims() == sorted(CLAIMS.values(), key=lambda c: c.id)


@pytest.mark.sample(2)
@pytest.mark.parametrize('profile, which', [('smoke', ''), ('smoke', 'A'), ('smoke', 'A5'), ('cpu', 'A0 A3 A4'), ('cpu', 'D1 D2a')])
def test_the_table_of_a_plan_counts_what_is_left_to_do(profile, which, draw):
    def planned(seeds=None): return plan(profile, which, seeds, device='cpu')
    more = plan_table(profile, which, seeds=(n := draw.randint(6, 9)), device='cpu')
    assert (more.seeds == n).all() and more.to_run.sum() == len(planned(n))
    runs = planned()
    table = plan_table(profile, which, device='cpu').set_index('claim')
    tuned = [RULES[CLAIMS[i].rule].tunes for i in table.index]      # these first choose
    assert (table.runs == table.arms * table.seeds.where(~np.array(tuned), TUNING)).all() and list(table.arms) == [len(CLAIMS[i].arms) for i in table.index]
    assert ((table.minutes > 0) == (table.to_run > 0)).all() and np.isfinite(table.minutes).all()
    done = draw.sample(list(runs), len(runs) // 3)
    records = [record(runs[k].record(), status=draw.choice(['finished', 'diverged'])) | dict(run_id=k, timings_s=dict(train=training_flops(runs[k]) / 1e9)) for k in done]
    rest = plan_table(profile, which, done=records, timed=records, device='cpu')
    assert table.to_run.sum() == len(runs), 'what `plan` would run, each once'
    assert rest.to_run.sum() == len(runs) - len(done) and (rest.runs.values == table.runs.values).all()
    if which and done:     # all of these on a CPU
        assert rest.minutes.sum() * 60 == pytest.approx(sum(training_flops(c) for k, c in runs.items() if k not in done) / 1e9, rel=0.01), 'at the speed of the records'


class Counted(TorchDispatchMode):
    "Counts the operations of all that PyTorch does; `FlopCounterMode` cannot take the gradient of a gradient."
    total = 0

    def __torch_dispatch__(self, what, types, args=(), kwargs=None):
        made = what(*args, **(kwargs or {}))
        if count := flop_registry.get(what._overloadpacket): self.total += count(*args, **(kwargs or {}), out_val=made)
        return made


@pytest.mark.parametrize('arch', ['dcgan', 'resnet', 'mlp'])
def test_pairs_and_penalties_cost_what_a_step_with_them_costs(arch, draw):
    size, ways = draw.randint(2, 5), dict(plain={}, pairs=dict(loss='rpgan'), r1=dict(penalty='r1'), r1r2=dict(penalty='r1r2'), wgan_gp=dict(penalty='wgan_gp'))
    config = RunConfig.planned(profile='smoke', arch=arch, g_width=draw.randint(3, 8), d_width=draw.randint(3, 8), batch_size=size, epochs=1, device='cpu')
    counted, planned = {}, {}
    for name, way in ways.items():
        gan, x = init(c := replace(config, **way)), torch.rand(size, 1, 28, 28)
        with Counted() as counter:
            d_step(gan, x)
            g_step(gan, x)
        counted[name], planned[name] = counter.total / size, training_flops(c) / DATASETS[c.dataset].n_train
    for name in list(ways)[1:]:
        assert counted[name] - counted['plain'] == pytest.approx(planned[name] - planned['plain'], rel=0.02), name
    assert 0.6 < counted['plain'] / planned['plain'] < 1, 'the first layers need no gradient at what is given'


# Which records belong to an arm

def test_two_runs_are_the_same_training_whatever_their_profile_recipe_device_and_places(draw):
    config = RunConfig.planned(profile='cpu', recipe='e', device='cpu', seed=draw.randint(0, 99)).record()
    other = config | dict(profile='full', recipe='standard', device='cuda') | {place: 'elsewhere' for place in PLACES}
    assert identity(config) == identity(other) and config_key(config) == config_key(dict(reversed(other.items())))
    for key, value in dict(seed=100, epochs=99, g_width=7, beta1=0.1, d_dropout=0.9, loss='mse', sigmoid_scores=True, shuffle_buffer=9, n_eval=50).items():
        assert config_key(config | {key: value}) != config_key(config), key


@pytest.mark.parametrize('id', JUDGED)
def test_records_of_before_a_parameter_was_added_still_count(id, draw):
    claim, profile = CLAIMS[id], decided(id)
    records = made_up(claim, {arm: [0.5]*MIN_SEEDS for arm in claim.arms}, profile)
    for r in records:
        kept = {k: v for k, v in r['config'].items() if v != RunConfig.__dataclass_fields__[k].default or draw.random() < 0.5}
        r['config'] = kept | dict(profile='smoke', recipe='standard')
    assert all(set(found) == set(range(MIN_SEEDS)) for found in arm_records(claim, records, profile).values()) and best_profile(claim, records) == profile


def test_the_ten_thousand_digits_stand_in_for_all_and_give_way_to_them(draw, tmp_path):
    claim = CLAIMS['D2a']
    (tmp_path/'t10k-images-idx3-ubyte.gz').touch()
    few = made_up(claim, values_of(claim, draw, 1), 'full', mnist_dir=str(tmp_path))
    assert {r['config']['dataset'] for r in few} == {'mnist_10k'} and {r['config']['n_eval'] for r in few} == {2000}
    assert judge(few, 'D2a')['D2a'].text == 'supported' and judge(few, 'D2a')['D2a'].profile == 'full'
    many = made_up(claim, values_of(claim, draw, -1), 'full')
    assert {r['config']['dataset'] for r in many} == {'mnist'}
    assert all(judge(records, 'D2a')['D2a'].text == 'opposite found' for records in (many, few + many, many + few))


# Verdicts

@pytest.mark.sample(15)
@pytest.mark.parametrize('id', TWO_ARMED)
def test_clear_differences_and_clear_ties_are_decided(id, draw):
    claim = CLAIMS[id]
    verdict = {favor: judge(made_up(claim, values_of(claim, draw, favor), decided(id)), id)[id] for favor in (1, 0, -1)}
    expected = dict(better={1: 'supported', 0: 'no sizeable effect', -1: 'opposite found'},
                    not_better={1: 'opposite found', 0: 'supported', -1: 'supported'},             # 1: the change does bring an improvement
                    same={1: 'opposite found', 0: 'supported', -1: 'opposite found'})[claim.rule]
    assert {favor: v.text for favor, v in verdict.items()} == expected
    assert verdict[1].effect < verdict[0].effect < verdict[-1].effect and all(v.low <= v.effect <= v.high and v.n_seeds == MIN_SEEDS and v.because for v in verdict.values())


@pytest.mark.parametrize('id', [i for i in JUDGED if CLAIMS[i].rule == 'best'])
def test_the_named_arm_is_best_only_if_it_is(id, draw):
    claim, profile = CLAIMS[id], decided(id)
    m, (named, *others) = MEASURES[claim.measure], CLAIMS[id].arms
    good, bad = (5, 10) if m.lower_is_better else (10, 5)
    word = lambda values: judge(made_up(claim, values, profile), id)[id]
    assert word({named: spread(draw, good)} | {o: spread(draw, bad) for o in others}).text == 'supported'
    lost = word({named: spread(draw, bad)} | {o: spread(draw, good) for o in others})
    assert lost.text == 'opposite found' and lost.probability == 0 and lost.effect == pytest.approx(math.log(2), abs=0.15) and lost.low > 0
    wide = spread(draw, 5, share=1)
    assert word({arm: wide[i:] + wide[:i] for i, arm in enumerate(claim.arms)}).text != 'supported', 'the same values in another order: so wide a spread decides nothing'
    few = judge(made_up(claim, {named: [good]*5} | {o: [bad]*5 for o in others}, profile), id)[id]
    assert few.text == 'undecided (leaning for)', 'five seeds are too few'


@pytest.mark.parametrize('id', [i for i in JUDGED if CLAIMS[i].rule == 'none_best'])
def test_none_is_the_best_of_a_search_unless_one_surely_leads(id, draw):
    claim, profile, m = CLAIMS[id], decided(id), MEASURES[CLAIMS[id].measure]
    n, (first, *others) = n_seeds(claim, profile), draw.sample(list(claim.arms), len(claim.arms))
    luck = [math.exp(draw.gauss(0, 0.3)) for _ in range(n)]                      # of the settings, which all arms share
    good, bad = (0.5, 0.5*(1 + claim.delta)**2) if m.lower_is_better else (0.5*(1 + claim.delta)**2, 0.5)
    word = lambda values: judge(made_up(claim, values, profile), id)[id]
    tied = word({arm: [good * l * draw.uniform(0.99, 1.01) for l in luck] for arm in claim.arms})
    assert tied.text == 'supported' and tied.n_seeds == n
    crowned = word({first: [good * l for l in luck]} | {arm: [bad * l * draw.uniform(0.99, 1.01) for l in luck] for arm in others})
    assert (crowned.text, crowned.ahead) == ('opposite found', first) and crowned.high < 0


@pytest.mark.parametrize('id', [i for i in JUDGED if CLAIMS[i].rule == 'none_best'])
def test_a_trial_that_diverged_is_never_the_best_and_never_passed_over(id, draw):
    claim, profile = CLAIMS[id], decided(id)
    shaky, *steady = draw.sample(list(claim.arms), len(claim.arms))
    n = n_seeds(claim, profile)
    records = made_up(claim, {arm: spread(draw, 0.5, n, share=0.2) for arm in claim.arms}, profile)
    lucky = {r['config']['seed'] for r in draw.sample(records[:n], n - 1)}       # all trials but one
    of_shaky = {arm_config(claim, shaky, s, profile, device='cpu').run_id for s in lucky}
    for r in records:
        if RunConfig.planned(**r['config']).run_id in of_shaky: r |= dict(status='diverged', metrics={})
    verdict = judge(records, id)[id]
    assert (verdict.n_seeds, verdict.n_failed) == (n, n - 1) and verdict.n_runs == n*len(claim.arms), 'seeds of the other arms still count'


SEARCHED = [c.id for c in CLAIMS.values() if c.search]


@pytest.mark.parametrize('id', SEARCHED)
def test_every_seed_of_a_search_draws_once_for_all_arms_and_finds_its_own_record(id, draw):
    claim, profile = CLAIMS[id], decided(id)
    among = lambda name, value: value in claim.search[name] if isinstance(claim.search[name], list) else claim.search[name][0] <= value <= claim.search[name][1]
    drawn = [{tuple(getattr(arm_config(claim, arm, s, profile, device='cpu'), name) for name in claim.search) for arm in claim.arms} for s in range(40)]
    assert all(len(values) == 1 and all(map(among, claim.search, *values)) for values in drawn) and len(set.union(*drawn)) == 40
    seeds = draw.sample(range(40), 12)
    records = [record(arm_config(claim, arm, s, profile, device='cpu').record(), claim.measure, 0.5) for arm in claim.arms for s in seeds]
    assert all(list(found) == sorted(seeds) for found in arm_records(claim, draw.sample(records, len(records)), profile).values())
    for r in records: r['config'] = r['config'] | dict(seed=r['config']['seed'] + 100)       # the values of one seed, the number of another
    assert not any(arm_records(claim, records, profile).values())


@pytest.mark.parametrize('id', [i for i in JUDGED if CLAIMS[i].rule == 'within'])
def test_a_number_lies_within_its_range_outside_or_across_its_end(id, draw):
    claim, profile = CLAIMS[id], decided(id)
    inside, narrow = (claim.low + claim.high) / 2, (claim.high - claim.low) / 100
    word = lambda center, width: judge(made_up(claim, {next(iter(claim.arms)): [center + width*d for d in draw.sample([-1, -0.6, -0.2, 0.2, 0.6, 1], 6)]}, profile), id)[id].text
    outside = [claim.high * 1.5, *([claim.low / 2] if claim.low else [])]      # below 0 there is nothing
    assert word(inside, narrow) == 'supported' and {word(x, narrow) for x in outside} == {'opposite found'}
    assert word(claim.low or claim.high, 10*narrow).startswith('undecided')
    arm, = claim.arms
    records = made_up(claim, {arm: [inside + narrow*d for d in draw.sample([-1, -0.6, -0.2, 0.2, 0.6, 1], 6)]}, profile)
    unmeasured = record(arm_config(claim, arm, 6, profile, device='cpu').record())
    assert judge([*records, unmeasured], id)[id].text == 'undecided (leaning for)', 'a mean of those that got so far is not the mean'
    assert judge([*records, unmeasured | dict(status='diverged')], id)[id].word == 'supported'


def test_readings_of_a_claim_whose_first_measure_is_no_standard_score_are_found(draw):
    claim = replace(CLAIMS['A4'], id='Z9', measure='fidinf', readings=dict(fid=0.1, recall=0.1))
    CLAIMS['Z9'] = claim
    try:
        arms = {arm: spread(draw, 5) for arm in claim.arms}
        records = made_up(claim, arms)
        for r in records[:]: r['metrics'] = dict(r['metrics'], fid_clf_10k=dict(value=draw.uniform(4, 6)))
        assert [*read_otherwise(judge(records, 'Z9')['Z9'], records)] == ['fid']
    finally: del CLAIMS['Z9']


def test_the_box_of_a_verdict_says_what_each_other_reading_comes_to():
    judged = [v for v in judge(read_records(ROOT/'reports/records')).values() if v.effect is not None]
    loose = [v for v in judged if v.claim.readings]
    assert {v.word == other.word for v in loose for name, other in read_otherwise(v, v.runs).items() if name in v.claim.readings} == {True, False}
    for v in loose:
        said, read = str(verdict_card(v)), read_otherwise(v, v.runs)
        for name in v.claim.readings: assert (f'{MEASURES[name].title}: {read[name].text}' in said) if name in read else f'{MEASURES[name].title}: ' not in said, v.claim.id
    assert 'Read otherwise' not in str(verdict_card(next(v for v in judged if not v.claim.readings)))


def test_every_score_in_the_tables_of_a_claim_says_how_it_was_taken_and_what_would_be_interesting():
    bare, deltas = {m.title for m in METRICS.values()}, set()
    for v in judge(read_records(ROOT/'reports/records')).values():
        if v.effect is None: continue
        seeds, readings = seeds_table(v.claim, v.records), readings_table(v, v.runs)
        assert not bare & {*seeds.columns, *readings.index}, v.claim.id
        for name in v.claim.also: assert (title := MEASURES[name].title) not in bare or any(column.startswith(f'{title} (clf, ') for column in seeds), v.claim.id
        if v.claim.measure == 'fid': deltas |= {(title.split(' (')[0], delta) for title, delta in readings['smallest interesting'].items() if title.startswith('coverage')}
    assert deltas == {('coverage', '± 0.05')}


def test_a_configuration_scored_in_several_ways_has_a_row_for_each_that_has_a_fid(draw):
    made = [r | dict(data=dict(title='Fashion-MNIST'), networks=dict(g_parameters=1, d_parameters=1), run_id=str(i)) for i, r in enumerate(made_up(CLAIMS['A4'], {arm: spread(draw, 5, 3) for arm in CLAIMS['A4'].arms}))]
    for r in made: r['metrics'] = {k: m | dict(reference=0.01) for k, m in r['metrics'].items()}
    without = made[0] | dict(metrics=dict(recall_clf_10k=dict(value=0.3, reference=0.9)), run_id='without', config=made[0]['config'] | dict(metrics=('recall',), seed=17))
    diverged = made[1] | dict(metrics={}, run_id='diverged', status='diverged', config=made[1]['config'] | dict(seed=18))
    (table,) = leaderboard([*made, without, diverged]).values()
    assert sorted(table.runs[:2]) == ['3', '4, 1 diverged']


def test_tables_show_what_a_core_was_busy_and_never_a_cpus_clock(draw):
    made = [r | dict(data=dict(title='Fashion-MNIST'), networks={}, run_id=str(i)) for i, r in enumerate(made_up(CLAIMS['A4'], {arm: spread(draw, 5, 3) for arm in CLAIMS['A4'].arms}))]
    arm = [r for r in made if r['config'].get('loss') == made[0]['config'].get('loss')]
    for r in arm: r['metrics'] = dict(fid_clf_10k=dict(value=5.0, std=None, reference=0.01))
    shown = lambda: ([[str(value) for value in table.loc['busy core (s)'] if value != ''] for table in (score_table({r['run_id']: r for r in arm}), cost_table({'it': dict(enumerate(arm))}).T)],
                     {*next(iter(leaderboard(arm).values()))['busy core (s)'][:-1]})
    busy = [draw.randrange(50, 90) for _ in arm]
    for r, seconds in zip(arm, busy): r['timings_s'] = dict(train=seconds + draw.randrange(100, 900), train_cpu=seconds)
    middle = f'{np.median(busy):.0f}'
    assert shown() == ([[str(seconds) for seconds in busy], [middle]], {middle})
    for r in arm: r['timings_s'].pop('train_cpu')
    assert shown() == ([['—']*len(arm), ['—']], {'—'})
    for r, seconds in zip(arm, busy): r.update(config=r['config'] | dict(device='cuda'), timings_s=dict(train=seconds, train_cpu=seconds + 999))
    assert shown() == ([[f'{seconds} (GPU)' for seconds in busy], [f'{middle} (GPU)']], {f'{middle} (GPU)'})


def by_hand(claim, values):
    "The rule for two arms, from its description alone."
    if claim.shows and np.mean([*values.values()][1]) < claim.shows: return 'not testable here'
    sign, m = (1 if MEASURES[claim.measure].lower_is_better else -1), MEASURES[claim.measure]
    a, b = (sign * (np.log(v) if m.ratio else np.array(v)) for v in values.values())
    delta, d = math.log(1 + claim.delta) if m.ratio else claim.delta, a - b
    low, high = scipy.stats.t.interval(0.9 if claim.rule == 'same' else 0.95, len(d) - 1, d.mean(), scipy.stats.sem(d))
    sums = [sum(c) for c in itertools.combinations([*a, *b], len(a))]
    n_tests = sum(c.rule.startswith(('better', 'not_better')) for c in CLAIMS.values())       # those without runs count, too
    better, not_better = n_tests * np.mean(np.array(sums) <= a.sum() + 1e-9) < 0.05 and high < 0 and d.mean() <= -delta, low > -delta
    yes, no = dict(better=(better, low > 0 and d.mean() >= delta), not_better=(not_better, better), same=(-delta < low and high < delta, high < -delta or low > delta))[claim.rule]
    lean = dict(better=d.mean() <= -delta, not_better=d.mean() > -delta, same=abs(d.mean()) < delta)[claim.rule]
    if yes or no: return 'supported' if yes else 'opposite found'
    return 'no sizeable effect' if claim.rule == 'better' and not_better else f"undecided (leaning {'for' if lean else 'against'})"


@pytest.mark.parametrize('id', ['A0', 'A3', 'B3', 'D3c', 'E3'])
def test_verdicts_are_the_rule_worked_out_by_hand(id, draw):
    claim = CLAIMS[id]
    for _ in range(15):
        values = {arm: spread(draw, 0.5*math.exp(draw.uniform(-1, 1)*2*claim.delta), share=claim.delta*draw.uniform(0.1, 1.5)) for arm in claim.arms}
        assert judge(made_up(claim, values, decided(id)), id)[id].text == by_hand(claim, values), values


@pytest.mark.sample(15)
@pytest.mark.parametrize('id', JUDGED)
def test_fewer_than_six_seeds_never_decide_and_a_missing_arm_is_not_run(id, draw):
    claim, arms = CLAIMS[id], list(CLAIMS[id].arms)
    for n in range(1, MIN_SEEDS):
        verdict = judge(made_up(claim, {arm: spread(draw, draw.choice([0.05, 0.9]), n + TUNING*RULES[claim.rule].tunes, share=0.001) for arm in arms}, decided(id)), id)[id]
        assert verdict.word == 'undecided' and verdict.leaning in ('for', 'against') and verdict.n_seeds == n
    missing = draw.choice(arms)
    assert judge(made_up(claim, {arm: [0.5]*MIN_SEEDS for arm in arms if arm != missing}, decided(id)), id)[id].text == 'not run' == judge([], id)[id].text


@pytest.mark.sample(15)
@pytest.mark.parametrize('id', TWO_ARMED)
def test_a_diverged_run_is_counted_and_given_no_number(id, draw):
    claim, n_failed = CLAIMS[id], draw.randint(1, 3)
    records = made_up(claim, values_of(claim, draw, 1), decided(id))
    whole = judge(records, id)[id]
    for r in draw.sample(records[:MIN_SEEDS], n_failed):                # it stopped early: what it measured until then is no result
        wild = record(r['config'], claim.measure, 0.001 if MEASURES[claim.measure].lower_is_better else 1.9)
        wild['history'] = [h | dict(change=None, confidence=0, tenths={k: v + [None] for k, v in h.get('tenths', {}).items()}) for h in wild['history']]
        r |= wild | dict(status='diverged', metrics={}, d_scores={})
    verdict = judge(records, id)[id]
    assert (verdict.n_failed, verdict.n_seeds, verdict.word) == (n_failed, MIN_SEEDS - n_failed, 'undecided')
    assert verdict.effect == pytest.approx(whole.effect, rel=0.1)


def test_runs_that_went_wrong_are_counted_and_told_arm_by_arm(draw):
    claim = CLAIMS['A4']
    records = made_up(claim, values_of(claim, draw, 1))
    first, second = claim.arms
    n_won, n_collapsed = draw.randint(1, MIN_SEEDS), draw.randint(1, MIN_SEEDS)
    for r in draw.sample(records[:MIN_SEEDS], n_won): r['flags'] = dict(d_won=1)
    for r in draw.sample(records[MIN_SEEDS:], n_collapsed): r['flags'] = dict(collapsed=2)
    verdict = judge(records, 'A4')['A4']
    assert verdict.by_arm == {first: dict(runs=MIN_SEEDS, diverged=0, d_won=n_won), second: dict(runs=MIN_SEEDS, diverged=0, collapsed=n_collapsed)}
    text = explain(verdict)
    assert f'“{first}”: {n_won} of {MIN_SEEDS} runs ended with a D that had won' in text and f'“{second}”: {n_collapsed} of {MIN_SEEDS} runs collapsed' in text
    assert 'No run diverged' in explain(judge(made_up(claim, values_of(claim, draw, 1)), 'A4')['A4'])


@pytest.mark.filterwarnings('ignore:Mean of empty slice')
def test_holm_corrects_among_all_claims_that_have_a_p_value_whichever_are_asked_for(draw):
    runs = [c.record() for c in plan('cpu', device='cpu').values()]
    records = [record(c, 'fid', spread(draw, 5, 1, share=0.3)[0]) for c in runs]
    verdicts = judge(records)
    p = {i: v.p for i, v in verdicts.items() if v.p is not None}
    assert {'A0', 'A3', 'A4', 'B5', 'C1', 'D1a'} < set(p) and len({i[0] for i in p}) > 4, 'of all projects'
    untried = {i: 1.0 for i, c in CLAIMS.items() if c.rule.startswith(('better', 'not_better'))}.keys() - p.keys()
    assert untried and {i: v.p_holm for i, v in verdicts.items() if i in p} == pytest.approx({i: x for i, x in holm(p | dict.fromkeys(untried, 1.0)).items() if i in p}), 'those without runs count, too'
    assert all(v.p_holm is None if i not in p else 1 >= v.p_holm >= v.p > 0 for i, v in verdicts.items())
    asked = draw.choice(list(p))
    assert judge(records, asked)[asked].p_holm == verdicts[asked].p_holm, 'asking for one corrects no less'


@pytest.mark.sample(10)
@pytest.mark.parametrize('id', TWO_ARMED)
def test_a_claim_is_judged_on_every_rung_and_one_that_changes_sides_depends_on_the_budget(id, draw):
    claim, profile = CLAIMS[id], decided(id)
    def rung(times, favor, n=None):
        on_it = replace(claim, times=times)
        return made_up(on_it, values_of(claim, draw, favor, n or n_seeds(on_it, profile)), profile)
    words = lambda *records: {t: v.side for t, v in courses(sum(records, []), id)[id].items()}
    of = lambda *records: outcome(courses(sum(records, []), id)[id])
    yes, no = (1, -1) if claim.rule == 'better' else (0, 1)
    assert words(rung(1, yes)) == {1: 'for'} and words(rung(1, yes), rung(4, no)) == {1: 'for', 4: 'against'}
    assert of(rung(1, yes), rung(4, no)).word == 'depends on the budget' and of(rung(1, no), rung(2, no)).claim.times == 2
    whole = of(rung(1, yes), rung(8, no, 3))
    assert whole.claim.times == 1 and (whole.word == 'supported' or claim.readings and whole.word == 'depends on the reading'), 'a rung that is not whole does not count'


def test_a_verdict_depends_on_the_reading_where_a_registered_one_decides_otherwise_and_nowhere_else():
    seen = set()
    for id, course in courses(read_records(ROOT/'reports/records')).items():
        if not (end := outcome(course)).claim.readings or end.word == 'depends on the budget': continue
        last = course[end.claim.times]
        read = {name: other.side for name, other in read_otherwise(last, last.runs).items() if name in last.claim.readings}
        contradicted = bool(last.side) and any(side and side != last.side for side in read.values())
        assert (end.word == 'depends on the reading') == contradicted and (contradicted or end.text == last.text), id
        assert not contradicted or last.word in end.because and glyph_of(end.word) == '↕', id
        seen.add(contradicted)
    assert seen == {True, False}


@pytest.mark.sample(10)
@pytest.mark.parametrize('id', TWO_ARMED)
def test_a_run_on_a_rung_that_one_arm_alone_has_climbed_is_the_claims_though_no_verdict_rests_on_it(id, draw):
    times, arm = draw.choice([2, 4, 8]), draw.choice([*CLAIMS[id].arms])
    config = arm_config(replace(CLAIMS[id], times=times), arm, draw.randrange(6), 'cpu', device='cpu')
    alone, other = (dict(record(c.record()), run_id=c.run_id) for c in (config, RunConfig.planned(**config.record() | dict(latent_dim=37))))
    counted = counted_runs([alone, other])
    assert counted[id] == {alone['run_id']} and times not in courses([alone], id)[id]
    assert other['run_id'] not in set().union(*counted.values()), 'what no claim asks for'


@pytest.mark.parametrize('id', [i for i in JUDGED if RULES[CLAIMS[i].rule].tunes])
def test_tuned_arms_are_compared_at_settings_that_other_seeds_chose(id, draw):
    claim, arms = CLAIMS[id], list(CLAIMS[id].arms)
    n, half = n_seeds(claim, 'cpu'), len(arms) // 2
    values = {arm: spread(draw, draw.uniform(3, 5), n, share=0.3) for arm in arms}
    chosen = [min(family, key=lambda arm: values[arm][0] * values[arm][1]) for family in (arms[:half], arms[half:])]
    a, b = (np.log(values[arm][2:]) for arm in chosen)
    verdict = judge(made_up(claim, values), id)[id]
    assert (verdict.n_seeds, verdict.n_missing, verdict.effect) == (MIN_SEEDS, 0, pytest.approx((a - b).mean()))
    assert (verdict.low, verdict.high) == pytest.approx(scipy.stats.t.interval(0.95, MIN_SEEDS - 1, verdict.effect, scipy.stats.sem(a - b)))
    assert verdict.p == pytest.approx(np.mean([sum(c) <= a.sum() + 1e-9 for c in itertools.combinations([*a, *b], MIN_SEEDS)]))
    few = made_up(claim, {arm: of_seeds[:None if arm in chosen else 2] for arm, of_seeds in values.items()})
    said = lambda v: (v.n_seeds, v.n_missing, v.effect, v.low, v.high, v.p)
    assert said(judge(few, id)[id]) == said(verdict), 'what was not chosen needs no more seeds'
    last = arm_config(claim, draw.choice(chosen), n - 1, 'cpu', device='cpu').record()
    assert judge([r for r in few if r['config'] != last], id)[id].n_missing == 1
    def missing(records):
        there = [r | dict(run_id=RunConfig.planned(**r['config']).run_id) for r in records]
        return plan('cpu', id, records=there, device='cpu').keys() - {r['run_id'] for r in there}
    assert not missing(few) and len(missing(made_up(claim, {arm: of_seeds[:2] for arm, of_seeds in values.items()}))) == 2*MIN_SEEDS
    assert {c.seed for c in plan('cpu', id, device='cpu').values()} == {0, 1}, 'nobody knows yet what is chosen'
    broken = draw.choice(arms)
    diverged = judge(made_up(claim, values | {broken: [0.001, None, *[0.001]*(n - 2)]}), id)[id]      # the best by far, and once it diverged: nobody would choose it
    assert diverged.effect == pytest.approx(judge(made_up(claim, values | {broken: [1000.0]*n}), id)[id].effect)


@pytest.mark.parametrize('id', [c.id for c in CLAIMS.values() if RULES[c.rule].halves and len(c.arms) > 7])
def test_of_a_grid_the_named_arm_and_the_better_ones_climb(id, draw):
    claim, arms = CLAIMS[id], list(CLAIMS[id].arms)
    named = arms[0]
    def runs_on(claim, truth):
        runs = made_up(claim, {arm: spread(draw, truth[arm], share=0.001) for arm in claim.arms})
        for arm, r in zip(np.repeat(list(claim.arms), MIN_SEEDS), runs): r['metrics'] |= dict(fid_clf_10k=dict(value=truth[str(arm)])) if claim.rule == 'front' else {}
        return runs
    def left(records): return [set(on.arms) if (on := on_rung(claim, indexed(records), 'cpu', t)) else None for t in (1, 2, 4, 8)]
    truth = dict(zip(arms, draw.sample([i / 50 for i in range(1, 40)], len(arms))))
    half = {named, *sorted(arms, key=truth.get)[:len(arms) // 2]}
    first = runs_on(claim, truth)
    assert left(first) == [set(arms), half, None, None] and left(draw.sample(first, len(first) - 1)) == [set(arms), None, None, None]
    again = dict(zip(arms, draw.sample([i / 50 for i in range(1, 40)], len(arms))))
    second = first + runs_on(on_rung(claim, indexed(first), 'cpu', 2), again)
    best = {named, *sorted(half, key=again.get)[:3]}
    assert left(second) == [set(arms), half, best, best]
    assert how_far(claim, indexed(second), 'cpu', 4) == {arm: 4 if arm in best else 2 if arm in half else 1 for arm in arms}
    assert set(judge(second, id, times=2)[id].records) == half and judge(first, id, times=2)[id].word == 'not run'


def test_two_batch_sizes_are_compared_at_equally_many_steps_too(draw):
    for id, large in dict(C1='batch 100', D2c='batch 128').items():           # D2c's measure does so by itself
        claim = CLAIMS[id]
        small, = set(claim.arms) - {large}
        at = {arm: made_up(claim, {arm: spread(draw, 0.5)}) for arm in claim.arms}
        climbed = made_up(replace(claim, times=2), {large: spread(draw, 0.25 if MEASURES[claim.measure].lower_is_better else 1)})
        records = at[small] + at[large]
        verdict = judge(records, id)[id]
        assert at_equal_updates(verdict, records) is None and abs(verdict.effect) < 0.1
        equal = at_equal_updates(verdict, records + climbed)
        if MEASURES[claim.measure].by_steps: assert equal is None
        else: assert equal.effect == pytest.approx(math.log(2) * (1 if list(claim.arms)[0] == small else -1), abs=0.1) and f'“{large}” at × 2' in equal.claim.note
    assert at_equal_updates(judge(made_up(CLAIMS['A0'], values_of(CLAIMS['A0'], draw, 1)), 'A0')['A0'], []) is None, 'equal batches'


def test_full_runs_replace_those_on_a_cpu_once_there_are_two_seeds(draw):
    claim = CLAIMS['A0']
    cpu, smoke = (made_up(claim, values_of(claim, draw, 1), profile) for profile in ('cpu', 'smoke'))
    against = values_of(claim, draw, -1)
    for n, profile, text in ((1, 'cpu', 'supported'), (2, 'full', 'undecided (leaning against)'), (MIN_SEEDS, 'full', 'opposite found')):
        full = made_up(claim, {arm: v[:n] for arm, v in against.items()}, 'full', device='cuda')
        verdict = judge(draw.sample(cpu + full + smoke, len(cpu + full + smoke)), 'A0')['A0']
        assert (verdict.profile, verdict.text) == (profile, text)
    first = [r for r in smoke if r['config']['seed'] == 0]
    assert [(v.text, v.n_seeds) for v in (judge(some, 'A0')['A0'] for some in (first, smoke))] == [('undecided (leaning for)', 1), ('supported', MIN_SEEDS)], 'what is there'


@pytest.mark.sample(15)
@pytest.mark.parametrize('id', JUDGED)
def test_seeds_beyond_the_plan_are_judged(id, draw):
    claim, n = CLAIMS[id], n_seeds(CLAIMS[id], decided(id)) + draw.randint(1, 4)
    verdict = judge(made_up(claim, {arm: [0.5 + s/100 for s in range(n)] for arm in claim.arms}, decided(id)), id)[id]
    assert verdict.n_seeds == n - TUNING*RULES[claim.rule].tunes and verdict.n_runs == n*len(claim.arms) and 'planned' not in explain(verdict)


def test_own_runs_stand_beside_published_ones_and_replace_them_only_when_asked(draw):
    claim = CLAIMS['A0']
    def layer(name, records): return [r | dict(layer=name, code=dict(commit='c', dirty=name == 'own')) for r in records]
    published = layer('published', made_up(claim, values_of(claim, draw, 1)))
    larger = layer('own', made_up(claim, values_of(claim, draw, -1), 'full'))
    more = layer('own', [r for r in made_up(claim, {arm: v*2 for arm, v in values_of(claim, draw, 1).items()}) if r['config']['seed'] >= MIN_SEEDS])
    def basis(records, prefer='published'):
        v = judge(draw.sample(records, len(records)), 'A0', prefer)['A0']
        return v.word, v.profile, v.n_seeds, runs_text(v)
    assert basis(published) == ('supported', 'cpu', MIN_SEEDS, 'runs: published')
    assert basis(published + larger) == basis(published), 'a larger budget of our own does not push published evidence aside'
    assert basis(published + larger, 'own') == ('opposite found', 'full', MIN_SEEDS, f'runs: own, {2*MIN_SEEDS} of them of uncommitted code')
    assert basis(larger) == basis(published + larger, 'own'), 'nothing else is there'
    assert basis(published + more) == ('supported', 'cpu', 2*MIN_SEEDS, f'runs: both ({2*MIN_SEEDS} published, {2*MIN_SEEDS} own), {2*MIN_SEEDS} of them of uncommitted code')


def test_whatever_the_letter_of_a_project_its_claims_get_a_corrected_p(draw, monkeypatch):
    claim = replace(CLAIMS['A0'], id='Q7')
    with pytest.raises(InputError, match="claim Q7: there is no project 'Q' yet"): CLAIMS.add(claim)
    monkeypatch.setitem(PROJECTS, 'Q', 'a project that nobody thought of')
    monkeypatch.setitem(CLAIMS, 'Q7', claim)
    verdict = judge(made_up(claim, values_of(claim, draw, 1)))['Q7']
    assert verdict.p_holm is not None and verdict.text == 'supported'


def test_a_feature_is_delivered_when_every_run_of_it_finished():
    records = made_up(CLAIMS['C3'], {arm: [1.0] for arm in CLAIMS['C3'].arms})
    assert judge(records, 'C3')['C3'].text == 'delivered' and judge(records[:1], 'C3')['C3'].text == 'not run'
    records[0]['status'] = 'diverged'
    assert judge(records, 'C3')['C3'].text == 'undecided' and judge(records, 'C3')['C3'].n_failed == 1


# Changes after the first look

@pytest.fixture
def changes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT/'workflow')
    return importlib.import_module('changes')


def test_every_change_of_a_claim_or_rule_is_noted_with_its_reason(changes):
    noted = json.loads((ROOT/changes.FILE).read_text())
    known, now = noted['written'], json.loads(json.dumps(changes.present()))
    own = {id for id, c in CLAIMS.items() if c.project not in 'ABCDELR'}          # a reader's own project
    now['claims'] = {id: c for id, c in now['claims'].items() if id not in own or id in known['claims']}
    now['recipes'] = {name: r for name, r in now['recipes'].items() if name in known['recipes']}
    assert not changes.differences(known, now), 'a claim or a rule has changed: make change WHY="the reason"'
    assert all(c['why'].strip() and c['what'].strip() and c['claims'] and c['records'] >= 0 for c in noted['changes'])


def test_a_change_of_what_verdicts_go_through_is_noticed_and_says_whom_it_concerns(changes, monkeypatch):
    before = json.loads(json.dumps(changes.present()))
    monkeypatch.setitem(MEASURES, 'change', replace(MEASURES['change'], value=lambda r: 1.0))
    def holm(p): return p
    holm.__module__ = changes.stats.__name__
    monkeypatch.setattr(changes.stats, 'holm', holm)
    monkeypatch.setattr(changes.judge, 'outcome', lambda course: course[1])
    found = {c['what']: c['claims'] for c in changes.differences(before, json.loads(json.dumps(changes.present())))}
    assert set(found) == {'measure change was rewritten', 'statistics holm was rewritten', 'judging outcome was rewritten'}
    assert found['measure change was rewritten'] == sorted(c.id for c in chosen_claims() if 'change' in (c.measure, *c.readings)) != ['none']
    assert found['statistics holm was rewritten'] == ['all'] and changes.concerned(before['claims'], 'rules', 'same') == ['D3c']


def test_what_changed_is_found_and_noted_in_words(changes, monkeypatch, tmp_path, draw):
    before = json.loads(json.dumps(changes.present()))
    id = draw.choice([c.id for c in CLAIMS.values() if c.rule == 'better'])
    monkeypatch.setitem(CLAIMS, id, replace(CLAIMS[id], delta=0.25, note='a note is no change'))
    (tmp_path/'reports').mkdir()
    (tmp_path/changes.FILE).write_text(json.dumps(dict(written=before, changes=[])))
    monkeypatch.setattr(changes, 'project_root', lambda: tmp_path)
    with pytest.raises(InputError, match='WHY is missing'): changes.note(' ')
    added, = changes.note('a better  reason')
    assert added['claims'] == [id] and added['why'] == 'a better reason' and added['what'].endswith('→ 0.25') and added['what'].startswith('delta: ')
    assert json.loads((tmp_path/changes.FILE).read_text())['changes'] == [added]
    with pytest.raises(InputError, match='nothing differs'): changes.note('again')


@pytest.mark.parametrize('id', [i for i in CLAIMS if CLAIMS[i].timed])
def test_a_claim_on_time_or_memory_climbs_no_ladder(id):
    assert plan('cpu', id, rungs=4, device='cpu') == plan('cpu', id, device='cpu') != {}, 'a run that is scored on its way holds more memory than its training'
