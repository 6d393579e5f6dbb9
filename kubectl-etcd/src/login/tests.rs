//! Tokens from everywhere, and login programs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kube::config::{AuthProviderConfig, ExecConfig, ExecInteractiveMode};
use serde_json::json;

use super::*;

fn user(token: Option<&str>, file: Option<&Path>) -> AuthInfo {
    AuthInfo {
        token: token.map(|token| token.to_owned().into()),
        token_file: file.map(|file| file.to_string_lossy().into_owned()),
        ..AuthInfo::default()
    }
}

/// What is sent for a user.
async fn sent(mut user: AuthInfo) -> Outcome<Option<String>> {
    let login = Login::prepare(&mut user, "anna", &Cluster::default()).await?;
    let header = login.header().await?;
    Ok(header.map(|header| header.to_str().expect("ASCII").to_owned()))
}

#[tokio::test]
async fn tokens_are_sent_as_go_sends_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let (good, empty, broken) = (file("good", " abc\r\n"), file("empty", "\n"), file("broken", "s3cret\nb"));
    let missing = folder.path().join("missing");
    for (user, expected) in [
        (user(Some("t"), None), "Bearer t"),
        (user(Some("t "), None), "Bearer t"),
        (user(None, Some(&good)), "Bearer abc"),
        // The file counts before the token, as long as it can be read.
        (user(Some("t"), Some(&good)), "Bearer abc"),
        (user(Some("t"), Some(&missing)), "Bearer t"),
        (user(Some("t"), Some(&empty)), "Bearer t"),
    ] {
        assert_eq!(sent(user).await.expect(expected).as_deref(), Some(expected));
    }
    for (user, field) in [
        (user(Some("s3cret\n"), None), "token of the user \"anna\""),
        (user(Some("s3c\rret"), None), "token of the user \"anna\""),
        (user(None, Some(&broken)), "the token file"),
        (user(None, Some(&empty)), "the token file"),
        (user(None, Some(&missing)), "the token file"),
    ] {
        let refused = sent(user).await.expect_err(field);
        assert!(refused.message.contains(field), "{refused:?}");
        assert!(!format!("{refused:?}").contains("s3c"), "{refused:?}");
    }
    assert_eq!(sent(AuthInfo::default()).await.expect("nobody"), None);
}

#[tokio::test]
async fn a_token_file_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "one\n").expect("a file");
    let login = Login::prepare(&mut user(None, Some(&file)), "anna", &Cluster::default()).await.expect("a token");
    let now = async || login.header().await.expect("a header").expect("a token").to_str().expect("ASCII").to_owned();
    let over = async || login.0.lock().await.until = Until::Then(Instant::now());
    std::fs::write(&file, "two\n").expect("a file");
    assert_eq!(now().await, "Bearer one");
    over().await;
    assert_eq!(now().await, "Bearer two");
    assert!(matches!(login.0.lock().await.until, Until::Then(then) if then > Instant::now()));
    std::fs::remove_file(&file).expect("removed");
    over().await;
    assert_eq!(now().await, "Bearer two", "the last one stays when the file goes");
}

#[test]
fn ways_to_log_in_that_exclude_each_other_are_refused() {
    let basic = AuthInfo { username: Some("u".into()), ..AuthInfo::default() };
    let exec = AuthInfo { exec: Some(ExecConfig::default()), ..AuthInfo::default() };
    let cert = AuthInfo { client_certificate: Some("/c".into()), client_key: Some("/k".into()), ..AuthInfo::default() };
    let provider = |name: &str| Some(AuthProviderConfig { name: name.to_owned(), ..AuthProviderConfig::default() });
    for good in [
        &basic,
        &exec,
        &cert,
        &user(Some("t"), None),
        &AuthInfo { auth_provider: provider("oidc"), ..AuthInfo::default() },
    ] {
        check(good, "anna").expect("one way");
    }
    for (bad, why) in [
        (AuthInfo { token: Some("t".to_owned().into()), ..basic.clone() }, "only one of them"),
        (AuthInfo { token_file: Some("/t".into()), ..basic.clone() }, "only one of them"),
        (AuthInfo { auth_provider: provider("oidc"), ..exec.clone() }, "both exec and auth-provider"),
        (AuthInfo { client_certificate_data: Some("eA==".into()), ..cert.clone() }, "client-certificate-data"),
        (AuthInfo { client_key: None, ..cert.clone() }, "without client-key"),
        (AuthInfo { client_key_data: Some("eA==".to_owned().into()), ..cert.clone() }, "client-key-data"),
        (AuthInfo { auth_provider: provider("gcp"), ..AuthInfo::default() }, "removed"),
        (AuthInfo { auth_provider: provider("azure"), ..AuthInfo::default() }, "removed"),
        (AuthInfo { auth_provider: provider("openstack"), ..AuthInfo::default() }, "not known"),
    ] {
        let refused = check(&bad, "anna").expect_err(why);
        assert!(refused.causes[0].contains(why), "{refused:?}");
    }
}

