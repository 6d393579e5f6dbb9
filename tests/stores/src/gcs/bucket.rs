//! The bucket: objects, and uploads of parts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::request::{Answer, Request, escaped};
use crate::BUCKET;

/// Names in one page of a listing, at most.
const PAGE: usize = 1000;
/// Bytes of the smallest part that is not the last.
const SMALLEST_PART: usize = 5 << 20;
const MOST_PARTS: usize = 10_000;
/// The headers of Google that are known here.
const KNOWN_HEADERS: [&str; 1] = ["x-goog-if-generation-match"];

#[derive(Debug, Default)]
pub(super) struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    generation: u64,
    is_retained: bool,
}

#[derive(Debug)]
struct Object {
    bytes: Vec<u8>,
    generation: u64,
    modified: Timestamp,
}

#[derive(Debug)]
struct Upload {
    name: String,
    parts: BTreeMap<usize, Vec<u8>>,
}

impl Object {
    fn described(&self, answer: Answer) -> Answer {
        let modified = DateTimePrinter::new().timestamp_to_rfc9110_string(&self.modified).unwrap_or_default();
        answer
            .with("ETag", tag(&self.bytes))
            .with("Last-Modified", modified)
            .with("x-goog-generation", self.generation)
            .with("x-goog-stored-content-length", self.bytes.len())
            .with("Content-Type", "application/octet-stream")
    }
}

/// What identifies bytes.
fn tag(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let text: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{text}\"")
}

fn invalid(message: &str) -> Answer {
    Answer::error(400, "InvalidArgument", message)
}

impl Bucket {
    pub(super) fn uploads(&self) -> usize {
        self.uploads.len()
    }

    pub(super) fn retain(&mut self, retains: bool) {
        self.is_retained = retains;
    }

