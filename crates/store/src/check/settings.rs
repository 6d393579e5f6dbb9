//! What a bucket is set to: versions, object lock and encryption by the store. Asked of S3; of others the vendor's command is told.

use crate::Store;
use crate::backend::answer::{Answer, element, failure};
use crate::check::{Check, Verdict};
use crate::store::Backend;
use crate::url::{Place, ServerSideEncryption, StoreUrl};

/// What was found out about the settings of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether a deleted or overwritten object is kept as a version.
    pub versions: Setting<Versions>,
    /// Whether objects are locked.
    pub lock: Setting<Lock>,
    /// What the store encrypts with.
    pub encryption: Setting<Encryption>,
}

/// A setting, or why it was not asked for.
pub type Setting<T> = Result<T, NotChecked>;

/// Why a setting is not known, and the command that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotChecked {
    /// Why.
    pub why: String,
    /// The vendor's own command; none where there is nothing to ask.
    pub command: Option<String>,
}

/// Versions of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Kept.
    On,
    /// Kept once, and no longer.
    Suspended,
    /// Never kept.
    Off,
}

/// Object lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// The bucket has none.
    Off,
    /// Objects can be locked, and none is by default.
    WithoutDefault,
    /// New objects are locked: mode, and for how long.
    Default {
        /// `GOVERNANCE` or `COMPLIANCE`.
        mode: String,
        /// As in `30 days`.
        period: String,
    },
}

/// Encryption by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// The store says that there is none.
    None,
    /// By this algorithm, with this key.
    With {
        /// `AES256`, `aws:kms`.
        algorithm: String,
        /// ID of the key in the key management service; none for the vendor's own.
        key: Option<String>,
    },
}

impl Settings {
    /// What stays of an object that is deleted; nothing where nothing is known to stay.
    pub fn after_deletion(&self) -> Option<String> {
        let keeps = match &self.versions {
            Ok(Versions::On) => {
                "the bucket keeps versions: what is deleted is hidden, and its bytes stay until a rule of the bucket removes old versions"
            }
            _ => return None,
        };
        Some(match &self.lock {
            Ok(Lock::Default { period, .. }) => {
                format!("{keeps}; object lock keeps each for {period} from when it was written")
            }
            _ => keeps.to_owned(),
        })
    }
}

/// Asks a store what it is set to: three requests to S3, and none to others. What cannot be asked is told in the answer.
pub async fn settings(store: &Store) -> Settings {
    let url = store.url();
    let bucket = match &store.backend {
        Backend::Cloud(cloud) => cloud.bucket(),
        Backend::Folder(_) => None,
    };
    let Some(bucket) = bucket else { return elsewhere(url) };
    let said = async |setting, right| match bucket.ask(setting).await {
        Ok(answer) => Ok(answer),
        Err(failure) => Err(format!("{} (it takes {right})", failure.detail)),
    };
    Settings {
        versions: said("versioning", "s3:GetBucketVersioning")
            .await
            .and_then(|answer| versions(&answer))
            .map_err(|why| at_s3(url, why, "get-bucket-versioning")),
        lock: said("object-lock", "s3:GetBucketObjectLockConfiguration")
            .await
            .and_then(|answer| lock(&answer))
            .map_err(|why| at_s3(url, why, "get-object-lock-configuration")),
        encryption: said("encryption", "s3:GetEncryptionConfiguration")
            .await
            .and_then(|answer| encryption(&answer))
            .map_err(|why| at_s3(url, why, "get-bucket-encryption")),
    }
}

fn at_s3(url: &StoreUrl, why: String, action: &str) -> NotChecked {
    let Place::S3 { bucket } = &url.place else { return NotChecked { why, command: None } };
    let endpoint = url.options.endpoint.as_ref().map(|endpoint| format!(" --endpoint-url {endpoint}"));
    let command = format!("aws s3api {action} --bucket {bucket}{}", endpoint.unwrap_or_default());
    NotChecked { why, command: Some(command) }
}

/// Of a store whose settings are asked for with a credential of another kind than that of its objects.
fn elsewhere(url: &StoreUrl) -> Settings {
    let not = |why: &str, command: Option<String>| NotChecked { why: why.to_owned(), command };
    let all = |why: &str, [versions, lock, encryption]: [Option<String>; 3]| Settings {
        versions: Err(not(why, versions)),
        lock: Err(not(why, lock)),
        encryption: Err(not(why, encryption)),
    };
    match &url.place {
        Place::Folder(_) => all("a folder has no such setting", [None, None, None]),
        Place::Gcs { bucket } => {
            let show = |field: &str| {
                Some(format!("gcloud storage buckets describe gs://{bucket} --format=\"default({field})\""))
            };
            let fields = ["versioning_enabled,soft_delete_policy", "retention_policy", "default_kms_key"];
            all("a credential for objects does not show it", fields.map(show))
        }
        Place::Azure { account, container } => all(
            "a credential for blobs does not show it",
            [
                Some(format!("az storage account blob-service-properties show --account-name {account}")),
                Some(format!(
                    "az storage container immutability-policy show --account-name {account} --container-name {container}"
                )),
                Some(format!("az storage account show --name {account} --query encryption")),
            ],
        ),
        Place::S3 { .. } => all("this store cannot be asked", [None, None, None]),
    }
}

