"""What a call would send without this codec: video codecs in process, frames scaled down and up, single pictures.

`vidcodec.baselines.video` codes frames with libavcodec, one packet out for each frame in, or it says so;
`vidcodec.baselines.settings` lists every peer with every option; `vidcodec.baselines.scaling` is bicubic;
`vidcodec.baselines.still` codes single pictures; `vidcodec.baselines.live` is the picture beside ours in a call.
"""
