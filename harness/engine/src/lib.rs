//! Plan, preflight, run, judge, events.
