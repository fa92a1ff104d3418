//! The words of Plimsoll as types: requirements, cases, outcomes, events, runs.
