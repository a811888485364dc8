"""One function of bytes for every reader of files: only errors of jaxdl may leave it, in a second and 256 MB."""

from tests.security import fuzz_arrays, fuzz_resumed, fuzz_runs, fuzz_texts, fuzz_weights
from tests.security.fuzz_inputs import Target

__all__ = ["TARGETS", "Target"]

TARGETS = {
    "override": Target(fuzz_runs.override, fuzz_runs.override_seeds, 100),
    "config_json": Target(fuzz_runs.config_json, fuzz_runs.config_json_seeds, 100),
    "config_file": Target(fuzz_runs.config_file, fuzz_runs.config_json_seeds, 100),
    "manifest": Target(fuzz_runs.manifest, fuzz_runs.manifest_seeds, 60),
    "state_files": Target(fuzz_runs.state_files, fuzz_runs.state_files_seeds, 20),
    "run_json": Target(fuzz_runs.run_json, fuzz_runs.run_json_seeds, 30),
    "run_config": Target(fuzz_runs.run_config, fuzz_runs.config_json_seeds, 30),
    "rollbacks": Target(fuzz_resumed.rollbacks, fuzz_resumed.rollbacks_seeds, 300),
    "run_devices": Target(fuzz_resumed.run_devices, fuzz_resumed.run_devices_seeds, 500),
    "train_config": Target(fuzz_resumed.train_config, fuzz_resumed.run_config_seeds, 40),
    "replay_config": Target(fuzz_resumed.replay_config, fuzz_resumed.run_config_seeds, 40),
    "run_info": Target(fuzz_resumed.run_info, fuzz_resumed.run_info_seeds, 60),
    "convert_config": Target(fuzz_resumed.convert_config, fuzz_resumed.convert_config_seeds, 300),
    "lock": Target(fuzz_runs.lock, fuzz_runs.lock_seeds, 500),
    "metrics_log": Target(fuzz_runs.metrics_log, fuzz_runs.metrics_log_seeds, 1000),
    "image": Target(fuzz_arrays.image, fuzz_arrays.image_seeds, 500),
    "idx": Target(fuzz_arrays.idx, fuzz_arrays.idx_seeds, 500),
    "sound": Target(fuzz_arrays.sound, fuzz_arrays.sound_seeds, 500),
    "records_file": Target(fuzz_arrays.records_file, fuzz_arrays.records_file_seeds, 50),
    "record": Target(fuzz_arrays.record, fuzz_arrays.record_seeds, 1000),
    "lines": Target(fuzz_texts.lines, fuzz_texts.lines_seeds, 500),
    "jsonl": Target(fuzz_texts.jsonl, fuzz_texts.jsonl_seeds, 500),
    "table": Target(fuzz_texts.table, fuzz_texts.table_seeds, 500),
    "parallel": Target(fuzz_texts.parallel, fuzz_texts.parallel_seeds, 500),
    "squad": Target(fuzz_texts.squad, fuzz_texts.squad_seeds, 500),
    "questions": Target(fuzz_texts.questions, fuzz_texts.questions_seeds, 1000),
    "speech": Target(fuzz_texts.speech, fuzz_texts.speech_seeds, 500),
    "transcript": Target(fuzz_texts.transcript, fuzz_texts.transcript_seeds, 500),
    "captions": Target(fuzz_texts.captions, fuzz_texts.captions_seeds, 200),
    "token_stream": Target(fuzz_texts.token_stream, fuzz_texts.token_stream_seeds, 200),
    "tokenizer": Target(fuzz_texts.tokenizer, fuzz_texts.tokenizer_seeds, 200),
    "safetensors": Target(fuzz_weights.safetensors, fuzz_weights.safetensors_seeds, 80),
    "safetensors_header": Target(fuzz_weights.safetensors_header, fuzz_weights.safetensors_header_seeds, 100),
    "metadata_json": Target(fuzz_weights.metadata_json, fuzz_weights.metadata_json_seeds, 50),
    "huggingface": Target(fuzz_weights.huggingface, fuzz_weights.huggingface_seeds, 300),
    "hdf5": Target(fuzz_weights.hdf5, fuzz_weights.hdf5_seeds, 200),
    "keras": Target(fuzz_weights.keras, fuzz_weights.keras_seeds, 200),
    "torch": Target(fuzz_weights.torch, fuzz_weights.torch_seeds, 200),
}
