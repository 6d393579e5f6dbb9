//! Kubeconfigs, flags and environments, each given to the real kubectl and to the plugin: what does either send, or refuse?
//! Needs no lab; `kubectl-etcd/src/kubeconfig/tests.rs` and `login/tests.rs` have what needs no kubectl either.

#[path = "support/api.rs"]
mod api;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use api::Api;
use e2e::{plugin, run};

/// What comes of a row.
#[derive(Clone, Copy)]
enum Comes {
    /// A request with this: `TOKEN`, `cert`, `as USER`, joined by `+`; empty for nobody.
    Sent(&'static str),
    /// An error with this text.
    Refused(&'static str),
}

use Comes::{Refused, Sent};

/// A file, and what comes of it with kubectl and with the plugin. Placeholders are those of [`Folder::fill`].
struct Row {
    name: &'static str,
    file: String,
    flags: Vec<&'static str>,
    env: Vec<(&'static str, &'static str)>,
    theirs: Comes,
    ours: Comes,
}

impl Row {
    fn flags(mut self, flags: &[&'static str]) -> Row {
        self.flags = flags.to_vec();
        self
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Row {
        self.env.push((name, value));
        self
    }

    /// Where the plugin does not do what kubectl does.
    fn but_ours(mut self, ours: Comes) -> Row {
        self.ours = ours;
        self
    }

    /// Where both refuse, the plugin says this.
    fn saying(self, text: &'static str) -> Row {
        self.but_ours(Refused(text))
    }
}

fn file(name: &'static str, file: impl Into<String>, comes: Comes) -> Row {
    Row { name, file: file.into(), flags: Vec::new(), env: Vec::new(), theirs: comes, ours: comes }
}

const CLUSTER: &str = "server: 'https://@S', certificate-authority: ca.crt";

/// A file with one context.
fn context(cluster: &str, user: &str) -> String {
    format!(
        "clusters: [{{name: x, cluster: {{{cluster}}}}}]\nusers: [{{name: x, user: {{{user}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: x, user: x}}}}]\ncurrent-context: x\n"
    )
}

fn user(name: &'static str, user: &str, comes: Comes) -> Row {
    file(name, context(CLUSTER, user), comes)
}

fn cluster(name: &'static str, cluster: &str, comes: Comes) -> Row {
    file(name, context(cluster, "token: t"), comes)
}

fn exec(name: &'static str, program: &str, rest: &str, comes: Comes) -> Row {
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./{program}, interactiveMode: Never{rest}}}"
    );
    user(name, &exec, comes)
}

fn users() -> Vec<Row> {
    const HEADER: Comes = Refused("invalid header field value");
    vec![
        user("token", "token: t", Sent("t")),
        user("token with blanks", "token: 't '", Sent("t")),
        user("token with a line end", "token: \"t\\n\"", HEADER).saying("token of the user \"x\" in the kubeconfig"),
        user("--token", "token: t", Sent("flag")).flags(&["--token", "flag"]),
        user("--token with a line end", "", HEADER)
            .flags(&["--token", "t\r"])
            .saying("cannot use the value of --token"),
        user("token file", "tokenFile: token", Sent("abc")),
        user("token file, CRLF", "tokenFile: token-crlf", Sent("abc")),
        user("token file, two lines", "tokenFile: token-two", HEADER).saying("the token file"),
        user("token file, empty", "tokenFile: empty", HEADER).saying("the token file"),
        user("token file, missing", "tokenFile: nope", Refused("no such file")).saying("the token file"),
        user("token and token file", "token: t, tokenFile: token", Sent("abc")),
        user("token and no token file", "token: t, tokenFile: nope", Sent("t")),
        // The flag is what the user typed.
        user("--token and token file", "tokenFile: token", Sent("abc"))
            .flags(&["--token", "flag"])
            .but_ours(Sent("flag")),
        user("password", "username: u, password: p", Sent("Basic dTpw")),
        user("no password", "username: u", Sent("Basic dTo=")),
        user("password and token", "username: u, password: p, token: t", Refused("only one is allowed"))
            .saying("only one of them"),
        // As with a token file.
        user("--token and password", "username: u", Refused("only one is allowed"))
            .flags(&["--token", "t"])
            .but_ours(Sent("t")),
        // kubectl asks for a name and a password.
        user("nobody", "", Refused("EOF")).but_ours(Sent("")),
        user("certificate", "client-certificate: client.crt, client-key: client.key", Sent("cert")),
        user("certificate data", "client-certificate-data: @CERT, client-key-data: @KEY", Sent("cert")),
        user("certificate and key in one file", "client-certificate: both.pem, client-key: both.pem", Sent("cert")),
        user(
            "certificate and token",
            "client-certificate-data: @CERT, client-key-data: @KEY, token: t",
            Sent("t+cert"),
        ),
        user("certificate without key", "client-certificate-data: @CERT", Refused("must be specified"))
            .saying("without client-key"),
        user("key without certificate", "client-key-data: @KEY, token: t", Sent("t")),
        user(
            "certificate twice",
            "client-certificate-data: @CERT, client-certificate: client.crt, client-key: client.key",
            Refused("both specified"),
        )
        .saying("both client-certificate"),
        user("certificate missing", "client-certificate: nope, client-key: client.key", Refused("unable to read"))
            .saying("cannot read"),
        user("as", "token: t, as: bob", Sent("t+as bob")),
        user("as with umlaut", "token: t, as: \"j\\u00fcrgen\"", Sent("t+as j\u{fc}rgen")),
        user("as-groups without as", "token: t, as-groups: [g]", Refused("without impersonating")).saying("need as"),
        user("auth-provider gcp", "auth-provider: {name: gcp}", Refused("has been removed")),
        user("auth-provider unknown", "auth-provider: {name: nope}", Refused("no Auth Provider found"))
            .saying("is not known"),
    ]
}

fn login_programs() -> Vec<Row> {
    vec![
        exec("token", "token.sh", "", Sent("e")),
        exec("YAML", "yaml.sh", "", Sent("e")),
        // A program that ends its token with a line end means the token.
        exec("token with a line end", "token-lf.sh", "", Refused("invalid header field value")).but_ours(Sent("e")),
        exec("token in two lines", "token-two.sh", "", Refused("invalid header field value")).saying("token-two.sh"),
        exec("certificate", "cert.sh", "", Sent("cert")),
        exec("certificate and token", "cert-token.sh", "", Sent("e+cert")),
        exec("over already", "expired.sh", "", Sent("e")),
        exec("nothing", "nothing.sh", "", Refused("a token or cert/key pair"))
            .saying("neither a token nor a certificate"),
        exec("bad JSON", "bad.sh", "", Refused("decoding stdout")).saying("not an ExecCredential"),
        exec("fails", "fails.sh", "", Refused("exit code 3")).saying("exit status: 3"),
        exec("other version", "beta.sh", "", Refused("plugin returned version")).saying("answers with"),
        exec(
            "arguments, environment, cluster",
            "told.sh",
            ", args: [a], env: [{name: B, value: b}], provideClusterInfo: true",
            Sent("e"),
        ),
        exec("and a token", "fails.sh", "}, token: t, x: {", Sent("t")),
        exec(
            "and a certificate",
            "fails.sh",
            "}, client-certificate-data: @CERT, client-key-data: @KEY, x: {",
            Sent("cert"),
        ),
        exec(
            "and auth-provider",
            "token.sh",
            "}, auth-provider: {name: oidc",
            Refused("in combination with an exec plugin"),
        )
        .saying("both exec and auth-provider"),
        user(
            "older version without a mode",
            "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./beta.sh}",
            Sent("e"),
        ),
        user(
            "no mode",
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./token.sh}",
            Refused("interactiveMode must be specified"),
        )
        .saying("no interactiveMode"),
        user(
            "no terminal",
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./token.sh, interactiveMode: Always}",
            Refused("standard input is not a terminal"),
        ),
        user(
            "v1alpha1",
            "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: ./token.sh}",
            Refused("invalid apiVersion"),
        )
        .saying("v1alpha1"),
        user(
            "in PATH",
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: token.sh, interactiveMode: Never}",
            Sent("e"),
        )
        .env("PATH", "@F:@PATH"),
    ]
}

