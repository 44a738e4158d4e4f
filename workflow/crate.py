"""What an archive says of itself to machines: RO-Crate 1.1 with the profile Workflow Run RO-Crate 0.5, as `ro-crate-metadata.json`.

The workflow is `nbs/train.ipynb`. Each published record is one of its runs (a CreateAction): the parameters and the data set that went in, the files that
came out, when, and the commit of the code. Records do not say when a run began, so neither do the runs here.
"""
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from dcgan_nb.foundations.core import InputError
from dcgan_nb.foundations.datasets import DATASETS
from dcgan_nb.runs.config import overrides, rerun_command, value_text
from dcgan_nb.runs.records import SECOND_LOOK, read_record

METADATA, WORKFLOW = 'ro-crate-metadata.json', 'nbs/train.ipynb'
PROFILES = {'https://w3id.org/ro/wfrun/process/0.5': 'Process Run Crate', 'https://w3id.org/ro/wfrun/workflow/0.5': 'Workflow Run Crate',
            'https://w3id.org/workflowhub/workflow-ro-crate/1.0': 'Workflow RO-Crate'}
CONTEXT = ['https://w3id.org/ro/crate/1.1/context', {'sha256': 'https://w3id.org/ro/terms/workflow-run#sha256'}]
FORMATS = {'.json': 'application/json', '.png': 'image/png', '.md': 'text/markdown', '.txt': 'text/plain', '.ipynb': 'application/x-ipynb+json', '.yml': 'application/yaml',
           '.cff': 'application/yaml', '.html': 'text/html'}
ABOUT = {'README.md': 'What this is, and how to use it', 'LICENSE': 'License of code and records', 'CITATION.cff': 'How to cite this', 'codecheck.yml': 'What a codechecker would make again, and compare',
         'constraints.txt': 'The lock: every version that an installation uses', 'installed.json': 'What was installed where the archive was made', 'data.sha256': 'SHA-256 of the files of the data sets',
         'COMMIT': 'The commit that was packed', 'workflow/Snakefile': 'From runs to pages to the book', 'reports/claims.json': 'The claims, the recipes and the rules, and every change of them',
         'reports/verdicts.json': 'The verdicts on the claims', 'reports/manifest.sha256': 'SHA-256 of the files of the published records'}
FOLDERS = {'dcgan_nb/': 'The package, exported from the notebooks', 'nbs/': 'The notebooks: the source', 'tests/': 'Tests', 'workflow/': 'From runs to pages to the book',
           'reports/records/': 'The published records', 'reports/benchmarks/': 'Measured speed', 'reports/audits/': 'What audits found', 'book/': 'The book as it was built where the archive was made'}
TYPES = {bool: 'Boolean', int: 'Integer', float: 'Float'}


def ref(*ids:str) -> dict|list[dict]:
    found = [{'@id': id} for id in ids]
    return found[0] if len(found) == 1 else found


def file_entity(name:str, content:bytes, **more) -> dict:
    "A file of the archive."
    kind = FORMATS.get(Path(name).suffix, 'application/octet-stream' if Path(name).suffix == '.safetensors' else 'text/plain')
    return {'@id': quote(name), '@type': 'File', 'name': name, 'encodingFormat': kind, 'contentSize': str(len(content)), 'sha256': hashlib.sha256(content).hexdigest()} | more


def data_sums(records:list[dict]) -> str:
    "The SHA-256 of the files of the data sets that were used, as `sha256sum` prints them, each in a folder of the name of its set."
    known = {f'{name}/{file}': digest for name in {r['config']['dataset'] for r in records} for file, digest in DATASETS[name].sha256.items() if digest}
    return ''.join(f'{digest}  {name}\n' for name, digest in sorted(known.items()))


def data_entity(record:dict) -> dict:
    "The images of a run: they are not in the archive, but their SHA-256 is."
    name, data = record['config']['dataset'], record['data']
    about = f"{data['n_train']:,} images to train on, {data['n_test']:,} to compare with; found by name, and verified: sha256 is that of the SHA-256 of its files, one after the other in hexadecimal, in the order of their names; data.sha256 has them."
    return {'@id': f"#data-{name}-{data['sha256'][:8]}-{data['n_train']}", '@type': 'CreativeWork', 'name': data['title'], 'identifier': name, 'sha256': data['sha256'],
            'description': ' '.join(filter(None, [about, data['note']]))}


def commit_entity(commit:str, version:str) -> dict:
    return {'@id': f'#commit-{commit}', '@type': 'SoftwareSourceCode', 'name': f'{WORKFLOW} at commit {commit[:8]}', 'version': commit, 'softwareVersion': version}


def parameter_entities(records:list[dict]) -> tuple[list[dict], Callable]:      # entities; function of a record → ids of what it was given
    "What papermill was given for these runs: the parameters, and each of their values once."
    value_id = lambda name, value: f'#{name}={quote(value_text(value))}'
    given = {r['run_id']: overrides(r['config']) for r in records}
    values = {value_id(*item): item for of_run in given.values() for item in of_run.items()}
    examples = {}
    for id, (name, value) in sorted(values.items()): examples.setdefault(name, {})[id] = value
    entities = [{'@id': f'#parameter-{name}', '@type': 'FormalParameter', 'conformsTo': ref('https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE'), 'name': name,
                 'additionalType': TYPES.get(type(next(iter(of.values()))), 'Text'), 'workExample': ref(*of)} for name, of in examples.items()]
    entities += [{'@id': id, '@type': 'PropertyValue', 'name': name, 'value': value_text(value), 'exampleOfWork': ref(f'#parameter-{name}')} for name, of in examples.items() for id, value in of.items()]
    return entities, lambda record: [value_id(*item) for item in given[record['run_id']].items()]


