//! The tree of templates: one level for each segment.
//!
//! Literals and methods are numbers here. Each segment of a request is looked up once, and what is done for it after
//! that does not depend on its length. The most specific way is tried first; a way that leads nowhere is left again, and
//! [`Routes::most_visits`] says how much that can be.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::target::{Segment, Segments, forms_of};

/// The number of a literal or of a method.
pub(super) type Number = usize;

/// What a request's segment is known as: the numbers of its forms that stand in a template.
type Known = SmallVec<[Number; 3]>;

/// Numbers for texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(HashMap<Box<[u8]>, Number>);

impl Numbers {
    pub(super) fn get(&self, text: &[u8]) -> Option<Number> {
        self.0.get(text).copied()
    }

    pub(super) fn add(&mut self, text: &[u8]) -> Number {
        let next = self.0.len();
        *self.0.entry(text.into()).or_insert(next)
    }

    fn all(&self) -> impl Iterator<Item = (&[u8], Number)> {
        self.0.iter().map(|(text, number)| (&**text, *number))
    }
}

/// A segment of a template.
#[derive(Debug)]
pub(super) enum Part<'t> {
    Literal(&'t [u8]),
    Parameter,
    /// The last one, for all that follows and for nothing.
    Rest,
}

/// Templates, with what each of them stands for by method.
#[derive(Clone, Debug)]
pub(super) struct Routes<T> {
    literals: Numbers,
    root: Node<T>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { literals: Numbers::default(), root: Node::default() }
    }
}

/// Where some segments of a path lead.
#[derive(Clone, Debug)]
struct Node<T> {
    /// By number.
    literals: Vec<(Number, Node<T>)>,
    parameter: Option<Box<Node<T>>>,
    /// For a path that ends here.
    here: ByMethod<T>,
    /// For any path that comes by.
    rest: ByMethod<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: Vec::new(), parameter: None, here: ByMethod::default(), rest: ByMethod::default() }
    }
}

#[derive(Clone, Debug)]
struct ByMethod<T>(Vec<(Number, T)>);

impl<T> Default for ByMethod<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByMethod<T> {
    /// That of the first of `methods` that there is one for.
    fn first(&self, methods: &[Number]) -> Option<&T> {
        methods.iter().find_map(|method| {
            let at = self.0.binary_search_by_key(method, |(number, _)| *number).ok()?;
            Some(&self.0[at].1)
        })
    }
}

impl<T> Routes<T> {
    /// Adds what `parts` stands for with `method`. Gives back what it stood for before.
    pub(super) fn add(&mut self, method: Number, parts: &[Part<'_>], value: T) -> Result<(), &T> {
        let mut node = &mut self.root;
        let mut is_rest = false;
        for part in parts {
            match part {
                Part::Literal(text) => node = node.literal(self.literals.add(text)),
                Part::Parameter => node = node.parameter.get_or_insert_default(),
                Part::Rest => is_rest = true,
            }
        }
        let ByMethod(values) = if is_rest { &mut node.rest } else { &mut node.here };
        match values.binary_search_by_key(&method, |(number, _)| *number) {
            Ok(at) => Err(&values[at].1),
            Err(at) => {
                values.insert(at, (method, value));
                Ok(())
            }
        }
    }

    /// What the most specific template for a path and the first of `methods` stands for.
    pub(super) fn find(&self, methods: &[Number], path: &Segments<'_>) -> Option<&T> {
        let known = |form| self.literals.get(form);
        let known: SmallVec<[Known; 8]> =
            path.iter().map(|segment| segment.forms().filter_map(known).collect()).collect();
        self.root.find(methods, &known)
    }

    /// The most nodes that one path can make [`Routes::find`] look at.
    pub(super) fn most_visits(&self) -> usize {
        let forms = |(text, number)| {
            let segment = forms_of(text);
            let forms = segment.iter().flat_map(Segment::forms);
            (number, forms.filter_map(|form| self.literals.get(form)).collect::<Known>())
        };
        let forms: HashMap<Number, Known> = self.literals.all().map(forms).collect();
        self.root.most_visits(&forms)
    }
}

impl<T> Node<T> {
    fn literal(&mut self, number: Number) -> &mut Self {
        let at = match self.literals.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (number, Self::default()));
                at
            }
        };
        &mut self.literals[at].1
    }

    fn child(&self, number: Number) -> Option<&Self> {
        let at = self.literals.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.literals[at].1)
    }

    /// Calls itself as often as the longest template has segments.
    fn find(&self, methods: &[Number], path: &[Known]) -> Option<&T> {
        let Some((first, after)) = path.split_first() else {
            return self.here.first(methods).or_else(|| self.rest.first(methods));
        };
        let literals = first.iter().filter_map(|number| self.child(*number));
        literals
            .chain(self.parameter.as_deref())
            .find_map(|node| node.find(methods, after))
            .or_else(|| self.rest.first(methods))
    }

    fn most_visits(&self, forms: &HashMap<Number, Known>) -> usize {
        let visits: HashMap<Number, usize> =
            self.literals.iter().map(|(number, node)| (*number, node.most_visits(forms))).collect();
        let of_literal = |number: &Number| {
            let forms = forms.get(number).map(Known::as_slice).unwrap_or_default();
            forms
                .iter()
                .filter_map(|form| visits.get(form))
                .fold(0, |sum: usize, more| sum.saturating_add(*more))
        };
        let literals = visits.keys().map(of_literal).max().unwrap_or_default();
        let parameter = self.parameter.as_deref().map_or(0, |node| node.most_visits(forms));
        1_usize.saturating_add(literals).saturating_add(parameter)
    }
}