fn clusters() -> Vec<Row> {
    const REFUSED: Comes = Refused("Unable to connect");
    let with = |authority: &str| format!("server: 'https://@S', {authority}");
    vec![
        cluster("no authority", "server: 'https://@S'", REFUSED).saying("certificate"),
        cluster("insecure", &with("insecure-skip-tls-verify: yes"), Sent("t")),
        cluster(
            "insecure and an authority",
            &with("insecure-skip-tls-verify: true, certificate-authority: ca.crt"),
            Refused("not allowed"),
        )
        .saying("both a certificate authority and insecure-skip-tls-verify"),
        cluster("authority by flag", &with("insecure-skip-tls-verify: true"), Sent("t"))
            .flags(&["--certificate-authority", "@F/ca.crt"]),
        cluster("insecure by flag", &with("certificate-authority: other.crt"), Sent("t"))
            .flags(&["--insecure-skip-tls-verify"]),
        cluster(
            "authority twice",
            &with("certificate-authority: ca.crt, certificate-authority-data: @CA"),
            Refused("both specified"),
        )
        .saying("both certificate-authority"),
        cluster("authority missing", &with("certificate-authority: nope"), Refused("unable to read"))
            .saying("cannot read"),
        cluster("another authority", &with("certificate-authority: other.crt"), REFUSED).saying("certificate"),
        cluster("base64 in lines", &with("certificate-authority-data: \"@CA_LINES\""), Sent("t")),
        // What people write who know the tag.
        cluster("!!binary", &with("certificate-authority-data: !!binary @CA"), Refused("illegal base64"))
            .but_ours(Sent("t")),
        cluster("!!binary as PyYAML writes", &with("certificate-authority-data: !!binary @CA_TWICE"), Sent("t")),
        cluster("no base64", &with("certificate-authority-data: '@'"), Refused("illegal base64"))
            .saying("is not base64"),
        cluster("bundle with a bad one", &with("certificate-authority: bundle.crt"), Sent("t")),
        cluster(
            "bundle of bad ones",
            &with("certificate-authority: bad.crt"),
            Refused("unable to load root certificates"),
        )
        .saying("no certificate in it can be parsed"),
        cluster("bundle of words", &with("certificate-authority: token"), Refused("unable to load root certificates"))
            .saying("no PEM block"),
        cluster("server name", &with("certificate-authority: ca.crt, tls-server-name: api.example"), Sent("t")),
        cluster("wrong server name", &with("certificate-authority: ca.crt, tls-server-name: other.example"), REFUSED)
            .saying("other.example"),
        cluster(
            "server name of another server",
            &with("certificate-authority: ca.crt, tls-server-name: other.example"),
            Sent("t"),
        )
        .flags(&["--server", "https://@S"]),
        cluster("a slash", "server: 'https://@S/', certificate-authority: ca.crt", Sent("t")),
        cluster("compression", &with("certificate-authority: ca.crt, disable-compression: true"), Sent("t")),
        cluster("http", "server: 'http://@H'", Sent("")),
        cluster("no scheme", "server: '@H', certificate-authority: ca.crt", Sent("")),
        file("--server without a scheme", "", Sent("")).flags(&["--server", "@H", "--token", "t"]),
        file("--server alone", "", Sent("t")).flags(&[
            "--server",
            "https://@S",
            "--token",
            "t",
            "--certificate-authority",
            "@F/ca.crt",
        ]),
        cluster("other scheme", "server: 'ftp://@S'", Refused("unsupported protocol scheme")).saying("scheme is ftp"),
        cluster(
            "socks5",
            "server: 'https://api.example:1', certificate-authority: ca.crt, proxy-url: 'socks5://@P'",
            Sent("t"),
        ),
        // As in HTTPS_PROXY.
        cluster(
            "socks5h",
            "server: 'https://api.example:1', certificate-authority: ca.crt, proxy-url: 'socks5h://@P'",
            Refused("unsupported scheme"),
        )
        .but_ours(Sent("t")),
        cluster(
            "ftp proxy",
            &with("certificate-authority: ca.crt, proxy-url: 'ftp://@P'"),
            Refused("unsupported scheme"),
        )
        .saying("scheme ftp"),
        cluster("HTTPS_PROXY=socks5h", "server: 'https://api.example:1', certificate-authority: ca.crt", Sent("t"))
            .env("HTTPS_PROXY", "socks5h://@P"),
        cluster("ALL_PROXY is curl's", "server: 'https://@S', certificate-authority: ca.crt", Sent("t"))
            .env("ALL_PROXY", "socks5://127.0.0.1:1"),
    ]
}

