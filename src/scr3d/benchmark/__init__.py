"""The table of the paper, measured side by side: plan, runs, records, statistics, report."""
