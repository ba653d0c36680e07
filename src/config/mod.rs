//! Text → `Policy`, or everything that is wrong with the text.

mod compile;
mod diagnostic;
mod files;
mod load;
mod scalar;
mod source;
mod words;
mod yaml;

pub use diagnostic::{Diagnostic, Severity, render};
pub use load::{Loaded, Options, load, load_text};
pub use words::did_you_mean;

#[cfg(test)]
mod tests;
