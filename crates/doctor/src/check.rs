//! A check, what it found, and what all findings come to.

use serde::Serialize;

use crate::facts::Facts;
use crate::judgement::Judgement;

/// What a check came to. The order is that of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Nothing is wrong.
    Ok,
    /// The check could not be made, or not on every node.
    Unknown,
    /// A restore may fail or take longer, or a member may be lost.
    Warning,
    /// A restore will fail, or a member is lost or about to be.
    Error,
}

impl Severity {
    /// As a word for people.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Unknown => "unknown",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A check: a name, what teaches it, and the function that makes it.
#[derive(Debug)]
pub struct Check {
    /// What it is called on command lines and in JSON. Names are never changed.
    pub name: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// What it looks at, and where it draws the line.
    pub looks_at: &'static str,
    /// Why it matters for a restore.
    pub why: &'static str,
    /// How what is wrong is mended by hand.
    pub by_hand: &'static str,
    pub(crate) judge: fn(&Facts) -> Judgement,
}

impl Check {
    /// Makes the check.
    pub fn make(&'static self, facts: &Facts) -> Finding {
        self.finding((self.judge)(facts))
    }

    pub(crate) fn finding(&'static self, judgement: Judgement) -> Finding {
        let Judgement { found, unknown, passed } = judgement;
        let worst = found.iter().map(|one| one.severity).max();
        let severity = worst.unwrap_or(if unknown.is_empty() { Severity::Ok } else { Severity::Unknown });
        let mut mend: Vec<String> = Vec::new();
        let mut evidence: Vec<String> = Vec::new();
        for level in [Severity::Error, Severity::Warning] {
            for one in found.iter().filter(|one| one.severity == level) {
                evidence.push(one.evidence.clone());
                mend.extend((!mend.contains(&one.mend)).then(|| one.mend.clone()));
            }
        }
        evidence.extend(unknown);
        if severity == Severity::Ok {
            evidence.push(passed);
        }
        Finding { check: self.name, severity, evidence, why: self.why, mend }
    }

    /// A page that teaches it, in lines of a terminal, ending with a line break.
    pub fn page(&self) -> String {
        let Check { name, title, looks_at, why, by_hand, .. } = self;
        let [looks_at, why, by_hand] = [looks_at, why, by_hand].map(|text| lines(text));
        format!("{name}: {title}\n\nWhat is looked at\n\n{looks_at}\nWhy\n\n{why}\nHow to mend it by hand\n\n{by_hand}")
    }
}

/// Columns of a page.
const WIDTH: usize = 78;

/// Breaks paragraphs into lines. Commands, which are indented, stay as they are.
fn lines(text: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if line.is_empty() || line.starts_with(' ') {
            out.push(line.to_owned());
            open = false;
            continue;
        }
        for word in line.split(' ') {
            match out.last_mut().filter(|last| open && last.len() + 1 + word.len() <= WIDTH) {
                Some(last) => {
                    last.push(' ');
                    last.push_str(word);
                }
                None => out.push(word.to_owned()),
            }
            open = true;
        }
    }
    out.join("\n") + "\n"
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// What it came to.
    pub severity: Severity,
    /// What was seen, a line each, the worst first; of a check that could not be made, the reasons.
    pub evidence: Vec<String>,
    /// Why it matters for a restore.
    pub why: &'static str,
    /// What mends it: commands, or what to do. Empty where nothing is wrong.
    pub mend: Vec<String>,
}

/// How many checks came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Checks with an error.
    pub errors: usize,
    /// Checks with a warning, and no error.
    pub warnings: usize,
    /// Checks that could not be made.
    pub unknown: usize,
    /// Checks that passed.
    pub passed: usize,
}

impl Summary {
    /// Counts findings.
    pub fn of(findings: &[Finding]) -> Summary {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        Summary {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            unknown: count(Severity::Unknown),
            passed: count(Severity::Ok),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let many = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        let Summary { errors, warnings, unknown, passed } = *self;
        write!(f, "{}, {}, {unknown} not checked, {passed} passed", many(errors, "error"), many(warnings, "warning"))
    }
}
