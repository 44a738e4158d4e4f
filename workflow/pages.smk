# The pages: executed notebooks, as many at a time as there are cores, and so each with the threads that its rule has.
MADE = f'{BOOK}/.made'      # a line for each page that was begun; how many there will be is known when the workflow starts
PAGE = 'echo >> "{MADE}"; echo "page $(grep -c ^ "{MADE}") of $PAGES  {output}"; '
PAPERMILL = PAGE + 'OMP_NUM_THREADS={threads} python -S workflow/execute.py --no-progress-bar --log-level WARNING'

# The page of an example is its run's notebook under a title of its own.
rule example:
    input: f'{RUNS}/{{run_id}}/run.ipynb'
    output: f'{BOOK}/examples/{{run_id}}.ipynb'
    params: title=lambda w: f'Run: {TITLES[w.run_id]}, seed {EXAMPLE_RUNS[w.run_id].seed}'
    wildcard_constraints: run_id='|'.join(map(re.escape, EXAMPLE_RUNS))
    shell: "sed 's/# A training run/# {params.title}/' {input:q} > {output:q}"

EXAMPLE_PAGES = [] if PUBLISHED else [f'{BOOK}/examples/{run_id}.ipynb' for run_id in EXAMPLE_RUNS]

# A library page depends on the modules with lower numbers, which are all it may import.
LIBRARY = {notebook.stem: notebook.parent.name for notebook in sorted(Path('nbs').glob('*/[0-9][0-9]_*.ipynb'), key=lambda path: path.name)}   # name → part

def modules_below(w):
    paths = [Path('dcgan_nb', part, f'{name[3:]}.py') for name, part in LIBRARY.items() if name < w.name]
    return [str(path) for path in paths if path.exists()]      # a notebook that exports nothing has no module

rule library_page:
    input: 'nbs/{part}/{name}.ipynb', modules_below
    output: f'{BOOK}/{{part}}/{{name}}.ipynb'
    wildcard_constraints: part=r'\w+', name=r'\d\d_\w+'
    shell: PAPERMILL + ' {input[0]:q} {output:q}'

# The chapters read what is there when they are made: published records and one's own, and of runs without a record why they failed.
RECORDS = [str(path) for folder in (RUNS, 'reports/records') for name in ('record.json', 'second_look.json') for path in sorted(Path(folder).glob(f'*/{name}')) if folder != RUNS or path.parent.name not in EXAMPLE_RUNS]
FAILURES = [str(path) for path in sorted(Path(RUNS).glob('*/outcome.txt')) if not path.with_name('record.json').exists()]
READS = dict(faults=['reports/faults.json', 'reports/endurance.json'], changes=['reports/claims.json'], audit=sorted(map(str, Path('reports/audits').glob('*.json'))),
             project_r=sorted(str(path) for name in ('search', 'reach') for path in Path('reports/benchmarks').glob(f'{name}-*.json')))      # chapter → what it reads beside records
OWN_RULES = 'losses', 'calibration', 'speed'
CHAPTERS = [path.stem for path in sorted(Path('nbs/chapters').glob('*.ipynb')) if path.stem not in OWN_RULES]

rule chapter:
    input: 'nbs/chapters/{name}.ipynb', MODULES, EXAMPLE_PAGES, RECORDS, FAILURES, lambda w: READS.get(w.name, [])
    output: f'{BOOK}/{{name}}.ipynb'
    wildcard_constraints: name='|'.join(CHAPTERS)
    params: prefer=PREFER
    shell: PAPERMILL + ' {input[0]:q} {output:q} -p runs_dir "{RUNS}" -p files_dir "{BOOK}/files" -p prefer {params.prefer} && python workflow/mark_headings.py {output:q}'

rule losses:
    input: 'nbs/chapters/losses.ipynb', MODULES, EXAMPLE_PAGES, [path for path in RECORDS if Path(path).parent.name in EXAMPLE_RUNS]
    output: f'{BOOK}/losses.ipynb'
    params: run_ids=' '.join(EXAMPLE_RUNS), runs='reports/records' if PUBLISHED else RUNS
    shell: PAPERMILL + ' {input[0]:q} {output:q} -p runs_dir "{params.runs}" -p run_ids "{params.run_ids}"'

rule calibration:
    input: 'nbs/chapters/calibration.ipynb', 'reports/calibration.json', MODULES, EXAMPLE_PAGES
    output: f'{BOOK}/calibration.ipynb'
    params: dataset=EXAMPLE.dataset, generator='' if PUBLISHED else f'{RUNS}/{EXAMPLE.run_id}/generator.safetensors'
    shell: PAPERMILL + ' {input[0]:q} {output:q} -p dataset {params.dataset} -p generator "{params.generator}"'

# Nobody measures speed while a book is built: the page shows the results that are there.
rule speed:
    input: 'nbs/chapters/speed.ipynb', MODULES, sorted(str(path) for path in Path('reports/benchmarks').glob('*.json'))
    output: f'{BOOK}/speed.ipynb'
    shell: PAPERMILL + ' {input[0]:q} {output:q}'

rule front_page:
    input: 'nbs/index.ipynb', MODULES, EXAMPLE_PAGES, RECORDS
    output: f'{BOOK}/index.ipynb'
    params: run_ids=' '.join(EXAMPLE_RUNS), prefer=PREFER
    shell: PAPERMILL + ' {input[0]:q} {output:q} -p runs_dir "{RUNS}" -p run_ids "{params.run_ids}" -p live_dir "{BOOK}/live" -p prefer {params.prefer}'

# It has no code: it is the README.
rule readme:
    input: 'nbs/readme.ipynb'
    output: f'{BOOK}/readme.ipynb'
    shell: PAGE + 'cp {input:q} {output:q}'