def action(record:dict, inputs:list[str], results:list[str], agent:str) -> dict:
    "A published record as a run of the workflow."
    commit, e = record['code']['commit'], record['environment']
    ended = 'ended with weights that are no numbers, and has no scores' if record['status'] == 'diverged' else 'finished'
    return {'@id': f"#run-{record['run_id']}", '@type': 'CreateAction', 'name': record['run_id'], 'description': f"{rerun_command(record['config'])} ({ended}; {e['gpu'] or e['cpu']}, threads: {e['n_threads']})",
            'instrument': ref(WORKFLOW, f'#commit-{commit}') if commit else ref(WORKFLOW), 'object': ref(*inputs), 'result': ref(*results), 'endTime': record['written'],
            'actionStatus': 'http://schema.org/CompletedActionStatus', 'agent': ref(agent)}


def about_all(files:dict[str, bytes], settings:dict, day:str, commit:str, parts:list[str], runs:list[str]) -> list[dict]:
    "The archive as a whole, and its own description."
    return [{'@id': METADATA, '@type': 'CreativeWork', 'about': ref('./'), 'conformsTo': ref('https://w3id.org/ro/crate/1.1', 'https://w3id.org/workflowhub/workflow-ro-crate/1.0')},
            {'@id': './', '@type': 'Dataset', 'name': f"{settings['lib_name']} {settings['version']}, commit {commit[:8]}", 'description': settings['description'] + '.', 'datePublished': day, 'version': settings['version'],
             'license': ref('https://www.apache.org/licenses/LICENSE-2.0'), 'author': ref('#developers'), 'publisher': ref('#developers'), 'conformsTo': ref(*PROFILES), 'mainEntity': ref(WORKFLOW),
             'keywords': settings['keywords'].split(), 'hasPart': ref(*parts), 'mentions': ref(*runs)} | ({'url': settings['git_url']} if settings.get('git_url') else {}),
            {'@id': '#developers', '@type': 'Organization', 'name': settings['author']},
            {'@id': 'https://www.apache.org/licenses/LICENSE-2.0', '@type': 'CreativeWork', 'name': 'Apache License 2.0'},
            {'@id': '#jupyter', '@type': 'ComputerLanguage', 'name': 'Jupyter Notebook', 'url': ref('https://jupyter.org')},
            *({'@id': id, '@type': 'CreativeWork', 'name': name, 'version': id.rsplit('/', 1)[1]} for id, name in PROFILES.items())]


def metadata(
    files:dict[str, bytes],      # of the archive: name → content
    folder:Path,                 # the same files, unpacked
    settings:dict,               # of `project_settings`
    commit:str,                  # that is packed
    day:str,                     # its date and time, ISO 8601
) -> str:                        # JSON
    "The text of `ro-crate-metadata.json`."
    records = [read_record(p) for p in sorted((folder/'reports/records').glob('*/record.json'))]
    if not records: raise InputError('There is no published record to be archived: make publish publishes what claims use.')
    parameters, given = parameter_entities(records)
    of_run = {r['run_id']: [n for n in files if n.startswith(f"reports/records/{r['run_id']}/")] for r in records}
    data, commits = ({e['@id']: e for e in map(entity, kept)} for entity, kept in (
        (data_entity, records), (lambda r: commit_entity(r['code']['commit'], r['environment']['versions'].get('dcgan_nb', '')), [r for r in records if r['code']['commit']])))
    single = [file_entity(name, files[name], description=about) for name, about in ABOUT.items() if name in files]
    readme = next(e for e in single if e['@id'] == 'README.md')
    readme['about'] = ref('./')
    workflow = file_entity(WORKFLOW, files[WORKFLOW]) | {'@type': ['File', 'SoftwareSourceCode', 'ComputationalWorkflow'], 'name': 'A run: parameters in, one record out', 'programmingLanguage': ref('#jupyter'),
        'version': commit, 'conformsTo': ref('https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE'), 'input': ref(*(e['@id'] for e in parameters if e['@type'] == 'FormalParameter'))}
    folders = [{'@id': name, '@type': 'Dataset', 'name': name, 'description': about} for name, about in FOLDERS.items() if any(file.startswith(name) for file in files)]
    results = [file_entity(name, files[name]) for names in of_run.values() for name in names]
    actions = [action(r, [data_entity(r)['@id'], *given(r)], [quote(name) for name in of_run[r['run_id']] if not name.endswith(SECOND_LOOK)], '#developers') for r in records]
    parts = [e['@id'] for e in (workflow, *single, *folders, *results)]
    whole = about_all(files, settings, day, commit, parts, [a['@id'] for a in actions])
    graph = [*whole, workflow, *single, *folders, *data.values(), *commits.values(), *parameters, *actions, *results]
    return json.dumps({'@context': CONTEXT, '@graph': graph}, indent=1, ensure_ascii=False) + '\n'
