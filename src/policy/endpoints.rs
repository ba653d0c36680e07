//! From a request's method and path to the name of its endpoint.
//!
//! `target` says what of a path is read. Nothing is remembered from one request to the next: what a request is called
//! depends on the policy and on the request alone.

mod routes;
mod target;

use std::borrow::Cow;
use std::collections::HashSet;
use std::num::NonZeroU8;

use smallvec::SmallVec;

use routes::{Number, Numbers, Part, Routes};
use target::{decoded, path, segments, split};

/// The endpoints that a policy declares.
///
/// Where several templates fit, the most specific *path* wins, compared segment by segment from the left: a literal
/// over `:name`, that over `**`. Between equal paths the method itself wins over `ANY`. A template whose method does
/// not fit does not take part, so `ANY /leads/:id` still names a `GET /leads/bulk` beside `POST /leads/bulk`. Templates
/// of `GET` fit `HEAD` as well, after those of `HEAD` itself.
///
/// A segment that decorates a literal (`leads;v=1`, `leads%20`, and at the end of a path `leads.json`) is that literal,
/// unless it is declared as it was sent. It comes before `:name`: who decorates `bulk` does not get the limit of `:id`.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    routes: Routes<Endpoint>,
    methods: Numbers,
    names: HashSet<Box<[u8]>>,
    undeclared: Undeclared,
    ignore_case: bool,
}

/// What all endpoints are that fit no template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undeclared {
    /// One endpoint, [`Endpoints::UNDECLARED`].
    #[default]
    One,
    /// Distinguished by method and by so many segments, the first ones of their paths: `GET /v1/tags`.
    Segments(NonZeroU8),
}

#[derive(Clone, Debug)]
struct Endpoint {
    name: Box<[u8]>,
    template: String,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No `METHOD /path`.
    #[error("`{template}` is not a method and a path")]
    Incomplete {
        /// What was written.
        template: String,
    },
    /// The method is no word in upper case, which every method in use is.
    #[error("`{method}` is not a method")]
    Method {
        /// What was written.
        method: String,
    },
    /// A path has no query here and no space.
    #[error("`{character}` cannot stand in the path of an endpoint")]
    Character {
        /// The first that cannot.
        character: char,
    },
    /// `:` without a name, or `*` beside other characters.
    #[error("segment `{segment}` is neither literal text nor `:name`, `*` or `**`")]
    Segment {
        /// What was written.
        segment: String,
    },
    /// `**` stands before another segment.
    #[error("`**` must be the last segment of `{template}`")]
    RestNotLast {
        /// What was written.
        template: String,
    },
    /// More segments than a path that is worth limiting has.
    #[error("`{template}` has more than {MAX_TEMPLATE_SEGMENTS} segments")]
    TooLong {
        /// What was written.
        template: String,
    },
    /// It is what the endpoints are called that are not declared.
    #[error("`{UNDECLARED}` is what all other endpoints are called")]
    Reserved,
    /// Too many templates differ only in which of their segments are literal.
    #[error(
        "one path may have to be compared with {visits} parts of these templates, and {MAX_VISITS} is the most"
    )]
    Overlap {
        /// How many.
        visits: usize,
    },
    /// Another template fits the very same requests.
    #[error("`{template}` fits the same requests as `{earlier}`")]
    Twice {
        /// What was written.
        template: String,
        /// What was written before.
        earlier: String,
    },
}

impl EndpointError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Incomplete { .. } => Some("write it as in `GET /leads/:id`"),
            Self::Method { .. } => Some("methods are upper case, and `ANY` stands for all of them"),
            Self::Character { character: '{' | '}' } => {
                Some("write a segment that may be anything as `:name`")
            }
            Self::Character { character: '?' | '#' } => Some("queries do not tell endpoints apart"),
            Self::Reserved => Some("give it another name"),
            Self::Overlap { .. } => {
                Some("put those together that differ only in which of their segments are `:name`")
            }
            _ => None,
        }
    }
}

/// The most segments of a template.
pub(super) const MAX_TEMPLATE_SEGMENTS: usize = 64;
/// The most nodes of the tree of templates that one path may lead to.
const MAX_VISITS: usize = 128;
/// The most bytes of a method that may be one.
const MAX_METHOD: usize = 24;
const UNDECLARED: &str = "undeclared";

impl Endpoints {
    /// What an endpoint is called that is not declared, where all of those are one.
    pub const UNDECLARED: &str = UNDECLARED;

    /// None yet. `ignore_case` is for upstreams to which `/Leads` and `/leads` are one.
    pub fn new(undeclared: Undeclared, ignore_case: bool) -> Self {
        Self { undeclared, ignore_case, ..Self::default() }
    }