/// The document of a successful answer; why there is none otherwise. `absent` is the code by which a store says that nothing is set.
fn body<'a>(answer: &'a Answer, root: &str, absent: Option<&str>) -> Result<Option<&'a str>, String> {
    match answer.status {
        200..=299 if answer.body.contains(&format!("<{root}")) => Ok(Some(&answer.body)),
        200..=299 => Err("the store does not know the request, and answers something else".to_owned()),
        _ if absent.is_some() && element(&answer.body, "Code").as_deref() == absent => Ok(None),
        _ => Err(failure(answer).detail),
    }
}

fn versions(answer: &Answer) -> Result<Versions, String> {
    let body = body(answer, "VersioningConfiguration", None)?;
    match body.and_then(|body| element(body, "Status")).as_deref() {
        Some("Enabled") => Ok(Versions::On),
        Some("Suspended") => Ok(Versions::Suspended),
        None => Ok(Versions::Off),
        Some(other) => Err(format!("the store says {other}")),
    }
}

fn lock(answer: &Answer) -> Result<Lock, String> {
    let body = body(answer, "ObjectLockConfiguration", Some("ObjectLockConfigurationNotFoundError"))?;
    let Some(body) = body.filter(|body| element(body, "ObjectLockEnabled").as_deref() == Some("Enabled")) else {
        return Ok(Lock::Off);
    };
    let period = element(body, "Days").map(|days| format!("{days} days"));
    let period = period.or_else(|| element(body, "Years").map(|years| format!("{years} years")));
    Ok(match (element(body, "Mode"), period) {
        (Some(mode), Some(period)) => Lock::Default { mode, period },
        _ => Lock::WithoutDefault,
    })
}

fn encryption(answer: &Answer) -> Result<Encryption, String> {
    let absent = Some("ServerSideEncryptionConfigurationNotFoundError");
    let body = body(answer, "ServerSideEncryptionConfiguration", absent)?;
    let algorithm = body.and_then(|body| element(body, "SSEAlgorithm"));
    let key = body.and_then(|body| element(body, "KMSMasterKeyID"));
    Ok(algorithm.map_or(Encryption::None, |algorithm| Encryption::With { algorithm, key }))
}

/// What the settings come to, a check each. `asked` is the encryption that the URL of the store asks for.
pub(super) fn judge(settings: Option<&Settings>, asked: Option<&ServerSideEncryption>) -> Vec<Check> {
    let Some(Settings { versions, lock, encryption }) = settings else {
        let why = "not tried, because of what failed before";
        return ["versions", "object-lock", "server-encryption"]
            .map(|name| Check { name, verdict: Verdict::NotChecked, why: why.to_owned() })
            .into();
    };
    vec![
        judged("versions", versions, |versions| match versions {
            Versions::On => {
                (Verdict::Ok, "a backup that is deleted or overwritten stays as an older version".to_owned())
            }
            Versions::Suspended | Versions::Off => {
                (Verdict::Warning, "the bucket keeps no versions: a backup that is deleted is gone".to_owned())
            }
        }),
        judged("object-lock", lock, |lock| match lock {
            Lock::Default { mode, period } => (
                Verdict::Ok,
                format!("backups cannot be deleted for {period} ({mode}); prune cannot before that either"),
            ),
            Lock::WithoutDefault => (
                Verdict::Warning,
                "the bucket can lock objects, and has no default retention: backups are not locked".to_owned(),
            ),
            Lock::Off => {
                (Verdict::Warning, "the bucket locks nothing: whoever may delete can delete every backup".to_owned())
            }
        }),
        judged("server-encryption", encryption, |encryption| (Verdict::Ok, encrypted(encryption, asked))),
    ]
}

fn encrypted(encryption: &Encryption, asked: Option<&ServerSideEncryption>) -> String {
    match (asked, encryption) {
        (Some(ServerSideEncryption::Kms(Some(key))), _) => {
            format!("the URL asks for KMS key {key}: who reads a backup needs the right to decrypt with it")
        }
        (Some(ServerSideEncryption::Kms(None)), _) => {
            "the URL asks for KMS: who reads a backup needs the right to decrypt with the key of the bucket".to_owned()
        }
        (_, Encryption::With { algorithm, key: Some(key) }) => {
            format!(
                "the store encrypts with {algorithm}, key {key}: who reads a backup needs the right to decrypt with it"
            )
        }
        (_, Encryption::With { algorithm, key: None }) => format!("the store encrypts with {algorithm}"),
        (Some(ServerSideEncryption::Aes256), Encryption::None) => "the URL asks for AES256".to_owned(),
        (None, Encryption::None) => {
            "the store does not encrypt; backups are encrypted before they get there, unless --no-encryption is given"
                .to_owned()
        }
    }
}

