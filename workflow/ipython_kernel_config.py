"""How kernels of this environment talk; `make env` puts it into .venv/etc/ipython.

A kernel that papermill starts tells every user that it listens on this machine without encryption, and, when it is told to end, that it was interrupted, and that
its answer reaches nobody. None of this is news. Everything else that a kernel says is shown.

Figures have no sheet of their own and grey letters: they are read on a light page and on a dark one.
"""
import errno
import logging

NOT_NEWS = 'Kernel is running over TCP without encryption', 'KeyboardInterrupt caught in kernel'


def is_news(record:logging.LogRecord) -> bool:
    error = record.exc_info and record.exc_info[1]
    return not record.getMessage().startswith(NOT_NEWS) and getattr(error, 'errno', None) != errno.ENOTSOCK      # papermill has closed what the answer would go through


logging.getLogger('IPKernelApp').addFilter(is_news)

c = get_config()     # IPython, which reads this file, gives this function  # noqa: F821
c.InlineBackend.rc = {'figure.facecolor': 'none', 'axes.facecolor': 'none'} | dict.fromkeys(('text.color', 'axes.labelcolor', 'xtick.color', 'ytick.color', 'axes.edgecolor'), '0.47')
