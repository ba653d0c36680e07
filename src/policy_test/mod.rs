//! Policies are tested like code: a script of requests, each with the answer it must get.

mod changes;
mod run;
mod script;

pub use run::{InProcessLimiter, Miss, Seen, Target, run};
pub use script::{Change, Entries, Expect, Script, ScriptError, Step};
