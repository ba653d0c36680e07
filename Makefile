# `make` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help build test check check-deploy reference descriptors deny dist fuzz model bench fleet soak demo clean-tools

CARGO ?= cargo
PYTHON ?= python3

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the binary, target/release/spillway
	$(CARGO) build --release

test: ## every test, those against a real Envoy too
	$(CARGO) test

check: deny ## what must hold before a commit: format, lints, documentation, dependencies, tests
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps
	$(CARGO) test

# CRDS is a directory with Envoy Gateway's CRDs, for the one file that nothing else checks.
CRDS ?=

check-deploy: ## every deployment file in envoy/ by a real checker, which is installed; CRDS=DIR checks Envoy Gateway's resources, too
	$(CARGO) build --quiet --bin spillway
	CRDS='$(CRDS)' $(PYTHON) tests/deploy/check.py target/debug/spillway

reference: ## write the tables of config/README.md and README.md anew, from the code
	SPILLWAY_WRITE_REFERENCE=1 $(CARGO) test --test it reference::the_tables

# protoc comes with the PyPI package `grpcio-tools`.
GRPCIO_TOOLS_VERSION = 1.85.1
PROTOS = src/rls/reflection/proto

descriptors: ## write src/rls/reflection/descriptors.binpb anew, from the .proto files beside it
	$(PYTHON) -m venv .tools/protoc
	.tools/protoc/bin/pip install --quiet grpcio-tools==$(GRPCIO_TOOLS_VERSION)
	.tools/protoc/bin/python -m grpc_tools.protoc --proto_path $(PROTOS) --include_imports \
		--descriptor_set_out src/rls/reflection/descriptors.binpb \
		$(PROTOS)/envoy/service/ratelimit/v3/rls.proto

# Found in .tools first, where it is put when there is none: not optimized, which is built in a third of the time and checks in seconds.
DENY_VERSION = 0.20.2
DENY = PATH="$(CURDIR)/.tools/bin:$$PATH" $(CARGO) deny

deny: ## licences, duplicates and sources of what we depend on, and what is known to be wrong with it
	@$(DENY) --version >/dev/null 2>&1 || $(CARGO) install --debug --root .tools --locked cargo-deny@$(DENY_VERSION) \
		|| { echo 'cargo-deny is missing: $(CARGO) install --locked cargo-deny@$(DENY_VERSION)' >&2; exit 1; }
	$(DENY) check bans licenses sources
	@if $(DENY) fetch db; then set -x; $(DENY) check advisories; \
		else echo 'NOT CHECKED: advisories, for their database cannot be fetched from here' >&2; fi

dist: ## a tarball for others in target/dist: the program, manual pages, examples, licences and a bill of materials; reproducible
	CARGO='$(CARGO)' $(PYTHON) packaging/dist.py

TIME ?= 60
FUZZ_TARGETS = decode policy template endpoints subjects

fuzz: ## try to break whatever reads texts and requests, each target for TIME seconds (60)
	@$(CARGO) fuzz --version || { echo 'cargo-fuzz is missing: $(CARGO) install --locked cargo-fuzz' >&2; exit 1; }
	@# With the versions that the program is built with.
	cp Cargo.lock tests/fuzz/Cargo.lock
	@# No sanitizer: those need a nightly compiler, and there is no unsafe code of ours for them to look at.
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p tests/fuzz/grown/$$target; \
		$(CARGO) fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target tests/fuzz/grown/$$target \
			tests/fuzz/corpus/$$target -- -dict=tests/fuzz/$$target.dict -max_len=4096 -timeout=10 \
			-rss_limit_mb=512 -max_total_time=$(TIME) || exit 1; \
	done

CASES ?= 25000
SEED ?= 1

model: ## compare CASES (25000) random policies with a slow model of them, 40 requests each, from SEED (1) on
	SPILLWAY_MODEL_CASES=$(CASES) SPILLWAY_MODEL_SEED=$(SEED) $(CARGO) test --test it model::

# The second baseline is this very benchmark's executable, built with the release settings that Cargo gives everyone.
bench: ## how long a decision takes, and what a request costs the whole server beside bare tonic
	plain=$$($(CARGO) bench --no-run --profile plain --bench server --message-format json-render-diagnostics \
		| sed -n 's/.*"name":"server".*"executable":"\([^"]*\)".*/\1/p') \
		&& SPILLWAY_BARE_PLAIN="$$plain" $(CARGO) bench

fleet: ## replicas on one Valkey while something breaks: what was let through, beside what is promised
	$(CARGO) bench --bench fleet

MINUTES ?= 20

soak: ## every attacker at once beside a well-behaved Envoy, for MINUTES minutes (20); and many threads for long
	SPILLWAY_CONCURRENCY_CALLS=1000000 $(CARGO) test --test it concurrency::
	$(CARGO) bench --bench soak -- --minutes $(MINUTES)

demo: ## Spillway behind a real Envoy, in a minute; HOLD=1 keeps it up, STORE=redis has two share a Valkey
	@CARGO='$(CARGO)' HOLD='$(HOLD)' STORE='$(STORE)' $(PYTHON) envoy/demo.py

clean-tools: ## remove what was installed into .tools
	rm -rf .tools
