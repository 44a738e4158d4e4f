"Clean the notebooks in nbs/: no outputs, no counts, and of the cells' metadata only papermill's and jupyter-book's tags. A clean one is not written again."
import json
from pathlib import Path

from execnb.nbio import write_nb
from nbdev.clean import clean_nb


def clean(path:Path) -> None:
    "Clean one notebook, in place."
    notebook = json.loads(path.read_text(encoding='utf-8'))
    notebook['metadata'].pop('widgets', None)       # what progress bars looked like
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code': cell['outputs'] = []
    clean_nb(notebook, allowed_cell_metadata_keys=['tags'])
    write_nb(notebook, path)


if __name__ == '__main__':
    for path in sorted(Path('nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' not in path.parts: clean(path)
