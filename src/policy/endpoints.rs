//! From a request's method and path to the name of its endpoint.
//!
//! A path is taken as Envoy sends it and never decoded or resolved: `%2e`, `..` and upper case stay what they are
//! (Envoy's `normalize_path` is for that). Only what cannot tell two endpoints apart is put aside: the query, the
//! fragment, empty segments and a slash at the end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;

use path_tree::{Key, Kind, Node};
use smallvec::SmallVec;

/// The endpoints that a policy declares.
///
/// Where several templates fit, the most specific *path* wins, compared segment by segment from the left: a literal
/// over `:name`, that over `**`. Between equal paths the method itself wins over `ANY`. A template whose method does
/// not fit does not take part, so `ANY /leads/:id` still names a `GET /leads/bulk` beside `POST /leads/bulk`.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// By method, its templates and those of `ANY`.
    methods: HashMap<Box<[u8]>, Routes>,
    /// For every other method: the templates of `ANY`.
    other: Routes,
}

/// Looks depth first in the order of specificity, and at each of its nodes once at most. It takes bytes as they are,
/// unlike `PathTree` with its syntax.
type Routes = Node<Endpoint>;

#[derive(Clone, Debug)]
struct Endpoint {
    name: Box<[u8]>,
    template: String,
    is_any: bool,
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
        let name = name.unwrap_or(template).as_bytes().into();
        let endpoint = Endpoint { name, template: template.to_owned(), is_any: method == ANY };
        if !endpoint.is_any {
            let routes = self.methods.entry(method.as_bytes().into()).or_insert_with(|| self.other.clone());
            return insert(routes, &segments, has_rest, endpoint);
        }
        iter::once(&mut self.other)
            .chain(self.methods.values_mut())
            .try_for_each(|routes| insert(routes, &segments, has_rest, endpoint.clone()))
    }

    /// The name of the endpoint that a request belongs to. `target` is what Envoy has as `:path`.
    ///
    /// One that fits no template is named by itself, `GET /users/:id/posts`, with `:id` for each segment that looks
    /// like a value rather than a word, and `**` for all that follows the sixteenth.
    pub fn name(&self, method: &[u8], target: &[u8]) -> Cow<'_, [u8]> {
        let path = path(target);
        let routes = self.methods.get(method).unwrap_or(&self.other);
        // `OPTIONS *` asks for the server, not for a path of it.
        let declared = if path == b"*" { None } else { routes.find(&route(path)) };
        match declared {
            Some((endpoint, _)) => Cow::Borrowed(&endpoint.name),
            None => undeclared(method, path),
        }
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Self { methods: HashMap::new(), other: Node::new(Key::String(Vec::new()), None) }
    }
}

/// Inserts a template as its [`route`]. The method itself goes before `ANY`.
fn insert(
    routes: &mut Routes,
    segments: &[&[u8]],
    has_rest: bool,
    endpoint: Endpoint,
) -> Result<(), EndpointError> {
    let mut node = routes;
    // All that is literal up to the next parameter has to be inserted at once.
    let mut literal = vec![b'/'];
    for segment in segments {
        if matches!(*segment, b"*" | [b':', ..]) {
            node = node.insert_bytes(&literal).insert_parameter(Kind::Normal);
            literal.clear();
        } else {
            literal.extend_from_slice(segment);
        }
        literal.push(b'/');
    }
    node = node.insert_bytes(&literal);
    if has_rest {
        node = node.insert_parameter(Kind::ZeroOrMore);
    }
    match &node.value {
        Some(earlier) if earlier.is_any == endpoint.is_any => {
            let earlier = earlier.template.clone();
            return Err(EndpointError::Twice { template: endpoint.template, earlier });
        }
        Some(_) if endpoint.is_any => {}
        _ => node.value = Some(endpoint),
    }
    Ok(())
}

/// A path with one slash before, between and after its segments, so that `**` always follows a slash.
fn route(path: &[u8]) -> SmallVec<[u8; 128]> {
    let mut route = SmallVec::with_capacity(path.len() + 2);
    route.push(b'/');
    for segment in segments(path) {
        route.extend_from_slice(segment);
        route.push(b'/');
    }
    route
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

/// Whether `method` is one that everybody knows (RFC 9110 §9.3, RFC 5789). A client can send any word, and each would be an
/// endpoint of its own.
fn is_method(method: &[u8]) -> bool {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.iter().any(|known| known.as_bytes() == method)
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
