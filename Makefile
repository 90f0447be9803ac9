# Everything that is done with this tree. Needed: Go and Node.js. PostgreSQL is installed if it is missing.

GO      ?= go
# One binary without C, whatever machine it is built on.
export CGO_ENABLED = 0

# Tests run beside a throw-away PostgreSQL, whose URL they find in ROOMLINE_TEST_DATABASE_URL.
WITHPOSTGRES = bin/withpostgres
# The processes that tests start are built once.
export ROOMLINE_BINARY = $(CURDIR)/bin/roomline
TESTFLAGS ?=
# check has vetted everything, and nobody debugs what is built for one run.
QUICK = -vet=off -ldflags=-w
# How many packages are tested at once: tests wait more than they compute, for what is to happen and for what is not to. More than eight would want
# more of a PostgreSQL than one has.
ATONCE ?= $(shell n=$$((2 * $$(nproc))); echo $$((n < 8 ? n : 8)))
# The packages that take longest begin first, so that nobody waits for one of them at the end.
LONGEST = $(addprefix ./,mediaapi clientapi clientapi/meetings mediaapi/blob clientapi/sync tests/tenancy clientapi/guests clientapi/meetings/phones \
          appservices/telephony/mail cmd/roomline clientapi/meetings/schedule clientapi/admin appservices/telephony/bot appservices/telephony/sms \
          internal/journal appservices/telephony/voice clientapi/invitations clientapi/meetings/moderation clientapi/meetings/recording)
# The clients of others that tests run, and what runs them.
NODE_MODULES = $(patsubst %,tests/%/node_modules,jssdk hydrogen bridge smsc guest meetings)
# A client library that tests use encrypts in Go, and not in C, with this tag.
TAGS = -tags goolm

.DEFAULT_GOAL := help

.PHONY: help
help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: page ## build the page for guests, then bin/roomline and the other programs
	$(GO) build -trimpath -o bin/ ./cmd/...

# The page for guests is embedded in the server. Without it everything but the page works.
PAGE = clientapi/guests/web
PAGE_SOURCES = $(shell find $(PAGE) \( -name node_modules -o -name build -o -name dist -o -name '*.go' -o -name '*.test.ts' \) -prune -o -type f -print)

.PHONY: page
page: $(PAGE)/dist/index.html.gz ## build the page for guests, if its sources have changed

$(PAGE)/dist/index.html.gz: $(PAGE_SOURCES) | $(PAGE)/node_modules
	cd $(PAGE) && npm run --silent build

.PHONY: page-test
page-test: $(PAGE)/node_modules ## the page's own tests, without a browser
	cd $(PAGE) && npm run --silent test

$(PAGE)/node_modules: $(PAGE)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed. On Debian or Ubuntu: sudo apt-get install nodejs npm"; exit 1; }
	cd $(PAGE) && npm ci --no-audit --no-fund
	@touch $@

.PHONY: run
run: postgresql build ## build and start a server to try out; its data is in ./data
	bin/roomline serve --dev

.PHONY: test
test: postgresql ## everything that has to hold: check, then all tests
	@$(MAKE) --no-print-directory installed & installing=$$!; $(MAKE) --no-print-directory page check bin-test page-test; checked=$$?; wait $$installing && exit $$checked
	$(WITHPOSTGRES) $(GO) test -p $(ATONCE) -timeout 15m -parallel 4 $(QUICK) $(TAGS) $(TESTFLAGS) $(LONGEST) $$($(GO) list ./... | grep -v '/tests$$\|/tests/guest$$\|/tests/meetings$$')
	# Clients of others wait for what they expect as long as they see fit, which is too short beside all other tests; so do pictures and sound, most of all
	# those of ./tests/meetings.
	$(WITHPOSTGRES) $(GO) test -p 2 -timeout 20m -parallel 4 $(QUICK) $(TAGS) $(TESTFLAGS) ./tests ./tests/guest
	$(WITHPOSTGRES) $(GO) test -p 1 -timeout 20m -parallel 4 $(QUICK) $(TAGS) $(TESTFLAGS) ./tests/meetings

