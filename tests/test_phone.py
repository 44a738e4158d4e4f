"Figures on a phone: all of the narrow drawing on the screen, in letters that can be read; the wide one elsewhere. With figures that nobody has seen before."
import random
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import CHROMIUM, opened

from dcgan_nb.foundations.phone import for_phone
from dcgan_nb.study.figures import figure, plot_arms, set_style

PHONE = 390
SHOWN = """[...document.querySelectorAll('figure.chart svg')].filter(svg => svg.getBoundingClientRect().width).map(svg => ({
  form: svg.classList[0], right: svg.getBoundingClientRect().right, scrolls: svg.parentElement.scrollWidth > svg.parentElement.clientWidth + 1,
  letters: [...svg.querySelectorAll('text')].map(text => ({ said: text.textContent, size: parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a,
                                                            left: text.getBoundingClientRect().left, right: text.getBoundingClientRect().right })) }))"""


def arms(rng, n):
    "Arms with names of one to nine words, and a value for each of four seeds."
    word = lambda: ''.join(rng.choices('abcdefghijklmnop', k=rng.randint(2, 9)))
    return {' '.join([f'{i}', *(word() for _ in range(rng.randint(1, 9)))]): {s: rng.uniform(1, 9) for s in range(4)} for i in range(n)}


def drawn(rng):
    "Panels side by side that share their rows, as the page of a claim has them."
    some = arms(rng, rng.randint(2, 9))
    fig, axes = plt.subplots(1, rng.randint(1, 3), figsize=(9, 1 + 0.42*len(some)), layout='constrained', squeeze=False, sharey=True)
    for ax in axes.flat: plot_arms(some, 'what is measured, and how (of 10,000 images) ↓', log=rng.random() < 0.5, ax=ax)
    return fig, some


@pytest.fixture
def rng():
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed of this test: {seed}')
    set_style()
    yield random.Random(seed)
    plt.close('all')


def test_no_panel_row_or_point_is_lost(rng):
    fig, some = drawn(rng)
    before = [[line.get_xydata().tolist() for line in ax.lines] for ax in fig.axes]
    assert for_phone(fig)
    fig.draw_without_rendering()
    assert [[line.get_xydata().tolist() for line in ax.lines] for ax in fig.axes] == before
    for ax in fig.axes: assert [label.get_text().replace('\n', ' ') for label in ax.get_yticklabels()] == list(some)
    places = [ax.get_position() for ax in fig.axes]
    assert all(below.y1 <= above.y0 for above, below in zip(places, places[1:])), 'panels stand one below the other'


def test_numbers_are_no_names_of_rows():
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    left.plot([1, 2000])
    right.plot([1, 10**5])
    right.set_yscale('log')
    assert for_phone(fig)
    assert fig.get_figheight() == 5 and all(label.get_ha() == 'right' for ax in fig.axes for label in ax.get_yticklabels())


def test_pictures_are_left_alone():
    fig, ax = plt.subplots(figsize=(6, 1))
    ax.imshow(np.eye(3))
    assert re.findall('<svg class="(.*?)"', figure(fig, 'Three dots.')) == ['wide']


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed (Debian: apt-get install chromium)')
@pytest.mark.parametrize('width', [PHONE, 1000])
def test_a_phone_shows_all_of_a_figure_in_letters_of_eleven_pixels(browser, tmp_path, rng, width):
    text = figure(drawn(rng)[0], 'What was measured.')
    ids = re.findall(r' id="(.*?)"', text)
    clips = [name for name in ids if not re.match(r'[a-zA-Z]+[\w.]*_\d+$|text|line2d|DejaVu', name)]
    assert len(clips) == len(set(clips)), 'a hidden drawing lends nothing to the one that is seen'
    page = opened(browser, tmp_path, f'<article class="bd-article">{text}</article>', width=width)
    shown, = page.evaluate(SHOWN)
    assert shown['form'] == ('narrow' if width == PHONE else 'wide') and not shown['scrolls'] and shown['right'] <= width
    if width == PHONE:
        for letters in shown['letters']:
            assert letters['size'] >= 10.9, letters
            assert -1 <= letters['left'] and letters['right'] <= width + 1, letters
    page.close()
