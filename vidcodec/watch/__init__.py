"""A receiver in a browser: a page that opens the data channel itself and decodes without anything installed.

    python -m vidcodec export-web             once: the model as ONNX, its tables, and ONNX Runtime Web, into a folder
    python -m sender --watch HOST:PORT        waits for a browser instead of calling a receiver

The browser takes the receiver's place: hello, acknowledgements, requests for a refresh and statistics are those of
`vidcodec.link`, so the sender does for it all that it does for any receiver.
"""

FORMAT = 1
"""Counts changes of the files that `export-web` writes."""
