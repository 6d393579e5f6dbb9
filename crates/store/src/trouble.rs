//! What went wrong with a store, and why, in words that lead on.
//!
//! What a server says is shown only where it is a message of an error document; addresses with signatures, headers and bodies never are.

use std::fmt;

/// What a store was asked for, with which object, and why that failed.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    task: Task,
    object: Option<String>,
    store: String,
    trouble: Trouble,
    detail: String,
    unknown: bool,
    parts: Option<PartsLeft>,
}

/// Parts of an object that was not written to its end, and that could not be taken back. They are no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsLeft {
    /// Of which object.
    pub object: String,
    /// Why they could not be taken back.
    pub why: String,
}

impl fmt::Display for PartsLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartsLeft { object, why } = self;
        write!(
            f,
            "parts of {object} stay in the store, where no listing shows them, until a rule of the bucket ends incomplete uploads: {why}"
        )
    }
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Reading what a store needs before its first request: credentials, certificates.
    Open,
    /// Listing objects.
    List,
    /// Reading an object.
    Read,
    /// Writing an object.
    Write,
    /// Deleting an object.
    Delete,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such bucket or container.
    NoBucket,
    /// There is no such folder.
    NoFolder,
    /// The bucket is in another region, if known in which.
    WrongRegion(Option<String>),
    /// The credential is good, and may not do this.
    AccessDenied,
    /// There is no credential.
    NoCredential,
    /// The credential is not one of this store.
    WrongCredential,
    /// The credential is no longer valid.
    ExpiredCredential,
    /// The server's certificate is not trusted.
    Certificate,
    /// No answer came from the server.
    Unreachable,
    /// The connection broke, or the server stopped in the middle.
    Interrupted,
    /// The server asks for fewer requests.
    Throttled,
    /// The server says of itself that it cannot do this now.
    ServerFault,
    /// The clock of this machine and the clock of the store differ too much.
    Clock,
    /// There is no such object.
    NotFound,
    /// There is such an object already.
    Exists,
    /// The object is not as it was said to be.
    Damaged,
    /// The store does not support this.
    Unsupported,
    /// The object is in an archive, and has to be fetched from there before it can be read.
    Archived,
    /// The key of the server-side encryption cannot be used.
    Kms,
    /// There is no room.
    Full,
    /// What was to be sent was not sent to its end.
    Abandoned,
    /// Something of the settings is wrong: a file, a variable.
    Settings,
    /// Anything else, in the words of the server or the system.
    Other,
}

impl StoreError {
    pub(crate) fn new(task: Task, store: impl fmt::Display, trouble: Trouble, detail: impl Into<String>) -> StoreError {
        StoreError(Box::new(Inner {
            task,
            object: None,
            store: store.to_string(),
            trouble,
            detail: one_line(&detail.into()),
            unknown: false,
            parts: None,
        }))
    }

    pub(crate) fn of(mut self, object: impl fmt::Display) -> StoreError {
        self.0.object = Some(object.to_string());
        self
    }

    /// Says that nobody knows whether a write has happened: its answer did not come.
    pub(crate) fn unknown(mut self) -> StoreError {
        self.0.unknown = true;
        self
    }

    /// Says that parts of the object could not be taken back.
    pub(crate) fn leaving(mut self, parts: PartsLeft) -> StoreError {
        self.0.parts = Some(PartsLeft { why: one_line(&parts.why), ..parts });
        self
    }

    /// Parts of the object that could not be taken back.
    pub fn parts_left(&self) -> Option<&PartsLeft> {
        self.0.parts.as_ref()
    }

    /// Why it failed.
    pub fn trouble(&self) -> &Trouble {
        &self.0.trouble
    }

    /// What was being done.
    pub fn task(&self) -> Task {
        self.0.task
    }

    /// The same in the words of the server or the system. May be empty.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Whether the object could not be created because there is one of its name.
    pub fn is_exists(&self) -> bool {
        self.0.trouble == Trouble::Exists
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.0.trouble == Trouble::NotFound
    }

    /// Whether it is the matter of one object, so that others may be read all the same. That nothing at all may be read looks the same.
    pub fn is_of_object(&self) -> bool {
        let of_object = matches!(self.0.trouble, Trouble::NotFound | Trouble::Damaged) || self.is_not_given();
        of_object && self.0.task == Task::Read
    }

    /// Whether the object is there as far as anybody knows, and the store does not give it.
    pub fn is_not_given(&self) -> bool {
        matches!(self.0.trouble, Trouble::AccessDenied | Trouble::Archived | Trouble::Kms)
    }

