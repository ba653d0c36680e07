# `make` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help build test check bench demo clean-tools

CARGO ?= cargo
PYTHON ?= python3

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the binary, target/release/spillway
	$(CARGO) build --release

test: ## every test, those against a real Envoy too
	$(CARGO) test

check: ## what must hold before a commit: format, lints, documentation, tests
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps
	$(CARGO) test

# The second baseline is this very benchmark's executable, built with the release settings that Cargo gives everyone.
bench: ## how long a decision takes, and what a request costs the whole server beside bare tonic
	plain=$$($(CARGO) bench --no-run --profile plain --bench server --message-format json-render-diagnostics \
		| sed -n 's/.*"name":"server".*"executable":"\([^"]*\)".*/\1/p') \
		&& SPILLWAY_BARE_PLAIN="$$plain" $(CARGO) bench

demo: ## Spillway behind a real Envoy, in a minute; HOLD=1 keeps it up for requests of your own
	@CARGO='$(CARGO)' HOLD='$(HOLD)' $(PYTHON) envoy/demo.py

clean-tools: ## remove the Envoy that was installed into .tools
	rm -rf .tools
