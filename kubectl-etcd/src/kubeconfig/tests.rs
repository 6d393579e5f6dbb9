//! What client-go takes for a kubeconfig, case by case; `tests/e2e/tests/kubeconfig.rs` compares with the real kubectl.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

use super::*;

fn certificate() -> String {
    rcgen::generate_simple_self_signed(vec!["api".to_owned()]).expect("a certificate").cert.pem()
}

/// The token and the authority of a file with one user and one cluster.
fn read_back(text: &[u8]) -> Result<(Option<String>, Option<String>), String> {
    let config = parse(text)?;
    let user = config.auth_infos.first().and_then(|named| named.auth_info.clone()).unwrap_or_default();
    let cluster = config.clusters.first().and_then(|named| named.cluster.clone()).unwrap_or_default();
    Ok((user.token.map(|token| token.expose_secret().to_owned()), cluster.certificate_authority_data))
}

#[test]
fn every_form_of_a_file_is_read() {
    let json = r#"{"apiVersion": "v1", "kind": "Config", "users": [{"name": "x", "user": {"token": "t"}}]}"#;
    let lines = "apiVersion: v1\r\nkind: Config\r\nusers:\r\n- name: x\r\n  user:\r\n    token: t\r\n";
    let wide = |order: fn(u16) -> [u8; 2]| json.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let bare = r#"{"users": [{"user": {"token": "t"}}]}"#;
    for (what, text) in [
        ("JSON", json.into()),
        ("CRLF", lines.into()),
        ("BOM", [&[0xef, 0xbb, 0xbf], json.as_bytes()].concat()),
        ("UTF-16LE", [&[0xff, 0xfe][..], &wide(u16::to_le_bytes)].concat()),
        ("UTF-16BE", [&[0xfe, 0xff][..], &wide(u16::to_be_bytes)].concat()),
        ("no kind and no name", bare.into()),
        ("a second document", [json, "\n---\n{users: [{name: y, user: {token: u}}]}\n"].concat().into()),
        ("an anchor", "a: &u {token: t}\nusers: [{name: x, user: *u}]".into()),
        ("a merge key", "a: &u {token: t}\nusers: [{name: x, user: {<<: *u}}]".into()),
        ("a field that is there twice", "users: [{name: x, user: {token: s, token: t}}]".into()),
        (
            "what is not known",
            [&json[..json.len() - 1], r#", "a": [1], "extensions": null, "preferences": {"b": 2}}"#].concat().into(),
        ),
        (
            "null",
            [&json[..json.len() - 1], r#", "clusters": null, "contexts": [{"name": "x", "context": null}]}"#]
                .concat()
                .into(),
        ),
    ] {
        let text: Vec<u8> = text;
        assert_eq!(read_back(&text).expect(what).0.as_deref(), Some("t"), "{what}");
    }
    for empty in ["", "\n", "---\n", "{}"] {
        assert_eq!(read_back(empty.as_bytes()).expect("nothing"), (None, None), "{empty:?}");
    }
}

#[test]
fn what_is_no_kubeconfig_is_refused_by_the_name_of_its_field() {
    for (text, why) in [
        ("{", "it is neither YAML nor JSON"),
        ("[]", "it does not have the form of a kubeconfig"),
        ("hello", "it does not have the form of a kubeconfig"),
        ("apiVersion: v2", "its apiVersion is \"v2\""),
        ("kind: Secret", "its kind is \"Secret\""),
        ("users: [{name: x, user: {token: 123456}}]", "users[x].user.token is a number, not a text in quotes"),
        ("users: [{name: x, user: s3cret}]", "users[x].user is a text, not a map"),
        ("users: [{name: x, user: {as-groups: s3cret}}]", "users[x].user.as-groups is a text"),
        ("users: [{name: x, user: {client-key-data: 's3cret!'}}]", "users[x].user.client-key-data is not base64"),
        ("users: [{name: x}, {name: x}]", "users has the name \"x\" twice"),
        ("clusters: {x: y}", "clusters is a map, not a list"),
        ("clusters: [{name: x, cluster: {disable-compression: s3cret}}]", "is a text, not true or false"),
    ] {
        let refused = read_back(text.as_bytes()).expect_err(text);
        assert!(refused.contains(why), "{text}: {refused}");
        assert!(!refused.contains("s3cret") && !refused.contains("123456"), "{refused}");
    }
    assert!(read_back(b"\xff\xff\xff").is_err() && read_back(b"\xff\xfea").is_err());
}

#[test]
fn base64_comes_in_many_shapes() {
    let pem = certificate();
    let (plain, once) = (STANDARD.encode(&pem), |value: &str| {
        format!("clusters: [{{cluster: {{certificate-authority-data: {value}}}}}]")
    });
    let lines: Vec<&str> = plain.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    let block = |tag: &str, lines: &[&str], end: &str| {
        let lines: String = lines.iter().map(|line| format!("      {line}{end}")).collect();
        format!("clusters:\n- cluster:\n    certificate-authority-data: {tag}|\n{lines}")
    };
    let twice = STANDARD.encode(&plain);
    for (what, text) in [
        ("one line", once(&plain)),
        ("a line end behind it", once(&format!("\"{plain}\\r\\n\""))),
        ("several lines", block("", &lines, "\n")),
        ("several lines, CRLF", block("", &lines, "\r\n")),
        ("!!binary", once(&format!("!!binary {plain}"))),
        ("!!binary in several lines", block("!!binary ", &lines, "\n")),
        ("!!binary as PyYAML writes base64", once(&format!("!!binary {twice}"))),
    ] {
        assert_eq!(read_back(text.as_bytes()).expect(what).1, Some(plain.clone()), "{what}");
    }
    assert_eq!(read_back(once("''").as_bytes()).expect("nothing").1, None);
}

#[test]
fn words_of_yaml_1_1_are_booleans() {
    for (word, meant) in [("yes", true), ("On", true), ("true", true), ("no", false), ("\"off\"", false)] {
        let text = format!("clusters: [{{cluster: {{insecure-skip-tls-verify: {word}}}}}]");
        let config = parse(text.as_bytes()).expect(word);
        let cluster = config.clusters[0].cluster.as_ref().expect("a cluster");
        assert_eq!(cluster.insecure_skip_tls_verify, Some(meant), "{word}");
    }
}

#[test]
fn files_are_merged_and_their_paths_are_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    };
    let first =
        write("a/one", "current-context: ''\nusers: [{name: x, user: {tokenFile: t, exec: {command: ./login}}}]");
    let second = write(
        "b/two",
        "current-context: y\nusers: [{name: x, user: {token: u}}, {name: y, user: {client-key: ../k, exec: {command: login}}}]\n\
         clusters: [{name: x, cluster: {certificate-authority: /ca}}]",
    );
    let config = merged(&[first, folder.path().join("missing"), second.clone()]).expect("merged");
    assert_eq!(config.current_context.as_deref(), Some("y"));
    let users: Vec<_> = config.auth_infos.iter().filter_map(|named| named.auth_info.as_ref()).collect();
    let inside = |path: &str| Some(folder.path().join(path).to_string_lossy().into_owned());
    assert_eq!((users.len(), users[0].token_file.clone()), (2, inside("a/t")));
    assert!(users[0].token.is_none(), "the first file's user counts whole");
    assert_eq!(users[0].exec.as_ref().expect("a program").command, inside("a/./login"));
    assert_eq!(
        (users[1].client_key.clone(), users[1].exec.as_ref().expect("a program").command.as_deref()),
        (inside("b/../k"), Some("login"))
    );
    let cluster = config.clusters[0].cluster.as_ref().expect("a cluster");
    assert_eq!(cluster.certificate_authority.as_deref(), Some("/ca"));

    let bad = write("bad", "{[");
    let refused = merged(&[second, bad.clone()]).expect_err("one is bad");
    assert_eq!(refused.message, format!("cannot read the kubeconfig file {}", bad.display()));
    assert!(merged(&[folder.path().to_owned()]).is_err(), "a folder is no file");
    assert!(read(&folder.path().join("missing")).is_err(), "a file that is named must be there");
}
