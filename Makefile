# cvx: `make` lists what can be done. The work is in scripts/; every target sets up what it needs.
#
# Settings, from the command line or the environment:
#   PG_CONFIG         the server to build for (default: the newest PostgreSQL 15 to 18 of this machine)
#   CVX_CACHE         where tools and builds are kept between runs (default: ~/.cache/cvx; root: /var/cache/cvx)
#   CARGO_TARGET_DIR  default: $CVX_CACHE/target
#   PGVECTOR_SRC      a folder with pgvector's source, where the distribution has none
#   CVX_RUN_AS        the account that runs the server when make is run by root (default: postgres)

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PG_CONFIG CVX_CACHE PGVECTOR_SRC CVX_RUN_AS

# Exported empty, these would hide the defaults.
$(foreach v,PG_CONFIG CVX_CACHE PGVECTOR_SRC CVX_RUN_AS,$(if $($(v)),,$(eval unexport $(v))))

PARTS := unit sql isolation py security

.PHONY: help demo test $(addprefix test-,$(PARTS)) build install setup cluster cluster-stop psql bench soak lint clean distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\): .*## /  make \1|/p' Makefile | column -t -s '|'
	@printf '  make %-14s %s\n' test-PART "one part of the tests: $(PARTS)"

demo: ## what moved, when and how much, in real embeddings: a tour in a throwaway server
	@scripts/demo.sh $(PACKAGE)

test: ## all tests, in a throwaway server
	@scripts/test.sh $(PARTS)

$(addprefix test-,$(PARTS)): test-%:
	@scripts/test.sh $*

build: ## build cvx into a private copy of PostgreSQL
	@scripts/build.sh

install: ## install cvx into the PostgreSQL of PG_CONFIG
	@scripts/build.sh --install

setup: ## install what building and testing need, and nothing else
	@scripts/setup.sh

cluster: ## start a throwaway server with cvx and leave it running
	@scripts/cluster.sh start

cluster-stop: ## stop it
	@scripts/cluster.sh stop

psql: ## a session in it
	@scripts/cluster.sh psql

bench: ## benches of speed against stated bars
	@scripts/bench.sh $(BENCH)

soak: ## long proofs: exactly once, views never wrong, no alert lost, the life of workers (ROUNDS=60 MINUTES=30 KILLS=50)
	@scripts/soak.sh "$(ROUNDS)" "$(MINUTES)" "$(KILLS)"

lint: ## formatting and clippy, warnings as errors
	@scripts/lint.sh

clean: ## remove build/
	@scripts/clean.sh

distclean: ## remove build/ and the cache of tools and builds
	@scripts/clean.sh --cache