/// A login program in a folder that prints a text, and records its input.
struct Program {
    folder: tempfile::TempDir,
    exec: ExecConfig,
}

impl Program {
    fn new(prints: &str, ends: u8) -> Program {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("login");
        std::fs::write(folder.path().join("prints"), prints).expect("a file");
        let script = format!(
            "#!/bin/sh\ncd \"${{0%/*}}\"\necho \"$KUBERNETES_EXEC_INFO $1 $A\" >> told\ncat prints\nexit {ends}\n"
        );
        std::fs::write(&path, script).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is made executable");
        let exec = ExecConfig {
            api_version: Some("client.authentication.k8s.io/v1".into()),
            command: Some(path.to_string_lossy().into_owned()),
            interactive_mode: Some(ExecInteractiveMode::Never),
            ..ExecConfig::default()
        };
        Program { folder, exec }
    }

    fn user(&self) -> AuthInfo {
        AuthInfo { exec: Some(self.exec.clone()), ..AuthInfo::default() }
    }

    /// The recorded input, a line a run.
    fn told(&self) -> Vec<String> {
        let told = std::fs::read_to_string(self.folder.path().join("told")).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }
}

fn credential(version: &str, status: &serde_json::Value) -> String {
    let version = format!("client.authentication.k8s.io/{version}");
    json!({"apiVersion": version, "kind": "ExecCredential", "status": status}).to_string()
}

#[tokio::test]
async fn a_login_program_is_run_once_and_its_token_sent() {
    let mut program = Program::new(&credential("v1", &json!({"token": "abc\r\n"})), 0);
    program.exec.args = Some(vec!["arg".into()]);
    program.exec.env = Some(vec![[("name".to_owned(), "A".to_owned()), ("value".to_owned(), "b".to_owned())].into()]);
    program.exec.provide_cluster_info = true;
    let extension =
        kube::config::NamedExtension { name: "client.authentication.k8s.io/exec".into(), extension: json!({"k": 1}) };
    let cluster = Cluster {
        server: Some("https://api".into()),
        tls_server_name: Some("name".into()),
        certificate_authority_data: Some("QUJD".into()),
        extensions: Some(vec![extension]),
        ..Cluster::default()
    };
    let login = Login::prepare(&mut program.user(), "anna", &cluster).await.expect("a token");
    for _ in 0..3 {
        assert_eq!(login.clone().header().await.expect("a header").expect("a token"), "Bearer abc");
    }
    let told = program.told();
    assert_eq!(told.len(), 1);
    let info = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "spec": {"interactive": false,
        "cluster": {"server": "https://api", "tls-server-name": "name", "certificate-authority-data": "QUJD", "config": {"k": 1}}}});
    assert_eq!(told[0], format!("{info} arg b"));
}

#[tokio::test]
async fn a_login_program_is_run_again_when_its_token_is_over() {
    let over = json!({"token": "abc", "expirationTimestamp": "2020-01-01T00:00:00Z"});
    let program = Program::new(&credential("v1", &over), 0);
    let login = Login::prepare(&mut program.user(), "anna", &Cluster::default()).await.expect("a token");
    std::fs::write(program.folder.path().join("prints"), credential("v1", &json!({"token": "def"}))).expect("a file");
    for _ in 0..2 {
        assert_eq!(login.header().await.expect("a header").expect("a token"), "Bearer def");
    }
    assert_eq!(program.told().len(), 2);
}

