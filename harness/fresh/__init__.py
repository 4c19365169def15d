"""Proof on an empty machine: the README's commands in a new Debian root, without anything of this machine.

    readme      the commands that a new user types, as the README has them
    host        the settings that an empty root takes from this machine: apt's mirror, pip's index
    root        a root: made once for each suite, unpacked for each run, removed afterwards
    inside      the first process in a root: mounts, then one command as one user
    trial       one suite, one user: each command, its time, the packages installed
    step_table  the table of results

Runs with the standard library alone, since the machine that calls it may be as empty as the one it makes:
`PYTHONPATH=harness python3 -m fresh --help`.
"""