    /// Declares that the requests that fit `template` belong to the endpoint `name`, or to one called as the template.
    ///
    /// A template is `METHOD /path`. `ANY` stands for every method, `GET` for `HEAD` too. Of the path's segments,
    /// `:name` and `*` fit any one segment, and a last `**` fits any number of them, also none.
    pub fn add(&mut self, name: Option<&str>, template: &str) -> Result<(), EndpointError> {
        let (method, path) = parse(template)?;
        let mut segments: Vec<&[u8]> = split(path.as_bytes()).collect();
        if segments.len() > MAX_TEMPLATE_SEGMENTS {
            return Err(EndpointError::TooLong { template: template.to_owned() });
        }
        if name == Some(UNDECLARED) {
            return Err(EndpointError::Reserved);
        }
        let has_rest = segments.pop_if(|last| *last == b"**").is_some();
        for segment in &segments {
            check_segment(segment, template)?;
        }
        let texts: Vec<_> = segments.iter().map(|segment| decoded(segment, self.ignore_case)).collect();
        let parts = segments.iter().zip(&texts).map(|(segment, text)| match *segment {
            b"*" | [b':', ..] => Part::Parameter,
            _ => Part::Literal(text),
        });
        let parts: Vec<_> = parts.chain(has_rest.then_some(Part::Rest)).collect();

        let name: Box<[u8]> = name.unwrap_or(template).as_bytes().into();
        let endpoint = Endpoint { name: name.clone(), template: template.to_owned() };
        let method = self.methods.add(method.as_bytes());
        self.routes.add(method, &parts, endpoint).map_err(|earlier| EndpointError::Twice {
            template: template.to_owned(),
            earlier: earlier.template.clone(),
        })?;
        self.names.insert(name);
        Ok(())
    }

    /// Whether every path is compared with few templates. To be asked when all have been added.
    pub fn check(&self) -> Result<(), EndpointError> {
        let visits = self.routes.most_visits();
        if visits > MAX_VISITS { Err(EndpointError::Overlap { visits }) } else { Ok(()) }
    }

    /// The name of the endpoint that a request belongs to. `target` is what Envoy has as `:path`.
    pub fn name(&self, method: &[u8], target: &[u8]) -> Cow<'_, [u8]> {
        let path = path(target);
        // `OPTIONS *` asks for the server, not for a path of it.
        let is_server = path == b"*";
        let segments = segments(if is_server { b"" } else { path }, self.ignore_case);
        let declared = || self.routes.find(&self.fitting(method), &segments);
        if let Some(endpoint) = (!is_server).then(declared).flatten() {
            return Cow::Borrowed(&endpoint.name);
        }
        let Undeclared::Segments(most) = self.undeclared else {
            return Cow::Borrowed(UNDECLARED.as_bytes());
        };
        let mut name = Self::known(method).to_vec();
        name.push(b' ');
        for segment in segments.iter().take(most.get().into()) {
            name.push(b'/');
            name.extend_from_slice(segment.bare());
        }
        if segments.is_empty() {
            name.push(if is_server { b'*' } else { b'/' });
        }
        Cow::Owned(name)
    }

    /// Whether some request may be called `name`.
    pub fn can_be(&self, name: &str) -> bool {
        let (method, path) = name.split_once(' ').unwrap_or((name, ""));
        self.names.contains(name.as_bytes())
            || (self.undeclared == Undeclared::One && name == UNDECLARED)
            || *self.name(method.as_bytes(), path.as_bytes()) == *name.as_bytes()
    }

    /// The names that were declared, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether clients' paths make names beside the declared ones.
    pub fn tells_apart(&self) -> bool {
        self.undeclared != Undeclared::One
    }

    /// Whose templates fit `method`, the best first.
    fn fitting(&self, method: &[u8]) -> SmallVec<[Number; 3]> {
        let also = (method == b"HEAD").then_some(&b"GET"[..]);
        let methods = [Some(method), also, Some(ANY.as_bytes())];
        methods.into_iter().flatten().filter_map(|method| self.methods.get(method)).collect()
    }

    /// `method` as endpoints are distinguished by it. A client can send any word, and each would be an endpoint of its own.
    fn known(method: &[u8]) -> &[u8] {
        // RFC 9110 §9.3, RFC 5789.
        const KNOWN: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
        let is_known = |method: &[u8]| KNOWN.iter().any(|known| known.as_bytes() == method);
        match method {
            b"HEAD" => b"GET",
            method if is_known(method) => method,
            _ => b"?",
        }
    }
}

const ANY: &str = "ANY";

/// The method and the path of a template.
fn parse(template: &str) -> Result<(&str, &str), EndpointError> {
    let (method, path) = template
        .split_once(' ')
        .map(|(method, path)| (method, path.trim_start_matches(' ')))
        .filter(|(method, path)| !method.is_empty() && path.starts_with('/'))
        .ok_or_else(|| EndpointError::Incomplete { template: template.to_owned() })?;
    let is_method_byte =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if method.len() > MAX_METHOD || !method.bytes().all(is_method_byte) {
        return Err(EndpointError::Method { method: method.to_owned() });
    }
    let is_bad = |c: char| matches!(c, '?' | '#' | '{' | '}') || c.is_whitespace() || c.is_control();
    match path.chars().find(|c| is_bad(*c)) {
        Some(character) => Err(EndpointError::Character { character }),
        None => Ok((method, path)),
    }
}

fn check_segment(segment: &[u8], template: &str) -> Result<(), EndpointError> {
    let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match segment {
        b"*" => Ok(()),
        b"**" => Err(EndpointError::RestNotLast { template: template.to_owned() }),
        [b':', name @ ..] if !name.is_empty() && name.iter().all(is_name_byte) => Ok(()),
        [first, ..] if !matches!(first, b':' | b';') && !segment.contains(&b'*') => Ok(()),
        _ => Err(EndpointError::Segment { segment: String::from_utf8_lossy(segment).into_owned() }),
    }
}

#[cfg(test)]
mod tests;
