# What one can do here; `make help` lists it. Everything made goes to build/.
SHELL := /bin/sh
VENV := build/venv
PYTHON := $(VENV)/bin/python
PYTEST := $(PYTHON) -m pytest
DATA_TESTS := test/lab/test_[7-9]_*.py
# The databases of each flavor are a lab of their own, and these stand beside each other. What one says is shown as a
# whole, at its end.
BY_FLAVOR := $(MAKE) --no-print-directory --jobs=2 --output-sync=target
OURS := _utils _modules _states _runners test
YAML := FORMULA pillar.example mysql_ha .salt-lint .yamllint test

.DEFAULT_GOAL := help
.PHONY: help venv lab-prepare demo test lint unit functional integration lab-test salt-3006 spm bench bench-data bench-apply bench-failover test-long clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.made ## the virtual environment that all else runs in

$(VENV)/.made: test/requirements.txt test/make-venv
	@test/make-venv $(VENV) test/requirements.txt
	@touch $@

lab-prepare: venv ## install what the lab needs from this machine (root)
	@test/lab/lab prepare

demo: venv ## a cluster from nothing, two failures, and what clients noticed (root; takes some 15 minutes the first time)
	@PYTHONPATH=test/lab $(PYTHON) -m mysql_ha_lab.demo

test: lint unit functional integration salt-3006 spm lab-test ## everything that CI runs (root)

lint: venv ## ruff, yamllint, salt-lint, shellcheck
	@$(PYTHON) -m ruff check $(OURS)
	@$(PYTHON) -m ruff format --check --diff -q $(OURS)
	@$(PYTHON) -m yamllint --strict $(YAML)
	@find mysql_ha -name '*.sls' -o -name '*.jinja' | xargs $(VENV)/bin/salt-lint -c .salt-lint
	@$(VENV)/bin/shellcheck .ci/run test/lab/lab test/make-venv test/salt-3006

unit: venv ## fast tests of single modules
	@$(PYTEST) -n auto test/unit

functional: venv ## our modules and states in Salt's own loaders, every SLS rendered
	@$(PYTEST) -n auto test/functional

integration: venv ## a real Salt master and minion on this machine
	@$(PYTEST) -n auto --dist loadfile test/integration

salt-3006: venv ## unit and functional tests again, with Salt 3006 LTS (needs Python 3.10 or 3.11)
	@test/salt-3006

spm: venv ## the package for Salt's package manager holds what it should
	@$(PYTEST) test/package

lab-test: venv ## a cluster of real hosts: installation, replication, failover (root)
	@test/lab/lab prepare
	@$(PYTEST) -m "not long" test/lab/test_[1-5]_*.py
	@$(BY_FLAVOR) databases-mariadb databases-mysql

databases-%: venv
	@MYSQL_HA_FLAVORS=$* $(PYTEST) -m "not long" test/lab/test_6_databases.py $(DATA_TESTS)

long-databases-%: venv
	@MYSQL_HA_FLAVORS=$* $(PYTEST) test/lab/test_6_databases.py $(DATA_TESTS)

bench: venv ## how long the ipvs modules take, against ipvsadm and pyroute2 (root; half an hour)
	@test/lab/lab prepare
	@PYTHONPATH=test/lab $(PYTHON) -m mysql_ha_lab.bench

bench-data: venv ## how long a database takes to get its data, and what the other one's clients notice (root; half an hour)
	@test/lab/lab prepare
	@PYTHONPATH=test/lab $(PYTHON) -m mysql_ha_lab.bench_data

bench-apply: venv ## what a run of state.apply costs where there is nothing to do (root; half an hour)
	@test/lab/lab prepare
	@PYTHONPATH=test/lab $(PYTHON) -m mysql_ha_lab.bench_apply

bench-failover: venv ## how long a director's failure lasts, 30 times each with three settings, and a picture (root; an hour)
	@test/lab/lab prepare
	@PYTHONPATH=test/lab $(PYTHON) -m mysql_ha_lab.bench_failover

test-long: venv ## the long series: random tables against ipvsadm, every keepalived setup, every way data can be lost, MariaDB 10.11 (root)
	@test/lab/lab prepare
	@MYSQL_HA_TABLES=5000 $(PYTEST) test/lab/test_5_ipvs.py
	@$(PYTEST) test/lab/test_5_builds.py test/lab/test_5_changes.py test/lab/test_5_corpus.py test/lab/test_5_network.py test/lab/test_5_proof.py test/lab/test_5_static.py
	@$(BY_FLAVOR) long-databases-mariadb long-databases-mysql
	@$(BY_FLAVOR) long-databases-mariadb-10.11

clean: ## throw away build/; the lab's images in /var/cache/mysql_ha-lab stay
	rm -rf build .pytest_cache .ruff_cache .hypothesis