fn files() -> Vec<Row> {
    const LOADING: Comes = Refused("error loading config file");
    const READING: &str = "cannot read the kubeconfig file";
    const NOBODY: Comes = Refused("localhost:8080 was refused");
    let good = context(CLUSTER, "token: t");
    let nowhere = |row: Row| row.but_ours(Refused("no cluster is configured"));
    vec![
        file("with a BOM", format!("\u{feff}{good}"), Sent("t")),
        file("CRLF", good.replace('\n', "\r\n"), Sent("t")),
        file("more documents", format!("{good}---\ncurrent-context: other\n"), Sent("t")),
        file(
            "unknown fields",
            format!("{good}a: 1\nextensions: [{{name: a, extension: {{b: 1}}}}]\npreferences: {{colors: true}}\n"),
            Sent("t"),
        ),
        file("anchors", good.replace("{token: t}", "&u {token: t}") + "a: *u\n", Sent("t")),
        file("a key twice", good.replace("token: t", "token: s, token: t"), Sent("t")),
        file("a name twice", good.replace("users: [", "users: [{name: x, user: {}}, "), LOADING)
            .saying("has the name \"x\" twice"),
        file("another version", format!("{good}apiVersion: v2\nkind: Config\n"), LOADING).saying(READING),
        file("another kind", format!("{good}apiVersion: v1\nkind: Secret\n"), LOADING).saying(READING),
        file("a number for a token", good.replace("token: t", "token: 12"), LOADING)
            .saying("users[x].user.token is a number"),
        file("no YAML", "\tx: [", LOADING).saying(READING),
        file("a list", "[]", LOADING).saying(READING),
        nowhere(file("empty", "", NOBODY)),
        nowhere(file("no current context", good.replace("current-context: x", "current-context: ''"), NOBODY)),
        file("parts by name", good.replace("current-context: x", ""), Sent("t")).flags(&[
            "--cluster",
            "x",
            "--user",
            "x",
        ]),
        file(
            "no such context",
            good.replace("current-context: x", "current-context: other"),
            Refused("context was not found"),
        )
        .saying("context \"other\" does not exist"),
        file("no such --context", good.clone(), Refused("does not exist")).flags(&["--context", "other"]),
        file("no such cluster", good.replace("cluster: x, user", "cluster: other, user"), NOBODY)
            .saying("cluster \"other\" does not exist"),
        file("first one wins", good.clone(), Sent("one")).env("KUBECONFIG", "@F/one.conf::@F/nope:@F/config"),
        file("one is bad", good.clone(), LOADING).env("KUBECONFIG", "@F/config:@F/token-two").saying(READING),
        file("a folder", good.clone(), LOADING).env("KUBECONFIG", "@F").saying(READING),
        file("--kubeconfig names nothing", good.clone(), Sent("t")).flags(&["--kubeconfig", ""]),
        file("--kubeconfig is not there", good, Refused("no such file"))
            .flags(&["--kubeconfig", "@F/nope"])
            .saying("No such file"),
        file("KUBERNETES_MASTER", "", Sent("")).env("KUBERNETES_MASTER", "http://@H"),
    ]
}

