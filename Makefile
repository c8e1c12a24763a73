# The recipes are scripts in .ci/, which also run without make.
.DEFAULT_GOAL := help
.PHONY: help run test faults bench contract lint sbom fmt sqlx stop clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

run: ## the API with a database, cache and demo accounts of its own; Ctrl-C stops it all
	@.ci/dev

test: ## all tests; ARGS='--test api login' picks some
	@.ci/test $(ARGS)

faults: ## the tests too large for every run, such as floods of full size; ARGS='overload' picks some
	@.ci/faults $(ARGS)

bench: ## cost and latency beside reference programs; ARGS=--quick is shorter
	@.ci/bench $(ARGS)

contract: ## the API description against a running service; needs npm and Python
	@.ci/contract $(ARGS)

lint: ## formatting, clippy, .sqlx, shell scripts, licences
	@.ci/lint

sbom: ## what the binary is made of, as CycloneDX
	@.ci/sbom $(ARGS)

fmt: ## formats the code
	@cargo fmt

sqlx: ## describes the queries again (.sqlx), after a change to one or to migrations/
	@.ci/sqlx

stop: ## stops everything that this checkout has running
	@.ci/dev stop

clean: stop ## removes builds, data and tools
	@for dir in .run/*/lock; do [ ! -e "$$dir" ] || .ci/services wipe "$${dir%/lock}"; done
	@rm -rf .run
	@cargo clean
