"""The one exception that is meant for the person at the keyboard."""


class LangJepaError(Exception):
    """Something the user can mend: says what was wrong, where, and what to do.

    The command line prints its message without a traceback and exits with status 2. Everything else that
    is raised is a bug of ours and keeps its traceback.
    """