/// The folder of the files, and the API server that they name.
struct Folder {
    folder: tempfile::TempDir,
    api: Api,
}

impl Folder {
    fn new() -> Folder {
        let here = Folder { folder: tempfile::tempdir().expect("a folder"), api: Api::start() };
        let (pki, other) = (&here.api.pki, Api::authority());
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (name, text) in [
            ("ca.crt", pki.ca.clone()),
            ("other.crt", other),
            ("bad.crt", bad.to_owned()),
            ("bundle.crt", format!("{bad}{}", pki.ca)),
            ("client.crt", pki.cert.clone()),
            ("client.key", pki.key.clone()),
            ("both.pem", format!("{}{}", pki.cert, pki.key)),
            ("token", "abc\n".to_owned()),
            ("token-crlf", "abc\r\n".to_owned()),
            ("token-two", "a\nb: [\n".to_owned()),
            ("empty", "\n".to_owned()),
            ("one.conf", "users: [{name: x, user: {token: one}}]".to_owned()),
        ] {
            fs::write(here.path(name), text).expect("a file");
        }
        let credential = |version: &str, status: &str| {
            format!(
                "echo '{{\"apiVersion\": \"client.authentication.k8s.io/{version}\", \"kind\": \"ExecCredential\", \"status\": {{{status}}}}}'"
            )
        };
        let json = |text: &str| serde_json::to_string(text).expect("JSON");
        let pair = format!("\"clientCertificateData\": {}, \"clientKeyData\": {}", json(&pki.cert), json(&pki.key))
            .replace('\\', "\\\\");
        let pair = pair.replace("\\\\n", "\\n");
        let yaml = "apiVersion: client.authentication.k8s.io/v1\nkind: ExecCredential\nstatus: {token: e}";
        let told = r#"test "$1$B" = ab && case "$KUBERNETES_EXEC_INFO" in *'"server":"https://'*certificate-authority-data*|*certificate-authority-data*'"server":"https://'*) ;; *) exit 9 ;; esac"#;
        for (name, script) in [
            ("token.sh", credential("v1", "\"token\": \"e\"")),
            ("yaml.sh", format!("cat <<'END'\n{yaml}\nEND")),
            ("token-lf.sh", credential("v1", "\"token\": \"e\\u000a\"")),
            ("token-two.sh", credential("v1", "\"token\": \"e\\u000af\"")),
            (
                "cert.sh",
                format!(
                    "cat <<'END'\n{}\nEND",
                    credential("v1", &pair).trim_start_matches("echo '").trim_end_matches('\'')
                ),
            ),
            (
                "cert-token.sh",
                format!(
                    "cat <<'END'\n{}\nEND",
                    credential("v1", &format!("{pair}, \"token\": \"e\""))
                        .trim_start_matches("echo '")
                        .trim_end_matches('\'')
                ),
            ),
            ("expired.sh", credential("v1", "\"token\": \"e\", \"expirationTimestamp\": \"2020-01-01T00:00:00Z\"")),
            ("nothing.sh", credential("v1", "")),
            ("bad.sh", "echo '{nope'".to_owned()),
            ("fails.sh", "exit 3".to_owned()),
            ("beta.sh", credential("v1beta1", "\"token\": \"e\"")),
            ("told.sh", format!("{told}\n{}", credential("v1", "\"token\": \"e\""))),
        ] {
            let path = here.path(name);
            fs::write(&path, format!("#!/bin/bash\n{script}\n")).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is made executable");
        }
        here
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts in what only this run knows.
    fn fill(&self, text: &str) -> String {
        let base64 = |text: &str| api::base64(text.as_bytes());
        let ca = base64(&self.api.pki.ca);
        let lines = format!("{}\\r\\n{}\\n", &ca[..64], &ca[64..]);
        text.replace("@CA_LINES", &lines)
            .replace("@CA_TWICE", &base64(&ca))
            .replace("@CA", &ca)
            .replace("@CERT", &base64(&self.api.pki.cert))
            .replace("@KEY", &base64(&self.api.pki.key))
            .replace("@F", self.folder.path().to_str().expect("text"))
            .replace("@PATH", &std::env::var("PATH").unwrap_or_default())
            .replace("@S", &self.api.secure)
            .replace("@H", &self.api.plain)
            .replace("@P", &self.api.socks)
    }

    /// A program with the row's file, flags and environment.
    fn prepare(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str], row: &Row) -> Command {
        let mut command = Command::new(program);
        command.args(args).args(row.flags.iter().map(|flag| self.fill(flag))).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.to_ascii_lowercase().ends_with("_proxy")) {
            command.env_remove(name);
        }
        command.env("KUBECONFIG", self.path("config")).env("HOME", self.folder.path().join("home"));
        command.envs(row.env.iter().map(|(name, value)| (name, self.fill(value))));
        command
    }

    /// Runs kubectl and the plugin, and says where either does not do what the row says.
    fn compare(&self, row: &Row) -> Vec<String> {
        fs::write(self.path("config"), self.fill(&row.file)).expect("a kubeconfig");
        let theirs = self.prepare("kubectl", &["get", "--raw", "/version"], row);
        let ours = self.prepare(plugin(), &["cleanup", "--dry-run"], row);
        let each = [("kubectl", theirs, row.theirs), ("kubectl-etcd", ours, row.ours)];
        let wrong = each.into_iter().filter_map(|(program, command, expected)| {
            self.api.sent();
            let ran = run(command);
            let sent = self.api.sent();
            let right = match expected {
                Sent(credentials) => ran.status.success() && sent.as_deref() == Some(credentials),
                Refused(text) => {
                    ran.status.code().is_some_and(|code| code == 1 || code == 2) && ran.stderr.contains(text)
                }
            };
            (!right).then(|| format!("{}, {program}: {} {sent:?} {}", row.name, ran.status, ran.stderr))
        });
        wrong.collect()
    }
}

