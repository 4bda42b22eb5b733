"""The reference host agent: the public HTTP API of capsules, served on top of guestd. To be copied from.

    main        options, the application, the end         routes      which path is whose
    capsules    all capsules: created, listed, found       capsule     one: its statuses, its connection, its idleness
    container   a capsule as namespaces                    vm          a capsule as a microVM
    exec        foreground and background runs             processes   list, kill
    streams     output over WebSocket                      terminal    the same with a keyboard
    files       both ways, never held in memory            metrics     what is in use
    errors      what goes wrong, in the API's words        ready       guestd's call when it serves

guestproto, the client below it, blocks and resumes by itself: threads.call runs it beside the loop.
"""
