//! Values that no API server wrote: errors that say where, and nothing of what is in them.

mod support;

use etcd_objects::schema::Schema;
use etcd_objects::{DecodeError, EncodeError, Fault, UnknownField, decode, decode_metadata, encode, surely_decodes};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::instances::{Full, object};

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn stored(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
}

fn fault(raw: &[u8]) -> (usize, String, Fault) {
    match decode(&stored("v1", "Pod", raw)) {
        Err(DecodeError::Malformed { offset, path, fault }) => (offset, path, fault),
        other => panic!("{other:?}"),
    }
}

/// What the quick check is sure of is so.
fn quick_is_right(value: &[u8]) {
    let decoded = decode(value);
    assert!(!surely_decodes(value) || decoded.is_ok(), "{decoded:?}");
}

/// An object of which every text is the same, which must not appear anywhere.
const MARK: &str = "hunter2";

fn marked(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("text") => MARK.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(marked),
        Value::Object(map) => map.values_mut().for_each(marked),
        _ => {}
    }
}

fn marked_object(api_version: &str, kind: &str) -> Vec<u8> {
    let message = Schema::kubernetes().kind(api_version, kind).expect("a kind");
    let mut json = object(message, &mut Full::of(None));
    marked(&mut json);
    encode(&json, api_version, kind).expect("encoded")
}

fn says_nothing(value: &[u8]) {
    quick_is_right(value);
    match decode(value) {
        Ok(object) => assert!(!format!("{object:?}").contains(MARK)),
        Err(error) => assert!(!format!("{error} {error:?}").contains(MARK), "{error}"),
    }
}

