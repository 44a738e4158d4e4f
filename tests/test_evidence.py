"Published evidence and one's own, through the real chapters: what counts, what is shown beside it, and what is marked."
import json
import random
import re
import shutil
import sys

import pytest
import torch
from conftest import EXECUTE, ROOT

from dcgan_nb.gan.networks import build_generator, generate, load_generator, save_generator
from dcgan_nb.runs.ladder import run_of
from dcgan_nb.runs import records
from dcgan_nb.runs.records import read_record, scan_records
from dcgan_nb.study.claims import CLAIMS, study_records
from dcgan_nb.study.judge import courses, outcome
from dcgan_nb.study.plan import publish
from dcgan_nb.study.rules import effect_text


def html(path):
    "All that an executed notebook shows, as text."
    shown = [''.join(o['data'].get('text/html') or o['data'].get('text/markdown') or o['data'].get('text/plain', ''))
             for c in json.loads(path.read_text())['cells'] for o in c.get('outputs', []) if 'data' in o]
    return '\n'.join(shown)


def verdict_on_a0(runs='no/such/folder', prefer='published'):
    "On the rung that counts."
    return outcome(courses(study_records(runs, prefer=prefer), 'A0', prefer)['A0'])


@pytest.fixture(scope='module')
def repeated(tmp_path_factory):
    "Runs of one's own: A0 once more, seed 0 with another FID and from changed code, seed 1 as it was published."
    runs = tmp_path_factory.mktemp('runs')
    for factor, by_seed in zip((0.5, 1.5), verdict_on_a0().records.values()):
        for seed in (0, 1):
            folder = runs/run_of(by_seed[seed])
            shutil.copytree(by_seed[seed]['folder'], folder)
            record = json.loads((folder/'record.json').read_text())
            if seed == 0:
                record['metrics']['fid_clf_10k']['value'] *= factor
                record['code']['dirty'] = True
            (folder/'record.json').write_text(json.dumps(record))
            read_record(folder)
    return runs


@pytest.fixture(scope='module')
def chapter(run, warm, repeated, tmp_path_factory):
    def _chapter(name, *given):
        page = tmp_path_factory.mktemp('pages')/f'{name}.ipynb'
        made = run(*EXECUTE, f'nbs/chapters/{name}.ipynb', page, '-p', 'runs_dir', repeated, '-p', 'files_dir', page.parent, '--no-progress-bar', *given, OMP_NUM_THREADS='1', **warm)
        assert made.returncode == 0, made.stderr[-3000:]
        return html(page)
    return _chapter


def of_claim(text, id):
    "What a project's page shows of one claim, up to the next."
    return re.split(r'\*\*Tested:\*\*', text)[1 + [c for c in CLAIMS if c[0] == id[0]].index(id)]


def test_own_runs_do_not_replace_published_ones_silently_and_differences_are_shown(chapter, repeated):
    published = verdict_on_a0()
    part = of_claim(chapter('project_a'), 'A0')
    assert effect_text(published) in part and 'runs: published.' in part and 'uncommitted' not in part
    assert 'Repeated here:** 4 of these runs are published and were run again; 2 came out the same.' in part
    assert part.count('<td>different</td>') == part.count('<td>same</td>') == 2 and part.count('changed and not committed') == 2


def test_own_runs_count_when_they_are_preferred_and_say_so(chapter, repeated):
    own = verdict_on_a0(repeated, 'own')
    part = of_claim(chapter('project_a', '-p', 'prefer', 'own'), 'A0')
    assert effect_text(own) in part and effect_text(own) != effect_text(verdict_on_a0())
    assert 'runs: both (8 published, 4 own), 2 of them of uncommitted code' in part
    for seed in (0, 1):
        record = next(r for r in study_records(repeated, prefer='own') if r['layer'] == 'own' and r['config']['seed'] == seed)
        assert f'href="records/own/{run_of(record)}.json"' in part


def test_the_verdicts_say_whose_runs_they_rest_on(chapter, tmp_path):
    row = lambda text: next(row for row in text.split('<tr>') if '>A0</a>' in row)
    assert 'runs: published' in row(chapter('verdicts'))
    assert 'runs: both (8 published, 4 own), 2 of them of uncommitted code' in row(chapter('verdicts', '-p', 'prefer', 'own'))
    alone = chapter('verdicts', '-p', 'records_dir', tmp_path, '-p', 'prefer', 'own')
    assert '2 seeds, <code>cpu</code><br>runs: own, 2 of them' in row(alone) and '[' in row(alone)


