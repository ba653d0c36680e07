//! From a request's method and path to the name of its endpoint.
//!
//! A path is taken as Envoy sends it and never decoded or resolved: `%2e`, `..` and upper case stay what they are
//! (Envoy's `normalize_path` is for that). Only what cannot tell two endpoints apart is put aside: the query, the
//! fragment, empty segments and a slash at the end.

use std::borrow::Cow;
use std::collections::HashMap;

/// The endpoints that a policy declares.
///
/// Where several templates fit, the most specific *path* wins, compared segment by segment from the left: a literal
/// over `:name`, that over `**`. Between equal paths the method itself wins over `ANY`. A template whose method does
/// not fit does not take part, so `ANY /leads/:id` still names a `GET /leads/bulk` beside `POST /leads/bulk`.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    root: Node,
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
    /// More segments than [`MAX_TEMPLATE_SEGMENTS`].
    #[error("`{template}` has more than {MAX_TEMPLATE_SEGMENTS} segments")]
    TooLong {
        /// What was written.
        template: String,
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
            _ => None,
        }
    }
}

/// The most segments of a template.
pub(super) const MAX_TEMPLATE_SEGMENTS: usize = 64;
/// The most segments that the name of an undeclared endpoint shows.
const MAX_NAMED_SEGMENTS: usize = 16;
/// The most bytes of a segment that may be a word.
const MAX_WORD: usize = 40;
/// The most bytes of a method that may be one.
const MAX_METHOD: usize = 24;

/// The templates that agree up to one segment.
///
/// A node is visited at most once for each path, so a look-up costs no more than there are templates, however the
/// path was chosen; and no deeper than [`MAX_TEMPLATE_SEGMENTS`].
#[derive(Clone, Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, Node>,
    one: Option<Box<Node>>,
    /// Templates that end here.
    here: Methods,
    /// Templates that have `**` here.
    rest: Methods,
}

/// The templates of one path, by method.
#[derive(Clone, Debug, Default)]
struct Methods {
    exact: Vec<(Box<[u8]>, Endpoint)>,
    any: Option<Endpoint>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    name: Box<[u8]>,
    template: String,
}

impl Endpoints {
    /// Declares that the requests that fit `template` belong to the endpoint `name`, or to one called as the template.
    ///
    /// A template is `METHOD /path`. `ANY` stands for every method; `HEAD` is a method of its own. Of the path's
    /// segments, `:name` and `*` fit any one segment, and a last `**` fits any number of them, also none.
    pub fn add(&mut self, name: Option<&str>, template: &str) -> Result<(), EndpointError> {
        let (method, path) = split(template)?;
        let mut segments: Vec<&[u8]> = segments(path.as_bytes()).collect();
        if segments.len() > MAX_TEMPLATE_SEGMENTS {
            return Err(EndpointError::TooLong { template: template.to_owned() });
        }
        let has_rest = segments.pop_if(|last| *last == b"**").is_some();
        for segment in &segments {
            check_segment(segment, template)?;
        }
        let mut node = &mut self.root;
        for segment in segments {
            node = match segment {
                b"*" | [b':', ..] => node.one.get_or_insert_default(),
                literal => node.literals.entry(literal.into()).or_default(),
            };
        }
        let methods = if has_rest { &mut node.rest } else { &mut node.here };
        methods.add(
            method,
            Endpoint { name: name.unwrap_or(template).as_bytes().into(), template: template.to_owned() },
        )
    }

    /// The name of the endpoint that a request belongs to. `target` is what Envoy has as `:path`.
    ///
    /// One that fits no template is named by itself, `GET /users/:id/posts`, with `:id` for each segment that looks
    /// like a value rather than a word, and `**` for all that follows the sixteenth.
    pub fn name(&self, method: &[u8], target: &[u8]) -> Cow<'_, [u8]> {
        let path = path(target);
        // `OPTIONS *` asks for the server, not for a path of it.
        let declared = if path == b"*" { None } else { self.root.find(method, path) };
        match declared {
            Some(endpoint) => Cow::Borrowed(&endpoint.name),
            None => undeclared(method, path),
        }
    }
}

