//! The fuzz targets of `tests/fuzz` without a fuzzer: what they promise holds for their corpus and for a few thousand
//! texts that are almost like it, the same ones every time.

#[path = "../fuzz/targets/decode.rs"]
mod decode;
#[path = "../fuzz/targets/endpoints.rs"]
mod endpoints;
#[path = "../fuzz/targets/policy.rs"]
mod policy;
#[path = "../fuzz/targets/subjects.rs"]
mod subjects;
#[path = "../fuzz/targets/template.rs"]
mod template;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// No mutation grows beyond this.
const LONGEST: usize = 4096;

/// `SplitMix64`: small, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn one_of<'a>(&mut self, list: &'a [Vec<u8>]) -> &'a [u8] {
        &list[self.below(list.len())]
    }

    /// A piece of `bytes`, at most 64 long.
    fn piece<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.below(bytes.len());
        let length = self.below(64.min(bytes.len() - start) + 1);
        &bytes[start..start + length]
    }
}

fn mutate(dice: &mut Dice, seeds: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = dice.one_of(seeds).to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let end = at + dice.below((bytes.len() - at).min(32) + 1);
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy.repeat(1 + dice.below(3)));
            }
            3 => drop(bytes.splice(at..end, dice.one_of(words).to_vec())),
            4 => drop(bytes.splice(at..at, dice.one_of(words).to_vec())),
            5 => {
                let other = dice.one_of(seeds);
                let piece = dice.piece(other).to_vec();
                bytes.splice(at..end, piece);
            }
            _ => {
                let other = dice.one_of(seeds);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len())..]);
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// The files in `directory`, by name.
fn seeds(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The words of a libFuzzer dictionary: one in quotes on each line, with `\n`, `\\`, `\"` and `\xff`.
fn words(dictionary: &str) -> Vec<Vec<u8>> {
    let quoted = dictionary.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted
        .map(|mut rest| {
            let mut word = Vec::new();
            while let Some(first) = rest.bytes().next() {
                let (byte, length) = match rest.as_bytes() {
                    [b'\\', b'x', ..] => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
                    [b'\\', escaped, ..] => (*escaped, 2),
                    _ => (first, 1),
                };
                word.push(byte);
                rest = &rest[length..];
            }
            word
        })
        .collect()
}

/// Runs a target over its corpus and over `mutations` of it.
fn smoke(name: &str, run: fn(&[u8]), mutations: usize) {
    let fuzz = Path::new("tests/fuzz");
    let seeds = seeds(&fuzz.join("corpus").join(name));
    let words = words(&fs::read_to_string(fuzz.join(name).with_extension("dict")).unwrap());
    assert!(seeds.len() > 3 && words.len() > 3, "{name} has {} seeds, {} words", seeds.len(), words.len());
    let mut dice = Dice(0);
    let mutations = std::iter::repeat_with(|| mutate(&mut dice, &seeds, &words)).take(mutations);
    for input in seeds.iter().cloned().chain(mutations) {
        let held = catch_unwind(|| run(&input)).is_ok();
        assert!(held, "what is said above is about {name} of b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn any_policy_is_loaded_or_refused() {
    smoke("policy", policy::run, 1500);
}

#[test]
fn any_template_is_safe_whatever_fills_it() {
    smoke("template", template::run, 1500);
}

#[test]
fn any_request_has_the_endpoint_that_fits_best() {
    smoke("endpoints", endpoints::run, 6000);
}

#[test]
fn any_subjects_file_is_read_or_refused() {
    smoke("subjects", subjects::run, 1000);
}

#[test]
fn any_bytes_are_the_request_that_prost_reads_or_none() {
    smoke("decode", decode::run, 5000);
}
