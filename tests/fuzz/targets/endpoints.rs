//! Endpoints: declared templates, and requests that nobody meant.
//!
//! The lines up to an empty one declare templates, as `METHOD /path` or `name=METHOD /path`; `one` and `ignore_case` among
//! them are the policy's words. Each line after it is a request, `METHOD target`, in any bytes.

use std::num::NonZeroU8;

use spillway::policy::{Endpoints, Undeclared};

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
/// By how many segments undeclared endpoints are told apart.
const APART: u8 = 2;

/// What the lines declared.
struct Declared {
    one: bool,
    ignore_case: bool,
    /// Names and templates.
    templates: Vec<(String, String)>,
}

pub(crate) fn run(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let declarations: Vec<&[u8]> = lines.by_ref().take_while(|line| !line.is_empty()).take(40).collect();
    let mut declared = Declared {
        one: declarations.contains(&&b"one"[..]),
        ignore_case: declarations.contains(&&b"ignore_case"[..]),
        templates: Vec::new(),
    };
    let undeclared = NonZeroU8::new(APART).filter(|_| !declared.one);
    let undeclared = undeclared.map_or(Undeclared::One, Undeclared::Segments);
    let mut endpoints = Endpoints::new(undeclared, declared.ignore_case);
    for line in declarations {
        let line = String::from_utf8_lossy(line);
        let (name, template) =
            line.split_once('=').map_or((None, &*line), |(name, template)| (Some(name), template));
        match endpoints.add(name, template) {
            Ok(()) => declared.templates.push((name.unwrap_or(template).to_owned(), template.to_owned())),
            Err(error) => drop((error.to_string(), error.hint())),
        }
    }
    let _ = endpoints.check();
    for request in lines.take(40) {
        let space = request.iter().position(|&byte| byte == b' ').unwrap_or(request.len());
        let (method, target) = request.split_at(space);
        check(&endpoints, &declared, method, target.strip_prefix(b" ").unwrap_or(target));
    }
}

fn check(endpoints: &Endpoints, declared: &Declared, method: &[u8], target: &[u8]) {
    let path = path(target);
    let found = endpoints.name(method, target);
    let expected = declared.best(method, path).unwrap_or_else(|| declared.undeclared(method, path));
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    // What cannot tell two endpoints apart does not.
    if path != b"*" && (path.is_empty() || path.starts_with(b"/")) {
        for same in [
            [b"/", path, b"?a=/b#c"].concat(),
            [path, b"//#/d?"].concat(),
            [path, b"/;x/"].concat(),
            [b"http://u@[::1]:80/", path].concat(),
        ] {
            assert_eq!(found, endpoints.name(method, &same), "{}", String::from_utf8_lossy(&same));
        }
    }
}

impl Declared {
    /// The slow, obvious way: every template that fits, then the most specific of them.
    fn best(&self, method: &[u8], path: &[u8]) -> Option<Vec<u8>> {
        if path == b"*" {
            return None;
        }
        let path = forms(path, self.ignore_case);
        let fitting = self.templates.iter().filter_map(|(name, template)| {
            let (wanted, pattern) = template.split_once(' ')?;
            let pattern: Vec<&[u8]> = segments(pattern.trim_start().as_bytes()).collect();
            let ranks = fits(&pattern, &path, self.ignore_case)?;
            let method = match (wanted, method) {
                (wanted, method) if wanted.as_bytes() == method => 0,
                ("GET", b"HEAD") => 1,
                ("ANY", _) => 2,
                _ => return None,
            };
            Some((ranks, method, name.as_bytes().to_vec()))
        });
        fitting.min().map(|(.., name)| name)
    }

    /// What a request to `path` is called that fits no template.
    fn undeclared(&self, method: &[u8], path: &[u8]) -> Vec<u8> {
        if self.one {
            return b"undeclared".to_vec();
        }
        let method = if method == b"HEAD" { b"GET" } else { method };
        let method = if METHODS.iter().any(|known| known.as_bytes() == method) { method } else { b"?" };
        if path == b"*" {
            return [method, b" *"].concat();
        }
        let segments = forms(path, self.ignore_case);
        let bare: Vec<&[u8]> =
            segments.iter().take(APART.into()).map(|forms| forms.last().unwrap().as_slice()).collect();
        [method, b" /", bare.join(&b'/').as_slice()].concat()
    }
}