    /// Whether nobody knows if the write has happened: the connection broke before the answer.
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.unknown
    }

    /// Whether the same may succeed a little later without a change by anybody.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self.0.trouble,
            Trouble::Unreachable | Trouble::Interrupted | Trouble::Throttled | Trouble::ServerFault
        )
    }

    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let Inner { trouble, task, .. } = &*self.0;
        let text = match trouble {
            Trouble::NoBucket => "create the bucket, or correct its name in the URL of the store",
            Trouble::NoFolder => "correct the path, mount the file system that the store is on, or make the folder",
            Trouble::WrongRegion(Some(region)) => return Some(format!("add region={region} to the URL of the store")),
            Trouble::WrongRegion(None) => "add region=REGION with the bucket's region to the URL of the store",
            Trouble::AccessDenied => match task {
                Task::List => "allow the credential to list the bucket (s3:ListBucket) below the prefix of the store",
                Task::Read => "allow the credential to read objects (s3:GetObject) below the prefix of the store",
                Task::Write => "allow the credential to write objects (s3:PutObject) below the prefix of the store",
                Task::Delete => "delete with a credential that may: the one of a schedule should not",
                Task::Open => "allow the identity to take the role that gives access to the store",
            },
            Trouble::NoCredential => {
                "set the variables of the store's credential, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; docs/STORE.md lists them"
            }
            Trouble::WrongCredential => "check the access key and the secret key: one of them is not the store's",
            Trouble::ExpiredCredential => "get a new credential and run the command again",
            Trouble::Certificate => {
                "if the store has a certificate authority of its own, add ca=FILE with its certificate to the URL of the store"
            }
            Trouble::Unreachable => "check the endpoint, the network and the proxy (HTTPS_PROXY, NO_PROXY)",
            Trouble::Interrupted | Trouble::ServerFault => "try again; if that does not help, look at the server",
            Trouble::Throttled => "try again later",
            Trouble::Clock => "set the clock of this machine",
            Trouble::Kms => {
                "allow the credential to use the key (kms:GenerateDataKey, kms:Decrypt), or correct sse= in the URL of the store"
            }
            Trouble::Archived => {
                "fetch the object from the archive (s3:RestoreObject, or another access tier), and try again then"
            }
            Trouble::Full => "make room, or use another store",
            Trouble::NotFound
            | Trouble::Exists
            | Trouble::Damaged
            | Trouble::Unsupported
            | Trouble::Abandoned
            | Trouble::Settings
            | Trouble::Other => return None,
        };
        Some(text.to_owned())
    }
}

/// Server messages can have any characters and any length.
fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    let line: String = line.chars().take(300).collect();
    line.trim_end_matches('.').to_owned()
}

impl Trouble {
    /// Why, and the same in the words of the server or the system.
    pub(crate) fn reason(&self, detail: &str) -> String {
        match (self.words(), detail) {
            (Some(words), "") => words,
            (Some(words), detail) => format!("{words}: {detail}"),
            (None, "") => "unknown reason".to_owned(),
            (None, detail) => detail.to_owned(),
        }
    }

    fn words(&self) -> Option<String> {
        Some(
            match self {
                Trouble::NoBucket => "the bucket does not exist",
                Trouble::NoFolder => "the folder does not exist",
                Trouble::WrongRegion(Some(region)) => return Some(format!("the bucket is in region {region}")),
                Trouble::WrongRegion(None) => "the bucket is in another region",
                Trouble::AccessDenied => "access denied",
                Trouble::NoCredential => "no credential",
                Trouble::WrongCredential => "the store does not know this credential",
                Trouble::ExpiredCredential => "the credential has expired",
                Trouble::Certificate => "the certificate of the server is not trusted",
                Trouble::Unreachable => "the server does not answer",
                Trouble::Interrupted => "the connection broke",
                Trouble::Throttled => "the server asks for fewer requests",
                Trouble::ServerFault => "the server reports a fault of its own",
                Trouble::Clock => "the clock of this machine differs too much from the clock of the store",
                Trouble::NotFound => "the object does not exist",
                Trouble::Exists => "an object of this name exists already",
                Trouble::Damaged => "the object is damaged",
                Trouble::Unsupported => "the store does not support this",
                Trouble::Archived => "the object is in an archive",
                Trouble::Kms => "the key of the server-side encryption cannot be used",
                Trouble::Full => "there is no room left",
                Trouble::Abandoned => "the object was not sent to its end",
                Trouble::Settings | Trouble::Other => return None,
            }
            .to_owned(),
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { task, object, store, trouble, detail, unknown, parts } = &*self.0;
        match (task, object) {
            (Task::Open, _) => write!(f, "cannot use store {store}")?,
            (Task::List, _) => write!(f, "cannot list store {store}")?,
            (Task::Read, Some(object)) => write!(f, "cannot read {object} in store {store}")?,
            (Task::Write, Some(object)) => write!(f, "cannot write {object} to store {store}")?,
            (Task::Delete, Some(object)) => write!(f, "cannot delete {object} in store {store}")?,
            (Task::Read, None) => write!(f, "cannot read store {store}")?,
            (Task::Write, None) => write!(f, "cannot write to store {store}")?,
            (Task::Delete, None) => write!(f, "cannot delete in store {store}")?,
        }
        write!(f, ": {}", trouble.reason(detail))?;
        if *unknown {
            write!(f, " (the answer did not come: the object may have been written)")?;
        }
        parts.as_ref().map_or(Ok(()), |parts| write!(f, "; {parts}"))
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_with_which_object_and_why() {
        let error = StoreError::new(Task::Write, "s3://b/p", Trouble::AccessDenied, "not\nallowed.").of("v1/x.json");
        assert_eq!(error.to_string(), "cannot write v1/x.json to store s3://b/p: access denied: not allowed");
        assert!(error.hint().unwrap().contains("s3:PutObject"));
        let error = error.unknown();
        assert!(error.is_outcome_unknown() && error.to_string().contains("may have been written"));
        let left = PartsLeft { object: "v1/x.db.zst.age".to_owned(), why: "access\ndenied".to_owned() };
        let error = StoreError::new(Task::Write, "s3://b", Trouble::Abandoned, "").of("v1/x.db.zst.age").leaving(left);
        assert!(error.to_string().ends_with("not sent to its end; parts of v1/x.db.zst.age stay in the store, where no listing shows them, until a rule of the bucket ends incomplete uploads: access denied"), "{error}");
        assert_eq!(
            StoreError::new(Task::List, "s3://b", Trouble::WrongRegion(Some("eu-west-1".to_owned())), "").to_string(),
            "cannot list store s3://b: the bucket is in region eu-west-1"
        );
    }
}
