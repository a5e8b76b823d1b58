# pintle: `make demo` shows it at work, `make test` proves it. Both install what is missing first.

CARGO ?= cargo
TARGET := $(CURDIR)/target
FRONTENDS := $(TARGET)/frontends
export PATH := $(HOME)/.cargo/bin:$(PATH):$(TARGET)/go/bin

.PHONY: demo test test-js test-python test-go lint bench soak corpus fuzz frontends build release setup clean

## Build a real multi-stage project with the embedded engine, and run what it made.
demo: build
	./examples/demo.sh $(TARGET)/debug/pintle

## All tests: unit, cases, and end to end with a real registry and real containers.
test: build test-js test-python test-go
	$(CARGO) test --workspace
	$(CARGO) fmt --all --check

# The JavaScript SDK, and what is written with it.
test-js: frontends
	npm test --prefix sdk/js
	npm test --prefix examples/railpack

# The Python SDK, and what is written with it; types first.
PYTHON := $(TARGET)/python/bin/python
test-python: frontends
	cd sdk/python && $(PYTHON) -m mypy && $(PYTHON) -m unittest discover -s tests
	cd examples/mopy && $(PYTHON) -m mypy && $(PYTHON) -m unittest discover -s tests

# The Go SDK, and what is written with it.
test-go: setup
	@if command -v gofmt >/dev/null; then test -z "$$(gofmt -l sdk/go/*.go sdk/go/pintletest examples/earthfile)"; fi
	cd sdk/go && go vet . ./pintletest && go test . ./pintletest
	cd examples/earthfile && go vet . && go test .

lint: frontends
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check; else echo "cargo-deny is not installed: dependencies were not checked"; fi

## Speed, as ratios measured in one run.
bench: release
	$(CARGO) build --release --workspace --bin bench
	$(TARGET)/release/bench $(TARGET)/release/pintle
	$(CARGO) bench --workspace

## So many builds in a row, after which the daemon holds no more memory, disk, files, mounts than before. Needs Go.
BUILDS ?= 1000
soak: build
	BUILDS=$(BUILDS) $(CARGO) test --workspace --test peers -- 'many builds in a row'

## What BuildKit itself answers to the cases of tests/cases/corpus (its Dockerfile frontend) and tests/cases/files (its daemon),
## written anew. Needs Go, and runc.
corpus: build
	UPDATE=1 $(CARGO) test --workspace --test corpus
	UPDATE=1 $(CARGO) test --workspace --test files

## Each fuzz target for so many seconds.
SECONDS ?= 60
fuzz: setup
	./tests/fuzz/run.sh $(SECONDS)

# The whole workspace is selected each time: its members choose the features of dependencies, which are so compiled once.
build: setup frontends
	$(CARGO) build --workspace --bin pintle

release: setup frontends
	$(CARGO) build --release --workspace --bin pintle

## The shipped frontends: components, and the same precompiled for this machine's engine.
frontends: setup
	./frontends/build.sh $(FRONTENDS)

setup:
	@./.ci/setup

clean:
	$(CARGO) clean
