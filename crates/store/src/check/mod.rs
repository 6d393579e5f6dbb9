//! Whether a store can be trusted with backups: what was found out by trying, and what that comes to.

mod probe;
mod settings;

pub use probe::probe;
pub use settings::{Encryption, Lock, NotChecked, Setting, Settings, Versions, settings};

use serde::Serialize;

use crate::url::ServerSideEncryption;

/// What trying a store has shown. A text is why something failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the test objects were written, below the prefix of the store.
    pub folder: String,
    /// Whether an object could be created.
    pub create: Option<Result<(), String>>,
    /// What a second creation under the same name did.
    pub again: Option<Again>,
    /// Whether the object was read as it was written.
    pub read: Option<Result<(), String>>,
    /// Whether a part of an object was read.
    pub range: Option<Result<(), String>>,
    /// Whether an object of several parts was written, and read as it was.
    pub parts: Option<Result<(), String>>,
    /// Whether a listing shows at once what was written.
    pub list: Option<Result<(), String>>,
    /// How many seconds the store's clock is ahead of ours.
    pub ahead: Option<i64>,
    /// Whether the sealed object was opened with the identity; nothing where none was given.
    pub opened: Option<Result<(), String>>,
    /// Whether what was written could be deleted.
    pub delete: Option<Result<(), String>>,
    /// Whether the failed deletion was a denial, which is good.
    pub delete_denied: bool,
    /// Whether it was read again after its deletion.
    pub gone: Option<bool>,
    /// The test objects that are still there.
    pub left: Vec<String>,
    /// Whether requests go unencrypted over a network.
    pub plain: bool,
    /// What the bucket is set to; nothing where nothing could be written.
    pub settings: Option<Settings>,
    /// The encryption by the store that its URL asks for.
    pub(crate) asked_encryption: Option<ServerSideEncryption>,
}

/// What the second creation of an object did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// It was refused, and the first object is as it was.
    Refused,
    /// It was accepted, and who wrote first was overwritten.
    Overwritten,
    /// It failed of something else.
    Failed(String),
}

/// What one check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Backups can be written and read, and something could be better.
    Warning,
    /// The store cannot be trusted.
    Failed,
    /// It could not be found out.
    NotChecked,
}

impl Verdict {
    /// The word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
            Verdict::NotChecked => "not checked",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
}

/// Seconds by which clocks may differ: S3 refuses requests from 15 minutes on.
const CLOCK_WARNING: i64 = 60;
const CLOCK_FAILED: i64 = 600;

/// Whether the checks come to a store that can be trusted.
pub fn is_trusted(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Failed)
}

/// What the facts come to.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let check = |name, verdict, why: &str| Check { name, verdict, why: why.to_owned() };
    let must = |name, fact: &Option<Result<(), String>>, good: &str| match fact {
        Some(Ok(())) => check(name, Verdict::Ok, good),
        Some(Err(why)) => check(name, Verdict::Failed, why),
        None => check(name, Verdict::Failed, "not tried, because of what failed before"),
    };
    let mut checks = vec![must("write", &facts.create, "an object was created")];
    checks.push(match &facts.again {
        Some(Again::Refused) => check("create-only", Verdict::Ok, "a second object of the same name was refused"),
        Some(Again::Overwritten) => check(
            "create-only",
            Verdict::Failed,
            "the store overwrites an object although it was told to create a new one only",
        ),
        Some(Again::Failed(why)) => check("create-only", Verdict::Failed, why),
        None => check("create-only", Verdict::Failed, "not tried, because of what failed before"),
    });
    checks.push(must("read", &facts.read, "the object was read as it was written"));
    checks.push(must("range", &facts.range, "a part of an object was read"));
    checks.push(must("parts", &facts.parts, "an object of several parts was written and read as it was"));
    checks.push(must("list", &facts.list, "a listing shows at once what was written"));
    checks.push(match facts.ahead {
        None => check("clock", Verdict::Ok, "the store has no clock of its own"),
        Some(ahead) => {
            let verdict = match ahead.abs() {
                CLOCK_FAILED.. => Verdict::Failed,
                CLOCK_WARNING.. => Verdict::Warning,
                _ => Verdict::Ok,
            };
            let side = if ahead < 0 { "behind" } else { "ahead of" };
            check(
                "clock",
                verdict,
                &format!("the clock of the store is {} s {side} the clock of this machine", ahead.abs()),
            )
        }
    });
    checks.push(match &facts.opened {
        None => check("key", Verdict::Warning, "not tried: no identity was given (--identity)"),
        fact => must("key", fact, "the identity opens what was encrypted for the recipients"),
    });
    checks.push(deletion(facts));
    checks.extend(settings::judge(facts.settings.as_ref(), facts.asked_encryption.as_ref()));
    if facts.plain {
        checks.push(check("transport", Verdict::Warning, "requests are not encrypted: the endpoint is http://"));
    }
    if !facts.left.is_empty() {
        let why = format!("{} test objects are left in {}", facts.left.len(), facts.folder);
        checks.push(check("left", Verdict::Warning, &why));
    }
    checks
}