#[test]
fn cut_anywhere() {
    for (api_version, kind) in
        [("v1", "Secret"), ("v1", "Pod"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")]
    {
        let whole = marked_object(api_version, kind);
        assert!(decode(&whole).is_ok());
        // Without the two empty texts at its end it is as good as with them.
        let step = whole.len() / 4000 + 1;
        for length in (0..whole.len() - 4).step_by(step) {
            let cut = whole.get(..length).unwrap_or_default();
            assert!(decode(cut).is_err(), "{kind} {length}");
            says_nothing(cut);
        }
    }
}

#[test]
fn faults_and_where_they_are() {
    let metadata = |inside: &[u8]| field(1, inside);
    let container = |inside: &[u8]| field(2, &[field(2, &field(1, b"a")), field(2, inside)].concat());
    // `k8s\0`, the type and what is before the object take 17 bytes.
    type Case = (Vec<u8>, (usize, &'static str, Fault));
    let cases: [Case; 13] = [
        (vec![0x0A, 0xFF], (19, "", Fault::Truncated)),
        (vec![0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], (28, "", Fault::Truncated)),
        (vec![0xFF; 11], (17, "", Fault::Varint)),
        (vec![0x02, 0x00], (17, "", Fault::FieldNumber)),
        (vec![0x0B, 0x00], (17, "", Fault::WireType)),
        (vec![0x08, 0x00], (17, "metadata", Fault::WireType)),
        (metadata(&field(1, b"a\xff")), (22, "metadata.name", Fault::Utf8)),
        (container(&field(1, b"\xff")), (28, "spec.containers[1].name", Fault::Utf8)),
        ([metadata(b""), metadata(b"")].concat(), (19, "metadata", Fault::Repeated)),
        (
            metadata(&field(8, b"\x08\xff\xff\xff\xff\xff\xff\xff\x7f")),
            (21, "metadata.creationTimestamp", Fault::Range),
        ),
        (metadata(&field(11, &[field(1, b"k"), field(2, b"\xff")].concat())), (26, "metadata.labels{}", Fault::Utf8)),
        (
            metadata(&field(17, &field(7, &field(1, b"{")))),
            (27, "metadata.managedFields[0].fieldsV1", Fault::Truncated),
        ),
        (metadata(&field(17, &field(7, &field(1, b"{x")))), (27, "metadata.managedFields[0].fieldsV1", Fault::Json)),
    ];
    for (raw, (offset, path, expected)) in cases {
        assert!(!surely_decodes(&stored("v1", "Pod", &raw)));
        assert_eq!(fault(&raw), (offset, path.to_owned(), expected));
    }
    let text = decode(&stored("v1", "Pod", &metadata(&field(1, b"\xff")))).expect_err("an error").to_string();
    assert_eq!(text, "byte 21 (metadata.name): text that is not UTF-8");
}

#[test]
fn metadata_of_a_kind_that_is_not_known() {
    let named = field(1, &[field(1, b"web"), field(3, b"shop"), field(5, b"u-1")].concat());
    let value = |raw: &[u8]| stored("new.k8s.io/v1", "NewThing", raw);
    let object = decode_metadata(&value(&[named.clone(), field(2, b"spec"), field(2, b"x"), field(3, b"")].concat()));
    let object = object.expect("metadata");
    assert_eq!((object.api_version.as_str(), object.kind.as_str()), ("new.k8s.io/v1", "NewThing"));
    assert_eq!((object.name(), object.namespace(), object.uid()), (Some("web"), Some("shop"), Some("u-1")));
    let unknown = |number, count| UnknownField { path: String::new(), number, wire_type: 2, count };
    assert_eq!(object.unknown, [unknown(2, 2), unknown(3, 1)]);
    let says = "no built-in kind NewThing of new.k8s.io/v1 is known";
    // Text, nothing, metadata without a name: it may be anything.
    for raw in [field(2, b"hunter2"), Vec::new(), field(1, &field(3, b"hunter2"))] {
        assert!(decode_metadata(&value(&raw)).is_err_and(|error| error.to_string() == says), "{raw:?}");
    }
    for value in
        [value(&field(1, b"hunter2")), value(&[named.clone(), named].concat()), b"{}".to_vec(), b"k8s\0".to_vec()]
    {
        assert!(decode_metadata(&value).is_err_and(|error| !error.to_string().contains("hunter2")), "{value:?}");
    }
}

#[test]
fn what_is_no_object() {
    let nothing = [
        &b""[..],
        b"12345",
        b"{",
        b"{} {}",
        b"[]",
        b"{\"a\": \"\xFF\"}",
        b"{\"a\": \"\\ud800\"}",
        b"{\"a\": 1e999}",
        b"k8s\0",
        b"k8s:enc:",
    ];
    assert!(nothing.iter().all(|value| !surely_decodes(value) && decode(value).is_err()));
    assert_eq!(decode(b""), Err(DecodeError::UnknownFormat));
    assert_eq!(decode(b"12345"), Err(DecodeError::UnknownFormat));
    let json = |offset, error| Err(DecodeError::Malformed { offset, path: String::new(), fault: error });
    assert_eq!(decode(b"{\"kind\": \"hunter2"), json(17, Fault::Truncated));
    assert_eq!(decode(b"{\"kind\": \"a\",\n\"b\": hunter2}"), json(19, Fault::Json));
    assert_eq!(decode(b"\xd9\xd9\xf7\xa1"), json(4, Fault::Cbor));
    assert_eq!(decode(b"\xd9\xd9\xf7\x05"), Err(DecodeError::UnknownFormat));
    assert_eq!(decode(&[b"{\"a\":".repeat(5000), vec![b'0']].concat()), json(635, Fault::Json));
    assert!(matches!(decode(b"k8s:enc:kms:v2:vault:x"), Err(DecodeError::Encrypted(key)) if key.name == "vault"));
    let unknown =
        |api_version: &str, kind: &str| decode(&stored(api_version, kind, b"")).expect_err("unknown").to_string();
    assert_eq!(unknown("apps/v9", "Deployment"), "no built-in kind Deployment of apps/v9 is known");
    assert_eq!(unknown("\x1b[2J", &"x".repeat(1000)), "no built-in kind ? of ? is known");
    let encoded = [stored("v1", "Pod", b""), field(3, b"gzip")].concat();
    assert!(matches!(decode(&encoded), Err(DecodeError::Malformed { fault: Fault::Encoding, .. })));
}

#[test]
fn fields_of_a_newer_kubernetes_are_told() {
    let future = [field(99, b"hunter2"), [varint(98 << 3), varint(7)].concat(), vec![0xA5, 0x06, 1, 2, 3, 4]].concat();
    let container = [field(1, b"a"), future.clone()].concat();
    let spec = [field(2, &container), field(2, &container)].concat();
    let label = [field(1, b"k"), field(2, b"v"), field(3, b"")].concat();
    let raw = [field(1, &field(11, &label)), field(2, &spec), field(77, b"")].concat();
    let found = decode(&stored("v1", "Pod", &raw)).expect("an object");
    let unknown = |path: &str, number, wire_type, count| UnknownField { path: path.into(), number, wire_type, count };
    let expected = [
        unknown("", 77, 2, 1),
        unknown("metadata.labels{}", 3, 2, 1),
        unknown("spec.containers[]", 98, 0, 2),
        unknown("spec.containers[]", 99, 2, 2),
        unknown("spec.containers[]", 100, 5, 2),
    ];
    assert_eq!(found.unknown, expected);
    assert_eq!(found.json.pointer("/spec/containers/1"), Some(&json!({"name": "a", "resources": {}})));
    let many: Vec<u8> = (200..1500).flat_map(|number| field(number, b"")).collect();
    assert_eq!(fault(&many).2, Fault::TooManyUnknown);
}

#[test]
fn nesting_has_an_end() {
    let schema = Schema::kubernetes();
    let props = schema.messages().iter().find(|m| m.package == "apiextensions/v1" && m.name == "JSONSchemaProps");
    let not = props.and_then(|props| props.fields.iter().find(|f| f.json == "not")).expect("it").number;
    let nested = |depth: usize| {
        let mut raw = field(5, b"string");
        for _ in 0..depth {
            raw = field(not, &raw);
        }
        let version = field(4, &field(1, &raw));
        stored("apiextensions.k8s.io/v1", "CustomResourceDefinition", &field(2, &field(7, &version)))
    };
    let deep = decode(&nested(100)).expect("deep, but not too deep");
    assert!(encode(&deep.json, &deep.api_version, &deep.kind).is_ok());
    assert!(matches!(decode(&nested(200)), Err(DecodeError::Malformed { fault: Fault::Depth, .. })));
    assert!(matches!(decode(&nested(20_000)), Err(DecodeError::Malformed { fault: Fault::Depth, .. })));

    // Objects in objects, each in an extension of the one around it.
    let mut inner = stored("v1", "ConfigMap", b"");
    for _ in 0..1000 {
        inner = stored("apps/v1", "ControllerRevision", &field(2, &field(1, &inner)));
    }
    assert!(matches!(decode(&inner), Err(DecodeError::Malformed { fault: Fault::Depth, .. })));
    assert!(surely_decodes(&nested(30)) && !surely_decodes(&nested(200)) && !surely_decodes(&inner));
    let pod = stored("apps/v1", "ControllerRevision", &field(2, &field(1, &stored("v1", "Pod", &field(1, b"")))));
    let data = decode(&pod).expect("an object").json["data"].take();
    assert_eq!((&data["kind"], &data["metadata"]), (&json!("Pod"), &json!({})));
}

#[test]
fn what_cannot_be_stored() {
    let error = |json: Value| encode(&json, "v1", "Pod").expect_err("an error");
    let wrong = |path: &str, expected| EncodeError::Type { path: path.into(), expected };
    assert_eq!(error(json!({"spec": {"containers": {}}})), wrong("spec.containers", "a list"));
    assert_eq!(error(json!({"spec": {"containers": [{"name": 5}]}})), wrong("spec.containers[0].name", "text"));
    assert_eq!(
        error(json!({"spec": {"priority": 1_i64 << 40}})),
        wrong("spec.priority", "a whole number within its range")
    );
    assert_eq!(error(json!({"metadata": {"creationTimestamp": MARK}})), wrong("metadata.creationTimestamp", "a time"));
    assert_eq!(error(json!({"spec": {MARK: 1}})), EncodeError::UnknownField("spec".into()));
    assert_eq!(error(json!({"spec": {MARK: 1}})).to_string(), "spec: a field that is not known");
    assert_eq!(error(json!(MARK)), wrong("", "an object"));
    let secret = encode(&json!({"data": {"password": "%"}}), "v1", "Secret").expect_err("an error");
    assert_eq!(secret.to_string(), "data{}: not base64");
    assert!(matches!(encode(&json!({}), "example.com/v1", "Widget"), Err(EncodeError::UnknownKind { .. })));
}

fn any_kind() -> impl Strategy<Value = (&'static str, &'static str)> {
    let kinds: Vec<_> = Schema::kubernetes().messages().iter().filter(|message| message.is_kind).collect();
    (0..kinds.len()).prop_map(move |index| kinds.get(index).map(|kind| (kind.api_version, kind.name)).expect("within"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), prefix in 0..4_usize) {
        let prefixes: [&[u8]; 4] = [b"", b"k8s\0", b"\xd9\xd9\xf7", b"k8s:enc:"];
        let value = [prefixes.get(prefix).copied().unwrap_or_default(), &bytes].concat();
        quick_is_right(&value);
    }

    #[test]
    fn any_bytes_as_any_kind((api_version, kind) in any_kind(), raw in proptest::collection::vec(any::<u8>(), 0..300)) {
        quick_is_right(&stored(api_version, kind, &raw));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_byte_changed((api_version, kind) in any_kind(), at: proptest::sample::Index, byte: u8, cut: proptest::sample::Index) {
        let mut value = marked_object(api_version, kind);
        let index = at.index(value.len());
        if let Some(place) = value.get_mut(index) {
            *place = byte;
        }
        says_nothing(&value);
        value.truncate(cut.index(value.len()));
        says_nothing(&value);
    }
}
