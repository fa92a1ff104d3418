//! The filter is run by a small BPF machine and compared with a second reading of the profile, straight from its JSON.

mod machine;
mod model;
mod profiles;
mod property;
mod shape;
