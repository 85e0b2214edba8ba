# make demo   the main job, live, in a virtual machine (no root, no changes to this machine but packages)
# make test   every rung: unit, replay, sandbox, sim, and the FTP matrix on two real kernels
# make check  what a commit must pass: formatting, lints, tests below the VM, documentation
# make bench  the figures of SPECIFICATION.md, in one virtual machine: packets, then the kernel's events as bench-events
# make bench-events  the kernel's events to 1, 10 and 100 subscribers, and beside conntrack -E and ulogd2, on this machine (root)
# make bench-recovery  how long a helper is silent when its worker dies, on this machine
# make bench-helpers  what the most expensive packets of each protocol cost a worker, on this machine
# make man    man pages and completions in target/manuals
# make vm-systemd  the unit under Debian's own systemd and journald in a virtual machine; making its root takes root once
# make deb, make rpm  packages, in target/deb and target/rpm; the same sources give the same bytes (make reproduce takes two builds)
# make vm-package  the Debian packages installed, upgraded with connections open, and purged, in a virtual machine; root once, as above
# make vm-rpm   the RPM packages likewise, by Debian's rpm
# make vm KERNELS="6.1 6.12 7"  the VM rung on other kernels, 7 being Debian unstable's

CARGO ?= cargo
KERNELS ?= 6.1 6.12

.PHONY: all build man deps demo test unit vm vm-tests vm-systemd vm-package vm-rpm deb rpm packages reproduce check bench bench-events bench-recovery bench-helpers doc fmt clippy deny clean

all: build

build: ## release binaries in target/release
	$(CARGO) build --release --locked -p cthelperd -p cthelper-worker

man: ## man pages and completions in target/manuals, from the command lines and packaging/man
	$(CARGO) run --locked -q -p cthelper-manuals -- target/manuals

deps: ## packages the virtual machines need (apt, when root or with sudo; otherwise says which)
	tests/vm/install-deps.sh

demo: deps build
	tests/vm/demo

test: deps unit build vm-tests vm

unit: ## unit, replay, sandbox and sim rungs, as this user
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace

vm-tests: ## what the VM rung runs besides the daemon
	CARGO="$(CARGO)" tests/vm/build-tests

vm: vm-tests
	tests/vm/run $(KERNELS)

vm-systemd: build
	tests/vm/systemd

vm-package: deb
	tests/vm/package

vm-rpm: rpm
	tests/vm/rpm

packages: ## what packages are made of: stripped binaries, man pages, completions
	CARGO="$(CARGO)" packaging/build

deb: packages
	CARGO="$(CARGO)" packaging/deb

rpm: packages
	CARGO="$(CARGO)" packaging/rpm

reproduce: ## of what is committed
	CARGO="$(CARGO)" packaging/reproduce

check: fmt clippy unit doc deny

fmt:
	$(CARGO) fmt --all -- --check

clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --workspace --lib

deny: ## advisories and licences, where cargo-deny is installed; it needs no network with --offline
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check; else echo "cargo-deny is not installed: skipped (cargo install cargo-deny)"; fi

bench: deps build
	tests/vm/bench

bench-events: build
	$(CARGO) bench --locked -q -p cthelper-tests --bench events

bench-recovery: build
	$(CARGO) bench --locked -q -p cthelper-tests --bench recovery

bench-helpers:
	$(CARGO) bench --locked -q -p cthelper-tests --bench helpers

clean:
	$(CARGO) clean
