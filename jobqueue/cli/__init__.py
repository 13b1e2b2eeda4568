"""The command line, and the composition root: it puts the parts of a process together.

`main` finds the command and turns errors into exit codes. A command's module declares its options and imports nothing
that takes long, so that help and completion are instant; what a service needs is in `serving` and `working`.
"""
