"""Bytes as the text that JSON wants."""

import codecs


def text(name):
    """A name from the capsule: bytes where it is no UTF-8."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


class Texts:
    """The text of several channels that arrive in pieces: a character that is cut between two comes with the second."""

    def __init__(self):
        self._decoders = {}

    def take(self, channel, data, final=False):
        decoder = self._decoders.get(channel)
        if decoder is None:
            decoder = self._decoders[channel] = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(data, final)

    def end(self, channel):
        """What is left of a channel: a character that never got whole."""
        decoder = self._decoders.pop(channel, None)
        return decoder.decode(b"", True) if decoder else ""
