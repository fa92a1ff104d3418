//! What every module of the probe needs: the `alloc` types that `std`'s prelude would give, and our own few.
pub use crate::bytes::{Reader, text};
pub use crate::fail::{Answer, Context, Fail};
pub use crate::script::Cx;
pub use crate::step::Step;
pub use crate::sys::Arg;
pub(crate) use crate::sys::{self, sc};
pub use alloc::borrow::ToOwned;
pub use alloc::ffi::CString;
pub use alloc::format;
pub use alloc::string::{String, ToString};
pub use alloc::vec;
pub use alloc::vec::Vec;
pub use core::ffi::CStr;
pub use serde_json::{Map, Value, json};