    pub(super) fn backdate(&mut self, name: &str, when: Timestamp) {
        let meant = self.objects.iter_mut().filter(|(one, _)| one.contains(name));
        meant.for_each(|(_, object)| object.modified = when);
    }

    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        let path = request.path.strip_prefix('/').unwrap_or(&request.path);
        let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
        if bucket != BUCKET {
            return Answer::error(404, "NoSuchBucket", "The specified bucket does not exist.");
        }
        let strange = |name: &String| name.starts_with("x-goog-") && !KNOWN_HEADERS.contains(&name.as_str());
        if let Some(header) = request.headers().into_iter().find(strange) {
            return invalid(&format!("header {header} is not known here"));
        }
        if matches!(request.method.as_str(), "PUT" | "POST") && request.header("content-length").is_none() {
            return Answer::error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
        }
        let query: Vec<&str> = request.query.keys().map(String::as_str).collect();
        let condition = request.header("x-goog-if-generation-match");
        if name.is_empty() {
            return match (request.method.as_str(), &condition) {
                ("GET", None) => self.list(&request.query),
                _ => {
                    Answer::error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
                }
            };
        }
        if name.len() > 1024 || name.contains(['\r', '\n']) {
            return invalid("the name of the object");
        }
        if condition.is_some() && !query.is_empty() {
            return invalid("uploads of parts know no preconditions");
        }
        match (request.method.as_str(), query.as_slice()) {
            ("PUT", []) => self.put(name, condition.as_deref(), &request.body),
            ("GET" | "HEAD", []) => self.get(name, request),
            ("DELETE", []) => self.delete(name),
            ("POST", ["uploads"]) => self.begin(name),
            ("PUT", ["partNumber", "uploadId"]) => self.part(name, request),
            ("POST", ["uploadId"]) => self.complete(name, request),
            ("DELETE", ["uploadId"]) => match self.upload(name, request) {
                Ok(id) => {
                    self.uploads.remove(&id);
                    Answer::of(204, "")
                }
                Err(answer) => answer,
            },
            _ => invalid(&format!("{} with {query:?}", request.method)),
        }
    }

    /// Whether a policy is against it that an object goes or is replaced.
    fn kept(&self, name: &str) -> Result<(), Answer> {
        match self.is_retained && self.objects.contains_key(name) {
            true => {
                let message =
                    "The object is subject to the retention policy of its bucket and cannot be deleted or overwritten.";
                Err(Answer::error(403, "AccessDenied", message))
            }
            false => Ok(()),
        }
    }

    fn store(&mut self, name: &str, bytes: Vec<u8>) -> u64 {
        self.generation += 1;
        let object = Object { bytes, generation: self.generation, modified: Timestamp::now() };
        self.objects.insert(name.to_owned(), object);
        self.generation
    }

    fn put(&mut self, name: &str, condition: Option<&str>, bytes: &[u8]) -> Answer {
        let there = self.objects.get(name).map_or(0, |object| object.generation);
        match condition.map(str::parse::<u64>) {
            Some(Err(_)) => return invalid("x-goog-if-generation-match"),
            Some(Ok(wanted)) if wanted != there => {
                let message = "At least one of the pre-conditions you specified did not hold.";
                return Answer::error(412, "PreconditionFailed", message);
            }
            _ => {}
        }
        if let Err(answer) = self.kept(name) {
            return answer;
        }
        let generation = self.store(name, bytes.to_vec());
        Answer::of(200, "").with("ETag", tag(bytes)).with("x-goog-generation", generation)
    }

    fn get(&self, name: &str, request: &Request) -> Answer {
        let Some(object) = self.objects.get(name) else {
            return Answer::error(404, "NoSuchKey", "The specified key does not exist.");
        };
        if request.header("if-match").is_some_and(|wanted| wanted != tag(&object.bytes)) {
            return Answer::error(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold.",
            );
        }
        let size = object.bytes.len();
        let Some(range) = request.header("range") else {
            return object.described(Answer::of(200, object.bytes.clone()));
        };
        let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let Some((from, to)) = bounds.and_then(|(from, to)| {
            let from: usize = from.parse().ok()?;
            let to = if to.is_empty() { size.checked_sub(1)? } else { to.parse().ok()? };
            Some((from, to.min(size.checked_sub(1)?)))
        }) else {
            return Answer::error(416, "InvalidRange", "The requested range cannot be satisfied.");
        };
        match object.bytes.get(from..=to) {
            Some(part) => object
                .described(Answer::of(206, part.to_vec()))
                .with("Content-Range", format!("bytes {from}-{to}/{size}")),
            None => Answer::error(416, "InvalidRange", "The requested range cannot be satisfied."),
        }
    }

    fn delete(&mut self, name: &str) -> Answer {
        if let Err(answer) = self.kept(name) {
            return answer;
        }
        match self.objects.remove(name) {
            Some(_) => Answer::of(204, ""),
            None => Answer::error(404, "NoSuchKey", "The specified key does not exist."),
        }
    }

    fn begin(&mut self, name: &str) -> Answer {
        self.generation += 1;
        let id = format!("upload-{}", self.generation);
        self.uploads.insert(id.clone(), Upload { name: name.to_owned(), parts: BTreeMap::new() });
        Answer::of(
            200,
            format!(
                "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
                escaped(name)
            ),
        )
    }

    /// The upload that is meant.
    fn upload(&self, name: &str, request: &Request) -> Result<String, Answer> {
        let id = request.query.get("uploadId").cloned().unwrap_or_default();
        match self.uploads.get(&id) {
            Some(upload) if upload.name == name => Ok(id),
            _ => Err(Answer::error(404, "NoSuchUpload", "The specified multipart upload does not exist.")),
        }
    }

    fn part(&mut self, name: &str, request: &Request) -> Answer {
        let id = match self.upload(name, request) {
            Ok(id) => id,
            Err(answer) => return answer,
        };
        let number = request.query.get("partNumber").and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|number| (1..=MOST_PARTS).contains(number)) else {
            return invalid("partNumber");
        };
        if let Some(upload) = self.uploads.get_mut(&id) {
            upload.parts.insert(number, request.body.clone());
        }
        Answer::of(200, "").with("ETag", tag(&request.body))
    }

    fn complete(&mut self, name: &str, request: &Request) -> Answer {
        let id = match self.upload(name, request) {
            Ok(id) => id,
            Err(answer) => return answer,
        };
        let Some(upload) = self.uploads.get(&id) else { return invalid("uploadId") };
        let Some(listed) = parts(&String::from_utf8_lossy(&request.body)) else {
            return Answer::error(400, "MalformedCompleteMultipartUploadRequest", "the parts cannot be read");
        };
        if listed.is_empty() || !listed.windows(2).all(|two| two.first().map(|one| one.0) < two.last().map(|one| one.0))
        {
            return Answer::error(400, "InvalidPartOrder", "The list of parts was not in ascending order.");
        }
        let mut bytes = Vec::new();
        for (index, (number, etag)) in listed.iter().enumerate() {
            let Some(part) = upload.parts.get(number).filter(|part| tag(part) == *etag) else {
                return Answer::error(400, "InvalidPart", "One or more of the specified parts could not be found.");
            };
            if index + 1 < listed.len() && part.len() < SMALLEST_PART {
                return Answer::error(400, "EntityTooSmall", "A part is smaller than the smallest allowed.");
            }
            bytes.extend_from_slice(part);
        }
        if let Err(answer) = self.kept(name) {
            return answer;
        }
        self.uploads.remove(&id);
        let etag = tag(&bytes);
        let generation = self.store(name, bytes);
        let document = format!(
            "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{}</Key><ETag>{etag}</ETag></CompleteMultipartUploadResult>",
            escaped(name)
        );
        Answer::of(200, document).with("x-goog-generation", generation)
    }

    /// A page of names in the order of their bytes. What lies behind a delimiter is told as one.
    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        const KNOWN: [&str; 5] = ["continuation-token", "delimiter", "list-type", "max-keys", "prefix"];
        if let Some(name) = query.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return invalid(&format!("parameter {name} is not known here"));
        }
        let get = |name: &str| query.get(name).map(String::as_str);
        if get("list-type") != Some("2") {
            return invalid("list-type");
        }
        let most = match get("max-keys").map(str::parse::<usize>) {
            None => PAGE,
            Some(Ok(most)) => most.min(PAGE),
            Some(Err(_)) => return invalid("max-keys"),
        };
        let (prefix, after) = (get("prefix").unwrap_or_default(), get("continuation-token").unwrap_or_default());
        let (mut entries, mut folders, mut last, mut more) = (String::new(), BTreeSet::new(), None, false);
        let mut count = 0;
        for (name, object) in self.objects.iter().filter(|(name, _)| name.starts_with(prefix)) {
            let rest = name.get(prefix.len()..).unwrap_or_default();
            let folder = get("delimiter").filter(|text| !text.is_empty()).and_then(|delimiter| {
                rest.find(delimiter)
                    .map(|at| format!("{prefix}{}", rest.get(..at + delimiter.len()).unwrap_or_default()))
            });
            let key = folder.clone().unwrap_or_else(|| name.clone());
            if key.as_str() <= after || folder.as_ref().is_some_and(|folder| folders.contains(folder)) {
                continue;
            }
            if count == most {
                more = true;
                break;
            }
            count += 1;
            last = Some(key.clone());
            match folder {
                Some(folder) => {
                    entries.push_str(&format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escaped(&folder)));
                    folders.insert(folder);
                }
                None => entries.push_str(&format!(
                    "<Contents><Key>{}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration><LastModified>{:.3}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                    escaped(name),
                    object.generation,
                    object.modified,
                    tag(&object.bytes),
                    object.bytes.len()
                )),
            }
        }
        let token = last
            .filter(|_| more)
            .map(|last| format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(&last)));
        Answer::of(
            200,
            format!(
                "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Name>{BUCKET}</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{more}</IsTruncated>{}{entries}</ListBucketResult>",
                escaped(prefix),
                token.unwrap_or_default()
            ),
        )
    }
}

/// The numbers and tags of a request that completes an upload.
fn parts(document: &str) -> Option<Vec<(usize, String)>> {
    let element = |text: &str, name: &str| -> Option<String> {
        let (_, after) = text.split_once(&format!("<{name}>"))?;
        Some(after.split_once(&format!("</{name}>"))?.0.replace("&quot;", "\""))
    };
    document.contains("<CompleteMultipartUpload").then_some(())?;
    let each = document.split("<Part>").skip(1);
    each.map(|part| Some((element(part, "PartNumber")?.parse().ok()?, element(part, "ETag")?))).collect()
}
