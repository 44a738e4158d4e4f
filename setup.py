"Installs the package as settings.ini describes it; there is no second place for names and requirements."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters='=')
config.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']


def lines(key): return [line for line in cfg[key].splitlines() if line]


setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], author=cfg['author'], keywords=cfg['keywords'],
    license='Apache-2.0', license_files=['LICENSE'], long_description=Path('README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    packages=find_packages(include=['dcgan_nb*']), package_data={'dcgan_nb': ['assets/**']}, python_requires=f">={cfg['min_python']}",
    entry_points=dict(console_scripts=lines('console_scripts')), install_requires=lines('requirements'), extras_require={extra: lines(f'{extra}_requirements') for extra in ('inception', 'imagenet', 'onnx', 'wandb', 'dev')}, zip_safe=False)