# What test fetches while check computes.
.PHONY: installed
installed: chromium clamav slapd vdirsyncer sipp bin/minio bin/versitygw bin/mailpit $(NODE_MODULES)

.PHONY: check
check: ## gofmt, go vet, staticcheck, import directions, references to the specification
	@unformatted=$$(gofmt -l appservices cmd clientapi config internal mediaapi roomserver tests); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(TAGS) ./...
	$(GO) tool staticcheck $(TAGS) ./...
	$(GO) test ./internal/archtest ./config

.PHONY: bench
bench: postgresql slapd chromium build bin/minio tests/guest/node_modules ## measure, and print each figure beside its yardstick from the same run
	$(GO) run ./tests/bench -roomline bin/roomline

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(or $(FUZZTIME),20s) $$package; \
	  done; \
	done

.PHONY: endurance
endurance: bin-test ## the faults of make test many times over: at least 50 kills under load
	ROOMLINE_ENDURANCE=1 $(WITHPOSTGRES) $(GO) test -count=1 -timeout 3h $(TAGS) -v ./tests

# The race detector wants C, so that what runs under it is not quite what is shipped: LiveKit takes a library in C for its sound.
# Of ./tests it is what several processes do at once: others' clients and browsers wait as long as they see fit, which is too short beside it.
RACE       ?= $$($(GO) list ./... | grep -v '/internal/archtest\|/tests$$\|/tests/guest$$\|/tests/meetings$$')
RACE_TESTS ?= $(if $(filter file,$(origin RACE)),Parallel|Processes|NoToken|Delivery|Killed|Kills|Ghosts|Database|Commits|Delayed|Push|Gateway|Unread|Service|View|Link|RateLimits,^$$)
# They weigh memory, of which the detector takes its own.
RACE_SKIP  ?= TestEndlessAnswersAreCutOff|TestSEC75BodiesAreNotBuffered
RACE_DIR    = $(CURDIR)/bin/race
# Every race is printed. Those of LiveKit, with none of our code where the memory is used, fail nothing unless they are in the process of a test itself.
define RACES
BEGIN { RS = "==================\n" }
/DATA RACE/ { print; split($$0, parts, "\nGoroutine "); if (parts[1] ~ "github.com/roomline/roomline/") ours++; else others++ }
END { print ours + 0, "races, and", others + 0, "in what others wrote"; exit ours > 0 }
endef
export RACES

