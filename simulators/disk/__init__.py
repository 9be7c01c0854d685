"""What a power cut can leave on a device's disk, and whether the device's real parts live through it.

::

    recorder.c    preloaded C: every call that changes files of one folder, whoever makes it
    recording     builds it, switches it on, reads its log
    platter       a log up to some operation becomes a folder as a power cut could leave it
    stories       what devices do when the power goes: first contact, updates, new keys, a full outbox
    powerloss     story, cut, restart, perhaps another cut; what has to hold afterwards
    renewals      the same for the device's identity, which no story changes
    __main__      ``python -m simulators.disk``: runs, side by side in processes

After Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), whose ALICE replays a recorded
trace under what POSIX leaves open rather than under what one file system happens to do.
"""
