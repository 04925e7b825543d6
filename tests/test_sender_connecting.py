"""Reaching the receiver again, apart from the link that does it."""

from pathlib import Path

import pytest
from delta_codec import DeltaCodec

from sender.connecting import Connector
from vidcodec.errors import InputError
from vidcodec.link import LinkOptions, SenderHandlers


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_certificate_that_is_gone_when_the_receiver_is_lost_is_what_is_said(tmp_path: Path) -> None:
    options = LinkOptions(ca_file=str(tmp_path / "gone.pem"))
    url = "https://127.0.0.1:9/whip#token=x"
    connector = Connector(url, DeltaCodec.info, 30.0, "none", options=options, handlers=SenderHandlers())
    with pytest.raises(InputError, match="--ca"):
        connector.connect_again(5, 10.0, lambda: False)