fn judged<T>(name: &'static str, setting: &Setting<T>, of: impl FnOnce(&T) -> (Verdict, String)) -> Check {
    match setting {
        Ok(setting) => {
            let (verdict, why) = of(setting);
            Check { name, verdict, why }
        }
        Err(NotChecked { why, command }) => {
            let command = command.as_ref().map(|command| format!("; see: {command}")).unwrap_or_default();
            Check { name, verdict: Verdict::NotChecked, why: format!("{why}{command}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, region: None, body: body.to_owned() }
    }

    fn refused(code: &str) -> Answer {
        answer(404, &format!("<Error><Code>{code}</Code></Error>"))
    }

    #[test]
    fn documents_of_s3_are_read() {
        let of = |inner: &str| {
            versions(&answer(200, &format!("<VersioningConfiguration xmlns=\"x\">{inner}</VersioningConfiguration>")))
        };
        assert_eq!(of("<Status>Enabled</Status>"), Ok(Versions::On));
        assert_eq!(of("<Status>Suspended</Status>"), Ok(Versions::Suspended));
        assert_eq!(of(""), Ok(Versions::Off));
        assert!(of("<Status>Else</Status>").is_err());
        // A store that takes the request for a listing says nothing about versions.
        assert!(versions(&answer(200, "<ListBucketResult/>")).is_err());
        assert_eq!(versions(&refused("AccessDenied")), Err("AccessDenied".to_owned()));

        let of = |inner: &str| {
            let enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";
            lock(&answer(200, &format!("<ObjectLockConfiguration>{enabled}{inner}</ObjectLockConfiguration>")))
        };
        let rule = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule>";
        let default = Lock::Default { mode: "COMPLIANCE".to_owned(), period: "30 days".to_owned() };
        assert_eq!((of(rule), of("")), (Ok(default), Ok(Lock::WithoutDefault)));
        assert_eq!(lock(&refused("ObjectLockConfigurationNotFoundError")), Ok(Lock::Off));
        assert!(lock(&refused("NoSuchBucket")).is_err());

        let rule = "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>";
        let document = format!("<ServerSideEncryptionConfiguration>{rule}</ServerSideEncryptionConfiguration>");
        let with = Encryption::With { algorithm: "aws:kms".to_owned(), key: Some("k".to_owned()) };
        assert_eq!(encryption(&answer(200, &document)), Ok(with));
        assert_eq!(encryption(&refused("ServerSideEncryptionConfigurationNotFoundError")), Ok(Encryption::None));
        assert!(encryption(&answer(501, "<Error><Code>NotImplemented</Code></Error>")).is_err());
    }

    #[test]
    fn every_setting_has_a_row_with_what_it_means() {
        let set = Settings {
            versions: Ok(Versions::On),
            lock: Ok(Lock::Default { mode: "GOVERNANCE".to_owned(), period: "7 days".to_owned() }),
            encryption: Ok(Encryption::None),
        };
        assert!(judge(Some(&set), None).iter().all(|check| check.verdict == Verdict::Ok));
        let told = set.after_deletion().unwrap();
        assert!(told.contains("is hidden") && told.contains("7 days"), "{told}");
        let unlocked = Settings { lock: Ok(Lock::WithoutDefault), ..set.clone() }.after_deletion().unwrap();
        assert!(unlocked.contains("is hidden") && !unlocked.contains("lock"), "{unlocked}");
        let off = Settings { versions: Ok(Versions::Off), lock: Ok(Lock::Off), ..set.clone() };
        assert_eq!(off.after_deletion(), None);
        let words: Vec<Verdict> = judge(Some(&off), None).iter().map(|check| check.verdict).collect();
        assert_eq!(words, [Verdict::Warning, Verdict::Warning, Verdict::Ok]);
        let kms = ServerSideEncryption::Kms(Some("k".to_owned()));
        assert!(judge(Some(&set), Some(&kms))[2].why.contains("the URL asks for KMS key k"));
        assert!(judge(None, None).iter().all(|check| check.verdict == Verdict::NotChecked));
        for (url, command) in [
            ("gs://b/p", "gcloud storage buckets describe gs://b"),
            ("az://a/c/p", "az storage container immutability-policy show --account-name a --container-name c"),
        ] {
            let checks = judge(Some(&elsewhere(&url.parse().unwrap())), None);
            assert!(checks.iter().all(|check| check.verdict == Verdict::NotChecked), "{checks:?}");
            assert!(checks.iter().any(|check| check.why.contains(command)), "{checks:?}");
        }
        let url = "s3://b/p?endpoint=https://s:9000".parse().unwrap();
        let told = at_s3(&url, "AccessDenied".to_owned(), "get-bucket-versioning").command.unwrap();
        assert_eq!(told, "aws s3api get-bucket-versioning --bucket b --endpoint-url https://s:9000");
    }
}
