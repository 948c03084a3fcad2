"""What is known of each public benchmark, a module for each family; `eval/benchmarks.py` makes one table of them."""
