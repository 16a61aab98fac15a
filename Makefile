# Sets up everything in .venv/ on first use; later runs start at once.
# On Windows it needs a POSIX shell for make, such as the one that comes with Git.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
      $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: help play test check bench gpu format clean parts-play parts-test
.DEFAULT_GOAL := help

help: ## list these targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1|/' \
	  | while IFS='|' read -r target text; do printf '  %-12s %s\n' "$$target" "$$text"; done
	@echo
	@echo '  ARGS="..."       options for ghostnote serve, pytest or ghostnote bench'
	@echo '  PYTHON=...       the Python (3.11 or newer) to make .venv with; now $(PYTHON)'
	@echo '  TORCH_INDEX=URL  where test, check and bench find a smaller torch (see CONTRIBUTING.md)'

play: ARGS ?= --demo
play: parts-play .venv/stamp-play ## set up and play (ARGS="--sink jack --seconds 10")
	@$(BIN)/ghostnote serve $(ARGS)

test: parts-test .venv/stamp-test ## set up and run the tests (ARGS="tests/cli -k help")
	@$(BIN)/pytest $(ARGS)

check: .venv/stamp-test ## ruff, mypy, import-linter
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# An option that ARGS repeats takes the place of the one here.
bench: .venv/stamp-test ## measure speed beside other engines, 10 minutes (ARGS="--config kit")
	@$(BIN)/ghostnote bench --config all --backend cpu,onnx,torch,inductor \
	  --streams 1,16,64 --threads 2 --seconds 0.4 $(ARGS)

# A machine with a GPU may hold all that is needed and reach nothing: nothing is installed here, and
# typings/ghostnote names the folders as the package. Named by hand, PYTHON comes before .venv.
GPU_PYTHON = $(if $(and $(filter file,$(origin PYTHON)),$(wildcard $(BIN)/python)),$(BIN)/python,$(PYTHON))
GPU_PATH = PYTHONPATH="typings:.$${PYTHONPATH:+:$$PYTHONPATH}"
# All of them run on the card where there is one; a kernel that never ends costs its file's seconds.
GPU_TESTS = $(sort $(wildcard tests/kernels/test_gpu*.py))
GPU_TESTS_SECONDS = 240

gpu: ## tests and benchmarks on a GPU, written into docs/benchmarks.md (NVWAVENET=folder)
	@$(GPU_PYTHON) -c 'import torch, triton; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null || { \
	  echo 'make gpu needs an NVIDIA card and a Python with torch for CUDA and triton; $(GPU_PYTHON) lacks one; name another: make gpu PYTHON=python3.12' >&2; \
	  exit 1; }
	@failed=0; \
	for tests in $(if $(findstring --only,$(ARGS)),,$(GPU_TESTS)); do \
	  $(GPU_PATH) timeout $(GPU_TESTS_SECONDS) $(GPU_PYTHON) -m pytest -q $$tests || failed=1; \
	done; \
	$(GPU_PATH) $(GPU_PYTHON) -m benchmarks.gpu $(if $(NVWAVENET),--nvwavenet "$(NVWAVENET)") $(ARGS) || failed=1; \
	exit $$failed

format: .venv/stamp-test ## put the code into shape with ruff
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean: ## remove .venv and everything that can be made again
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# The environment. A stamp is newer than the files that say what is installed.

.venv/stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'ghostnote needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call need_packages,python3-venv); }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/stamp-play: .venv/stamp-venv pyproject.toml constraints.txt
	@echo 'Installing ghostnote into .venv (a minute or two, once)' >&2
	@$(PIP) --editable '.[jack]'
	@$(add_midi)
	@touch $@

# Torch, tests and tools come on top of what playing needs.
.venv/stamp-test: .venv/stamp-venv pyproject.toml constraints.txt
	@echo 'Installing ghostnote with torch and the tools of the tests into .venv (some minutes, once)' >&2
	@$(PIP) --editable '.[jack,train,dev]'
	@$(add_midi)
	@touch .venv/stamp-play $@

# Its wheels are for some Pythons only, and building it takes a compiler and headers: not for all.
define add_midi
$(PIP) --only-binary python-rtmidi python-rtmidi 2>/dev/null \
  || echo 'No ready-made python-rtmidi for this Python: MIDI goes without ($(BIN)/pip install python-rtmidi builds it)' >&2
endef

# Parts of the system. Python's own search finds a library where ldconfig is not on the PATH.

parts-play:
	@missing=''; $(find_portaudio); $(call need_packages,$$missing)

# Programs (any of the names will do) and the packages that bring them.
DEBIAN_PARTS := jackd:jackd2 jack_capture:jack-capture oscsend:liblo-tools pd:puredata-core \
  sclang:supercollider-language chromium,google-chrome,chromium-browser:chromium node:nodejs
BREW_PARTS := jackd:jack oscsend:liblo node:node

parts-test:
	@missing=''; $(find_portaudio); \
	case "$$(uname -s)" in \
	  Darwin) parts='$(BREW_PARTS)' ;; \
	  *) parts='$(DEBIAN_PARTS)'; $(find_ardour); \
	    [ -d /usr/lib/pd/extra/osc ] || missing="$$missing pd-osc" ;; \
	esac; \
	for part in $$parts; do \
	  found=''; \
	  for name in $$(echo "$${part%%:*}" | tr , ' '); do \
	    command -v "$$name" >/dev/null && found="$$name"; \
	  done; \
	  [ -n "$$found" ] || missing="$$missing $${part#*:}"; \
	done; \
	$(call need_packages,$$missing)

# The wheels of sounddevice hold PortAudio for macOS and Windows.
define find_portaudio
[ "$$(uname -s)" != Linux ] \
  || $(PYTHON) -c 'from ctypes.util import find_library as f; raise SystemExit(not f("portaudio"))' \
  || missing="$$missing libportaudio2"
endef

# Its program bears its version: ardour7-lua, ardour8-lua.
define find_ardour
(IFS=:; for folder in $$PATH; do \
  for program in "$$folder"/ardour[0-9]*-lua; do [ ! -x "$$program" ] || exit 0; done; \
done; exit 1) || missing="$$missing ardour"
endef

# Installs Debian packages where that is ours to do (root: a container or a CI machine), and tells
# the line that would do it on a person's own machine. Failing is no error: what is played, or a
# test that is skipped, says what is missing.
define need_packages
set -- $(1); if [ $$# -eq 0 ]; then :; \
elif [ "$$(uname -s)" = Darwin ]; then \
  echo "Missing: brew install $$*" >&2; \
elif ! command -v apt-get >/dev/null; then \
  echo "Missing, by their Debian names: $$* (install them with your package manager)" >&2; \
elif [ "$$(id -u)" -ne 0 ]; then \
  echo "Missing: sudo apt-get install $$*" >&2; \
else \
  echo "Installing $$*" >&2; \
  apt-get update -qq >/dev/null; \
  for package in "$$@"; do \
    DEBIAN_FRONTEND=noninteractive \
      apt-get install -qq --no-install-recommends "$$package" >/dev/null \
      || echo "Could not install $$package; going on without" >&2; \
  done; \
fi
endef
