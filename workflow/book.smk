# HTML from the executed pages.

# Pages of examples that are no longer asked for go, or the contents would find them.
# Sphinx makes changed pages anew and leaves the others, whose navigation shows all titles: if a title, a page's name, the contents or the looks have
# changed, or the build before failed, all is made from scratch.
rule html:
    input: [f'{BOOK}/{name}.ipynb' for name in ('index', 'readme', *OWN_RULES, *CHAPTERS, *(f'{part}/{name}' for name, part in LIBRARY.items()))],
        examples=EXAMPLE_PAGES, toc='_toc.yml', config='_config.yml', assets=[f'nbs/assets/{name}' for name in ('book.css', 'book.js', 'live.js', 'explore.js', 'numbers.js', 'rules.js', 'sensitivity.js', 'lab.js', 'favicon.svg', 'samples.png')]
    output: f'{HTML}/index.html'
    params: without='' if EXAMPLE_PAGES else '/glob: examples/d'      # Sphinx warns of a pattern that finds nothing
    shell: """
        echo "book {output}"
        for page in "{BOOK}"/examples/*.ipynb; do [[ " {input.examples} " == *" $page "* ]] || rm -f "$page"; done
        sed '{params.without}' {input.toc} > "{BOOK}/_toc.yml"
        frame=$(cksum "{BOOK}/_toc.yml" {input.config} {input.assets} constraints.txt; cd "{BOOK}"; grep -m1 '"# ' *.ipynb */*.ipynb)
        if [ "$frame" != "$(cat "{REPORTS}/_build/frame" 2>/dev/null)" ]; then rm -rf "{REPORTS}/_build"; fi
        rm -f "{REPORTS}/_build/frame"
        mkdir -p "{BOOK}/assets" && cp {input.assets} "{BOOK}/assets"
        jupyter-book build "{BOOK}" --toc "$(realpath "{BOOK}/_toc.yml")" --config {input.config} --path-output "{REPORTS}" -W --keep-going -q > /dev/null
        python workflow/finish_book.py "{HTML}" "{BOOK}" published=reports/records "own={RUNS}"
        echo "$frame" > "{REPORTS}/_build/frame"
        """
