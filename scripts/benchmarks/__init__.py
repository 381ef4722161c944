"""Workloads by family, and what measures and reports them.

frame.py    what a workload is, what it gives back, how programs are run and timed
machine.py  what was measured on, and with which versions
report.py   docs/benchmarks.md from docs/benchmarks.json
main.py     the command line

Every other module is a family of workloads. A workload is a function with the decorator `@workload`
that takes a `Bench` and returns an `Outcome`; `main.FAMILIES` lists the modules.
"""
