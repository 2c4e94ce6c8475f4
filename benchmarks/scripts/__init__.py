"""The programs that are timed, a process each."""