def test_a_single_seed_has_no_interval_and_stands_in_a_list_of_its_own(run, warm, repeated, tmp_path):
    for folder in repeated.iterdir():
        if '-s0-' in folder.name: shutil.copytree(folder, tmp_path/'runs'/folder.name)
    made = run(*EXECUTE, 'nbs/chapters/verdicts.ipynb', tmp_path/'page.ipynb', '-p', 'runs_dir', tmp_path/'runs', '-p', 'records_dir', tmp_path/'none', '--no-progress-bar', **warm)
    assert made.returncode == 0, made.stderr[-3000:]
    before, after = html(tmp_path/'page.ipynb').split('**One seed each.**')
    row = next(row for row in after.split('<tr>') if '>A0</a>' in row)
    assert '>A0</a>' not in before and 'one seed, no interval' in row and '1 seeds' not in before + after and '[' not in row.split('</td>')[2]


def test_an_unknown_layer_is_answered_with_those_there_are(run, warm, tmp_path):
    made = run(*EXECUTE, 'nbs/chapters/verdicts.ipynb', tmp_path/'page.ipynb', '-p', 'prefer', 'mine', '--no-progress-bar', **warm)
    assert made.returncode != 0 and "runs='mine' is not known. Known: published, own." in made.stderr


def test_changed_code_is_not_published(repeated, tmp_path, capsys):
    publish(str(repeated), str(tmp_path))
    said = capsys.readouterr().out
    assert len(list(tmp_path.glob('*/record.json'))) == 2 and said.count('-s0-') == 2 and 'as their code was changed and not committed' in said
    assert all(not json.loads(p.read_text())['code']['dirty'] for p in tmp_path.glob('*/record.json'))


def test_the_generator_of_the_first_seed_is_published_in_half_the_bytes(repeated, tmp_path):
    clean = [folder for folder in repeated.iterdir() if '-s1-' in folder.name][:1] + [folder for folder in repeated.iterdir() if '-s0-' in folder.name]
    G = build_generator('dcgan', latent_dim=16, channels=1, size=28, width=8)
    for folder in clean:
        shutil.copytree(folder, tmp_path/'runs'/folder.name)
        save_generator(G, tmp_path/'runs'/folder.name/'generator.safetensors')
        record = json.loads((folder/'record.json').read_text())
        record['code']['dirty'] = False
        (tmp_path/'runs'/folder.name/'record.json').write_text(json.dumps(record))
    publish(str(tmp_path/'runs'), str(tmp_path/'out'))
    published = list(tmp_path.glob('out/*/generator.safetensors'))
    assert len(published) == 2 and all('-s0-' in path.parent.name for path in published) and len(list(tmp_path.glob('out/*/record.json'))) == 3
    z = torch.randn(20, 16)
    for path in published:
        assert path.stat().st_size < 0.6 * (tmp_path/'runs'/path.parent.name/path.name).stat().st_size
        assert (generate(load_generator(path), z) - generate(G.eval(), z)).abs().max() < 2 * 2/255


def test_a_record_is_read_once_until_it_or_the_code_changes(tmp_path, monkeypatch):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    runs, asked = tmp_path/'runs', []
    for folder in random.sample(sorted((ROOT/'reports/records').glob('*')), 60): shutil.copytree(folder, runs/folder.name, ignore=shutil.ignore_patterns('*.png', '*.safetensors'))
    monkeypatch.setattr(records, 'read_record', lambda folder: asked.append(folder.name) or read_record(folder))
    def found():
        asked.clear()
        return scan_records(runs)
    first = found()
    assert len(asked) == len(first[0]) == 60 and found() == first and not asked

    changed, damaged, unseen, gone = random.sample(sorted(runs.glob('*')), 4)
    record = json.loads((changed/'record.json').read_text())
    (changed/'record.json').write_text(json.dumps(record | dict(written='9' + record['written'][1:]), indent=1) + '\n')      # as long as before
    (damaged/'record.json').write_bytes((damaged/'record.json').read_bytes()[:-9])
    (unseen/records.SECOND_LOOK).unlink(missing_ok=True)
    shutil.rmtree(gone)
    there, unused = found()
    assert {changed.name, damaged.name} <= {*asked} <= {changed.name, damaged.name, unseen.name}
    by_id = {r['run_id']: r for r in there}
    assert by_id[changed.name]['written'].startswith('9') and 'second_look' not in by_id[unseen.name] and gone.name not in by_id and [*unused] == [str(damaged)] and len(there) == 58

    monkeypatch.setattr(sys, 'version', 'another')
    assert found()[0] == there and len(asked) == 59, 'other code may read otherwise'
