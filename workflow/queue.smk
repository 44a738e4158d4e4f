# The study on a cluster: a job for each batch of the queue that `make study ON=slurm` has written (nbs/study/58_queue.ipynb). Every job reads this file
# again, which is why it knows nothing of the library. --config reports=DIR  where everything is made
import json
from pathlib import Path

FOLDER = Path(config['reports'], 'queue')
QUEUE = json.loads((FOLDER/'queue.json').read_text())

rule study:
    input: [f'{FOLDER}/{name}.done' for name in QUEUE]
    localrule: True

# A batch is done when each of its runs has been tried: one that failed has its reason in its folder. What was cut off is tried again, with more of everything.
rule batch:
    input: ancient(f'{FOLDER}/{{name}}.runs')
    output: f'{FOLDER}/{{name}}.done'
    threads: 1
    resources:
        runtime=lambda w, attempt: attempt * QUEUE[w.name]['minutes'],
        mem_mb=lambda w, attempt: attempt * QUEUE[w.name]['memory_mb'],
        gres=lambda w: 'gpu:1' if QUEUE[w.name]['gpu'] else 'none',
        output=f'{FOLDER}/%j.log',
    shell: 'bash workflow/batch.sh {config[reports]:q} {input:q} && touch {output:q}'
