"""How kernels of this environment talk; `make env` puts it into .venv/etc/ipython.

A kernel that papermill starts tells every user that it listens on this machine without encryption, and, when it is told to end, that it was interrupted.
Neither is news. Everything else that a kernel says is shown.
"""
import logging

NOT_NEWS = 'Kernel is running over TCP without encryption', 'KeyboardInterrupt caught in kernel'
logging.getLogger('IPKernelApp').addFilter(lambda record: not record.getMessage().startswith(NOT_NEWS))
