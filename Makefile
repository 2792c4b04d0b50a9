# make test runs all there is; the other targets are its parts.

BIN := $(CURDIR)/bin
GO ?= go

# The programs that tests start. They are built once, not by each test.
export DEVVAULT_BIN ?= $(BIN)/devvault
export CADDY_BIN ?= $(BIN)/caddy
export OWNSCHEMES_BIN ?= $(BIN)/caddy-ownschemes

.PHONY: test unit e2e sdk e2e-programs build devvault lint vet vulnerabilities xcaddy-programs xcaddy ownschemes demo bench pgo fuzz soak clean

test: vet lint vulnerabilities unit e2e xcaddy
	@echo "==> all tests passed"

build:
	@echo "==> building bin/caddy"
	@mkdir -p $(BIN)
	$(GO) build -trimpath -o $(BIN)/caddy ./cmd/caddy

# The first build compiles all of Vault: about ten minutes on two cores. The
# list of packages shows that it is alive.
devvault:
	@echo "==> building bin/devvault (the first time takes about ten minutes)"
	@mkdir -p $(BIN)
	@cd cmd/devvault && $(GO) build -v -o $(BIN)/devvault . 2>&1 | awk 'NR % 100 == 0 { print "    " NR " packages compiled"; fflush() } !/^[a-zA-Z0-9.\/_-]+$$/ { print; fflush() }'
	@test -x $(BIN)/devvault

vet:
	@echo "==> gofmt and go vet"
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "not formatted: $$files"; exit 1; }
	$(GO) vet ./...
	cd tools/xcaddybuild && $(GO) vet ./...
	cd e2e && $(GO) vet ./...
	cd bench && $(GO) vet ./...
	cd examples/ownschemes && $(GO) vet ./...

# The linter is heavy to build, so it is a nested module of its own.
lint: $(BIN)/golangci-lint
	@echo "==> golangci-lint"
	$(BIN)/golangci-lint run ./...

$(BIN)/golangci-lint: tools/lint/go.mod
	@echo "==> building golangci-lint"
	@mkdir -p $(BIN)
	cd tools/lint && $(GO) build -o $(BIN)/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# What is known of the modules that the product calls. Where the list cannot be had, there
# is nothing to hold them against.
GOVULNDB ?= https://vuln.go.dev
vulnerabilities:
	@echo "==> looking for known vulnerabilities"
	@mkdir -p $(BIN)
	@if curl -fsS -m 20 -o /dev/null $(GOVULNDB)/index/db.json; then \
		(cd tools/xcaddybuild && $(GO) build -o $(BIN)/ golang.org/x/vuln/cmd/govulncheck) && $(BIN)/govulncheck -db $(GOVULNDB) ./...; \
	else \
		echo "==> SKIPPED: $(GOVULNDB) cannot be reached, so nobody has looked for known vulnerabilities"; \
	fi

unit: devvault
	@echo "==> unit tests"
	$(GO) test -race -pgo=off -timeout 30m ./...
	$(GO) test ./internal/renew/modelcheck # its large searches go without the race detector
	cd cmd/devvault && $(GO) test ./...
	cd bench && $(GO) test ./...
	cd examples/ownschemes && $(GO) test ./...

# The sidecar is built with the race detector; a report in its output fails the test. One
# package at a time runs: much in them is timed.
e2e: devvault sdk ownschemes
	@echo "==> end-to-end tests"
	$(GO) build -race -pgo=off -o $(BIN)/caddy-race ./cmd/caddy
	cd e2e && CADDY_BIN=$(BIN)/caddy-race $(GO) test -race -count=1 -timeout 40m -p 1 ./...

# The npm packages that the end-to-end tests run in Node and in a browser.
sdk: e2e/sdk/node_modules/.package-lock.json

e2e/sdk/node_modules/.package-lock.json: e2e/sdk/package-lock.json e2e/sdk/package.json e2e/sdk/.npmrc | e2e-programs
	@echo "==> installing the npm packages of e2e/sdk"
	cd e2e/sdk && npm ci
	@touch $@

e2e-programs:
	@echo "==> looking for the programs that the end-to-end tests start"
	@e2e/programs.sh

xcaddy-programs:
	@mkdir -p $(BIN)
	cd tools/xcaddybuild && $(GO) build -o $(BIN)/ github.com/caddyserver/xcaddy/cmd/xcaddy .

# The build that users make, from xcaddy.json with the real xcaddy.
xcaddy: xcaddy-programs
	@echo "==> building bin/caddy-xcaddy from xcaddy.json"
	cd tools/xcaddybuild && $(GO) test ./...
	$(BIN)/xcaddybuild -xcaddy $(BIN)/xcaddy -output $(BIN)/caddy-xcaddy
	$(BIN)/caddy-xcaddy list-modules | grep -x http.handlers.upstream_auth

# The same with schemes of another module beside ours, which e2e/ownschemes tests.
ownschemes: xcaddy-programs
	@echo "==> building bin/caddy-ownschemes from examples/ownschemes/xcaddy.json"
	cd examples/ownschemes && $(BIN)/xcaddybuild -xcaddy $(BIN)/xcaddy -output $(BIN)/caddy-ownschemes

demo:
	$(GO) run ./cmd/demo

# make bench takes about half an hour, on a machine that does nothing else. Parts of it:
# make bench SECTIONS="uploads storm scale", or SECTIONS="-pairs 3 compare".
SECTIONS ?= -chart compare.svg
bench: build devvault
	@echo "==> looking for wrk, h2load and nginx"
	@bench/programs.sh
	$(GO) test -run '^$$' -bench . -benchmem ./caddymodule ./internal/proxy ./internal/body ./caddymodule/schemes ./internal/bearer ./credential
	cd bench && CADDY_BIN=$(BIN)/caddy $(GO) run . $(SECTIONS)

# The profile by which cmd/caddy is optimised, from the load of the benchmarks.
pgo: build
	@bench/programs.sh
	cd bench && CADDY_BIN=$(BIN)/caddy $(GO) run . -profile ../cmd/caddy/default.pgo profile

# make fuzz FUZZTIME=1m runs each fuzz target for a while.
FUZZTIME ?= 20s
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "==> $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

# Larger searches of the refresh protocol, which take several minutes and 1 GB, more runs
# of its simulation, deliberate breaks of its code, and 20 minutes of faults under load, on
# a machine that does nothing else: some hours. The sidecar is built without the race
# detector, since its memory is measured.
SEEDS ?= 200000
soak: build devvault
	MODELCHECK=soak $(GO) test -count=1 -timeout 60m -v -run Faults ./internal/renew/modelcheck
	SIMULATION_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 6h -v -run 'TestSeeds$$' ./internal/renew/simulation
	MUTANTS=soak $(GO) test -count=1 -timeout 6h -v -run Found ./internal/renew/mutants
	cd e2e && E2E_SOAK=20m $(GO) test -count=1 -timeout 40m -v -run 'TestSoak$$' ./refresh

clean:
	rm -rf $(BIN) e2e/sdk/node_modules
