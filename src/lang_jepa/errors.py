"""The exceptions that are meant for the person at the keyboard."""


class LangJepaError(Exception):
    """Something the user can mend: says what was wrong, where, and what to do.

    The command line prints its message without a traceback and exits with `exit_code`. Everything else that
    is raised is a bug of ours and keeps its traceback.
    """

    exit_code = 2


class LostProcess(LangJepaError):
    """Another process of the run is gone or hangs, which is no mistake of the user's."""

    exit_code = 1
