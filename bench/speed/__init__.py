"""Speed: Tercet against a bare limit, driven by the same load, in one run.

``make bench WORKLOAD=saga2 STORE=postgresql IN_FLIGHT=256 RUNS=5``; see docs/speed.md.
"""
