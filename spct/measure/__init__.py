"""Every number computed from stored verdicts: rows, rules, intervals, reports and figures."""
