# The targets need a Rust toolchain, gcc, make and python3 with pip; `setup` brings the rest.

.DEFAULT_GOAL := help
.PHONY: help setup setup-test model build demo test test-trainers lint clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing to build llama.cpp, after saying what
	@scripts/setup

setup-test: ## the same, and Chromium, its driver and axe-core for the browser tests
	@scripts/setup test

model: ## fetch the default model into the user's cache (98 MB)
	@scripts/fetch-model

build: setup ## build the program: target/release/amend
	cargo build --release --locked

demo: setup model build ## run the main job on a few prompts; results under out/demo/
	@scripts/demo

test: setup-test model ## run every test, those on the real model included
	@scripts/python-env datasets
	cargo test --release --locked

test-trainers: build model ## let TRL, LLaMA-Factory and axolotl read exports (about 9 GB of packages, once)
	@scripts/test-trainers

lint: setup ## check formatting and lints
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings

clean: ## remove what was built and the demo's results
	cargo clean
	rm -rf out
