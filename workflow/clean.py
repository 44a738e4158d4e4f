"Clean the notebooks in nbs/: no outputs, no counts, the kernel that papermill starts, and of the cells' metadata only papermill's and jupyter-book's tags. A clean one is not written again."
import json
import os
import sys
from pathlib import Path

from execnb.nbio import nb2str
from nbdev.clean import clean_nb

KERNEL = dict(display_name='python3', language='python', name='python3')      # an editor writes the name of its own


def clean(path:Path) -> None:
    "Clean one notebook, in place."
    text = path.read_text(encoding='utf-8')
    try: notebook = json.loads(text)
    except ValueError as error: sys.exit(f'{path} is no notebook: {error}')
    notebook['metadata'].pop('widgets', None)       # what progress bars looked like
    notebook['metadata']['kernelspec'] = KERNEL
    for cell in notebook['cells']:
        if not cell.get('attachments', True): del cell['attachments']
        if cell['cell_type'] == 'code': cell['outputs'] = []
    clean_nb(notebook, allowed_cell_metadata_keys=['tags'])
    if (cleaned := nb2str(notebook)) == text: return
    part = path.with_name(f'.{path.name}.part')      # a notebook is the source: whoever is killed here leaves the old one whole. The package, whose write_file this would be, may be half exported
    with open(part, 'w', encoding='utf-8') as file:
        file.write(cleaned)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


if __name__ == '__main__':
    for path in sorted(Path('nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' not in path.parts: clean(path)
