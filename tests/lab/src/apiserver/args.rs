//! The flags of kube-apiserver the lab takes: those it honours, and those a kubeadm manifest carries that mean nothing
//! here. Any other flag is an error, as with the real server.

use std::path::PathBuf;

/// Command line of the lab's API server: names and meanings are kube-apiserver's unless they begin with `lab`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to serve HTTPS on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: std::net::IpAddr,
    /// Port to serve HTTPS on.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// PEM file of the authorities client certificates are checked against.
    #[arg(long)]
    pub client_ca_file: PathBuf,
    /// PEM file of the serving certificate and its intermediates.
    #[arg(long)]
    pub tls_cert_file: PathBuf,
    /// PEM file of the serving key.
    #[arg(long)]
    pub tls_private_key_file: PathBuf,
    /// etcd client URLs, separated by commas; plain `http` is taken too.
    #[arg(long, value_delimiter = ',', required = true)]
    pub etcd_servers: Vec<String>,
    /// PEM file of etcd's authority.
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// PEM file of the certificate shown to etcd.
    #[arg(long, requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// PEM file of that certificate's key.
    #[arg(long, requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// First segment of every key in etcd.
    #[arg(long, default_value = "/registry")]
    pub etcd_prefix: String,
    /// PEM file of the certificate shown to kubelets.
    #[arg(long, requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// PEM file of that certificate's key.
    #[arg(long, requires = "kubelet_client_certificate")]
    pub kubelet_client_key: Option<PathBuf>,
    /// CSV file of bearer tokens: token,user,uid,"group1,group2".
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// Whether requests of nobody are answered.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,
    /// `AlwaysAllow`; anything else is taken for the authorization of nodes and RBAC.
    #[arg(long)]
    pub authorization_mode: Option<String>,
    /// Seconds between SIGTERM and the port being closed, as a Go duration (`500ms`, `1s`).
    #[arg(long, default_value = "1s", value_parser = go_duration)]
    pub shutdown_delay_duration: std::time::Duration,
    /// How long a request may take that is no watch and no stream, as a Go duration; clients may ask for less.
    #[arg(long, default_value = "1m0s", value_parser = go_duration)]
    pub request_timeout: std::time::Duration,
    /// Directory whose `faults.json` says what is to go wrong; none means no faults.
    #[arg(long)]
    pub lab_dir: Option<PathBuf>,

    /// Flags without a meaning in the lab.
    #[command(flatten)]
    pub meaningless: Meaningless,
}

/// Flags that kubeadm's manifest or a drill passes and the lab has no use for: taken so that both run unchanged, never
/// read. The lab always takes the first InternalIP of a node, and signs no tokens; it caches and compacts nothing, calls no webhook, and is no
/// endpoint of a Service.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Without meaning in the lab")]
#[allow(missing_docs, reason = "the names are kube-apiserver's own and none of them is read")]
pub struct Meaningless {
    #[arg(long)]
    pub advertise_address: Option<std::net::IpAddr>,
    #[arg(long)]
    pub allow_privileged: Option<bool>,
    #[arg(long)]
    pub disable_admission_plugins: Option<String>,
    #[arg(long)]
    pub egress_selector_config_file: Option<PathBuf>,
    #[arg(long)]
    pub enable_admission_plugins: Option<String>,
    #[arg(long)]
    pub enable_bootstrap_token_auth: Option<bool>,
    #[arg(long)]
    pub enable_priority_and_fairness: Option<bool>,
    #[arg(long)]
    pub encryption_provider_config: Option<PathBuf>,
    #[arg(long)]
    pub endpoint_reconciler_type: Option<String>,
    #[arg(long)]
    pub etcd_compaction_interval: Option<String>,
    #[arg(long)]
    pub kubelet_preferred_address_types: Option<String>,
    #[arg(long)]
    pub profiling: Option<bool>,
    #[arg(long)]
    pub proxy_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub proxy_client_key_file: Option<PathBuf>,
    #[arg(long)]
    pub requestheader_allowed_names: Option<String>,
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    #[arg(long)]
    pub requestheader_extra_headers_prefix: Option<String>,
    #[arg(long)]
    pub requestheader_group_headers: Option<String>,
    #[arg(long)]
    pub requestheader_username_headers: Option<String>,
    #[arg(long)]
    pub service_account_issuer: Option<String>,
    #[arg(long)]
    pub service_account_key_file: Option<PathBuf>,
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    #[arg(long)]
    pub service_cluster_ip_range: Option<String>,
    #[arg(long)]
    pub watch_cache: Option<bool>,
}

/// Reads Go's durations, as far as they are positive: `1m0s`, `500ms`, `1.5h`.
pub(super) fn go_duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("time: invalid duration {text:?}");
    let (mut rest, mut total) = (text, std::time::Duration::ZERO);
    if text == "0" {
        return Ok(total);
    }
    if text.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = std::time::Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::go_duration;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [("0", 0), ("0s", 0), ("500ms", 500), ("1m0s", 60_000), ("1.5h", 5_400_000)] {
            assert_eq!(go_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1x", "1s2"] {
            assert_eq!(go_duration(text), Err(format!("time: invalid duration {text:?}")));
        }
    }
}
