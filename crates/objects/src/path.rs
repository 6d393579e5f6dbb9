//! Where in an object something is: a chain on the stack, turned into text only when it is needed.

use std::fmt::Write as _;

/// A step from an object to something in it, and the way to there.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
    /// A map's value. Its key is the user's, and stays with them.
    Entry,
}

impl<'a> Path<'a> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    pub(crate) fn item(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Item(index) }
    }

    pub(crate) fn entry(&'a self) -> Path<'a> {
        Path { parent: Some(self), step: Step::Entry }
    }

    /// `spec.containers[2].name`, `data{}`; nothing for the object itself.
    pub(crate) fn text(&self) -> String {
        self.render(true)
    }

    /// The same without the places of items: `spec.containers[].name`.
    pub(crate) fn pattern(&self) -> String {
        self.render(false)
    }

    fn render(&self, places: bool) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            steps.push(path.step);
            at = path.parent;
        }
        let mut text = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => {}
                Step::Field(name) if text.is_empty() => text.push_str(name),
                Step::Field(name) => drop(write!(text, ".{name}")),
                Step::Item(index) if places => drop(write!(text, "[{index}]")),
                Step::Item(_) => text.push_str("[]"),
                Step::Entry => text.push_str("{}"),
            }
        }
        text
    }
}
