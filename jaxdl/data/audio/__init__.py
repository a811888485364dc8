"""Audio: readers of recordings, resampling, log-mel spectra, and sources that give them with their transcripts."""

from jaxdl.data.audio.log_mel import LogMel
from jaxdl.data.audio.recordings import recordings, spoken_digits
from jaxdl.data.audio.resampling import resample
from jaxdl.data.audio.rows import SpeechRows
from jaxdl.data.audio.wav import Sound, decode_wav, read_wav, wav_length

__all__ = [
    "LogMel",
    "Sound",
    "SpeechRows",
    "decode_wav",
    "read_wav",
    "recordings",
    "resample",
    "spoken_digits",
    "wav_length",
]
