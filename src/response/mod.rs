//! How a verdict is reported: response headers and the bodies of refusals.
//!
//! The numbers come from the engine; here they get a name, a unit and a place. What a client waits for is rounded
//! up, so waiting as reported always suffices. Headers and bodies are checked once, when they are loaded; nothing that a
//! client sent reaches a header or a body unescaped.

mod content_type;
mod denial;
mod dialect;
mod error;
mod escape;
mod form;
mod header;
mod headers;
mod hints;
mod meaning;
mod number;
mod piece;
mod template;

pub use content_type::ContentType;
pub use denial::Denial;
pub use dialect::{DIALECTS, about, dialect};
pub use error::ShapeError;
pub use form::Form;
pub use header::{Emit, HeaderLine, HeaderName, HeaderSet};
pub use headers::Headers;
pub use number::{Number, Reported, Wait};
pub use template::{Context, Name, Template};
