# What needs no explanation: `make demo` and `make test` make the environment they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: env demo test check format pretrained face-locator soak benchmarks fuzz clean

env: $(VENV)/.complete

# The stamp is the last step: an environment whose making was interrupted is made again.
$(VENV)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"mmeg needs Python 3.11 to 3.13, this is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: env
	rm -rf demo
	$(BIN)/mmeg synth demo/videos --videos 4 --seconds 9
	printf 'this is not a video' > demo/videos/broken.mp4
	$(BIN)/mmeg annotate demo/videos --output demo/annotations || test $$? -eq 1  # 1: the broken file is reported
	$(BIN)/python -c 'import duckdb; duckdb.sql("select parse_filename(video_uri) as video, start_seconds, end_seconds, perceived_emotion, perceived_emotion_confidence, perceived_gender, modalities from read_parquet($$$$demo/annotations/annotations/**/*.parquet$$$$) order by all limit 8").show(); duckdb.sql("select parse_filename(video_uri) as video, stage, message from read_parquet($$$$demo/annotations/errors/**/*.parquet$$$$)").show()'

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# DATA holds the corpora, laid out as docs/corpora.md says.
pretrained: env
	@test -n "$(DATA)" || { echo "make pretrained DATA=folder-of-the-corpora [CORPORA='javanese-av …']" >&2; exit 2; }
	$(BIN)/python -m mmeg_model.training.pretrained --data $(DATA) $(if $(CORPORA),--corpora $(CORPORA)) --output mmeg_model/pretrained

# Where faces are in frames: `make pretrained` takes these weights as they are.
face-locator: env
	@test -n "$(DATA)" || { echo 'make face-locator DATA=folder-of-the-corpora' >&2; exit 2; }
	$(BIN)/python -m mmeg_model.training.face_locator --data $(DATA)/fer2013-faces

# A run killed at 25 random moments; `make test` does with three.
soak: env
	MMEG_KILLS=25 $(BIN)/python -m pytest --timeout 3600 tests/end_to_end/test_killed.py

benchmarks: env
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/annotate.py
	$(BIN)/python benchmarks/gpu_worker.py
	$(BIN)/python benchmarks/sources.py
	$(BIN)/python benchmarks/long_video.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/stream_latency.py
	$(BIN)/python benchmarks/long_convolution.py
	$(BIN)/python benchmarks/training.py

# FILES broken and forged files through the real command (about two minutes); `make test` takes a hundred.
FILES ?= 2000
fuzz: env
	PYTHONPATH=.:tests $(BIN)/python -m makers.fuzzing --files $(FILES)

clean:
	rm -rf $(VENV) demo build dist
