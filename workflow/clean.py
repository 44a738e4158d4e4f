"Clean the notebooks in nbs/: no outputs, no counts, the kernel that papermill starts, and of the cells' metadata only papermill's and jupyter-book's tags. A clean one is not written again."
import json
import sys
from pathlib import Path

from execnb.nbio import write_nb
from nbdev.clean import clean_nb

KERNEL = dict(display_name='python3', language='python', name='python3')      # an editor writes the name of its own


def clean(path:Path) -> None:
    "Clean one notebook, in place."
    try: notebook = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error: sys.exit(f'{path} is no notebook: {error}')
    notebook['metadata'].pop('widgets', None)       # what progress bars looked like
    notebook['metadata']['kernelspec'] = KERNEL
    for cell in notebook['cells']:
        if not cell.get('attachments', True): del cell['attachments']
        if cell['cell_type'] == 'code': cell['outputs'] = []
    clean_nb(notebook, allowed_cell_metadata_keys=['tags'])
    write_nb(notebook, path)


if __name__ == '__main__':
    for path in sorted(Path('nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' not in path.parts: clean(path)