.PHONY: race
race: bin-test soxr clamav slapd sipp bin/minio bin/versitygw bin/mailpit tests/smsc/node_modules ## tests, and the processes they start, with the race detector: slow; RACE are the packages
	@rm -rf $(RACE_DIR); mkdir -p $(RACE_DIR)/reports
	CGO_ENABLED=1 $(GO) build -race $(TAGS) -o $(RACE_DIR)/ ./cmd/...
	@set -x; export CGO_ENABLED=1 ROOMLINE_BINARY=$(RACE_DIR)/roomline GORACE="exitcode=0 log_path=$(RACE_DIR)/reports/race"; \
	race="$(WITHPOSTGRES) $(GO) test -race -count=1 -p 1 -timeout 60m -parallel 2 -skip '$(RACE_SKIP)' $(QUICK) $(TAGS) $(TESTFLAGS)"; \
	$$race $(RACE); packages=$$?; \
	$$race -run '$(RACE_TESTS)' ./tests; together=$$?; \
	set +x; cat $(RACE_DIR)/reports/* 2>/dev/null | awk "$$RACES" && [ $$packages = 0 ] && [ $$together = 0 ]

.PHONY: spec
spec: ## print how much of the specification is implemented, by chapter
	@$(GO) run ./internal/archtest/coverage

.PHONY: spec-readme
spec-readme: ## write what make spec prints into README.md
	@$(GO) run ./internal/archtest/coverage -readme

.PHONY: config-example
config-example: ## write config/example.yaml anew from the comments of its fields
	$(GO) test ./config -run TestExampleIsGenerated -update

.PHONY: postgresql
postgresql: ## install PostgreSQL if it is missing (Debian, as root), or say what to install
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  set -ex; export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -q; \
	  apt-get install -qy --no-install-recommends postgresql-common; \
	  echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf; \
	  apt-get install -qy --no-install-recommends postgresql; \
	else \
	  echo "PostgreSQL is not installed. On Debian or Ubuntu:"; \
	  echo "  sudo apt-get install postgresql-common"; \
	  echo "  echo 'create_main_cluster = false' | sudo tee -a /etc/postgresql-common/createcluster.conf"; \
	  echo "  sudo apt-get install postgresql"; \
	  exit 1; \
	fi

.PHONY: bin-test
# The same flags as those of tests and vet: with -trimpath everything, LiveKit and all, would be compiled twice.
bin-test: postgresql page
	@$(GO) build -o bin/ ./cmd/... ./internal/pgcluster/cmd/withpostgres

# debian installs packages if a test for what is in them fails (Debian, as root), or says what to install: $(call debian,TEST,PACKAGES)
define debian
	@$(1) >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  set -ex; export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	  apt-get update -q; \
	  apt-get install -qy --no-install-recommends $(2); \
	else \
	  echo "A program of the tests is not installed. On Debian or Ubuntu: sudo apt-get install $(2)"; \
	  exit 1; \
	fi
endef

.PHONY: chromium
chromium: ## install the browser of the tests if it is missing (Debian, as root), or say what to install
	$(call debian,command -v chromium,chromium)

.PHONY: clamav
clamav: ## install the virus scanner of the tests if it is missing (Debian, as root), or say what to install
	$(call debian,command -v clamd || [ -x /usr/sbin/clamd ],clamav-daemon clamav)

.PHONY: vdirsyncer
vdirsyncer: ## install the CardDAV client of the tests if it is missing (Debian, as root), or say what to install
	$(call debian,command -v vdirsyncer,vdirsyncer)

.PHONY: slapd
slapd: ## install the LDAP server of the tests if it is missing (Debian, as root), or say what to install
	$(call debian,[ -x /usr/sbin/slapd ],slapd)

.PHONY: sipp
sipp: ## install the carrier of the tests, and what speaks, if they are missing (Debian, as root), or say what to install
	$(call debian,command -v sipp && command -v espeak-ng,sip-tester espeak-ng)

.PHONY: soxr
soxr: ## install what the race detector needs if it is missing (Debian, as root), or say what to install
	$(call debian,pkg-config --exists soxr && command -v gcc,gcc libc6-dev pkg-config libsoxr-dev)

# The S3 servers of the tests. They take some minutes to build, once.
MINIO_VERSION     = v0.0.0-20260212201848-7aac2a2c5b7c
VERSITYGW_VERSION = v1.8.0

bin/minio:
	GOBIN=$(CURDIR)/bin $(GO) install -trimpath -ldflags='-s -w' github.com/minio/minio@$(MINIO_VERSION)

bin/versitygw:
	GOBIN=$(CURDIR)/bin $(GO) install -trimpath -ldflags='-s -w' github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)

# The mail server of the tests.
MAILPIT_VERSION = v1.27.11

bin/mailpit:
	GOBIN=$(CURDIR)/bin $(GO) install -trimpath -ldflags='-s -w' github.com/axllent/mailpit@$(MAILPIT_VERSION)

tests/%/node_modules: tests/%/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed. On Debian or Ubuntu: sudo apt-get install nodejs npm"; exit 1; }
	cd $(@D) && npm ci --no-audit --no-fund
	@touch $@
