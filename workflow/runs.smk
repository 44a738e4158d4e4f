# The runs: nbs/train.ipynb, executed once for each. A run is done when the executed notebook is in its folder; one that fails leaves its reason
# in outcome.txt, and the next call tries it again. The record is no output of the rule: Snakemake would delete it before it runs the rule again.
# With examples=published nothing is trained: their records are published, for the profile cpu. What is published without its generator does not draw.
PUBLISHED = config.get('examples') == 'published'
COST = dict(profile='cpu', device='cpu') if PUBLISHED else dict(profile=config.get('profile', 'auto'))
LABELED = {label: RunConfig.resolve(**COST, **given) for label, given in EXAMPLES.items()}
EXAMPLE_RUNS, TITLES = {run.run_id: run for run in LABELED.values()}, {run.run_id: label for label, run in LABELED.items()}
EXAMPLE = next(iter(EXAMPLE_RUNS.values()))

# The study: a run for each arm and seed of the chosen claims, each once. What needs another device is left out; `make plan` names it;
# so is what a longer run has climbed through.
# A run whose time or memory is the question has a GPU for itself; the others share one, GPU_RUNS at a time. Where there are several GPUs, on_gpu.sh chooses.
STUDY_RUNS, TIMED, GPU_RUNS = {}, set(), int(config.get('gpu_runs', 4))
if 'study' in config:      # not for a mere report: these imports are half of its time if there is nothing to do
    from dcgan_nb.study.claims import chosen_claims
    from dcgan_nb.runs.records import read_records
    from dcgan_nb.study.plan import climbed_already, plan
    which, mnist = str(config['study']), config.get('mnist')
    own = read_records(RUNS)
    planned = plan(EXAMPLE.profile, '' if which == 'ALL' else which, config.get('seeds'), config.get('rungs', 1), [*read_records('reports/records'), *own], mnist_dir=mnist)
    climbed = climbed_already(planned, own)
    STUDY_RUNS = {run_id: run for run_id, run in planned.items() if run.device in (EXAMPLE.device, 'cpu') and run_id not in climbed}
    TIMED = {run_id for claim in chosen_claims() if claim.timed for run_id in plan(EXAMPLE.profile, claim.id, config.get('seeds'), config.get('rungs', 1), mnist_dir=mnist)}

ALL_RUNS = EXAMPLE_RUNS | STUDY_RUNS

def parameters(w):
    "What papermill is given for a run."
    run = ALL_RUNS[w.run_id]
    return papermill_parameters(overrides(run.record()) | (dict(data_dir=run.data_dir) if run.data_dir else {}))

TO_DO = [run_id for run_id in STUDY_RUNS if not os.path.exists(f'{RUNS}/{run_id}/run.ipynb')]      # when the command was given

def group(w):
    "The runs among which a run is counted."
    return TO_DO if w.run_id in TO_DO else list(EXAMPLE_RUNS if w.run_id in EXAMPLE_RUNS else STUDY_RUNS)

rule study:
    input: [f'{RUNS}/{run_id}/run.ipynb' for run_id in STUDY_RUNS]

# An example shows its epochs, and is shown anew from its record when the library changes. A run of the study stays as it is. Every run has one core.
# What papermill is given, number and total are resources, because a run is made again if its params change: the name of a run says what it is, however it is asked for.
rule run:
    input: lambda w: ['nbs/train.ipynb', *MODULES] if w.run_id in EXAMPLE_RUNS else ancient('nbs/train.ipynb')
    output: f'{RUNS}/{{run_id}}/run.ipynb'
    params: show=lambda w: 'cat' if w.run_id in EXAMPLE_RUNS else "sed -un '1p;$p'"
    wildcard_constraints: run_id='|'.join(map(re.escape, ALL_RUNS))
    priority: 1
    resources:
        given=parameters,
        gpu=lambda w: 0 if ALL_RUNS[w.run_id].device == 'cpu' else GPU_RUNS if w.run_id in TIMED else 1,
        number=lambda w: group(w).index(w.run_id) + 1,
        total=lambda w: len(group(w))
    shell: """
        bash workflow/on_gpu.sh {GPU_RUNS} {resources.gpu} bash workflow/run.sh "{RUNS}/{wildcards.run_id}" "run {resources.number}/{resources.total}  {wildcards.run_id}" \
            {resources.given} -p device {EXAMPLE.device} -p runs_dir "{RUNS}" | {params.show}
        """