#[tokio::test]
async fn certificate_and_token_of_a_login_program_both_count() {
    let status = json!({"token": "t", "clientCertificateData": "CERT", "clientKeyData": "KEY"});
    let program = Program::new(&credential("v1", &status), 0);
    let mut user = program.user();
    let login = Login::prepare(&mut user, "anna", &Cluster::default()).await.expect("credentials");
    assert_eq!(login.header().await.expect("a header").expect("a token"), "Bearer t");
    assert_eq!(user.client_certificate_data.as_deref(), Some("Q0VSVA=="));
    assert_eq!(user.client_key_data.expect("a key").expose_secret(), "S0VZ");
}

#[tokio::test]
async fn other_credentials_come_before_a_login_program() {
    let program = Program::new("", 1);
    let cert = AuthInfo { client_certificate: Some("/c".into()), client_key: Some("/k".into()), ..program.user() };
    let basic = AuthInfo { username: Some("u".into()), ..program.user() };
    let token = AuthInfo { token: Some("t".to_owned().into()), ..program.user() };
    assert_eq!(sent(cert).await.expect("a certificate"), None);
    assert_eq!(sent(basic).await.expect("a password"), None);
    assert_eq!(sent(token).await.expect("a token").as_deref(), Some("Bearer t"));
    assert!(program.told().is_empty());
}

#[tokio::test]
async fn a_login_program_that_gives_nothing_usable_is_an_error_that_shows_nothing_of_it() {
    for (prints, ends, why) in [
        (credential("v1", &json!({"token": "s3c\nret"})), 0, "control character"),
        (credential("v1", &json!({})), 0, "neither a token nor a certificate"),
        (credential("v1", &json!({"clientKeyData": "s3cret"})), 0, "only one of certificate and key"),
        (credential("v1", &json!({"token": "s3cret", "expirationTimestamp": "soon"})), 0, "expirationTimestamp"),
        (credential("v1beta1", &json!({"token": "s3cret"})), 0, "answers with"),
        (json!({"apiVersion": "client.authentication.k8s.io/v1"}).to_string(), 0, "no status"),
        (json!({"kind": "Secret"}).to_string(), 0, "another kind"),
        ("s3cret".to_owned(), 0, "not an ExecCredential"),
        (credential("v1", &json!({"token": "s3cret"})), 3, "exit status: 3"),
    ] {
        let refused = sent(Program::new(&prints, ends).user()).await.expect_err(why);
        let text = format!("{refused:?}");
        assert!(text.contains(why) && !text.contains("s3c"), "{text}");
    }
    type Change = fn(&mut ExecConfig);
    let changes: [(Change, &str); 6] = [
        (|exec| exec.command = None, "no command"),
        (|exec| exec.api_version = None, "no apiVersion"),
        (|exec| exec.api_version = Some("client.authentication.k8s.io/v1alpha1".into()), "v1alpha1"),
        (|exec| exec.interactive_mode = None, "no interactiveMode"),
        (|exec| exec.env = Some(vec![[("value".to_owned(), "b".to_owned())].into()]), "without a name"),
        (|exec| exec.command = Some("/nope/login".into()), "/nope/login"),
    ];
    for (change, why) in changes {
        let mut program = Program::new(&credential("v1", &json!({"token": "t"})), 0);
        program.exec.install_hint = Some("install it".into());
        change(&mut program.exec);
        let refused = sent(program.user()).await.expect_err(why);
        assert!(refused.one_line().contains(why), "{refused:?}");
        assert_eq!(refused.hints.len(), usize::from(why == "/nope/login"), "{refused:?}");
    }
    // The older version leaves the mode open.
    let mut program = Program::new(&credential("v1beta1", &json!({"token": "t"})), 0);
    (program.exec.api_version, program.exec.interactive_mode) =
        (Some("client.authentication.k8s.io/v1beta1".into()), None);
    assert_eq!(sent(program.user()).await.expect("a token").as_deref(), Some("Bearer t"));
}