/// A target without what is put aside: query, fragment, scheme and authority.
fn path(target: &[u8]) -> &[u8] {
    let target = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let Ok(text) = str::from_utf8(&target[..target.iter().take_while(|byte| byte.is_ascii()).count()]) else {
        return target;
    };
    match text.split_once("://") {
        Some((scheme, _))
            if !scheme.is_empty()
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) =>
        {
            let rest = &target[scheme.len() + 3..];
            &rest[rest.iter().take_while(|byte| **byte != b'/').count()..]
        }
        _ => target,
    }
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
}

/// How specific each segment of a template is that fits, the lowest wins: as it was sent, without its parameters and its
/// end, without its format too, `:name`, `**`.
fn fits(template: &[&[u8]], path: &[Vec<Vec<u8>>], ignore_case: bool) -> Option<Vec<usize>> {
    match (template, path) {
        ([], []) => Some(Vec::new()),
        ([b"**"], _) => Some(vec![4]),
        ([first, template @ ..], [forms, path @ ..]) => {
            let rank = match *first {
                b"*" | [b':', ..] => 3,
                literal => {
                    let literal = decoded(literal, ignore_case);
                    forms.iter().position(|form| *form == literal)?
                }
            };
            Some([vec![rank], fits(template, path, ignore_case)?].concat())
        }
        _ => None,
    }
}

/// For each segment of a path the three literals it may stand for.
fn forms(path: &[u8], ignore_case: bool) -> Vec<Vec<Vec<u8>>> {
    let mut all: Vec<Vec<Vec<u8>>> = Vec::new();
    for segment in segments(path) {
        let whole = decoded(segment, ignore_case);
        let plain = whole.split(|byte| *byte == b';').next().unwrap().to_vec();
        if !plain.is_empty() {
            let plain = trimmed(&plain).filter(|rest| !rest.is_empty()).unwrap_or(plain);
            all.push(vec![whole, plain.clone(), plain]);
        }
    }
    if let Some([_, _, last]) = all.last_mut().map(Vec::as_mut_slice) {
        let formats = "atom csv htm html js json pdf rss txt xml yaml yml";
        for format in formats.split(' ') {
            let end = last.len().saturating_sub(format.len() + 1);
            if end > 0 && last[end..].eq_ignore_ascii_case(format!(".{format}").as_bytes()) {
                last.truncate(end);
                break;
            }
        }
    }
    all
}

/// Without one thing at the end that is put aside, and then another, until nothing is.
fn trimmed(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text.to_vec();
    loop {
        let encoded = rest.len() >= 3
            && rest[rest.len() - 3] == b'%'
            && str::from_utf8(&rest[rest.len() - 2..])
                .ok()
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .is_some_and(|byte| byte <= 0x20 || [0x7f, b'/', b'\\'].contains(&byte));
        match rest.last()? {
            _ if encoded => rest.truncate(rest.len() - 3),
            0..=0x20 | 0x7f | b'.' => rest.truncate(rest.len() - 1),
            _ => return Some(rest),
        }
    }
}

/// With whatever is encoded without need decoded.
fn decoded(sent: &[u8], ignore_case: bool) -> Vec<u8> {
    let mut text = Vec::new();
    let mut at = 0;
    while at < sent.len() {
        let digits = sent.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.filter(|_| sent[at] == b'%').and_then(|digits| str::from_utf8(digits).ok());
        let Some(digits) = digits else {
            text.push(sent[at]);
            at += 1;
            continue;
        };
        match u8::from_str_radix(digits, 16).unwrap() {
            byte if byte <= 0x20 || [0x7f, b'/', b'\\', b'%', b';', b'?', b'#'].contains(&byte) => {
                text.extend_from_slice(format!("%{}", digits.to_uppercase()).as_bytes());
            }
            byte => text.push(byte),
        }
        at += 3;
    }
    if ignore_case { text.to_ascii_lowercase() } else { text }
}
