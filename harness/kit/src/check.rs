//! Checks: a condition that a requirement demands, with what was expected and what was seen.

use std::fmt::Debug;

/// Describes a value in a failure: JSON values as JSON, all else by its `Debug` form, shortened.
pub fn describe(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Ends the case with a violation unless the condition holds.
///
/// `check!(condition, "what the clause demands", "what was seen {}", x)`; an attribution to a requirement other than
/// the case's primary one stands first: `check!(of "requirement.id"; condition, ...)`.
#[macro_export]
macro_rules! check {
    (of $req:expr; $cond:expr, $expected:expr, $($actual:tt)+) => {
        if !$cond {
            return Err($crate::Stop::violation($expected, format!($($actual)+)).of($req));
        }
    };
    ($cond:expr, $expected:expr, $($actual:tt)+) => {
        if !$cond {
            return Err($crate::Stop::violation($expected, format!($($actual)+)));
        }
    };
}

/// Ends the case with a violation unless both are equal: `check_eq!(actual, expected, "what is compared")`.
#[macro_export]
macro_rules! check_eq {
    (of $req:expr; $actual:expr, $expected:expr, $($what:tt)+) => {
        match (&$actual, &$expected) {
            (actual, expected) => if *actual != *expected {
                let what = format!($($what)+);
                return Err($crate::Stop::violation(
                    format!("{what} = {}", $crate::check::describe(expected)),
                    $crate::check::describe(actual),
                ).of($req));
            }
        }
    };
    ($actual:expr, $expected:expr, $($what:tt)+) => {
        match (&$actual, &$expected) {
            (actual, expected) => if *actual != *expected {
                let what = format!($($what)+);
                return Err($crate::Stop::violation(
                    format!("{what} = {}", $crate::check::describe(expected)),
                    $crate::check::describe(actual),
                ));
            }
        }
    };
}

/// Ends the case with a violation if both are equal: `check_ne!(actual, forbidden, "what is compared")`.
#[macro_export]
macro_rules! check_ne {
    ($actual:expr, $forbidden:expr, $($what:tt)+) => {
        match (&$actual, &$forbidden) {
            (actual, forbidden) => if *actual == *forbidden {
                let what = format!($($what)+);
                return Err($crate::Stop::violation(
                    format!("{what} other than {}", $crate::check::describe(forbidden)),
                    $crate::check::describe(actual),
                ));
            }
        }
    };
}