#[test]
fn the_plugin_does_with_a_kubeconfig_what_kubectl_does() {
    let folder = Folder::new();
    let rows = [users(), login_programs(), clusters(), files()].into_iter().flatten();
    let wrong: Vec<String> = rows.flat_map(|row| folder.compare(&row)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_kubeconfig_may_be_a_pipe() {
    let folder = Folder::new();
    fs::write(
        folder.path("config"),
        folder.fill(&context("server: 'https://@S', certificate-authority-data: @CA", "token: t")),
    )
    .expect("a file");
    let row = file("", "", Sent("t"));
    let script = r#"exec "$0" "$@" --kubeconfig <(cat "$KUBECONFIG")"#;
    let ours = plugin();
    let args = ["-c", script, ours.to_str().expect("text"), "cleanup", "--dry-run"];
    run(folder.prepare("bash", &args, &row)).expect_code(0);
    assert_eq!(folder.api.sent().as_deref(), Some("t"));
}

/// In a pod there is a service account instead of a kubeconfig. Needs root, for a folder of its own at its place.
#[test]
fn a_pod_needs_no_kubeconfig() {
    let folder = Folder::new();
    let script = r#"mount -t tmpfs none /run && d=/run/secrets/kubernetes.io/serviceaccount && mkdir -p $d &&
        cp "$F/ca.crt" $d/ca.crt && cp "$F/token" $d/token && echo ops > $d/namespace && exec "$0" "$@""#;
    let (host, port) = folder.api.secure.split_once(':').expect("a port");
    let ours = plugin();
    let ours = ours.to_str().expect("text");
    let mut wrong = Vec::new();
    for (program, args, flags, expected) in [
        ("kubectl", &["get", "--raw", "/version"][..], &[][..], "abc"),
        (ours, &["cleanup", "--dry-run"], &[], "abc"),
        ("kubectl", &["get", "--raw", "/version"], &["--token", "flag"], "flag"),
        (ours, &["cleanup", "--dry-run"], &["--token", "flag"], "flag"),
    ] {
        let around = [&["--mount", "--propagation", "private", "sh", "-c", script, program], args, flags].concat();
        let mut command = folder.prepare("unshare", &around, &file("", "", Sent("")));
        command.env_remove("KUBECONFIG").env("F", folder.folder.path());
        command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
        folder.api.sent();
        let ran = run(command);
        let sent = folder.api.sent();
        if !ran.status.success() || sent.as_deref() != Some(expected) {
            wrong.push(format!("{program} {flags:?}: {sent:?} {}", ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
