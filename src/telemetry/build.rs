//! Which program this is.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it is built from; `unknown` outside a checkout.
pub const COMMIT: &str = env!("SPILLWAY_BUILD_COMMIT");
/// Both, for people.
pub const VERSION_AND_COMMIT: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("SPILLWAY_BUILD_COMMIT"), ")");
