//! Every report, rendered from a run file.