impl Node {
    /// The most specific template below that fits: depth first, in the order of specificity.
    fn find(&self, method: &[u8], path: &[u8]) -> Option<&Endpoint> {
        let below = match next_segment(path) {
            None => self.here.get(method),
            Some((segment, path)) => {
                let literal = self.literals.get(segment).and_then(|node| node.find(method, path));
                literal.or_else(|| self.one.as_ref()?.find(method, path))
            }
        };
        below.or_else(|| self.rest.get(method))
    }
}

impl Methods {
    fn add(&mut self, method: &str, endpoint: Endpoint) -> Result<(), EndpointError> {
        let exact = self.exact.iter().find(|(known, _)| **known == *method.as_bytes());
        let earlier = if method == ANY { self.any.as_ref() } else { exact.map(|(_, endpoint)| endpoint) };
        if let Some(earlier) = earlier {
            let earlier = earlier.template.clone();
            return Err(EndpointError::Twice { template: endpoint.template, earlier });
        }
        if method == ANY {
            self.any = Some(endpoint);
        } else {
            self.exact.push((method.as_bytes().into(), endpoint));
        }
        Ok(())
    }

    fn get(&self, method: &[u8]) -> Option<&Endpoint> {
        let exact = self.exact.iter().find(|(known, _)| **known == *method);
        exact.map(|(_, endpoint)| endpoint).or(self.any.as_ref())
    }
}

const ANY: &str = "ANY";

/// The method and the path of a template.
fn split(template: &str) -> Result<(&str, &str), EndpointError> {
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
        [first, ..] if *first != b':' && !segment.contains(&b'*') => Ok(()),
        _ => Err(EndpointError::Segment { segment: String::from_utf8_lossy(segment).into_owned() }),
    }
}

/// Whether `method` is a token (RFC 9110 §5.6.2) of sensible length.
fn is_method(method: &[u8]) -> bool {
    let is_token_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (1..=MAX_METHOD).contains(&method.len()) && method.iter().all(is_token_byte)
}

/// The path of a request target: without query and fragment, and without `http://host` before it.
fn path(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let target = &target[..end];
    if target.starts_with(b"/") {
        return target;
    }
    let Some(colon) = target.windows(3).position(|three| three == b"://") else { return target };
    let is_scheme_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if colon == 0 || !target[..colon].iter().all(is_scheme_byte) {
        return target;
    }
    let authority = &target[colon + 3..];
    let start = authority.iter().position(|byte| *byte == b'/').unwrap_or(authority.len());
    &authority[start..]
}

fn next_segment(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|byte| *byte != b'/')?;
    let path = &path[start..];
    Some(path.split_at(path.iter().position(|byte| *byte == b'/').unwrap_or(path.len())))
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
}

/// The name of an endpoint that was not declared. It differs as little as can be told from the outside between two
/// requests to the same endpoint.
fn undeclared(method: &[u8], path: &[u8]) -> Cow<'static, [u8]> {
    let mut name = if is_method(method) { method.to_vec() } else { b"?".to_vec() };
    name.push(b' ');
    if path == b"*" {
        name.push(b'*');
        return Cow::Owned(name);
    }
    let before = name.len();
    for (at, segment) in segments(path).take(MAX_NAMED_SEGMENTS + 1).enumerate() {
        name.push(b'/');
        name.extend_from_slice(match segment {
            _ if at == MAX_NAMED_SEGMENTS => b"**",
            value if is_value(value) => b":id",
            word => word,
        });
    }
    if name.len() == before {
        name.push(b'/');
    }
    Cow::Owned(name)
}

/// Whether a segment looks like a value rather than a word.
fn is_value(segment: &[u8]) -> bool {
    let is_hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    let is_uuid =
        || segment.len() == 36 && segment.split(|byte| *byte == b'-').map(<[u8]>::len).eq([8, 4, 4, 4, 12]);
    segment.len() > MAX_WORD
        || segment.iter().all(u8::is_ascii_digit)
        || (segment.len() >= 16 && is_hex(segment))
        || (is_uuid() && segment.split(|byte| *byte == b'-').all(is_hex))
        || !str::from_utf8(segment).is_ok_and(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests;
