.PHONY: lab lab-down lab-test build test race fuzz bench lint golden screens e2e ci clean

FUZZTIME ?= 60s
GOFUMPT = go run mvdan.cc/gofumpt@v0.12.0
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

build: ## bin/hoptrail and bin/kubectl-hoptrail
	CGO_ENABLED=0 go build -trimpath -o bin/hoptrail ./cmd/hoptrail
	ln -sf hoptrail bin/kubectl-hoptrail

test:
	go test ./...

race:
	go test -race -shuffle=on ./...

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for pkg in $$(go list ./...); do \
	  for t in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$t"; go test -run='^$$' -fuzz="^$$t\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=20x $$pkg; \
	  done; done

bench: ## six runs of every benchmark, for benchstat
	go test -run='^$$' -bench=. -benchmem -count=6 ./...

lint:
	go vet ./...
	$(GOFUMPT) -d .
	$(STATICCHECK) ./...

golden: ## write goldens, the schema, docs/cli.md and the screens anew
	go test ./trace -run "Made|Pages" -update
	go test ./internal/report -update
	go test ./cmd/hoptrail -update
	go test ./tui -run 'TestKeys|TestGoldens' -update
	$(MAKE) screens

screens: ## the captured screens in README.md and the pictures of docs/screens
	go test ./cmd/hoptrail -run TestScreensInTheReadme -update
	go test ./tui -run TestTmuxPictures -update

e2e: ## everything that needs root, a kernel and tmux
	HOPTRAIL_REQUIRE=kernel,tmux go test -count=1 ./...

WORLD ?= ingress-http
LAB = cd lab && go build -o bin/lab ./cmd/lab && cd .. && lab/bin/lab

lab: ## a real cluster on this machine from WORLD (root); builds what is missing
	$(LAB) up $(WORLD)

lab-down: ## end it, and leave nothing behind
	$(LAB) down

lab-test: ## trace real clusters (root)
	$(LAB) install
	cd lab && HOPTRAIL_REQUIRE=lab go test -count=1 -timeout 60m ./...

ci: ## what CI runs
	.ci/run

clean:
	rm -rf bin
