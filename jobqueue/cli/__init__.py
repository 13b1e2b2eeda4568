"""The command line, and the composition root: what a process consists of is put together here.

`main` finds the command and turns errors into exit codes. A command's module declares its options and imports nothing
that takes long, so that help and completion are instant; what a service needs is in `serving` and `working`.
"""