fn deletion(facts: &Facts) -> Check {
    let check = |verdict, why: &str| Check { name: "delete", verdict, why: why.to_owned() };
    match (&facts.delete, facts.gone) {
        (Some(Ok(())), Some(false)) => {
            check(Verdict::Warning, "the store accepts a deletion and keeps the object: locked, or with versions")
        }
        (Some(Ok(())), _) => check(
            Verdict::Warning,
            "this credential can delete: good for prune, and more than a schedule should be able to do",
        ),
        (Some(Err(_)), _) if facts.delete_denied => {
            check(Verdict::Ok, "this credential cannot delete: right for a schedule; prune needs another one")
        }
        (Some(Err(why)), _) => check(Verdict::Warning, why),
        (None, _) => check(Verdict::Warning, "not tried, because nothing was written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        let ok = || Some(Ok(()));
        Facts {
            folder: "v1/check-x".to_owned(),
            create: ok(),
            again: Some(Again::Refused),
            read: ok(),
            range: ok(),
            parts: ok(),
            list: ok(),
            ahead: Some(1),
            opened: ok(),
            delete: Some(Err("no".to_owned())),
            delete_denied: true,
            settings: Some(Settings {
                versions: Ok(Versions::On),
                lock: Ok(Lock::Default { mode: "COMPLIANCE".to_owned(), period: "30 days".to_owned() }),
                encryption: Ok(Encryption::None),
            }),
            ..Facts::default()
        }
    }

    fn verdict(facts: &Facts, name: &str) -> Verdict {
        judge(facts).into_iter().find(|check| check.name == name).unwrap().verdict
    }

    #[test]
    fn a_good_store_is_trusted() {
        assert!(judge(&good()).iter().all(|check| check.verdict == Verdict::Ok));
    }

    #[test]
    fn a_store_that_overwrites_or_loses_is_not() {
        let bad = || Some(Err("why".to_owned()));
        for (name, facts) in [
            ("write", Facts { create: bad(), ..good() }),
            ("create-only", Facts { again: Some(Again::Overwritten), ..good() }),
            ("create-only", Facts { again: Some(Again::Failed("why".to_owned())), ..good() }),
            ("read", Facts { read: bad(), ..good() }),
            ("range", Facts { range: None, ..good() }),
            ("parts", Facts { parts: bad(), ..good() }),
            ("list", Facts { list: bad(), ..good() }),
            ("clock", Facts { ahead: Some(-3600), ..good() }),
            ("key", Facts { opened: bad(), ..good() }),
        ] {
            assert_eq!(verdict(&facts, name), Verdict::Failed, "{name}");
            assert!(!is_trusted(&judge(&facts)));
        }
    }

    #[test]
    fn what_could_be_better_is_told() {
        for (name, facts) in [
            ("clock", Facts { ahead: Some(90), ..good() }),
            ("key", Facts { opened: None, ..good() }),
            ("delete", Facts { delete: Some(Ok(())), gone: Some(true), ..good() }),
            ("delete", Facts { delete: Some(Ok(())), gone: Some(false), ..good() }),
            ("transport", Facts { plain: true, ..good() }),
            ("left", Facts { left: vec!["x".to_owned()], ..good() }),
        ] {
            assert_eq!(verdict(&facts, name), Verdict::Warning, "{name}");
            assert!(is_trusted(&judge(&facts)));
        }
    }
}
